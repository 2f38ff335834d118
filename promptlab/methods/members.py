"""Jobs into members, and the training lengths that hold where nothing was set.

Lengths and rates were chosen on imdb, mnli and cola alone, with equal effort for every method (benchmarks/RESULTS.md).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from promptlab.errors import DataError
from promptlab.language.task import PVP
from promptlab.methods.method import Job
from promptlab.methods.patterns import labelled
from promptlab.training.member import Member


@dataclass(frozen=True)
class Defaults:
    """Updates of a job's members.

    Args:
        steps: through a pattern.
        head_steps: with a new head.
    """

    steps: int
    head_steps: int


def defaults(job: Job) -> Defaults:
    """Training lengths by the number of labelled rows."""
    rows = len(job.labelled)
    return Defaults(steps=max(40, min(1000, rows)), head_steps=max(80, min(1000, 2 * rows)))


def grouped(jobs: Iterable[Job]) -> list[list[Job]]:
    """Jobs that may stand in one stack: the same task and as many labelled rows, so the same number of steps."""
    order = sorted(jobs, key=_alike)
    return [list(alike) for _, alike in groupby(order, key=_alike)]


def cloze_member(job: Job, pvp: PVP, key: str) -> Member:
    """A member that learns the job's rows through a pattern."""
    return _member(job, key, pvp, gold(job))


def head_member(job: Job, key: str) -> Member:
    """A member that learns the job's rows with a head."""
    return _member(job, key, None, gold(job))


def gold(job: Job) -> np.ndarray:
    """Label numbers of the labelled rows, ``(rows,)``.

    Raises:
        DataError: there is no labelled row.
        SettingError: the task has no fixed labels.
    """
    labelled(job.task)
    if not job.labelled:
        raise DataError(
            f"{job.task.name}: this method learns from labelled rows, and there are none. Give -k 1 or more."
        )
    return np.array([job.task.labels.index(example.label or "") for example in job.labelled])


def _member(job: Job, key: str, pvp: PVP | None, targets: np.ndarray) -> Member:
    rates = {name: float(job.settings[name]) for name in ("lr", "weight_decay") if name in job.settings}
    return Member(
        key=f"{job.task.name}/{key}/seed{job.seed}", examples=job.labelled, targets=targets,
        labels=len(job.task.labels), inputs=tuple(job.task.inputs), pvp=pvp, unlabelled=job.unlabelled, **rates,
    )  # fmt: skip


def _alike(job: Job) -> tuple[str, int]:
    return job.task.digest, len(job.labelled)


def accuracy(scores: np.ndarray, targets: Sequence[int] | np.ndarray) -> float:
    """Share of rows whose highest score is at the target."""
    return float((scores.argmax(1) == np.asarray(targets)).mean())
