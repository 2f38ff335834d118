"""Which demonstrations each row is shown, by a predictor that holds the labelled rows.

order=seed      drawn once, the most wanted first; every row is shown as many as fit beside it
order=similar   those nearest to the row, the nearest last                                   (nearest.py)
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from promptlab.backbone.encode import Encoded, Encoder
from promptlab.language.example import Example
from promptlab.language.task import Task
from promptlab.methods.demonstrations import paged
from promptlab.methods.nearest import nearest, vectors
from promptlab.methods.page import Kept, Page


class Showing:
    """What predictors that show demonstrations have in common; they say which rows, and how many are asked for."""

    task: Task
    encoder: Encoder
    rows: Sequence[Example]
    similar: bool
    demonstrations: int | str
    key: str
    _known: np.ndarray | None

    def shown(self, page: Page, examples: Sequence[Example], room: Sequence[int]) -> list[Kept]:
        """Numbers of the demonstrations before each row, in their order.

        Args:
            page: lays rows out.
            examples: what is asked about.
            room: tokens that each row needs for its answer.

        Raises:
            DataError: not even the shortest demonstration fits.
        """
        if not self.rows:
            return [()] * len(examples)
        alone = page.read(examples, room=room)
        lengths = [page.limit if cut else length for length, cut in zip(alone.lengths, alone.cut, strict=True)]
        if not self.similar:
            place = {row: at for at, row in enumerate(paged(len(self.rows), self.key))}
            kept = page.fitting([tuple(range(len(self.rows)))] * len(examples), lengths, room)
            return [tuple(sorted(one, key=place.__getitem__)) for one in kept]
        return [one[::-1] for one in page.fitting(self._nearest(examples), lengths, room)]

    def _nearest(self, examples: Sequence[Example]) -> list[Kept]:
        inputs = tuple(self.task.inputs)
        known = vectors(self.encoder, self.rows, inputs) if self._known is None else self._known
        self._known, asked = known, vectors(self.encoder, examples, inputs)
        classes = self.task.labels if self.task.fixed else ()
        return list(map(tuple, nearest(asked, known, self.rows, self.demonstrations, classes)))


def laid(page: Page, examples: Sequence[Example], room: Sequence[int], shown: Sequence[Kept]) -> Encoded:
    """Rows in their order, each after its demonstrations."""
    parts: dict[int, Encoded] = {}
    for one, rows in alike(shown).items():
        encoded = page.read([examples[row] for row in rows], one, [room[row] for row in rows])
        parts.update((row, encoded.take([at])) for at, row in enumerate(rows))
    each = [parts[row] for row in range(len(examples))]
    return Encoded.joined(each) if each else Encoded([], None, [], [])


def alike(shown: Sequence[Kept]) -> dict[Kept, list[int]]:
    """Numbers of the rows that are shown the same."""
    found: dict[Kept, list[int]] = {}
    for row, one in enumerate(shown):
        found.setdefault(one, []).append(row)
    return found


def fewer(shown: Sequence[Kept], asked: int) -> list[str]:
    """A note where rows had fewer demonstrations than were asked for."""
    counts = [len(one) for one in shown]
    less = sum(count < asked for count in counts)
    if not less:
        return []
    return [f"{less} of {len(counts)} rows had fewer than {asked} demonstrations, {min(counts)} at least"]


def spelt_row(row: Example) -> dict[str, Any]:
    """A labelled row as JSON can hold it."""
    return asdict(row) | {"fields": dict(row.fields)}


def row_of(spelt: Mapping[str, Any]) -> Example:
    """The row that :func:`spelt_row` wrote down."""
    fields = {name: one if isinstance(one, str) else tuple(one) for name, one in spelt["fields"].items()}
    return Example(**{**spelt, "fields": fields, "answers": tuple(spelt["answers"])})
