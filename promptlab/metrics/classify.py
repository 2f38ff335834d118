"""Metrics of labels, by the names that a task's ``metric`` may give.

Each takes ``Answers`` and returns a float; all but the calibration error grow with quality. F1 and Matthews correlation
are scikit-learn's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from promptlab.errors import DataError, SettingError, did_you_mean
from promptlab.metrics.calibration import expected_calibration_error


@dataclass(frozen=True)
class Answers:
    """What was right and what was said.

    Args:
        gold: the right label of each row.
        predicted: the label said.
        labels: all labels, in the task's order.
        probabilities: of each label, ``(rows, labels)``.
        groups: of each row, where rows belong together (all answers to one question).
    """

    gold: Sequence[str]
    predicted: Sequence[str]
    labels: Sequence[str]
    probabilities: np.ndarray | None = None
    groups: Sequence[str | None] | None = None


def compute(
    name: str,
    gold: Sequence[str],
    predicted: Sequence[str],
    labels: Sequence[str],
    probabilities: np.ndarray | None = None,
    groups: Sequence[str | None] | None = None,
) -> float:
    """One metric of a set of answers.

    Args:
        name: a name in ``METRICS``.
        gold: the right label of each row.
        predicted: the label said.
        labels: all labels, in the task's order.
        probabilities: of each label, ``(rows, labels)``; only ``ece`` needs them.
        groups: of each row; only ``em`` reads them.

    Raises:
        SettingError: no such metric.
        DataError: no rows, as many answers as rows are missing, or what the metric needs is.
    """
    if name not in METRICS:
        raise SettingError(f"no metric '{name}'.{did_you_mean(name, METRICS)} Known: {', '.join(METRICS)}.")
    if not len(gold) or len(gold) != len(predicted):
        raise DataError(f"{name}: {len(gold)} right labels and {len(predicted)} answers. Give one answer a row.")
    return METRICS[name].score(Answers(gold, predicted, labels, probabilities, groups))


def accuracy(answers: Answers) -> float:
    """The share of rows answered rightly."""
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(list(answers.gold), list(answers.predicted)))


def f1(answers: Answers) -> float:
    """F1 of the last label where there are two (GLUE's positive class), else ``macro_f1``."""
    from sklearn.metrics import f1_score

    if len(answers.labels) != 2:
        return macro_f1(answers)
    positive = [answers.labels[-1]]
    gold, predicted = list(answers.gold), list(answers.predicted)
    return float(f1_score(gold, predicted, labels=positive, average="macro", zero_division=0))


def macro_f1(answers: Answers) -> float:
    """The mean of the labels' F1, over the labels that occur among the right ones or the answers."""
    from sklearn.metrics import f1_score

    gold, predicted = list(answers.gold), list(answers.predicted)
    return float(f1_score(gold, predicted, average="macro", zero_division=0))


def mcc(answers: Answers) -> float:
    """Matthews correlation, from -1 to 1; 0 where all rows or all answers are of one label."""
    from sklearn.metrics import matthews_corrcoef

    if len(set(answers.gold)) == 1 or len(set(answers.predicted)) == 1:
        return 0.0
    return float(matthews_corrcoef(list(answers.gold), list(answers.predicted)))


def pearson(answers: Answers) -> float:
    """Pearson correlation of labels that are numbers; 0 where either side is constant.

    Raises:
        DataError: a label that is no number.
    """
    gold, predicted = (_numbers(side) for side in (answers.gold, answers.predicted))
    gold, predicted = gold - gold.mean(), predicted - predicted.mean()
    size = float(np.sqrt((gold @ gold) * (predicted @ predicted)))
    return float(gold @ predicted) / size if size else 0.0


def em(answers: Answers) -> float:
    """The share of groups answered rightly in every row; of rows, where there are no groups."""
    groups = answers.groups or [None] * len(answers.gold)
    right: dict[str | int, bool] = {}
    for row, (gold, predicted, group) in enumerate(zip(answers.gold, answers.predicted, groups, strict=True)):
        key = row if group is None else group
        right[key] = right.get(key, True) and gold == predicted
    return sum(right.values()) / len(right)


def ece(answers: Answers) -> float:
    """Expected calibration error over ten bins (``calibration.py``); smaller is better.

    Raises:
        DataError: there are no probabilities.
    """
    if answers.probabilities is None:
        raise DataError("ece: the calibration error needs the probability of each label. Give probabilities=.")
    at = {label: position for position, label in enumerate(answers.labels)}
    return expected_calibration_error(answers.probabilities, np.array([at[label] for label in answers.gold]))


def _numbers(labels: Sequence[str]) -> np.ndarray:
    try:
        return np.array([float(label) for label in labels])
    except ValueError as error:
        raise DataError(
            f"pearson: {error}. It compares numbers; use another metric for labels that are words."
        ) from None


@dataclass(frozen=True)
class Metric:
    """A metric and one line that says what it is."""

    score: Callable[[Answers], float]
    about: str


METRICS: dict[str, Metric] = {
    "accuracy": Metric(accuracy, "share of rows answered rightly"),
    "f1": Metric(f1, "F1 of the last of two labels; macro-F1 of more"),
    "macro_f1": Metric(macro_f1, "mean of the labels' F1"),
    "mcc": Metric(mcc, "Matthews correlation"),
    "matthews_correlation": Metric(mcc, "the same under its long name"),
    "pearson": Metric(pearson, "Pearson correlation of numbers"),
    "em": Metric(em, "share of groups of rows answered rightly throughout"),
    "ece": Metric(ece, "expected calibration error, ten bins; smaller is better"),
}
