"""ROUGE-L and CIDEr as the caption challenge has them (Chen et al. 2015, arXiv:1504.00325), over Treebank words.

    ROUGE-L   per row F with beta 1.2 of the best precision and the best recall, each over the references by itself,
              of the longest common subsequence (Lin 2004); mean over rows
    CIDEr     CIDEr-D: cosine of tf-idf vectors of 1- to 4-grams, clipped, times exp(-(difference in length)^2 / 72),
              mean over references, times 10 (Vedantam et al. 2015, arXiv:1411.5726, section 4); mean over rows

Both are pycocoevalcap's own classes. CIDEr's idf comes from the references of the whole test set.
"""

from collections.abc import Mapping, Sequence

import numpy as np

Words = Mapping[int, list[str]]


def rouge_l(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """ROUGE-L of each row, ``(rows,)``; the texts are tokens joined by blanks."""
    from pycocoevalcap.rouge.rouge import Rouge

    return np.asarray(Rouge().compute_score(*_sides(hypotheses, references))[1])


def cider(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """CIDEr of each row, ``(rows,)``; the texts are tokens joined by blanks."""
    from pycocoevalcap.cider.cider import Cider

    return np.asarray(Cider().compute_score(*_sides(hypotheses, references))[1])


def _sides(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[Words, Words]:
    right = {row: list(some) for row, some in enumerate(references)}
    return right, {row: [one] for row, one in enumerate(hypotheses)}
