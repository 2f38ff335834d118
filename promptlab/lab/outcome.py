"""What a run's scores come to: an answer a test row, and every metric of them.

    labels     the answer has the greatest score; beside the task's own metrics accuracy, macro-F1, calibration error
    numbers    the answer is the score itself; beside the task's own the Pearson correlation
    texts      the task's own metrics, over the rows of each part (``bleu/seen``) and over all; one that cannot be had
               here is None, and a note says why

A row whose scores are not finite counts as answered without them: by the first label left, or by the middle of the
range; a note says how many there were.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from promptlab.language.example import Example
from promptlab.language.range import Range
from promptlab.language.task import Task
from promptlab.methods.method import probabilities
from promptlab.metrics.classify import compute
from promptlab.metrics.correlation import undefined

_BESIDE = ("accuracy", "macro_f1", "ece")  # metrics that every row has beside its task's own


@dataclass(frozen=True)
class Outcome:
    """Metrics by name, and what a results row must say of them."""

    metrics: dict[str, float | None]
    notes: list[str]


def width(task: Task, test: Sequence[Example]) -> int:
    """Columns that scores of these rows have."""
    if task.range is not None:
        return 1
    return max((len(task.choices(example)) for example in test), default=0)


def gold(task: Task, test: Sequence[Example]) -> np.ndarray:
    """Numbers of the right labels, or the right numbers themselves, ``(rows,)``."""
    if task.range is not None:
        return np.array([task.number(example) for example in test], dtype=np.float64)
    return np.array([task.gold(example) for example in test], dtype=np.int64)


def outcome(task: Task, test: Sequence[Example], scores: np.ndarray) -> Outcome:
    """Metrics of scores ``(rows, labels)`` or ``(rows, 1)``."""
    return _of_labels(task, test, scores) if task.range is None else _of_numbers(task, task.range, test, scores)


def text_outcome(task: Task, test: Sequence[Example], texts: Sequence[str]) -> Outcome:
    """Metrics of texts, one a row, against each row's right texts."""
    from promptlab.metrics.texts import missing, score_texts

    def over(rows: Sequence[int]) -> dict[str, float | None]:
        return score_texts([texts[row] for row in rows], [test[row].right for row in rows], task.metrics)

    parts = dict.fromkeys(example.part for example in test if example.part is not None)
    by_part = {part: over([row for row, one in enumerate(test) if one.part == part]) for part in parts}
    whole = over(range(len(test)))
    found = {f"{name}/{part}": by_part[part][name] for name in whole for part in parts}
    ordered = {key: found.get(key, whole.get(key)) for name in whole for key in (*(f"{name}/{p}" for p in parts), name)}
    absent = [missing(name) for name in whole if whole[name] is None]
    empty = sum(not text.strip() for text in texts)
    return Outcome(ordered, [*absent, *([f"{empty} test rows without a text"] if empty else [])])


def _of_labels(task: Task, test: Sequence[Example], scores: np.ndarray) -> Outcome:
    choices, lost = [task.choices(example) for example in test], np.isnan(scores)
    usable = np.where(lost, -np.inf, scores)
    answers = [choices[row][at] for row, at in enumerate(usable.argmax(axis=1))]
    level = lost.any(axis=1, keepdims=True) & ~np.isneginf(scores)
    sure = probabilities(np.where(level, 0.0, scores))
    right = [choices[row][at] for row, at in enumerate(gold(task, test))]
    groups = [example.group for example in test]
    own = (None, None) if task.fixed else (choices, [example.right for example in test])
    names = dict.fromkeys([*task.metrics, *_BESIDE])
    found: dict[str, float | None] = {
        name: compute(name, right, answers, task.labels, sure, groups, *own) for name in names
    }
    return Outcome(found, _lost(lost.any(axis=1)))


def _of_numbers(task: Task, span: Range, test: Sequence[Example], scores: np.ndarray) -> Outcome:
    lost = ~np.isfinite(scores[:, 0])
    said, right = np.where(lost, span.middle, scores[:, 0]).tolist(), gold(task, test).tolist()
    names = dict.fromkeys([*task.metrics, *span.metrics[:1]])
    found: dict[str, float | None] = {name: compute(name, right, said, ()) for name in names}
    return Outcome(found, [*_lost(lost), *filter(None, [undefined(right, said)])])


def _lost(rows: np.ndarray) -> list[str]:
    return [f"{int(rows.sum())} test rows without finite scores"] if rows.any() else []
