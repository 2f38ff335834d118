"""Calibration: what a pattern says whatever the text is taken away from its label scores.

    none         nothing
    contextual   log of the mean probability on the texts "", "N/A", "[MASK]"           (Zhao et al. 2021, 2102.09690)
    contextual   log of the mean probability on the texts "", "N/A", "[MASK]"          (Zhao et al. 2021, 2102.09690)
    batch        the mean label log-score over unlabelled rows                          (Zhou et al. 2024, 2309.17249)

Each is one number a label, so it is learnt once and subtracted from every row. ``batch`` over the rows that are asked
about is transductive: only on request, and the results say so.
"""

from collections.abc import Sequence

import numpy as np

from promptlab.errors import DataError, SettingError, did_you_mean
from promptlab.language.example import Example
from promptlab.methods.method import Job, probabilities
from promptlab.methods.predict import Model

KINDS = ("none", "contextual", "pmi", "batch")
CONTENT_FREE = ("", "N/A", "[MASK]")


def bias(kind: str, model: Model, job: Job, rows: Sequence[Example]) -> np.ndarray | None:
    """What to subtract from label scores, ``(labels,)``, or None.

    Args:
        kind: one of ``KINDS``.
        model: uncalibrated.
        job: whose task names the fields.
        rows: what ``batch`` averages over.

    Raises:
        SettingError: unknown kind.
        DataError: ``batch`` without rows.
    """
    if kind == "none":
        return None
    if kind == "contextual":
        found = probabilities(model.scores([_filled(job, text) for text in CONTENT_FREE])).mean(0)
        return np.log(np.maximum(found, 1e-12))
    if kind == "pmi":
        return model.scores([_filled(job, "")])[0]
    if kind != "batch":
        raise SettingError(f"calibration={kind}: no such kind.{did_you_mean(kind, KINDS)} Write {', '.join(KINDS)}.")
    if not rows:
        raise DataError(
            "calibration=batch needs unlabelled rows, and there are none. Give --unlabeled FILE, or transductive=true."
        )
    scores = model.scores(rows)
    return np.asarray((scores - np.log(np.exp(scores).sum(1, keepdims=True))).mean(0))


def _filled(job: Job, text: str) -> Example:
    return Example({name: text for name in job.task.inputs})
