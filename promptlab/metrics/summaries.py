"""ROUGE-1, -2 and -L of summaries (Lin 2004) by the package rouge_score, words stemmed: what XSum's tables report.

F1 of each row, of the best reference where there are several, and the plain mean over rows; no bootstrap mean, whose
last digits change with NumPy's global seed. This ``rougeL`` is not E2E's ``rouge_l``: other words, and no beta.
"""

from collections.abc import Sequence

import numpy as np

KINDS = ("rouge1", "rouge2", "rougeL")


def rouge(kind: str, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """F1 of each row, ``(rows,)``.

    Args:
        kind: one of ``KINDS``.
        hypotheses: a text a row.
        references: of each row, at least one.
    """
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer([kind], use_stemmer=True)
    both = zip(references, hypotheses, strict=True)
    return np.array([scorer.score_multi(list(some), one)[kind].fmeasure for some, one in both])
