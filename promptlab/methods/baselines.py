"""What a method must beat: the commonest label, and logistic regression on TF-IDF.

    majority:  score of a label = log((its labelled rows + 1) / (all labelled rows + labels))
    tfidf:     words and pairs of words of a row, weighed (1 + log count) x idf, scaled to length 1
               -> logistic regression with an L2 penalty
    numbers:   majority says the mean of the labelled rows, tfidf is ridge regression (penalty 1 / C)

TF-IDF, its sublinear counts and the regressions are scikit-learn's. Texts of several inputs are joined by line ends.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from promptlab.errors import DataError, SettingError
from promptlab.language.example import Example
from promptlab.language.task import Task
from promptlab.methods.method import Job, Predictor, Saved
from promptlab.methods.patterns import labelled

_UNSEEN = -30.0  # the score of a label without labelled rows: last, and still a number whose softmax has a logarithm


@dataclass(frozen=True)
class Majority:
    """Always the commonest label of the labelled rows, the task's first of those where several are; or their mean."""

    needs_labels: ClassVar[bool] = True
    needs_backbone: ClassVar[bool] = False
    learns: ClassVar[bool] = False

    def fit(self, backbone: Any, tuning: Any, jobs: Iterable[Job]) -> Iterator[tuple[Job, Predictor]]:
        """One predictor a job.

        Raises:
            DataError: a job has no labelled rows, or its task no classes.
        """
        for job in jobs:
            labelled(job.task, numbers=True)
            if job.task.range is not None:
                middle = _numbers(job).mean(keepdims=True)
                yield job, Constant(job.task, middle, {"examples_seen": len(job.labelled)})
                continue
            counts = np.bincount(_targets(job, "majority"), minlength=len(job.task.labels))
            shares = (counts + 1) / (counts.sum() + len(counts))
            yield job, Constant(job.task, np.log(shares), {"examples_seen": len(job.labelled)})


@dataclass(frozen=True)
class Tfidf:
    """Logistic regression on TF-IDF; ridge regression where labels are numbers.

    Args:
        C: inverse strength of the L2 penalty (scikit-learn's); from 0.1 to 1000 it hardly matters with 8 to 64 rows a
            class (tried on imdb, mnli and cola).
        ngrams: longest run of words that counts as a feature.
        features: at most so many of them, the commonest; only a large training set has more.
    """

    C: float = 10.0
    ngrams: int = 2
    features: int = 200_000

    needs_labels: ClassVar[bool] = True
    needs_backbone: ClassVar[bool] = False
    learns: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name, value in (("C", self.C), ("ngrams", self.ngrams), ("features", self.features)):
            if not 0 < value < float("inf"):
                raise SettingError(f"tfidf: {name}={value} cannot be. Write a number above 0.")

    def fit(self, backbone: Any, tuning: Any, jobs: Iterable[Job]) -> Iterator[tuple[Job, Predictor]]:
        """One predictor a job.

        Raises:
            DataError: a job has no labelled rows, or its task no classes.
        """
        for job in jobs:
            labelled(job.task, numbers=True)
            yield job, self._fitted(job) if job.task.range is None else self._ridge(job)

    def _ridge(self, job: Job) -> "Linear":
        numbers, texts = _numbers(job), [_joined(job.task, example) for example in job.labelled]
        vocabulary, idf = self._weighed(texts)
        coef, intercept = np.zeros((1, len(idf))), numbers.mean(keepdims=True)
        if vocabulary:
            coef, intercept = ridge(_weights(texts, self.ngrams, vocabulary, idf), numbers, self.C)
        return Linear(job.task, self.ngrams, vocabulary, idf, coef, intercept, {"examples_seen": len(job.labelled)})

    def _fitted(self, job: Job) -> "Linear":
        targets, texts = _targets(job, "tfidf"), [_joined(job.task, example) for example in job.labelled]
        vocabulary, idf = self._weighed(texts)
        seen, labels = np.unique(targets), len(job.task.labels)
        coef, intercept = np.zeros((labels, len(idf))), np.full(labels, _UNSEEN)
        if len(seen) > 1 and vocabulary:
            coef[seen], intercept[seen] = self._regression(_weights(texts, self.ngrams, vocabulary, idf), targets)
        else:  # one label, or no words at all: how often each label occurs is all there is to learn
            intercept[seen] = np.log(np.bincount(targets)[seen] / len(targets))
        facts = {"examples_seen": len(job.labelled)}
        return Linear(job.task, self.ngrams, vocabulary, idf, coef, intercept, facts)

    def _weighed(self, texts: Sequence[str]) -> tuple[list[str], np.ndarray]:
        vectorizer = _vectorizer(self.ngrams, max_features=self.features)
        analyse = vectorizer.build_analyzer()
        if not any(analyse(text) for text in texts):
            return [], np.zeros(0)
        vectorizer.fit(texts)
        return vectorizer.get_feature_names_out().tolist(), vectorizer.idf_

    def _regression(self, features: Any, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        from sklearn.linear_model import LogisticRegression

        found = LogisticRegression(C=self.C, max_iter=10_000).fit(features, targets)
        if len(found.classes_) > 2:
            return found.coef_, found.intercept_
        # two classes are learnt as one row, the log-odds of the second: half to each gives the same softmax
        return np.vstack([-found.coef_, found.coef_]) / 2, np.concatenate([-found.intercept_, found.intercept_]) / 2


@dataclass
class Constant:
    """The same scores for any text.

    Args:
        task: what is asked.
        each: score of each label, ``(labels,)``.
    """

    task: Task
    each: np.ndarray
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.facts.setdefault("stored_parameters", 0)

    def scores(self, examples: Sequence[Example]) -> np.ndarray:
        """Log of the smoothed shares of the labels, ``(examples, labels)``; or the mean number, ``(examples, 1)``."""
        return np.tile(self.each, (len(examples), 1))

    def keep(self) -> "Constant":
        """Itself: nothing outlives a fit."""
        return self

    def saved(self) -> Saved:
        """Its scores."""
        return Saved("majority", {}, {"scores": self.each})


@dataclass
class Linear:
    """A linear model of TF-IDF features.

    Args:
        task: what is asked.
        ngrams: longest run of words that counts as a feature.
        vocabulary: the features, in the order of the columns.
        idf: weight of each, ``(features,)``.
        coef: ``(labels, features)``.
        intercept: ``(labels,)``.
    """

    task: Task
    ngrams: int
    vocabulary: list[str]
    idf: np.ndarray
    coef: np.ndarray
    intercept: np.ndarray
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.facts.setdefault("stored_parameters", self.coef.size + self.intercept.size)

    def scores(self, examples: Sequence[Example]) -> np.ndarray:
        """Log-odds, up to a shift a row, ``(examples, labels)``; numbers, held in their range, ``(examples, 1)``."""
        if not self.vocabulary or not examples:
            return np.tile(self.intercept, (len(examples), 1))
        texts = [_joined(self.task, example) for example in examples]
        found = np.asarray(_weights(texts, self.ngrams, self.vocabulary, self.idf) @ self.coef.T) + self.intercept
        span = self.task.range
        return found if span is None else np.clip(found, span.low, span.high)

    def keep(self) -> "Linear":
        """Itself: nothing outlives a fit."""
        return self

    def saved(self) -> Saved:
        """Words as a list, numbers as arrays."""
        tensors = {"idf": self.idf, "coef": self.coef, "intercept": self.intercept}
        return Saved("tfidf", {"ngrams": self.ngrams, "vocabulary": self.vocabulary}, tensors)


def restore_majority(
    task: Task, backbone: Any, config: Mapping[str, Any], tensors: Mapping[str, np.ndarray]
) -> Predictor:
    """The predictor that ``Constant.saved`` wrote down."""
    return Constant(task, tensors["scores"])


def restore_tfidf(task: Task, backbone: Any, config: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Predictor:
    """The predictor that ``Linear.saved`` wrote down."""
    words = list(config["vocabulary"])
    return Linear(task, config["ngrams"], words, tensors["idf"], tensors["coef"], tensors["intercept"])


def _targets(job: Job, name: str) -> np.ndarray:
    """Index of each labelled row's label, ``(rows,)``."""
    if not job.task.fixed:
        raise DataError(
            f"{name} chooses among fixed labels, and the rows of '{job.task.name}' bring their own candidates. Write a "
            "method that asks patterns: zero-shot, in-context or prompt."
        )
    labels = {label: at for at, label in enumerate(job.task.labels)}
    if not labels:
        raise DataError(f"{name} chooses among the labels of a task, and '{job.task.name}' has none.")
    if not job.labelled:
        raise DataError(f"{name} learns from labelled rows, and there are none. Write -k 1 or more.")
    return np.array([labels[str(example.label)] for example in job.labelled])


def _numbers(job: Job) -> np.ndarray:
    """Each labelled row's number, ``(rows,)``."""
    if not job.labelled:
        raise DataError("no labelled rows, and a baseline learns from them. Write -k total:1 or more.")
    return np.array([job.task.number(example) for example in job.labelled])


def ridge(features: Any, numbers: np.ndarray, C: float) -> tuple[np.ndarray, np.ndarray]:
    """Ridge regression with the penalty ``1 / C``: weights ``(1, width)`` and intercept ``(1,)``."""
    from sklearn.linear_model import Ridge

    found = Ridge(alpha=1 / C).fit(features, numbers)
    return np.asarray(found.coef_)[None], np.array([found.intercept_])


def _joined(task: Task, example: Example) -> str:
    return "\n".join(example.text(name) for name in task.inputs)


def _vectorizer(ngrams: int, **settings: Any) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(ngram_range=(1, ngrams), sublinear_tf=True, **settings)


def _weights(texts: Sequence[str], ngrams: int, vocabulary: Sequence[str], idf: np.ndarray) -> Any:
    """TF-IDF of texts, a sparse ``(texts, features)``; fitting and predicting both go through here."""
    vectorizer = _vectorizer(ngrams, vocabulary=vocabulary)
    vectorizer.idf_ = idf
    return vectorizer.transform(texts)
