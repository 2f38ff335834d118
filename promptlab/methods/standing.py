"""What a predictor that scores labels and one that writes texts have in common: the backbone as one member has it."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.encode import Encoder
from promptlab.language.task import PVP, Task
from promptlab.registry import TUNINGS
from promptlab.tuning.tuning import Tuning


@dataclass
class Standing:
    """A backbone with what a member has learnt.

    Args:
        task: what is asked.
        backbone: of any kind.
        encoder: shared, so that texts are tokenised once.
        pvp: what it reads; None reads the bare text through a head.
        tuning: how ``state`` enters the backbone; None where nothing was learnt.
        state: learnt tensors by name; ``head.*`` belong to the head where ``pvp`` is None.
    """

    task: Task
    backbone: Backbone
    encoder: Encoder
    pvp: PVP | None = None
    tuning: Tuning | None = None
    state: Mapping[str, Tensor] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.tuning:
            self.encoder = self.tuning.reading(self.encoder)
        if self.tuning and self.pvp:
            self.pvp = self.tuning.spoken(self.backbone, self.pvp, self.state)
        self.facts.setdefault("stored_parameters", sum(one.numel() for one in self.inside.values()))
        self.facts.setdefault(
            "head_parameters", sum(one.numel() for one in self.state.values()) - self.facts["stored_parameters"]
        )

    @property
    def inside(self) -> dict[str, Tensor]:
        """What was learnt of the backbone, its head left out."""
        return inside_of(self.state, self.pvp is None)

    @property
    def of_head(self) -> dict[str, Tensor]:
        """What was learnt of the head, by its own names."""
        kept = self.inside
        return {name.removeprefix("head."): one for name, one in self.state.items() if name not in kept}

    def applied(self) -> AbstractContextManager[None]:
        """Inside the block the backbone answers as this member."""
        return self.tuning.applied(self.backbone, self.inside) if self.tuning else nullcontext()

    def keep(self) -> Self:
        """The same with its tensors copied to the CPU."""
        return replace(self, state={name: one.detach().to("cpu", copy=True) for name, one in self.state.items()})

    @property
    def spelt_tuning(self) -> dict[str, Any] | None:
        """The tuning as JSON can hold it."""
        tuning: Any = self.tuning
        return {"name": tuning.name, "settings": asdict(tuning)} if tuning else None

    @property
    def counts(self) -> dict[str, Any]:
        """How many parameters it learnt, by what they belong to."""
        return {key: value for key, value in self.facts.items() if key.endswith("parameters")}

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What was learnt, as arrays."""
        return {name: _array(one) for name, one in self.state.items()}


def inside_of(state: Mapping[str, Tensor], headed: bool) -> dict[str, Tensor]:
    """What was learnt of a backbone: all but the head, where there is one.

    Without one every name is the backbone's own, and some of ModernBERT's begin with ``head.``, too.
    """
    return {name: one for name, one in state.items() if not (headed and name.startswith("head."))}


def restored(
    backbone: Backbone, spelt: Mapping[str, Any] | None, arrays: Mapping[str, np.ndarray], headed: bool
) -> tuple[Tuning | None, dict[str, Tensor]]:
    """A tuning and its state from what :class:`Standing` says of them.

    Args:
        backbone: whose number format the state takes, a head's left out.
        spelt: ``spelt_tuning``.
        arrays: ``arrays``.
        headed: whether it has a head.
    """
    tuning = TUNINGS.build(spelt["name"], spelt["settings"]) if spelt else None
    state = {name: torch.from_numpy(np.array(one)) for name, one in arrays.items()}
    inside = {name: one for name, one in inside_of(state, headed).items() if one.is_floating_point()}
    return tuning, state | {name: one.to(backbone.dtype) for name, one in inside.items()}


def _array(tensor: Tensor) -> np.ndarray:
    kept = tensor.detach().cpu()
    if kept.dtype == torch.bfloat16:  # NumPy lacks it; float32 holds its numbers exactly
        kept = kept.float()
    return kept.numpy()
