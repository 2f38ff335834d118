"""Is one system better than another by more than chance? A paired bootstrap (Efron & Tibshirani 1993, chapter 16).

d[s, r] = a's correctness minus b's, for seed s and test row r
draw seeds and rows with replacement, the same for both systems; take the mean of d over them; many times
the middle 95 % of these means is the interval: one that holds 0 may be chance
"""

import numpy as np

from promptlab.errors import DataError

_AT_ONCE = 4_000_000  # numbers held at a time, 32 MB


def paired_bootstrap(
    correct_a: np.ndarray, correct_b: np.ndarray, draws: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """By how much system a is better than b, with the 95 % interval over rows and seeds.

    Args:
        correct_a: 1 where a is right, ``(seeds, rows)``; any score of a row will do.
        correct_b: the same of b, over the same seeds and rows.
        draws: bootstrap samples.
        seed: of the draws.

    Returns:
        The difference, the interval's lower and its upper end, as fractions.

    Raises:
        DataError: the shapes differ, or nothing is in them.
    """
    a, b = np.asarray(correct_a, dtype=float), np.asarray(correct_b, dtype=float)
    if a.ndim != 2 or a.shape != b.shape or not a.size:
        raise DataError(
            f"a paired comparison of {a.shape} with {b.shape}. Give (seeds, rows) of the same seeds and rows."
        )
    difference, generator = a - b, np.random.default_rng(seed)
    seeds, rows = difference.shape
    means: list[np.ndarray] = []
    for some in _chunks(draws, max(1, _AT_ONCE // rows)):
        by_seed = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=some)  # how often each is drawn
        by_row = generator.multinomial(rows, np.full(rows, 1 / rows), size=some)
        means.append(((by_seed @ difference) * by_row).sum(axis=1) / (seeds * rows))
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return float(difference.mean()), float(low), float(high)


def _chunks(whole: int, most: int) -> list[int]:
    return [min(most, whole - start) for start in range(0, whole, most)]
