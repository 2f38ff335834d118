"""One thing to read: named fields, perhaps with the label that is right for it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from promptlab.errors import DataError, did_you_mean

Value = str | tuple[str, ...]


@dataclass(frozen=True)
class Example:
    """Named fields with a label.

    Args:
        fields: text by input name; a tuple of texts for a list field (the candidates of a row).
        label: one of the task's labels, the text of the right candidate, or a reference; None where it is not known.
        group: rows of one group are drawn together.
        answers: every right answer where there are several, ``label`` being the first; else empty.
        part: of the test rows, where metrics are given apart (seen, unseen).

    Where a text is asked for, its references are the right answers.
    """

    fields: Mapping[str, Value]
    label: str | None = None
    group: str | None = None
    answers: tuple[str, ...] = ()
    part: str | None = None

    @property
    def right(self) -> tuple[str, ...]:
        """Every right answer: ``answers``, or the one label; empty where it is not known."""
        return self.answers or (() if self.label is None else (self.label,))

    def text(self, name: str) -> str:
        """The text of a field; the items of a list field joined by commas.

        Raises:
            DataError: the example has no such field.
        """
        if name not in self.fields:
            known = ", ".join(self.fields) or "none"
            raise DataError(f"an example has no field '{name}'; its fields: {known}.{did_you_mean(name, self.fields)}")
        value = self.fields[name]
        return value if isinstance(value, str) else ", ".join(value)

    def unlabelled(self) -> "Example":
        """The same example without its label."""
        return replace(self, label=None, answers=())
