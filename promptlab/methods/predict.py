"""Predictors over a backbone: one model (a cloze or a head), several together, and one that only remembers.

    model        the backbone as one member has it: label words at the mask, or a head on the bare text
    ensemble     sum over members of weight x scores / sum of weights        (PET, eq. 4)
    remembered   scores of the queries, taken while a model lived

All answer with scores ``(examples, labels)``, never with probabilities.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from promptlab.backbone.ask import Asked, ask
from promptlab.backbone.backbone import Backbone
from promptlab.backbone.encode import Encoder
from promptlab.backbone.heads import Head, head_for
from promptlab.backbone.score import pooled
from promptlab.errors import DataError, SettingError
from promptlab.language.example import Example
from promptlab.language.task import PVP, Task
from promptlab.methods.method import Predictor, Saved, probabilities
from promptlab.methods.standing import Standing, restored


@dataclass
class Model(Standing):
    """The backbone as one member has it, answering with label scores; through ``pvp``, or a head where that is None.

    Args:
        bias: subtracted from the label scores (calibration), ``(labels,)``.
        pool: what the head reads.
        decoding: how label words of several tokens are read on a masked backbone.
    """

    bias: np.ndarray | None = None
    pool: str = "cls"
    decoding: str = "confident"

    def scores(self, examples: Sequence[Example]) -> np.ndarray:
        """Label scores, ``(examples, labels)``: log-probabilities of label words, or a head's logits.

        Where rows bring their own candidates: ``(examples, widest)``, minus infinity where a row has fewer. Where
        labels are numbers: the number itself, ``(examples, 1)``.
        """
        with self.applied():
            found = self._cloze(self.pvp, examples).labels if self.pvp else self._head(examples)
        return self.answers(found if self.bias is None else found - self.bias)

    def answers(self, scores: np.ndarray) -> np.ndarray:
        """Label scores as they are, ``(examples, labels)``; of a regression the number they say, ``(examples, 1)``.

        Through two words it lies between its ends as the high word's share of the two says (``language/range.py``).
        """
        span = self.task.range
        if span is None:
            return scores
        found: np.ndarray = span.value(probabilities(scores)[:, 1:] if self.pvp else np.clip((1 + scores) / 2, 0, 1))
        return found

    def saved(self) -> Saved:
        """Its settings and tensors."""
        config = {
            "tuning": self.spelt_tuning,
            "pvp": self.pvp and self.pvp.name,
            "pool": self.pool,
            "decoding": self.decoding,
            "facts": self.counts,
        }
        return Saved("model", config, self.arrays if self.bias is None else self.arrays | {"bias": self.bias})

    def _cloze(self, pvp: PVP, examples: Sequence[Example]) -> Asked:
        found = ask(self.encoder, pvp, examples, own_choices(self.task, examples), self.decoding)
        self.facts["cut"] = float(found.cut.mean()) if len(examples) else 0.0
        self.facts["mass"] = float(found.mass.mean()) if len(examples) else 0.0
        return found

    def _head(self, examples: Sequence[Example]) -> np.ndarray:
        encoded = self.encoder.plain(examples, tuple(self.task.inputs))
        self.facts["cut"] = float(np.mean(encoded.cut)) if len(examples) else 0.0
        head = self.head()
        return pooled(self.backbone, encoded, self.pool, lambda vectors: head(vectors.to(head.dtype)))

    def head(self) -> "Ready":
        """The head with what it has learnt, on the backbone's device; where ``pvp`` is None."""
        dtype = torch.promote_types(self.backbone.dtype, torch.float32)
        shape = head_for(self.backbone, self.task.outputs, self.pool)
        module = shape.draw(torch.Generator().manual_seed(0), dtype).to(self.backbone.device)
        learnt = self.of_head
        return Ready(module, {name: learnt.get(name, one).to(one) for name, one in module.named_parameters()}, dtype)


@dataclass(frozen=True)
class Ready:
    """A head and the tensors it answers with."""

    module: Head
    parameters: Mapping[str, Tensor]
    dtype: torch.dtype

    def __call__(self, vectors: Tensor) -> Tensor:
        """Label scores ``(rows, labels)`` of pooled vectors ``(rows, width)``."""
        scores: Tensor = functional_call(self.module, dict(self.parameters), (vectors,))
        return scores


@dataclass
class Ensemble:
    """Members together.

    Args:
        members: predictors of one task.
        weights: one a member, ``(members,)``.
    """

    members: Sequence[Predictor]
    weights: np.ndarray
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.task = self.members[0].task
        for name in ("stored_parameters", "head_parameters"):
            self.facts.setdefault(name, sum(member.facts.get(name, 0) for member in self.members))

    def scores(self, examples: Sequence[Example]) -> np.ndarray:
        """Weighted mean of the members' scores, ``(examples, labels)``."""
        each = [member.scores(examples) for member in self.members]
        for name in ("mass", "cut"):
            found = [member.facts[name] for member in self.members if name in member.facts]
            self.facts.update({name: float(np.mean(found))} if found else {})
        return merge(each, self.weights)

    def keep(self) -> "Ensemble":
        """The same with every member kept."""
        return replace(self, members=[member.keep() for member in self.members])

    def saved(self) -> Saved:
        """Every member's settings and tensors, numbered."""
        parts = [member.saved() for member in self.members]
        config = {"members": [{"kind": part.kind, "config": part.config} for part in parts]}
        tensors = {f"{i}.{name}": one for i, part in enumerate(parts) for name, one in part.tensors.items()}
        return Saved("ensemble", config, {**tensors, "weights": np.asarray(self.weights, dtype=np.float64)})


@dataclass
class Remembered:
    """Scores of known rows, taken while their model lived."""

    task: Task
    examples: Sequence[Example]
    known: np.ndarray
    facts: dict[str, Any]

    def scores(self, examples: Sequence[Example]) -> np.ndarray:
        """The remembered scores, ``(examples, labels)``.

        Raises:
            SettingError: other rows than those it was given.
        """
        if list(examples) != list(self.examples):
            raise SettingError("this predictor knows only its job's queries. Fit without queries to keep the models.")
        return self.known

    def keep(self) -> "Remembered":
        """Itself."""
        return self

    def saved(self) -> Saved:
        """Never: its model is gone.

        Raises:
            SettingError: always.
        """
        raise SettingError("this predictor's models are gone. Fit without queries to keep and save them.")


def merge(scores: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """``sum_p w_p s_p / sum_p w_p`` over members' scores ``(examples, labels)`` (PET, eq. 4).

    A member whose scores are not finite (it was frozen, and the row says so) has no say while another has one.
    """
    stacked, weights = np.stack(scores), np.asarray(weights, dtype=float)
    absent = np.isneginf(stacked).all(0)  # a row has fewer candidates than others: no member can say otherwise
    values = np.where(absent, 0.0, stacked)
    finite = np.isfinite(values).all((1, 2))
    shares = weights * finite
    voices, shares = (values[finite], shares[finite]) if shares.any() else (values, weights)
    return np.where(absent, -np.inf, np.tensordot(shares / shares.sum(), voices, axes=1))


def restore_model(task: Task, backbone: Backbone, config: dict[str, Any], tensors: dict[str, np.ndarray]) -> Model:
    """The model that was saved."""
    learnt = {name: one for name, one in tensors.items() if name != "bias"}
    tuning, state = restored(backbone, config["tuning"], learnt, headed=not config["pvp"])
    return Model(
        task, backbone, Encoder(backbone), task.pvp(config["pvp"]) if config["pvp"] else None, tuning, state,
        dict(config["facts"]), bias=tensors.get("bias"), pool=config["pool"],
        decoding=config.get("decoding", "confident"),
    )  # fmt: skip


def own_choices(task: Task, examples: Sequence[Example]) -> list[tuple[str, ...]] | None:
    """What can be answered for each row, where rows bring their own candidates; None where labels are the task's.

    Raises:
        DataError: candidates are missing or cannot be chosen from; names the row.
    """
    if task.fixed:
        return None
    found = []
    for row, example in enumerate(examples, 1):
        try:
            found.append(task.choices(example))
        except DataError as error:
            raise DataError(f"row {row}: {error}") from None
    return found


def restore_ensemble(
    task: Task, backbone: Backbone, config: dict[str, Any], tensors: dict[str, np.ndarray]
) -> Ensemble:
    """The ensemble that was saved."""
    from promptlab.methods.method import restore

    members: list[Any] = []
    for i, part in enumerate(config["members"]):
        own = {name.removeprefix(f"{i}."): one for name, one in tensors.items() if name.startswith(f"{i}.")}
        members.append(restore(task, backbone, Saved(part["kind"], part["config"], own)))
    for member in members:
        if isinstance(member, Model):
            member.encoder = members[0].encoder  # texts are tokenised once, not once a member
    return Ensemble(members, tensors["weights"])
