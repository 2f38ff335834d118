"""A pattern: one way of putting an example to a language model, as a text with a gap."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from promptlab.errors import did_you_mean
from promptlab.language.example import Example
from promptlab.language.grammar import RESERVED, Field, Labels, Mask, Part, Sep, Soft, Target, Text, Token, parse, scan

BORDER, BLANK = " │ ", "▁▁▁"


@dataclass(frozen=True)
class Pattern:
    """A named pattern.

    Args:
        name: what the pattern file calls it.
        source: the text as written.
        parts: the text as parsed.
        when: field values an example must have for this pattern; empty for all examples.
    """

    name: str
    source: str
    parts: tuple[Part, ...]
    when: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, name: str, source: str, when: Mapping[str, str] | None = None) -> "Pattern":
        """Reads a pattern from its text.

        Raises:
            PatternError: holds every fault of the text.
        """
        return cls(name, source, parse(source), dict(when or {}))

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields it shows, in order, each once."""
        return tuple(dict.fromkeys(part.name for part in self.parts if isinstance(part, Field)))

    @property
    def generates(self) -> bool:
        """Whether it asks for a text (``{target}``) and not for a label word."""
        return any(isinstance(part, Target) for part in self.parts)

    @property
    def mask_last(self) -> bool:
        """Whether no field stands after the mask, so that a causal model can answer it."""
        asked = [isinstance(part, Target if self.generates else Mask) for part in self.parts].index(True)
        return not any(isinstance(part, Field) for part in self.parts[asked:])

    def applies(self, example: Example) -> bool:
        """Whether the example meets ``when``."""
        return all(example.text(name) == value for name, value in self.when.items())

    def fill(self, example: Example, mask: str = BLANK, word: str | None = None) -> str:
        """The filled pattern as a person reads it.

        Args:
            example: gives the fields.
            mask: stands for the gap.
            word: stands in the gap where given (a demonstration).

        Raises:
            DataError: the example lacks a field.
        """
        return "".join(self._shown(example, mask if word is None else word))

    def _shown(self, example: Example, gap: str) -> Iterator[str]:
        for part in self.parts:
            match part:
                case Text(text):
                    yield text
                case Sep():
                    yield BORDER
                case Soft(words=None):
                    pass  # learnt tokens have no words to show, and take their space with them
                case _:
                    yield " " * part.space + _slot_text(part, example, gap)


def _slot_text(part: Part, example: Example, gap: str) -> str:
    match part:
        case Field():
            return part.read(example)
        case Labels(dashed=dashed):
            return "{labels:-}" if dashed else "{labels}"  # a pattern of no task: nobody has said yet what they are
        case Soft(words=words):
            return words or ""
        case Token(name):
            return name
        case _:
            return gap


def pattern_faults(source: str, inputs: Mapping[str, str] | None, generates: bool = False) -> list[str]:
    """What is wrong with a pattern of a task, in words.

    Args:
        source: the pattern's text.
        inputs: the task's; None where the patterns themselves decide.
        generates: whether the task asks for a text (``{target}``) and not for a label word (``{mask}``).
    """
    parts, faults = scan(source)
    names = list(dict.fromkeys(part.name for part in parts if isinstance(part, Field)))
    kinds = {type(part) for part in parts}
    if not faults and not names:
        faults.append("shows no field, so it asks the same of every example. Write a field, such as {text}.")
    if generates and Mask in kinds:
        faults.append("asks for a label word ({mask}), but the task has no labels. Write {target}, or give it labels.")
    if not generates and Target in kinds and Mask not in kinds:
        faults.append("asks for a text ({target}), but the task has labels. Write {mask}, or take the labels out.")
    if generates and Labels in kinds:
        faults.append("lists labels ({labels}), but the task has none. Take {labels} out, or give the task labels.")
    if inputs is not None:
        faults += [unknown_field(name, inputs) for name in names if name not in inputs]
    return faults


def unknown_field(name: str, inputs: Mapping[str, str]) -> str:
    """The fault of a field that is no input, in words."""
    known = ", ".join(inputs) or "none"
    return f"uses {{{name}}}, which is no input (inputs: {known}).{did_you_mean(name, [*inputs, *RESERVED])}"
