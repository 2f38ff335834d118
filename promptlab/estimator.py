"""What estimators over a method, a tuning and a backbone have in common, whether they choose labels or write texts.

Rows come as texts, dicts, tuples, Examples, a DataFrame, a Dataset, an array, or the path of a file.
"""

from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from promptlab.backbone.backbone import Backbone, load_backbone
from promptlab.data.given import rows_given
from promptlab.data.sources import read_examples
from promptlab.errors import SettingError
from promptlab.hub import Loaded, Origin, push_folder
from promptlab.language.example import Example
from promptlab.language.library import load_task
from promptlab.language.task import Task


class Estimator(BaseEstimator):
    """Reads rows, holds the backbone, and goes to the hub; the parameters are its children's."""

    task: Any
    method: Any
    backbone: Any
    patterns: Any
    device: str
    dtype: str
    columns: Any
    allow_new_head: bool
    _usual = "mini"  # the backbone that messages name

    def _read(self, source: Any, task: Task, labelled: bool | None, where: str) -> list[Example]:
        return read_examples(rows_given(source, labelled, where), task, self.columns, labelled, where)

    def _one_or_more(self, X: Any, task: Task) -> list[Example]:
        one = isinstance(X, str | Mapping | Example) or (isinstance(X, tuple) and len(X) == len(task.inputs))
        return self._read([X] if one else X, task, False, "X")

    def _named(self) -> Task:
        """The task that ``task=`` says."""
        if not isinstance(self.task, Task | str | Path):
            kind = type(self.task).__name__
            raise SettingError(
                f"task is a {kind}. Write a Task, the name of a shipped one, or the path of a .yaml file."
            )
        return self.task if isinstance(self.task, Task) else load_task(self.task)

    def _loaded(self) -> Backbone:
        if isinstance(self.backbone, Backbone):
            return self.backbone
        if self.backbone is None:
            raise SettingError(
                f"{self.method} needs a language model. Write backbone='{self._usual}', a folder or a hub name."
            )
        wanted = (str(self.backbone), self.device, self.dtype, self.allow_new_head)
        if getattr(self, "_held", (None,))[0] != wanted:
            self._held = (wanted, load_backbone(*wanted[:3], allow_new_head=self.allow_new_head))
        return self._held[1]

    def _take(self, loaded: Loaded) -> None:
        """Holds what was learnt, or read from disk."""
        self.predictor_: Any = loaded.predictor
        self.task_, self.backbone_ = loaded.task, loaded.backbone
        self._origin = loaded.origin
        self.n_learnt_ = int(loaded.predictor.facts.get("stored_parameters", 0))

    @staticmethod
    def _parameters(loaded: Loaded, backbone: Any, device: str, dtype: str) -> dict[str, Any]:
        """The parameters of an estimator that was saved."""
        origin, stand, tuning = loaded.origin, loaded.backbone, loaded.origin.system.tuning
        return {
            "task": loaded.task,
            "method": str(origin.system.method),
            "tuning": tuning and str(tuning),
            "backbone": backbone if isinstance(backbone, Backbone) else stand and stand.name,
            "random_state": origin.seed,
            "device": device,
            "dtype": dtype,
            "columns": origin.more.get("columns"),
            "allow_new_head": bool(stand and stand.new_head),
        }

    def _origin_with(self, metrics: Mapping[str, float] | None, more: Mapping[str, Any]) -> Origin:
        known = self._origin
        return Origin(known.system, known.settings, known.seed, known.labelled, known.unlabelled,
                      known.metrics if metrics is None else metrics, more)  # fmt: skip

    def push_to_hub(
        self,
        repo: str,
        *,
        merge: bool = False,
        metrics: Mapping[str, float] | None = None,
        private: bool | None = None,
        format: str = "promptlab",
    ) -> str:
        """Saves it on the hub and returns its address; no folder of this machine is told.

        Args:
            repo: ``user/model``; made if it is not there.
            merge: as for :meth:`save_pretrained`.
            metrics: as for :meth:`save_pretrained`.
            private: whether only its owner sees it; the account's default where None.
            format: as for :meth:`save_pretrained`.

        Raises:
            OutputError: the hub refuses, or cannot be reached.
            SettingError: it cannot be merged.
        """
        with TemporaryDirectory() as folder:
            return push_folder(self._save(Path(folder) / "model", merge, metrics, repo, format), repo, private)

    def _save(
        self, folder: str | Path, merge: bool, metrics: Mapping[str, float] | None, name: str, format: str
    ) -> Path:
        raise NotImplementedError

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        defaults = {name: one.default for name, one in signature(type(self)).parameters.items()}
        changed = {
            name: getattr(self, name) for name, default in defaults.items() if getattr(self, name) is not default
        }
        shown = {name: value.name if isinstance(value, Task) else value for name, value in changed.items()}
        listed = ", ".join(f"{name}={value!r}" for name, value in shown.items())
        return f"{type(self).__name__}({listed})"

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "predictor_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = tags.input_tags.one_d_array = True
        tags.target_tags.required = False  # rows may bring their labels
        return tags


def seed_of(state: Any) -> int:
    """The seed that a ``random_state`` gives.

    Raises:
        SettingError: it is none.
    """
    if isinstance(state, int | np.integer):
        return int(state)
    try:
        return int(check_random_state(state).randint(2**31 - 1))
    except ValueError as error:
        raise SettingError(f"random_state={state!r} cannot be. Write an int, None or a RandomState.") from error
