r"""A method over a tuning over a backbone that writes texts, with scikit-learn's manners.

    PromptGenerator("restaurants", tuning="lora", backbone="smollm2").fit(train).predict(["name[The Eagle], food[..."])
    PromptGenerator(patterns=["{source}\nIn words: {target}"], tuning="prefix:n=5", ...).fit(sources, texts)

Rows come as texts, dicts, tuples, Examples, a DataFrame, a Dataset, an array, or the path of a file.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from promptlab.backbone.backbone import Backbone
from promptlab.errors import DataError, OutputError, SettingError
from promptlab.estimator import Estimator, seed_of
from promptlab.hub import Loaded, Origin, load_predictor, save_predictor, saved_task
from promptlab.language.example import Example
from promptlab.language.task import Task
from promptlab.methods.chosen import Chosen, choose
from promptlab.methods.method import Job
from promptlab.methods.wrote import Wrote, show_unwritten, show_written

_CLASSIFIER = "Write PromptClassifier in its place."


class PromptGenerator(Estimator):
    """Writes a text for each row, after a few rows with their texts.

    Args:
        task: a Task that asks for a ``{target}``, the name of a shipped one, or the path of a pattern file; None where
            ``patterns`` say it.
        method: how the examples are used: ``"finetune"``, ``"finetune:steps=200,beams=5"``, ``"in-context"``,
            ``"zero-shot"``, or an object of settings.
        tuning: which weights learn: ``"lora"``, ``"prefix:n=5"`` or an object of settings. It is passed over where the
            method trains nothing.
        backbone: ``smollm2``, a folder, a .gguf file, a hub name, or a loaded Backbone: a causal one, or an
            encoder-decoder where something is trained.
        patterns: texts with a ``{target}``, in place of a task.
        random_state: an int, for the same model and the same drawn texts each time; None or a RandomState draws one.
        device: for a backbone given by name: ``auto``, ``cpu``, ``cuda``.
        dtype: its number format: ``auto``, ``float32``, ``bfloat16``.
        columns: column of a table by input name, or by ``target``.
        allow_new_head: let a backbone without language-model head start from a random one.

    Attributes:
        task_: the Task.
        predictor_: what the method made.
        backbone_: the loaded Backbone.
        n_learnt_: learnt parameters that are kept.
    """

    _usual = "smollm2"

    def __init__(
        self,
        task: Task | str | Path | None = None,
        *,
        method: Any = "finetune",
        tuning: Any = "lora",
        backbone: str | Path | Backbone | None = "smollm2",
        patterns: Sequence[str] | Mapping[str, str] | None = None,
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
        self.random_state = random_state
        self.device = device
        self.dtype = dtype
        self.columns = columns
        self.allow_new_head = allow_new_head

    def fit(self, X: Any = None, y: Any = None) -> "PromptGenerator":
        """Learns.

        Args:
            X: rows; None where the method needs no texts.
            y: what is to be written for each row: a text, or several that are all right; None where the rows bring
                their own (``target``, ``targets``).

        Raises:
            DataError: rows or texts that cannot be used.
            SettingError: parameters that cannot be, or a method that writes nothing.
            BackboneError: the backbone cannot be loaded, or writes no text.
        """
        task, chosen = self._asked(), self._chosen()
        rows = self._taught(task, X, y, chosen)
        backbone, seed = self._loaded(), seed_of(self.random_state)
        job, origin = Job(task, rows, seed=seed), Origin(chosen.system, chosen.settings, seed, len(rows))
        [lasting] = [predictor.keep() for _, predictor in chosen.method.fit(backbone, chosen.tuning, [job])]
        return self._fitted(Loaded(lasting, task, backbone, origin))

    def _fitted(self, loaded: Loaded) -> "PromptGenerator":
        self._take(loaded)
        return self

    # answers

    def predict(self, X: Any) -> np.ndarray:
        """The text written for each row, ``(rows,)``."""
        check_is_fitted(self)
        rows = self._read(X, self.task_, False, "X")
        return np.array(self.predictor_.texts(rows) if rows else [], dtype=object)

    def score(self, X: Any, y: Any = None) -> float:
        """The task's first metric, such as BLEU, as the official script gives it (a share: .6593).

        Args:
            X: rows.
            y: the right texts, one or several a row; None where the rows bring them.

        Raises:
            DataError: rows or texts that cannot be used.
            SettingError: the metric cannot be had on this machine.
        """
        from promptlab.metrics.texts import missing, score_texts

        check_is_fitted(self)
        rows = self._paired(self.task_, X, y) if y is not None else self._read(X, self.task_, True, "X")
        name = self.task_.metrics[0]
        found = score_texts(list(self.predict(rows)), [row.right for row in rows], [name])[name]
        if found is None:
            raise SettingError(f"{missing(name)} Name another metric first in the task.")
        return float(found)

    def show(self, X: Any) -> Wrote:
        """What was read before each text and what was written; of one that has not learnt, by the plain backbone.

        Args:
            X: a text, a dict of fields, an Example, or several of them.

        Raises:
            DataError: rows that cannot be used.
            SettingError: nothing learnt yet, and no backbone to ask.
        """
        if self.__sklearn_is_fitted__():
            return show_written(self.predictor_, self._one_or_more(X, self.task_))
        task = self._asked()
        return show_unwritten(task, self._loaded(), self._one_or_more(X, task))

    # rows and texts

    def _taught(self, task: Task, X: Any, y: Any, chosen: Chosen) -> list[Example]:
        name, needed = chosen.system.method.name, chosen.method.needs_labels
        if X is None:
            if needed:
                raise DataError(f"{name} learns from rows with their texts, and there are none. Write fit(X, y).")
            return []
        return self._paired(task, X, y) if y is not None else self._read(X, task, True if needed else None, "X")

    def _paired(self, task: Task, X: Any, y: Any) -> list[Example]:
        rows, texts = self._read(X, task, False, "X"), [_right(one, at) for at, one in enumerate(y)]
        if len(rows) != len(texts):
            raise DataError(
                f"X has {len(rows)} rows and y {len(texts)} texts. Write one a row, or a list of them a row."
            )
        pairs = zip(rows, texts, strict=True)
        return [Example(row.fields, right[0], row.group, right[1:] and right, row.part) for row, right in pairs]

    # parameters

    def _asked(self) -> Task:
        if self.task is not None and self.patterns is not None:
            raise SettingError("task= says the patterns already. Leave patterns= out.")
        if self.task is None and self.patterns is None:
            raise SettingError(
                "nothing says what to write. Write task= (a Task, a shipped one's name, the path of a .yaml file), or "
                'patterns=["{source} In words: {target}"].'
            )
        task = Task.from_parts(self.patterns or []) if self.task is None else self._named()
        if not task.generates:
            raise SettingError(f"'{task.name}' asks for labels, and PromptGenerator writes texts. {_CLASSIFIER}")
        return task

    def _chosen(self) -> Chosen:
        """The method with the tuning; without where it trains nothing, or names its own."""
        bare = choose(self.method)
        if not getattr(bare.method, "writes", False):
            raise SettingError(
                f"{bare.system.method.name} chooses among labels, and PromptGenerator writes texts. Write finetune, "
                "in-context or zero-shot."
            )
        named = isinstance(self.method, str) and bare.system.tuning is not None and bare.system.tuning.name != "full"
        return choose(self.method, self.tuning) if bare.method.learns and not named else bare

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
        self, folder: str | Path, merge: bool, metrics: Mapping[str, float] | None, name: str, format: str
    ) -> Path:
        check_is_fitted(self)
        origin = self._origin_with(metrics, {"columns": self.columns and dict(self.columns)})
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
    ) -> "PromptGenerator":
        """The generator that was saved.

        Args:
            folder: the folder, or its name on the hub.
            backbone: where the backbone is now, or itself; by default where it was when the model was saved.
            device: for the backbone.
            dtype: its number format; ``auto`` is the one it was saved with (on a CPU float32 for a half format).
            allow_other_backbone: lets a backbone answer that is not the one it learnt on.

        Raises:
            OutputError: a file is missing, damaged, or of a newer promptlab; or it holds a classifier.
            BackboneError: the backbone is missing, or is another than the one it learnt on.
        """
        if not saved_task(folder).generates:
            raise OutputError(f"{folder} holds a classifier, which writes no texts. {_CLASSIFIER}")
        loaded = load_predictor(folder, backbone, device, dtype, allow_other_backbone=allow_other_backbone)
        made = cls(**cls._parameters(loaded, backbone, device, dtype))
        return made._fitted(loaded)


def _right(given: Any, row: int) -> tuple[str, ...]:
    """The right texts of a row."""
    texts = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, Sequence) else ()
    if not texts or not all(isinstance(one, str) and one.strip() for one in texts):
        raise DataError(
            f"y[{row}] is {given!r}, and a text is needed. Write one, or a list of texts that are all right."
        )
    return tuple(one.strip() for one in texts)
