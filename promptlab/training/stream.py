"""The rows a member sees: exactly B a step from its own generator, whatever the size of its set.

shuffle all rows; deal B a step; a short batch is filled from the next shuffle
"""

import torch


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
        while len(self.left) < self.batch:
            self.left += torch.randperm(self.rows, generator=self.generator).tolist()
        taken, self.left = self.left[: self.batch], self.left[self.batch :]
        return taken
