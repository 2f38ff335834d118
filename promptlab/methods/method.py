"""The contract of a method: jobs in, predictors out.

    a job        one task, one sample of labelled rows, one seed
    a method     fit(backbone, tuning, jobs) yields (job, predictor), one a job, in any order
    a predictor  scores(examples) -> (examples, labels);  of a task that asks for texts  texts(examples) -> a text each

``fit`` takes all jobs at once so that it may train their members in one stack. A job's ``queries`` are scored while its
model lives; a predictor is valid until the next one is asked for, unless ``keep()`` was called.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, ClassVar, Protocol

import numpy as np

from promptlab.language.example import Example
from promptlab.language.task import Task


@dataclass(frozen=True)
class Job:
    """What one run learns from.

    Args:
        task: what is asked.
        labelled: the shots.
        unlabelled: rows without labels that a method may read.
        dev: empty unless a protocol asks for one; hashed and shown.
        queries: rows the run will be asked about.
        seed: everything random derives from it.
        settings: overrides for this job alone (``lr``, ``weight_decay``).
    """

    task: Task
    labelled: Sequence[Example]
    unlabelled: Sequence[Example] = ()
    dev: Sequence[Example] = ()
    queries: Sequence[Example] = ()
    seed: int = 0
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Saved:
    """A predictor on its way to disk.

    Args:
        kind: which function restores it.
        config: what JSON can hold.
        tensors: arrays by name.
    """

    kind: str
    config: dict[str, Any]
    tensors: dict[str, np.ndarray] = field(default_factory=dict)


class Predictor(Protocol):
    """Answers for texts of one task."""

    task: Task
    facts: dict[str, Any]
    """What a results row should say: ``stored_parameters``, ``stack``, ``notes`` and the like."""

    def scores(self, examples: Sequence[Example]) -> np.ndarray:
        """Unnormalised label scores, ``(examples, labels)``."""

    def keep(self) -> "Predictor":
        """The same, valid for good."""

    def saved(self) -> Saved:
        """What is needed to restore it."""


class Author(Protocol):
    """A predictor of a task that asks for texts, and has no labels to score."""

    task: Task
    facts: dict[str, Any]

    def texts(
        self,
        examples: Sequence[Example],
        told: Callable[[list[int], list[str]], None] | None = None,
        done: Mapping[int, str] | None = None,
    ) -> list[str]:
        """A text a row; ``told`` is shown numbers of rows and their texts as they come, ``done`` holds earlier ones."""

    def keep(self) -> "Author":
        """The same, valid for good."""

    def saved(self) -> Saved:
        """What is needed to restore it."""


class Method(Protocol):
    """A way of using examples."""

    needs_labels: ClassVar[bool]
    needs_backbone: ClassVar[bool]
    learns: ClassVar[bool]
    """Whether it takes a tuning."""

    def fit(self, backbone: Any, tuning: Any, jobs: Iterable[Job]) -> Iterator[tuple[Job, Any]]:
        """One predictor a job; an author where the task asks for texts."""


_RESTORE = {
    "majority": "promptlab.methods.baselines:restore_majority",
    "tfidf": "promptlab.methods.baselines:restore_tfidf",
    "probe": "promptlab.methods.probe:restore_probe",
    "model": "promptlab.methods.predict:restore_model",
    "in-context": "promptlab.methods.context:restore_in_context",
    "ensemble": "promptlab.methods.predict:restore_ensemble",
    "writer": "promptlab.methods.writer:restore_writer",
}


def restore(task: Task, backbone: Any, saved: Saved) -> Any:
    """The predictor, or author, that ``saved`` came from."""
    module, _, name = _RESTORE[saved.kind].partition(":")
    found = getattr(import_module(module), name)(task, backbone, saved.config, saved.tensors)
    return found


def probabilities(scores: np.ndarray) -> np.ndarray:
    """Softmax over labels, ``(examples, labels)``."""
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    normal: np.ndarray = shifted / shifted.sum(axis=1, keepdims=True)
    return normal
