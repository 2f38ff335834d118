"""How iPET's training sets grow from one generation to the next (Schick & Schütze 2021, arXiv:2001.07676, 3.4).

    a label's rows in generation j    c_j = d^j c_0,  d = 5;  from no labelled rows  c_1 = 10 / labels,  c_j = d c_j-1
    generations after the first       k = ceil(log_d(1000 / n))
    who labels for a member           a quarter of the *other* members, at least one
    which rows                        c_j - c_0 of those they give the label, by chance in proportion to confidence
    from no labelled rows, at first   of the 100 they are surest to have the label, though another may be likelier

Drawing without replacement in proportion to p takes the largest log p + Gumbel noise: the same as one row at a time.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

GROWTH = 5  # d
VOICES = 0.25  # lambda
ENOUGH = 1000  # rows that the last generation learns from
FIRST = 10  # rows of the first generation that has no labelled ones
SUREST = 100  # rows a label it is drawn from


def random_numbers(key: str) -> np.random.Generator:
    """A generator whose numbers follow from ``key`` alone, whatever ran before."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little"))


def generations_after(labelled: int) -> int:
    """The least k for which ``d^k`` times the labelled rows are enough; in whole numbers, which no logarithm rounds.

    From no labelled rows the first generation that is trained counts as one of the k.
    """
    k, rows = (0, labelled) if labelled else (1, FIRST)
    while rows < ENOUGH:
        k, rows = k + 1, rows * GROWTH
    return k


def wanted(labelled: np.ndarray, generation: int) -> np.ndarray:
    """Rows a label to be drawn for a generation, ``(labels,)``.

    Args:
        labelled: labelled rows of each label, ``(labels,)``.
        generation: 1 for the first that is drawn for.
    """
    if labelled.any():
        return labelled * (GROWTH**generation - 1)
    first = -(-FIRST // len(labelled))
    return np.full(len(labelled), first * GROWTH ** (generation - 1))


def within(wanted: np.ndarray, most: int) -> np.ndarray:
    """As many rows of each label, ``(labels,)``, in the same proportions and ``most`` in all; at least one of each.

    Args:
        wanted: rows of each label.
        most: rows beyond which a member's training would see none.
    """
    if wanted.sum() <= most:
        return wanted
    return np.where(wanted > 0, np.maximum(1, wanted * max(0, most) // wanted.sum()), 0)


def voters(own: int, members: int, random: np.random.Generator) -> list[int]:
    """Numbers of the members that label rows for member ``own``: a quarter of the others, and never none."""
    others = [other for other in range(members) if other != own]
    size = max(1, round(VOICES * len(others)))
    return sorted(random.choice(others, size, replace=False).tolist())


def draw_rows(
    sure: np.ndarray, wanted: Sequence[int] | np.ndarray, random: np.random.Generator, surest: int | None = None
) -> tuple[list[int], list[int]]:
    """Draws rows a label, none twice; fewer where the rows of a label run short.

    Args:
        sure: confidence of each label, ``(rows, labels)``; a row that is not finite is never drawn.
        wanted: rows of each label, ``(labels,)``.
        random: gives one number a row and label.
        surest: draw from the so many surest rows of a label, whatever label is the likeliest; else from the rows whose
            likeliest label it is.

    Returns:
        row numbers, and the label number of each.
    """
    chance = np.log(np.where(sure > 0, sure, np.nan)) + random.gumbel(size=sure.shape)
    able = np.isfinite(chance) & np.isfinite(sure).all(1, keepdims=True)
    best = np.where(able.any(1), np.where(np.isfinite(sure), sure, -1).argmax(1), -1)
    rows, labels = list[int](), list[int]()
    for label, count in enumerate(wanted):
        free = np.setdiff1d(np.flatnonzero(able[:, label]), rows)
        if surest is None:
            free = free[best[free] == label]
        else:
            free = free[np.argsort(-sure[free, label], kind="stable")[:surest]]
        taken = free[np.argsort(-chance[free, label], kind="stable")[:count]]
        rows += sorted(taken.tolist())
        labels += [label] * len(taken)
    return rows, labels
