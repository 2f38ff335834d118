"""Jobs into members, and the training lengths that hold where nothing was set.

Lengths and rates were chosen on imdb, mnli and cola alone, with equal effort for every method (benchmarks/RESULTS.md).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np

from promptlab.data.fewshot import draw
from promptlab.errors import DataError
from promptlab.language.example import Example
from promptlab.language.task import PVP
from promptlab.methods.method import Job
from promptlab.methods.patterns import fixed, labelled
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
    """Jobs that may stand in one stack: the same task, as many labelled rows (and so steps), a pool or none."""
    order = sorted(jobs, key=_alike)
    return [list(alike) for _, alike in groupby(order, key=_alike)]


def cloze_member(job: Job, pvp: PVP, key: str) -> Member:
    """A member that learns the job's rows through a pattern.

    Where rows bring their own candidates and several are right, each right one is a row of its own, against the wrong
    ones (arXiv:2009.07118), which are all that a pattern that lists them then shows. A number is a soft label of the
    two words between which it lies (``language/range.py``).
    """
    if job.task.range is not None:
        high = weights(job)
        return _member(job, key, job.labelled, np.stack([1 - high, high], axis=1), pvp)
    golds = _golds(job)
    if job.task.fixed:
        return _member(job, key, job.labelled, np.array([first for first, *_ in golds]), pvp)
    rows, targets, choices = [], [], []
    for example, right in zip(job.labelled, golds, strict=True):
        listed = job.task.choices(example)
        for one in right:
            kept = [at for at in range(len(listed)) if at == one or at not in right]
            choices.append(tuple(listed[at] for at in kept))
            fields = {**example.fields, str(job.task.candidates): choices[-1]}
            rows.append(example if len(kept) == len(listed) else replace(example, fields=fields))
            targets.append(kept.index(one))
    return _member(job, key, rows, np.array(targets), pvp, choices)


def head_member(job: Job, key: str) -> Member:
    """A member that learns the job's rows with a head; numbers as what its one output should say, from -1 to 1.

    Raises:
        SettingError: the task has no fixed labels.
    """
    if job.task.range is not None:
        return _member(job, key, job.labelled, 2 * weights(job) - 1, None)
    fixed(job.task)
    return _member(job, key, job.labelled, gold(job), None)


def gold(job: Job) -> np.ndarray:
    """Numbers of the labelled rows' right choices, ``(rows,)``; of several, the first.

    Raises:
        DataError: there is no labelled row, or one's label is not among its choices.
        SettingError: the task has nothing to choose from.
    """
    return np.array([first for first, *_ in _golds(job)])


def weights(job: Job) -> np.ndarray:
    """Where the labelled rows' numbers lie in their range, from 0 to 1, ``(rows,)``.

    Raises:
        DataError: there is no labelled row, or one's label is no number of the range.
    """
    _some(job, "total:1")
    found, span = [], job.task.range
    for row, example in enumerate(job.labelled, 1):
        try:
            found.append(span.weight(job.task.number(example)) if span else 0.0)
        except DataError as error:
            raise DataError(f"labelled row {row}: {error}") from None
    return np.array(found)


def _some(job: Job, least: str = "1") -> None:
    if not job.labelled:
        raise DataError(
            f"{job.task.name}: this method learns from labelled rows, and there are none. Give -k {least} or more."
        )


def _golds(job: Job) -> list[tuple[int, ...]]:
    labelled(job.task)
    _some(job)
    found = []
    for row, example in enumerate(job.labelled, 1):
        try:
            found.append(job.task.golds(example))
        except DataError as error:
            raise DataError(f"labelled row {row}: {error}") from None
    return found


def _member(
    job: Job,
    key: str,
    rows: Sequence[Example],
    targets: np.ndarray,
    pvp: PVP | None,
    choices: Sequence[Sequence[str]] | None = None,
) -> Member:
    return Member(
        key=f"{job.task.name}/{key}/seed{job.seed}", examples=rows, targets=targets,
        labels=job.task.outputs, inputs=tuple(job.task.inputs), pvp=pvp, choices=choices,
        unlabelled=job.unlabelled, **rates(job),
    )  # fmt: skip


def rates(job: Job) -> dict[str, Any]:
    """The step size and weight decay that a job has of its own."""
    return {name: float(job.settings[name]) for name in ("lr", "weight_decay") if name in job.settings}


def _alike(job: Job) -> tuple[str, int, bool]:
    return job.task.digest, len(job.labelled), bool(job.unlabelled)


def pool_of(job: Job, size: int) -> list[Example]:
    """At most ``size`` unlabelled rows in their order, drawn by the job's seed; a smaller pool lies in a larger."""
    units = len({at if row.group is None else row.group for at, row in enumerate(job.unlabelled)})
    order = draw(job.unlabelled, f"total:{units}", job.seed)[:size]
    return [job.unlabelled[at] for at in sorted(order)]


def accuracy(scores: np.ndarray, targets: Sequence[int] | np.ndarray) -> float:
    """Share of rows whose highest score is at the target."""
    return float((scores.argmax(1) == np.asarray(targets)).mean())
