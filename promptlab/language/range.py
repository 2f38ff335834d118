"""Labels that are numbers, between two poles (regression; LM-BFF, Gao et al. 2021, arXiv:2012.15723, section 4.2).

weight of a number     w = (y - low) / (high - low), from 0 to 1
through two words      p = probability of the high word between the two;  KL((1 - w, w) || (1 - p, p))
through a head         one output z, squared error to 2 w - 1: a new head, whose output is near 0, says the middle
answer                 low + (high - low) p, or the same of p = (1 + z) / 2 held between 0 and 1
"""

from dataclasses import dataclass
from math import isfinite
from typing import Any, ClassVar

from promptlab.errors import DataError

ENDS = ("low", "high")


@dataclass(frozen=True)
class Range:
    """Labels that are numbers from ``low`` to ``high``; label words stand for its two ends."""

    low: float
    high: float

    metrics: ClassVar[tuple[str, ...]] = ("pearson", "spearman")
    """What can compare numbers; the first is the default."""

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"

    @property
    def middle(self) -> float:
        """The number halfway."""
        return (self.low + self.high) / 2

    def read(self, value: str) -> str:
        """The value, checked.

        Raises:
            DataError: no number, or one outside the range.
        """
        try:
            inside = self.low <= float(value) <= self.high
        except ValueError:
            inside = False
        if not inside:
            raise DataError(f"label '{value}' is no number from {self}. Write one.")
        return value

    def weight(self, value: float) -> float:
        """Where a number lies, from 0 (``low``) to 1 (``high``)."""
        return (value - self.low) / (self.high - self.low)

    def value(self, weight: Any) -> Any:
        """The number, or array of them, that lies there."""
        return self.low + (self.high - self.low) * weight

    def written(self) -> dict[str, list[str]]:
        """As a pattern file has it."""
        return {"range": [str(self.low), str(self.high)]}

    @staticmethod
    def of(listed: list[str]) -> "Range | None":
        """The range of two rising numbers as text; None where it is none."""
        try:
            low, high = map(float, listed)
        except ValueError:
            return None
        return Range(low, high) if low < high and isfinite(low) and isfinite(high) else None


def metric_fault(name: str) -> str:
    """What is wrong with a metric of numbers, in words; empty where nothing is."""
    known = " or ".join(Range.metrics)
    return "" if name in Range.metrics else f"metric '{name}' compares labels, and a range has numbers. Write {known}."
