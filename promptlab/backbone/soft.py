"""Rows with room for soft tokens: marks stand where a learnt vector is to be read.

    the pattern has {soft:...} slots      marks there: n of them, or as many as the slot's words have
    it has none, or the text is bare      n marks after [CLS], before the text on decoders; place=front: before [CLS]

Marks are ids below 0 (marks.py). They count in a row's length, are never cut, and take positions as any token does. No
head reads one: it reads [CLS], the last token of the text, or the mean of what is not soft, since a mean over places
that hold no text would weigh the text less the more of them there are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count, groupby
from typing import Any

from promptlab.backbone.encode import Encoder
from promptlab.backbone.layout import Laid
from promptlab.backbone.marks import marks
from promptlab.backbone.slots import filled, slots, started
from promptlab.backbone.truncation import Column
from promptlab.language.example import Example
from promptlab.language.grammar import Part, Soft, Text
from promptlab.language.pattern import Pattern


class SoftEncoder(Encoder):
    """Lays out rows with marks; shares the ids of texts with the encoder that it is made of.

    Args:
        encoder: any.
        n: marks of a row whose pattern has no slot.
        place: ``text`` puts those before the text, ``front`` before the row's first special token.
    """

    def __init__(self, encoder: Encoder, n: int, place: str):
        vars(self).update(vars(encoder))
        self.n, self.place = n, place

    def shown(self, pattern: Pattern) -> Pattern:
        """The pattern with ``[soft 1-5]`` where five soft tokens stand."""
        sizes = slot_sizes(pattern, self)
        names, waiting = _names(sizes or [self.n]), len(sizes)
        parts: list[Part] = [] if sizes else [Soft(0, next(names)), Text(" ")]
        for part in pattern.parts:
            if isinstance(part, Soft):
                part = replace(part, words=next(names) if waiting > 0 else None)
                waiting -= 1
            parts.append(part)
        return replace(pattern, parts=tuple(parts))

    def _laid(self, pattern: Pattern, *args: Any) -> tuple[list[Column], list[int]]:
        sizes = slot_sizes(pattern, self)
        return super()._laid(filled(pattern, self.backbone, marks(sizes)) if sizes else pattern, *args)

    def _columns(
        self, layout: list[list[Laid]], examples: Sequence[Example], masks: Sequence[tuple[int, ...]], ends: bool
    ) -> list[Column]:
        columns = super()._columns(layout, examples, masks, ends)
        if not any(isinstance(part, Soft) for segment in layout for part in segment):
            frame = self.specials.frame(len(layout))
            at = 0 if self.place == "front" else len(frame.runs[0])
            columns.insert(at, Column(marks([self.n]) * len(examples), frame.numbers[0]))
        return columns

    def _too_long(self, columns: list[Column], row: int, fixed: int, limit: int, where: str) -> str:
        soft = sum(token < 0 for column in columns for token in column.ids[row])
        return super()._too_long(columns, row, fixed, limit, f"{where}, with its {soft} soft tokens,")


def slot_sizes(pattern: Pattern, encoder: Encoder) -> list[int]:
    """Soft tokens of each slot that the backbone reads; empty where the pattern has none."""
    there = zip(slots(pattern, encoder.backbone), started(pattern, encoder), strict=True)
    return [slot.count if ids is None else len(ids) for slot, ids in there]


def decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    """A row as text, ``[soft 1-5]`` where marks 1 to 5 stand."""
    return " ".join(_runs(tokenizer, ids)) if min(ids, default=0) < 0 else tokenizer.decode(ids)


def _runs(tokenizer: Any, ids: Sequence[int]) -> Iterator[str]:
    for soft, run in groupby(ids, lambda token: token < 0):
        found = list(run)
        yield _name(-found[0], -found[-1]) if soft else tokenizer.decode(found).strip()


def _names(sizes: Sequence[int]) -> Iterator[str]:
    first = count(1)
    for size in sizes:
        numbers = [next(first) for _ in range(size)]
        yield _name(numbers[0], numbers[-1])


def _name(first: int, last: int) -> str:
    return f"[soft {first}]" if first == last else f"[soft {first}-{last}]"
