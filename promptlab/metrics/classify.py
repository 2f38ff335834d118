"""Metrics of labels, by the names that a task's ``metric`` may give.

Each takes ``Answers`` and returns a float; all but the calibration error grow with quality. F1 and Matthews correlation
are scikit-learn's. Where a row has several right answers, any of them is right.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from promptlab.errors import DataError, SettingError, did_you_mean
from promptlab.metrics import correlation
from promptlab.metrics.calibration import expected_calibration_error
from promptlab.metrics.spans import exact, overlap


@dataclass(frozen=True)
class Answers:
    """What was right and what was said.

    Args:
        gold: the right label of each row.
        predicted: the label said.
        labels: all labels, in the task's order; empty where rows bring their own candidates.
        probabilities: of each label, ``(rows, labels)``; of each candidate, zeros behind a row's last.
        groups: of each row, where rows belong together (all answers to one question).
        candidates: what could be said of each row, where that is not ``labels``.
        answers: all right answers of each row, where there may be several.
    """

    gold: Sequence[str]
    predicted: Sequence[str]
    labels: Sequence[str]
    probabilities: np.ndarray | None = None
    groups: Sequence[str | None] | None = None
    candidates: Sequence[Sequence[str]] | None = None
    answers: Sequence[Sequence[str]] | None = None

    @property
    def right(self) -> Sequence[Sequence[str]]:
        """Every right answer of each row."""
        return [[label] for label in self.gold] if self.answers is None else self.answers

    @property
    def hits(self) -> list[bool]:
        """Whether each row was answered rightly."""
        return [said in right for said, right in zip(self.predicted, self.right, strict=True)]


def compute(
    name: str,
    gold: Sequence[str],
    predicted: Sequence[str],
    labels: Sequence[str],
    probabilities: np.ndarray | None = None,
    groups: Sequence[str | None] | None = None,
    candidates: Sequence[Sequence[str]] | None = None,
    answers: Sequence[Sequence[str]] | None = None,
) -> float:
    """One metric of a set of answers.

    Args:
        name: a name in ``METRICS``.
        gold: the right label of each row.
        predicted: the label said.
        labels: all labels, in the task's order.
        probabilities: of each label, ``(rows, labels)``; only ``ece`` needs them.
        groups: of each row; only ``em`` reads them.
        candidates: what could be said of each row (``Task.choices``), where tasks have no fixed labels.
        answers: all right answers of each row (``Example.right``), where there may be several.

    Raises:
        SettingError: no such metric.
        DataError: no rows, as many answers as rows are missing, or what the metric needs is.
    """
    if name not in METRICS:
        raise SettingError(f"no metric '{name}'.{did_you_mean(name, METRICS)} Known: {', '.join(METRICS)}.")
    if not len(gold) or len(gold) != len(predicted):
        raise DataError(f"{name}: {len(gold)} right labels and {len(predicted)} answers. Give one answer a row.")
    for what, given in (("candidates", candidates), ("answers", answers)):
        if given is not None and len(given) != len(gold):
            raise DataError(f"{name}: {what} of {len(given)} rows, but {len(gold)} right labels. Give them a row.")
    return METRICS[name].score(Answers(gold, predicted, labels, probabilities, groups, candidates, answers))


def accuracy(answers: Answers) -> float:
    """The share of rows answered rightly."""
    return sum(answers.hits) / len(answers.hits)


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
    return correlation.pearson(*(correlation.numbers("pearson", side) for side in (answers.gold, answers.predicted)))


def spearman(answers: Answers) -> float:
    """Spearman's rank correlation of labels that are numbers; 0 where either side is constant.

    Raises:
        DataError: a label that is no number.
    """
    return correlation.spearman(*(correlation.numbers("spearman", side) for side in (answers.gold, answers.predicted)))


def em(answers: Answers) -> float:
    """The share of groups answered rightly in every row; of rows, where there are no groups."""
    groups = answers.groups or [None] * len(answers.gold)
    right: dict[str | int, bool] = {}
    for row, (hit, group) in enumerate(zip(answers.hits, groups, strict=True)):
        key = row if group is None else group
        right[key] = right.get(key, True) and hit
    return sum(right.values()) / len(right)


def answer_f1(answers: Answers) -> float:
    """ReCoRD's F1: words shared with the best of the right answers, after SQuAD's normalisation; mean over rows."""
    return _best(answers, overlap)


def answer_em(answers: Answers) -> float:
    """ReCoRD's EM: whether one of the right answers was given, after SQuAD's normalisation; mean over rows."""
    return _best(answers, exact)


def _best(answers: Answers, score: Callable[[str, str], float]) -> float:
    both = zip(answers.predicted, answers.right, strict=True)
    best = [max((score(said, one) for one in right), default=0.0) for said, right in both]
    return sum(best) / len(best)


def ece(answers: Answers) -> float:
    """Expected calibration error over ten bins (``calibration.py``); smaller is better.

    Raises:
        DataError: there are no probabilities.
    """
    if answers.probabilities is None:
        raise DataError("ece: the calibration error needs the probability of each label. Give probabilities=.")
    rows = answers.candidates or [answers.labels] * len(answers.gold)
    # of several right answers the one that was said, if it was
    meant = [
        said if hit else gold for said, gold, hit in zip(answers.predicted, answers.gold, answers.hits, strict=True)
    ]
    at = [list(choices).index(label) for choices, label in zip(rows, meant, strict=True)]
    return expected_calibration_error(answers.probabilities, np.array(at))


@dataclass(frozen=True)
class Metric:
    """A metric and one line that says what it is."""

    score: Callable[[Answers], float]
    about: str


METRICS: dict[str, Metric] = {
    "accuracy": Metric(accuracy, "share of rows answered rightly"),
    "f1": Metric(f1, "F1 of the last of two labels; macro-F1 of more"),
    "f1a": Metric(f1, "MultiRC's F1 of right answers, over all answers of all questions"),
    "macro_f1": Metric(macro_f1, "mean of the labels' F1"),
    "mcc": Metric(mcc, "Matthews correlation"),
    "matthews_correlation": Metric(mcc, "the same under its long name"),
    "pearson": Metric(pearson, "Pearson correlation of numbers"),
    "spearman": Metric(spearman, "Spearman's rank correlation of numbers"),
    "em": Metric(em, "share of groups of rows answered rightly throughout"),
    "answer_f1": Metric(answer_f1, "ReCoRD's F1: words shared with the best right answer"),
    "answer_em": Metric(answer_em, "ReCoRD's EM: one of the right answers, word for word"),
    "ece": Metric(ece, "expected calibration error, ten bins; smaller is better"),
}
