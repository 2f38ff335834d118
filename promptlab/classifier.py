"""A method over a tuning over a backbone, with scikit-learn's manners.

    PromptClassifier(task, method="pet", tuning="lora", backbone="mini").fit(train, unlabeled=pool).predict(texts)
    PromptClassifier(patterns=["{text} It was {mask}."], verbalizer={"negative": "terrible", "positive": "great"}, ...)

Rows come as texts, dicts, tuples, Examples, a DataFrame, a Dataset, an array, or the path of a file.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from promptlab.backbone.backbone import Backbone
from promptlab.data.steps import taught
from promptlab.data.targets import classes_of, labels_of
from promptlab.errors import DataError, OutputError, SettingError
from promptlab.estimator import Estimator, seed_of
from promptlab.hub import Loaded, Origin, load_predictor, save_predictor, saved_task
from promptlab.language.example import Example
from promptlab.language.task import Task
from promptlab.methods.chosen import Chosen, choose
from promptlab.methods.method import Job, probabilities
from promptlab.methods.shown import Shown, show, show_untrained
from promptlab.metrics.correlation import told

_GENERATOR = "Write PromptGenerator in its place."


class PromptClassifier(ClassifierMixin, Estimator):
    """Classifies texts after a few labelled ones; or gives each a number, where the task's labels are a range.

    Args:
        task: a Task, the name of a shipped one, or the path of a pattern file; None where the next two say it.
        method: how the examples are used: ``"pet"``, ``"pet:repetitions=1"``, ``"pet+lora"``, or an object of settings.
        tuning: which weights learn: ``"lora:r=8"`` or an object of settings; None is ``full``.
        backbone: ``mini``, ``smollm2``, a folder, a .gguf file, a hub name, or a loaded Backbone, which clones then
            share instead of loading it each time.
        patterns: texts with a ``{mask}``, in place of a task.
        verbalizer: a word, or several, for each label; beside ``patterns``.
        random_state: an int, for the same model each time; None or a RandomState draws one.
        device: for a backbone given by name: ``auto``, ``cpu``, ``cuda``.
        dtype: its number format: ``auto``, ``float32``, ``bfloat16``.
        columns: column of a table by input name, or by ``label``.
        allow_new_head: let a backbone without language-model head start from a random one.

    Attributes:
        classes_: all labels of the task as ``y`` wrote them, sorted; integers stand for the task's labels by order.
            (So a meta-estimator that numbers labels itself, like VotingClassifier, needs a task with sorted labels.)
            Empty where rows bring their own candidates, and where labels are numbers.
        task_: the Task.
        predictor_: what the method made.
        backbone_: the loaded Backbone; None where the method needs none.
        n_learnt_: learnt parameters that are kept, a new head's not counted.
    """

    def __init__(
        self,
        task: Task | str | Path | None = None,
        *,
        method: Any = "pet",
        tuning: Any = None,
        backbone: str | Path | Backbone | None = "mini",
        patterns: Sequence[str] | Mapping[str, str] | None = None,
        verbalizer: Mapping[Any, str | Sequence[str]] | None = None,
        random_state: Any = 0,
        device: str = "auto",
        dtype: str = "auto",
        columns: Mapping[str, str] | None = None,
        allow_new_head: bool = False,
    ):
        self.task = task
        self.method = method
        self.tuning = tuning
        self.backbone = backbone
        self.patterns = patterns
        self.verbalizer = verbalizer
        self.random_state = random_state
        self.device = device
        self.dtype = dtype
        self.columns = columns
        self.allow_new_head = allow_new_head

    def fit(self, X: Any = None, y: Any = None, unlabeled: Any = None) -> "PromptClassifier":
        """Learns.

        Args:
            X: rows; None where the method needs no labels. Rows without a label count as unlabelled ones then.
            y: a label a row: names, ids, or values of the task's mapping; None where the rows bring their labels.
            unlabeled: rows whose labels, if any, are left unread.

        Raises:
            DataError: rows or labels that cannot be used.
            SettingError: parameters that cannot be.
            BackboneError: the backbone cannot be loaded, or is of a kind that the method cannot use.
        """
        task, chosen = self._asked(), choose(self.method, self.tuning)
        rows, written = self._labelled(task, X, y, chosen)
        labelled = taught(task, [row for row in rows if row.label is not None])
        pool = [row for row in rows if row.label is None]
        pool += [] if unlabeled is None else self._read(unlabeled, task, False, "unlabeled")
        backbone = self._loaded() if chosen.method.needs_backbone else None
        seed = seed_of(self.random_state)
        job, origin = (
            Job(task, labelled, pool, seed=seed),
            Origin(chosen.system, chosen.settings, seed, len(labelled), len(pool)),
        )
        [lasting] = [predictor.keep() for _, predictor in chosen.method.fit(backbone, chosen.tuning, [job])]
        return self._fitted(Loaded(lasting, task, backbone, origin), *classes_of(task, written))

    def _fitted(self, loaded: Loaded, classes: np.ndarray, order: Sequence[int]) -> "PromptClassifier":
        self._take(loaded)
        self.classes_, self._order = classes, list(order)
        return self

    # answers

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest label of each row, ``(rows,)``, in the values of ``classes_``.

        Where rows bring their own candidates the text of one; where labels are numbers, a number.
        """
        rows, scores = self._scored(X)
        if self.task_.range is not None:
            return scores[:, 0]
        best = np.where(np.isnan(scores), -np.inf, scores).argmax(axis=1) if rows else np.zeros(0, dtype=int)
        if self.task_.fixed:
            return self.classes_[best]
        return np.array([self.task_.choices(row)[at] for row, at in zip(rows, best, strict=True)], dtype=object)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities, ``(rows, labels)``, in the order of ``classes_``.

        Where rows bring their own candidates: ``(rows, widest)``, in each row's own order, 0 where it has fewer.

        Raises:
            SettingError: labels are numbers.
        """
        check_is_fitted(self)
        if self.task_.range is not None:
            raise SettingError(f"'{self.task_.name}' answers with numbers, which have no probabilities. Write predict.")
        scores = self._scored(X)[1]
        return probabilities(scores) if scores.size else scores

    def decision_function(self, X: Any) -> np.ndarray:
        """Scores, ``(rows, labels)``; of two labels the second's lead over the first, ``(rows,)``."""
        scores = self._scored(X)[1]
        return scores[:, 1] - scores[:, 0] if self.task_.fixed and scores.shape[1] == 2 else scores

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Accuracy; of numbers the task's first metric, the Pearson correlation unless it says otherwise.

        Args:
            X: rows.
            y: a label a row; None where the rows bring their labels.
            sample_weight: one a row; none where labels are numbers.

        Raises:
            DataError: rows or labels that cannot be used.
        """
        check_is_fitted(self)
        rows = self._read(X, self.task_, y is None, "X")
        labels = [str(row.label) for row in rows] if y is None else self._targets(self.task_, rows, y).labels
        if self.task_.range is not None:
            if sample_weight is not None:
                raise SettingError("sample_weight has no place in a correlation. Leave it out.")
            return told(self.task_.metrics[0], labels, self.predict(rows))
        if not self.task_.fixed:
            said, named = self.predict(rows), y is not None
            known = [(label,) if named else row.right for row, label in zip(rows, labels, strict=True)]
            hits = [one in right for one, right in zip(said, known, strict=True)]
            return float(np.average(hits, weights=sample_weight))
        places = {self.task_.labels[at]: place for place, at in enumerate(self._order)}
        gold = self.classes_[[places[label] for label in labels]]
        return float(super().score(rows, gold, sample_weight))

    def show(self, X: Any) -> Shown:
        """What each pattern read and what the model guessed; of a classifier that has not learnt, the plain backbone.

        Args:
            X: a text, a dict of fields, an Example, or several of them.

        Raises:
            DataError: rows that cannot be used.
            SettingError: nothing learnt yet, and no backbone to ask.
        """
        if self.__sklearn_is_fitted__():
            return show(self.predictor_, self._one_or_more(X, self.task_))
        task = self._asked()
        return show_untrained(task, self._loaded(), self._one_or_more(X, task))

    def _scored(self, X: Any) -> tuple[list[Example], np.ndarray]:
        check_is_fitted(self)
        rows = self._read(X, self.task_, False, "X")
        if not rows:
            return rows, np.zeros((0, len(self._order)))
        scores = np.asarray(self.predictor_.scores(rows), dtype=np.float64)
        return rows, scores[:, self._order] if self.task_.fixed else scores

    # rows and labels

    def _labelled(self, task: Task, X: Any, y: Any, chosen: Chosen) -> tuple[list[Example], Mapping[str, Any]]:
        """Rows with their labels, and how ``y`` wrote each label."""
        name, needed = chosen.system.method.name, chosen.method.needs_labels
        if X is None:
            if needed:
                raise DataError(f"{name} learns from labelled rows, and there are none. Write fit(X, y).")
            return [], {} if y is None else labels_of(y, task, self._hint(task)).written
        if y is None:
            return self._read(X, task, True if needed else None, "X"), {}
        rows = self._read(X, task, False, "X")
        targets = self._targets(task, rows, y)
        named = zip(rows, targets.labels, strict=True)
        return [Example(row.fields, label, row.group) for row, label in named], targets.written

    def _targets(self, task: Task, rows: Sequence[Example], y: Any) -> Any:
        targets = labels_of(y, task, self._hint(task))
        if len(targets.labels) != len(rows):
            raise DataError(f"X has {len(rows)} rows and y {len(targets.labels)} labels. Write one label a row.")
        return targets

    def _hint(self, task: Task) -> str:
        return " Give it a word in verbalizer=." if self.task is None else ""

    # parameters

    def _asked(self) -> Task:
        given = self.patterns is not None or self.verbalizer is not None
        if self.task is not None and given:
            raise SettingError("task= says the patterns and label words already. Leave patterns= and verbalizer= out.")
        if self.task is None and (self.patterns is None or not isinstance(self.verbalizer, Mapping)):
            raise SettingError(
                "nothing says what to ask. Write task= (a Task, a shipped one's name, the path of a .yaml file), or "
                'patterns=["{text} It was {mask}."] and verbalizer={"negative": "terrible", "positive": "great"}.'
            )
        task = Task.from_parts(self.patterns or [], self.verbalizer or {}) if self.task is None else self._named()
        if task.generates:
            raise SettingError(f"'{task.name}' asks for a text, and PromptClassifier chooses labels. {_GENERATOR}")
        if not (task.labels or task.candidates):
            raise SettingError(f"PromptClassifier chooses among labels, and '{task.name}' has none to choose from.")
        return task

    # disk and hub

    def save_pretrained(
        self,
        folder: str | Path,
        merge: bool = False,
        metrics: Mapping[str, float] | None = None,
        format: str = "promptlab",
    ) -> Path:
        """Saves what was learnt; the backbone stays where it is and is found again by name and fingerprint.

        Args:
            folder: new, empty, or one saved before, which is replaced.
            merge: write a plain transformers checkpoint instead, where the tuning folds into the weights.
            metrics: scores for the model card, by name.
            format: ``peft`` writes what was learnt as PEFT does, for it to read; both are loaded alike here.

        Raises:
            OutputError: the folder cannot be written, or holds something else.
            SettingError: it cannot be merged, or PEFT has no place for it.
        """
        return self._save(folder, merge, metrics, "", format)

    def _save(
        self,
        folder: str | Path,
        merge: bool,
        metrics: Mapping[str, float] | None,
        name: str,
        format: str,
    ) -> Path:
        check_is_fitted(self)
        named = [self.task_.labels[at] for at in self._order] if self.task_.range is None else []
        values = dict(zip(named, self.classes_.tolist(), strict=True))
        more = {"classes": values, "columns": self.columns and dict(self.columns)}
        origin = self._origin_with(metrics, more)
        return save_predictor(folder, self.predictor_, self.backbone_, origin, merge=merge, format=format,
                              name=name or None)  # fmt: skip

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        backbone: str | Path | Backbone | None = None,
        device: str = "auto",
        dtype: str = "auto",
        *,
        allow_other_backbone: bool = False,
    ) -> "PromptClassifier":
        """The classifier that was saved.

        Args:
            folder: the folder, or its name on the hub.
            backbone: where the backbone is now, or itself; by default where it was when the model was saved.
            device: for the backbone.
            dtype: its number format; ``auto`` is the one it was saved with (on a CPU float32 for a half format).
            allow_other_backbone: lets a backbone answer that is not the one it learnt on.

        Raises:
            OutputError: a file is missing, damaged, or of a newer promptlab; or it holds a generator.
            BackboneError: the backbone is missing, or is another than the one it learnt on.
        """
        if saved_task(folder).generates:
            raise OutputError(f"{folder} holds a generator, which writes texts and chooses no labels. {_GENERATOR}")
        loaded = load_predictor(folder, backbone, device, dtype, allow_other_backbone=allow_other_backbone)
        made = cls(**cls._parameters(loaded, backbone, device, dtype))
        return made._fitted(loaded, *classes_of(loaded.task, loaded.origin.more.get("classes", {})))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = False  # rows may bring their labels; ClassifierMixin says they may not
        return tags
