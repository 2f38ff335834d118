"""Rows of the same system over seeds, and whether one system is better than another by more than chance."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

import numpy as np

from promptlab.lab.store import Row, Store
from promptlab.metrics.significance import paired_bootstrap

BASELINES = ("majority", "tfidf", "probe", "finetune")


@dataclass(frozen=True)
class Summary:
    """One system on one task with one number of shots.

    Args:
        rows: one a seed, in the order of the seeds.
    """

    rows: tuple[Row, ...]

    @property
    def task(self) -> str:
        """The task's name."""
        return str(self.rows[0]["task"])

    @property
    def system(self) -> str:
        """The system as it was written."""
        return str(self.rows[0]["system"])

    @property
    def shots(self) -> int | str:
        """Labelled rows a class, ``total:32`` or ``all``."""
        shots: int | str = self.rows[0]["shots"]
        return shots

    @property
    def metric(self) -> str:
        """What ``values`` measure."""
        return str(self.rows[0]["metric"])

    @property
    def values(self) -> tuple[float, ...]:
        """The scores, one a seed, as fractions."""
        return tuple(row["score"] for row in self.rows if row["score"] is not None)

    @property
    def mean(self) -> float | None:
        """Mean over seeds."""
        return mean(self.values) if self.values else None

    @property
    def sd(self) -> float | None:
        """Sample deviation over seeds; None of a single one."""
        return stdev(self.values) if len(self.values) > 1 else None

    @property
    def writes(self) -> bool:
        """Whether it answers with texts."""
        return self.rows[0].get("texts") is not None

    def over(self, name: str) -> tuple[float | None, float | None]:
        """Mean and sample deviation over seeds of one of the rows' metrics; None where there is none."""
        values = [value for row in self.rows if (value := row["metrics"].get(name)) is not None]
        return (mean(values) if values else None), (stdev(values) if len(values) > 1 else None)

    @property
    def learnt(self) -> int:
        """Parameters stored, with the head's."""
        return max((row.get("stored_parameters") or 0) + (row.get("head_parameters") or 0) for row in self.rows)

    @property
    def seconds(self) -> float:
        """Mean time of a run."""
        return mean(row.get("seconds") or 0.0 for row in self.rows)

    @property
    def peak(self) -> int | None:
        """Largest peak of memory, in bytes; None where the system could not say."""
        return max((row.get("peak_memory_bytes") or 0 for row in self.rows), default=0) or None


@dataclass(frozen=True)
class Difference:
    """By how much a system is better than another, with the 95 % interval over rows and seeds.

    In accuracy; of numbers in how near they come: 1 less the error as a share of the range, meant over rows.
    """

    task: str
    shots: int | str
    system: str
    against: str
    difference: float
    low: float
    high: float

    def __str__(self) -> str:
        word = "better" if self.difference >= 0 else "worse"
        sign = 1 if self.difference >= 0 else -1
        low, high = sorted((100 * sign * self.low, 100 * sign * self.high))
        return f"{word} by {100 * abs(self.difference):.1f} [{low:.1f}, {high:.1f}]"

    @property
    def sure(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def summaries(rows: Iterable[Row]) -> list[Summary]:
    """Rows grouped by all but the seed, in the order of their first appearance."""
    groups: dict[tuple[Any, ...], dict[int, Row]] = {}
    for row in rows:
        key = tuple(row.get(name) for name in ("task", "shots", "system", "backbone", "dtype", "limit"))
        groups.setdefault(key, {})[row["seed"]] = row
    return [Summary(tuple(seeds[seed] for seed in sorted(seeds))) for seeds in groups.values()]


def differences(found: Sequence[Summary], store: Store, against: str | None = None) -> list[Difference]:
    """Every system against one; systems that write texts are left out.

    Args:
        found: summaries of any tasks and shots.
        store: holds the scores of their test rows.
        against: a system as written; by default the best baseline of each task and number of shots.
    """
    compared = []
    for one in found:
        same = [other for other in found if (other.task, other.shots) == (one.task, one.shots)]
        rival = _rival(same, against)
        if rival is None or rival is one or (against is None and _is_baseline(one)):
            continue
        if one.writes:  # BLEU and the like are no means over rows, and rows are all that is drawn here
            continue
        rows = _common(one, rival)
        if rows:
            pairs = [(_correct(a, store), _correct(b, store)) for a, b in rows]
            ours, theirs = (np.stack(side) for side in zip(*pairs, strict=True))
            compared.append(Difference(one.task, one.shots, one.system, rival.system, *paired_bootstrap(ours, theirs)))
    return compared


def _rival(same: Sequence[Summary], against: str | None) -> Summary | None:
    if against is not None:
        return next((one for one in same if one.system == against), None)
    baselines = [one for one in same if _is_baseline(one) and one.mean is not None]
    return max(baselines, key=lambda one: one.mean or 0.0, default=None)


def _is_baseline(one: Summary) -> bool:
    return one.rows[0]["method"] in BASELINES


def _common(one: Summary, other: Summary) -> list[tuple[Row, Row]]:
    theirs = {row["seed"]: row for row in other.rows}
    return [(row, theirs[row["seed"]]) for row in one.rows if row["seed"] in theirs]


def _correct(row: Row, store: Store) -> np.ndarray:
    scores, gold = store.scores(row["run"])
    if row.get("range"):
        low, high = row["range"]
        said = np.where(np.isfinite(scores[:, 0]), scores[:, 0], (low + high) / 2)
        return np.asarray(1 - np.abs(said - gold) / (high - low))
    return np.nan_to_num(scores, nan=-np.inf).argmax(axis=1) == gold
