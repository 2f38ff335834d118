"""The rows a member sees: exactly B a step from its own generator, whatever the size of its set.

    Stream     shuffle all rows; deal B a step; a short batch is filled from the next shuffle
    Buckets    the same, B rows of like length at a time, so that little of a batch is padding:
                   take up to 50 B rows of the shuffle, sort them by length, which chance changes by up to a tenth
                   cut them into batches; what is left over (fewer than B, any) stays for the next time
                   step t deals the batch that lies nearest to t times the golden section among those sorted

So the batches of a stack's members are alike in length at every step, although each member shuffles by itself.
"""

from collections.abc import Sequence

import torch

_POOL = 50  # batches that are sorted together
_CHANCE = 0.1  # of a length, so that no two passes make the same batches
_GOLDEN = (5**0.5 - 1) / 2  # its multiples visit short and long batches by turns, and evenly


class Stream:
    """An endless, shuffled deal of row numbers.

    Args:
        rows: how many there are; at least one.
        batch: how many a step takes.
        generator: the member's own.
    """

    def __init__(self, rows: int, batch: int, generator: torch.Generator):
        self.rows, self.batch, self.generator = rows, batch, generator
        self.left: list[int] = []

    def next(self) -> list[int]:
        """The next ``batch`` row numbers."""
        return self._dealt(self.batch)

    def _dealt(self, count: int) -> list[int]:
        while len(self.left) < count:
            self.left += torch.randperm(self.rows, generator=self.generator).tolist()
        taken, self.left = self.left[:count], self.left[count:]
        return taken


class Buckets(Stream):
    """An endless deal of row numbers, those of like length together.

    Args:
        lengths: tokens of each row; at least one row.
        batch: how many a step takes.
        generator: the member's own.
    """

    def __init__(self, lengths: Sequence[int], batch: int, generator: torch.Generator):
        super().__init__(len(lengths), batch, generator)
        self.lengths = torch.tensor(lengths, dtype=torch.float64)
        self.over: list[int] = []
        self.buckets: dict[float, list[int]] = {}  # by their place among those sorted together, from 0 to 1
        self.step = 0

    def next(self) -> list[int]:
        """The next ``batch`` row numbers."""
        if not self.buckets:
            self.buckets = self._sorted(self._pool())
        self.step += 1
        wanted = self.step * _GOLDEN % 1
        return self.buckets.pop(min(self.buckets, key=lambda place: abs(place - wanted)))

    def _pool(self) -> list[int]:
        """Rows for the batches to come: what was left over, and more of the shuffle, at most to its end."""
        pool = self.over
        while len(pool) < self.batch:
            pool = pool + self._dealt(min(len(self.left) or self.rows, _POOL * self.batch))
        whole = len(pool) - len(pool) % self.batch
        self.over = pool[whole:]
        return pool[:whole]

    def _sorted(self, pool: Sequence[int]) -> dict[float, list[int]]:
        rows = torch.tensor(pool)
        chance = 1 + _CHANCE * torch.rand(len(rows), generator=self.generator, dtype=torch.float64)
        batches = rows[(self.lengths[rows] * chance).argsort()].view(-1, self.batch).tolist()
        return {(at + 0.5) / len(batches): batch for at, batch in enumerate(batches)}
