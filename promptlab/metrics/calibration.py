"""Expected calibration error (Naeini et al. 2015; Guo et al. 2017, arXiv:1706.04599, eq. 3).

confidence of a row = its largest probability; the row is right or not
sort rows into B equal-width bins of confidence, (b/B, (b+1)/B]
ECE = sum over bins of  |rows in bin| / |rows|  x  | share right in bin - mean confidence in bin |
"""

import numpy as np

from promptlab.errors import DataError


def expected_calibration_error(probabilities: np.ndarray, gold: np.ndarray, bins: int = 10) -> float:
    """How far confidence is from being the chance to be right; 0 is calibrated.

    Args:
        probabilities: of each label, ``(rows, labels)``.
        gold: index of the right label, ``(rows,)``.
        bins: of equal width from 0 to 1.

    Raises:
        DataError: no rows, or shapes that don't agree.
    """
    if not len(gold) or probabilities.shape[:1] != gold.shape:
        raise DataError(
            f"ece: probabilities {probabilities.shape} for {gold.shape} right labels. Give (rows, labels) and (rows,)."
        )
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == gold
    bin_of = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    excess = np.bincount(bin_of, weights=right - confidence, minlength=bins)  # rows x (share right - mean confidence)
    return float(np.abs(excess).sum() / len(gold))
