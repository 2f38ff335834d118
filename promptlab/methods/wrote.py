"""What was read before a text, and the text: each pattern filled in, how many tokens it is, what the model wrote.

Made for reading; what it says comes from the same code that writes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from promptlab.backbone.backbone import Backbone
from promptlab.errors import PromptlabError
from promptlab.language.example import Example
from promptlab.language.pattern import BORDER
from promptlab.language.task import PVP, Task
from promptlab.methods.method import Job
from promptlab.methods.screen import Line, plain, rows_lines, short
from promptlab.methods.writer import Writer
from promptlab.methods.zero_shot import ZeroShot

Row = dict[str, Any]


@dataclass(frozen=True, repr=False)
class Wrote:
    """Texts as they were written. Iterating gives the rows of all inputs, one a pattern.

    Args:
        texts: of each input ``fields`` and ``patterns``; of each of these ``pattern``, ``text`` (filled in),
            ``tokens`` (of what was read), ``written``, and ``context`` (what stood before it); or why it was skipped.
    """

    texts: tuple[dict[str, Any], ...]

    def __iter__(self) -> Iterator[Row]:
        return (row for text in self.texts for row in text["patterns"])

    def __len__(self) -> int:
        return sum(len(text["patterns"]) for text in self.texts)

    def __str__(self) -> str:
        return "\n\n".join(plain(_lines(text)) for text in self.texts)

    __repr__ = __str__

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON can hold it."""
        return {"texts": list(self.texts)}


def show_written(writer: Writer, examples: Sequence[Example]) -> Wrote:
    """What a fitted writer reads and writes.

    Args:
        writer: of any method.
        examples: what it is asked about.
    """
    return _wrote(examples, [_column(writer, examples)]) if examples else Wrote(())


def show_unwritten(task: Task, backbone: Backbone, examples: Sequence[Example], patterns: str = "all") -> Wrote:
    """What the plain backbone writes after each pattern, without an instruction; one that it cannot use says why.

    Args:
        task: what is asked.
        backbone: a causal one.
        examples: what it is asked about.
        patterns: ``all``, ``first``, or names joined by ``+``.

    Raises:
        PatternError: no such pattern.
    """
    chosen = task.select(patterns)
    return _wrote(examples, [_tried(task, backbone, pvp, examples) for pvp in chosen]) if examples else Wrote(())


def _wrote(examples: Sequence[Example], columns: Sequence[Sequence[Row]]) -> Wrote:
    rows = zip(examples, *columns, strict=True)
    return Wrote(tuple({"fields": dict(example.fields), "patterns": list(own)} for example, *own in rows))


def _column(writer: Writer, examples: Sequence[Example]) -> list[Row]:
    with writer.applied():
        encoded, shown = writer.read(examples)
    texts = writer.texts(examples)
    return [
        {
            "pattern": writer.asks.name,
            "text": writer.asks.pattern.fill(example),
            "tokens": encoded.lengths[at],
            "cut": bool(encoded.cut[at]),
            "written": texts[at],
            **_context(writer, shown[at]),
        }
        for at, example in enumerate(examples)
    ]


def _context(writer: Writer, shown: Sequence[int]) -> Row:
    pattern, rows = writer.asks.pattern, [writer.rows[at] for at in shown]
    found = [writer.instruction] if writer.instruction else []
    found += [pattern.fill(row, word=row.right[0]) for row in rows]
    return {"context": found} if found else {}


def _tried(task: Task, backbone: Backbone, pvp: PVP, examples: Sequence[Example]) -> list[Row]:
    """What the plain backbone makes of one pattern, or why it cannot."""
    try:
        asked = ZeroShot(patterns=pvp.name, instruction="none")
        [(_, writer)] = asked.fit(backbone, None, [Job(task, ())])
        return _column(writer, examples)  # type: ignore[arg-type]
    except PromptlabError as error:
        why = " ".join(str(error).split())
        return [{"pattern": pvp.name, "text": pvp.pattern.fill(example), "skipped": why} for example in examples]


def _lines(text: dict[str, Any]) -> Iterator[Line]:
    fields = (each if isinstance(each, str) else ", ".join(each) for each in text["fields"].values())
    yield [(short(BORDER.join(fields)), "")]
    yield from rows_lines(text["patterns"])
