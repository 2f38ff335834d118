"""How well numbers follow each other.

    pearson     sum (x - mean x)(y - mean y) / sqrt(sum (x - mean x)^2  sum (y - mean y)^2)
    spearman    the same of ranks, where equal numbers share the mean of theirs

Where either side is constant neither is defined: both are then 0 here, and ``undefined`` says so in words, since a NaN
would travel through means and tables unseen.
"""

import logging
from collections.abc import Callable, Sequence

import numpy as np

from promptlab.errors import DataError

log = logging.getLogger("promptlab")


def pearson(gold: np.ndarray, said: np.ndarray) -> float:
    """Pearson correlation of ``(rows,)`` with ``(rows,)``, from -1 to 1; 0 where either is constant."""
    if _constant(gold) or _constant(said):
        return 0.0
    x, y = gold - gold.mean(), said - said.mean()
    size = float(np.sqrt(x @ x) * np.sqrt(y @ y))
    return min(1.0, max(-1.0, float(x @ y) / size)) if size else 0.0


def spearman(gold: np.ndarray, said: np.ndarray) -> float:
    """Spearman's rank correlation of ``(rows,)`` with ``(rows,)``, from -1 to 1; 0 where either is constant."""
    return pearson(ranks(gold), ranks(said))


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1 on, ``(rows,)``; equal values share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    shared: np.ndarray = (last - (counts - 1) / 2)[place]
    return shared


def undefined(gold: Sequence[float] | np.ndarray, said: Sequence[float] | np.ndarray) -> str:
    """Why a correlation is not defined, in words; empty where it is."""
    for what, values in (("answers", said), ("right numbers", gold)):
        if _constant(np.asarray(values, dtype=float)):
            return f"all {what} are {float(values[0]):g}, so no correlation is defined: it counts as 0"
    return ""


def told(name: str, gold: Sequence[object], said: Sequence[object] | np.ndarray) -> float:
    """``pearson`` or ``spearman`` of right numbers and answers; a warning in the log where it is not defined.

    Raises:
        DataError: no rows, not as many on both sides, or one that is no number.
    """
    x, y = numbers(name, gold), numbers(name, list(said))
    if not len(x) or len(x) != len(y):
        raise DataError(f"{name}: {len(x)} right numbers and {len(y)} answers. Give one answer a row.")
    if why := undefined(x, y):
        log.warning("%s: %s", name, why)
    return KINDS[name](x, y)


def numbers(name: str, labels: Sequence[object]) -> np.ndarray:
    """Labels as numbers, ``(rows,)``.

    Args:
        name: of the metric, for messages.
        labels: texts or numbers.

    Raises:
        DataError: a label that is no finite number.
    """
    try:
        found = np.array([float(str(label)) for label in labels])
    except ValueError as error:
        raise DataError(
            f"{name}: {error}. It compares numbers; use another metric for labels that are words."
        ) from None
    if not np.isfinite(found).all():
        row = int(np.flatnonzero(~np.isfinite(found))[0])
        raise DataError(f"{name}: row {row + 1} is {found[row]}, which no number can be compared with. Leave it out.")
    return found


def _constant(values: np.ndarray) -> bool:
    return bool(len(values)) and bool((values == values[0]).all())


KINDS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {"pearson": pearson, "spearman": spearman}
"""What compares numbers, by name."""
