"""Which rows of a corpus a step reads, and which are held out to judge by."""

from dataclasses import dataclass, field

import numpy as np
import torch

from promptlab.backbone.device import generator

HELD_SHARE, HELD_MOST = 20, 400  # one row in twenty, at most so many


def held_out(rows: int) -> np.ndarray:
    """Rows to judge by: they follow from how many there are, so that later sittings over one text share them."""
    order = torch.randperm(rows, generator=generator(f"held out of {rows}")).numpy()
    return np.sort(order[: min(HELD_MOST, rows // HELD_SHARE)])


def training_rows(rows: int) -> np.ndarray:
    """All rows but those held out."""
    return np.setdiff1d(np.arange(rows), held_out(rows))


@dataclass
class Feed:
    """Deals rows in a new order each pass.

    Args:
        rows: numbers of the training rows.
        lengths: tokens of each row of the corpus.
        batch: tokens a step.
        seed: of the orders.
        passed: whole passes done.
        at: rows of the running pass that are dealt.
    """

    rows: np.ndarray
    lengths: np.ndarray
    batch: int
    seed: int
    passed: int = 0
    at: int = 0
    _order: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self._order = self._shuffled()

    def next(self) -> np.ndarray:
        """The rows of the next step: as many as fill the batch, at least one; a pass's last step may be short."""
        left = self._order[self.at :]
        count = max(1, int(np.searchsorted(np.cumsum(self.lengths[left]), self.batch, side="right")))
        self.at += count
        if self.at >= len(self._order):
            self.passed, self.at = self.passed + 1, 0
            self._order = self._shuffled()
        return left[:count]

    def _shuffled(self) -> np.ndarray:
        order = torch.randperm(len(self.rows), generator=generator(f"adapt {self.seed}/pass {self.passed}"))
        return self.rows[order.numpy()]
