"""Probe: logistic regression on the frozen backbone's pooled features.

    read the text with the frozen backbone, average its last hidden states over real tokens
    scale each vector to length 1
    fit a multinomial logistic regression on the labelled rows; ridge (penalty 1 / C) where labels are numbers

Nothing of the backbone changes: it is the cheapest use of its features, and often a strong one.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.encode import Encoder
from promptlab.backbone.score import pooled
from promptlab.language.example import Example
from promptlab.language.task import Task
from promptlab.methods.baselines import ridge
from promptlab.methods.members import gold, weights
from promptlab.methods.method import Job, Predictor, Saved
from promptlab.methods.patterns import fixed


@dataclass(frozen=True)
class Probe:
    """Logistic regression on pooled features.

    Args:
        C: inverse strength of the L2 penalty (scikit-learn's).
        pool: ``mean``, ``cls`` or ``last``.
    """

    needs_labels: ClassVar[bool] = True
    needs_backbone: ClassVar[bool] = True
    learns: ClassVar[bool] = False
    C: float = 10.0
    pool: str = "mean"

    def fit(self, backbone: Backbone, tuning: None, jobs: Iterable[Job]) -> Iterator[tuple[Job, Predictor]]:
        """One regression a job."""
        from sklearn.linear_model import LogisticRegression

        encoder, known = Encoder(backbone), Vectors()
        for job in jobs:
            fixed(job.task, numbers=True)
            probed = Probed(job.task, backbone, encoder, self.pool, known=known)
            if job.task.range is not None:
                numbers = job.task.range.value(weights(job))
                yield job, probed.holding(*ridge(probed.features(job.labelled), numbers, self.C), np.zeros(1))
                continue
            targets = gold(job)
            features = probed.features(job.labelled)
            if len(set(targets.tolist())) == 1:  # nothing to tell apart: always that label
                rows = np.zeros((1, features.shape[1]))
                yield job, probed.holding(rows, np.zeros(1), targets[:1])
                continue
            model = LogisticRegression(C=self.C, max_iter=2000).fit(features, targets)
            coef, intercept = model.coef_, model.intercept_
            if len(model.classes_) == 2:  # scikit-learn keeps one row for two labels: the second's score against 0
                coef, intercept = np.vstack([0 * coef, coef]), np.concatenate([[0.0], intercept])
            yield job, probed.holding(coef, intercept, model.classes_)


Vectors = dict[tuple[str, ...], np.ndarray]  # features by the texts of the inputs


@dataclass
class Probed:
    """A linear map over pooled features.

    Args:
        coef: ``(labels seen, width)``.
        intercept: ``(labels seen,)``.
        seen: label numbers of the rows of ``coef``.
        known: features that were read before, shared by the jobs of one fit, whose test rows are the same; None keeps
            none.
    """

    task: Task
    backbone: Backbone
    encoder: Encoder
    pool: str
    coef: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    intercept: np.ndarray = field(default_factory=lambda: np.zeros(0))
    seen: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    known: Vectors | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def holding(self, coef: np.ndarray, intercept: np.ndarray, seen: np.ndarray) -> "Probed":
        """The same with a fitted map."""
        size = int(coef.size + intercept.size)
        facts = {"stored_parameters": 0, "head_parameters": size, "notes": []}
        return replace(self, coef=coef, intercept=intercept, seen=np.asarray(seen, dtype=np.int64), facts=facts)

    def features(self, examples: Sequence[Example]) -> np.ndarray:
        """Unit vectors, ``(examples, width)``."""
        inputs, known = tuple(self.task.inputs), Vectors() if self.known is None else self.known
        texts = [tuple(example.text(name) for name in inputs) for example in examples]
        new = {text: example for text, example in zip(texts, examples, strict=True) if text not in known}
        vectors = pooled(self.backbone, self.encoder.plain(list(new.values()), inputs), self.pool)
        unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        known.update(zip(new, unit, strict=True))
        return np.stack([known[text] for text in texts]) if texts else unit

    def scores(self, examples: Sequence[Example]) -> np.ndarray:
        """Label scores, ``(examples, labels)``; a label without a labelled row never wins.

        Numbers, held in their range, are ``(examples, 1)``.
        """
        found, span = np.full((len(examples), self.task.outputs), -1e9), self.task.range
        found[:, self.seen] = self.features(examples) @ self.coef.T + self.intercept
        return found if span is None else np.clip(found, span.low, span.high)

    def keep(self) -> "Probed":
        """The same without the features of rows it has seen."""
        return replace(self, known=None)

    def saved(self) -> Saved:
        """The map."""
        tensors = {"coef": self.coef, "intercept": self.intercept, "seen": self.seen}
        return Saved("probe", {"pool": self.pool}, tensors)


def restore_probe(task: Task, backbone: Backbone, config: dict[str, Any], tensors: dict[str, np.ndarray]) -> Probed:
    """The probe that was saved."""
    blank = Probed(task, backbone, Encoder(backbone), config["pool"])
    return blank.holding(tensors["coef"], tensors["intercept"], tensors["seen"])
