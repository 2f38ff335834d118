"""ROUGE-L and CIDEr as the caption challenge has them (Chen et al. 2015, arXiv:1504.00325), over Treebank words.

    ROUGE-L   per row F with beta 1.2 of the best precision and the best recall, each over the references by itself,
              of the longest common subsequence (Lin 2004); mean over rows
    CIDEr     CIDEr-D: cosine of tf-idf vectors of 1- to 4-grams, clipped, times exp(-(difference in length)^2 / 72),
              mean over references, times 10 (Vedantam et al. 2015, arXiv:1411.5726, section 4); mean over rows

CIDEr is pycocoevalcap's own class; its idf comes from the references of the whole test set. ROUGE-L gives its values to
the last bit, in a fraction of its time: subsequences are counted in bits, a reference's word at a time (Hyyrö 2004,
Bit-parallel LCS-length computation revisited).
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

BETA = 1.2
Words = Mapping[int, list[str]]


def rouge_l(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """ROUGE-L of each row, ``(rows,)``; the texts are tokens joined by blanks."""
    each = zip(hypotheses, references, strict=True)
    return np.array([_rouge_l(said.split(" "), [one.split(" ") for one in right]) for said, right in each])


def _rouge_l(said: Sequence[str], right: Sequence[Sequence[str]]) -> float:
    common = list(_common(said, right))
    precision = max(common) / len(said)
    recall = max(length / len(one) for length, one in zip(common, right, strict=True))
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision) if precision and recall else 0.0


def _common(said: Sequence[str], right: Sequence[Sequence[str]]) -> Iterator[int]:
    """Length of the longest common subsequence with each reference: the zeros that are left of ``said``'s ones."""
    places: dict[str, int] = {}
    for at, word in enumerate(said):
        places[word] = places.get(word, 0) | 1 << at
    whole = (1 << len(said)) - 1
    for one in right:
        left = whole
        for word in one:
            met = left & places.get(word, 0)
            left = (left + met | left - met) & whole
        yield len(said) - left.bit_count()


def cider(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """CIDEr of each row, ``(rows,)``; the texts are tokens joined by blanks."""
    from pycocoevalcap.cider.cider import Cider

    return np.asarray(Cider().compute_score(*_sides(hypotheses, references))[1])


def _sides(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[Words, Words]:
    right = {row: list(some) for row, some in enumerate(references)}
    return right, {row: [one] for row, one in enumerate(hypotheses)}
