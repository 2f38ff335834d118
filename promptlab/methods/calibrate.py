"""Calibration: what a pattern says whatever the text is taken away from its label scores.

    none         nothing
    contextual   log of the mean probability on the texts "", "N/A", "[MASK]"           (Zhao et al. 2021, 2102.09690)
    pmi          the label log-scores of the pattern with empty fields              (Holtzman et al. 2021, 2104.08315)
    batch        the mean label log-probability over unlabelled rows                   (Zhou et al. 2024, 2309.17249)

Each is one number a label, so it is learnt once and subtracted from every row. ``batch`` over the rows that are asked
about is transductive: only on request, and the results say so.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from promptlab.errors import DataError, SettingError, did_you_mean
from promptlab.language.example import Example
from promptlab.methods.members import pool_of
from promptlab.methods.method import Job, probabilities
from promptlab.methods.predict import Model
from promptlab.registry import CALIBRATIONS

KINDS = tuple(entry.name for entry in CALIBRATIONS)
CONTENT_FREE = ("", "N/A", "[MASK]")
M = TypeVar("M", bound=Model)


def calibrated(
    kind: str, models: Sequence[M], job: Job, transductive: bool = False, pool: int = 500
) -> tuple[list[M], list[str]]:
    """The same models with what each says whatever the text is taken away, and the notes a row should carry.

    Args:
        kind: one of ``KINDS``.
        models: uncalibrated, of one job.
        job: whose rows.
        transductive: let ``batch`` average over the rows that are asked about.
        pool: unlabelled rows that ``batch`` averages over, drawn by the job's seed.

    Raises:
        SettingError, DataError: as :func:`check_calibration`.
    """
    check_calibration(kind, job, transductive)
    rows = list(job.queries if transductive else pool_of(job, pool)) if kind == "batch" else []
    done = [replace(model, bias=bias(kind, model, job, rows)) for model in models]
    used = kind == "batch" and transductive
    return done, ["transductive: calibrated on the rows it was asked about"] if used else []


def check_calibration(kind: str, job: Job, transductive: bool = False) -> None:
    """Refuses what cannot be calibrated; to be asked before anything is learnt.

    Raises:
        SettingError: unknown kind, a task of numbers or whose rows have words of their own, or ``transductive`` beside
            another kind.
        DataError: ``batch`` without rows.
    """
    if kind not in KINDS:
        raise SettingError(f"calibration={kind}: no such kind.{did_you_mean(kind, KINDS)} Write {', '.join(KINDS)}.")
    if transductive and kind != "batch":
        raise SettingError(f"transductive=true has no place beside calibration={kind}. Write calibration=batch.")
    if kind != "none" and job.task.per_example:
        raise SettingError(
            f"calibration={kind} finds one number a label, and each row of {job.task.name} has label words of its own. "
            "Write calibration=none."
        )
    if kind != "none" and job.task.range is not None:
        raise SettingError(
            f"calibration={kind} shifts label scores, and {job.task.name} answers with numbers. Write calibration=none."
        )
    if kind == "batch" and not (job.queries if transductive else job.unlabelled):
        raise _rowless()


def bias(kind: str, model: Model, job: Job, rows: Sequence[Example]) -> np.ndarray | None:
    """What to subtract from label scores, ``(labels,)``, or None.

    Args:
        kind: one of ``KINDS``.
        model: uncalibrated.
        job: whose task names the fields; one that :func:`check_calibration` lets through.
        rows: what ``batch`` averages over.

    Raises:
        DataError: ``batch`` without rows.
    """
    if kind == "none":
        return None
    if kind == "contextual":
        found = probabilities(model.scores([_filled(job, text) for text in CONTENT_FREE])).mean(0)
        return np.log(np.maximum(found, 1e-12))
    if kind == "pmi":
        return model.scores([_filled(job, "")])[0]
    if not rows:
        raise _rowless()
    return np.asarray(np.log(np.maximum(probabilities(model.scores(rows)), 1e-300)).mean(0))


def _rowless() -> DataError:
    return DataError(
        "calibration=batch needs unlabelled rows, and there are none. Give --unlabeled FILE, or transductive=true."
    )


def _filled(job: Job, text: str) -> Example:
    return Example({name: text for name in job.task.inputs})
