"""BitFit: only biases learn (Ben Zaken et al. 2022, arXiv:2106.10199, section 3).

    for each module of the encoder with a bias b (linear layers and layer norms alike):
        s = 0 (width)                                  so the start equals the plain backbone
        y <- y + s                                     the same as learning b
    train every s without weight decay, keep the rest
    to merge:  b <- b + s

Under a classification head the pooler's bias learns too; under a cloze the language-model head's biases stay frozen.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from promptlab.backbone.backbone import Backbone
from promptlab.errors import BackboneError
from promptlab.tuning.inject import Beside, Piece, beside, swapped
from promptlab.tuning.tuning import State, Usual, by_member, by_width

_ADDS_ITS_BIAS = {"Linear", "LayerNorm", "Conv1D", "ModernBertLayerNorm"}


@dataclass(frozen=True)
class BitFit(Usual):
    """Every bias of the encoder learns.

    Args:
        lr: step size; by default 1e-3 at width 1024, larger on narrower backbones.
        dropout: rate in the backbone while training.
    """

    name: ClassVar[str] = "bitfit"
    stackable: ClassVar[bool] = True
    pooler: ClassVar[str] = "bias"
    weight_decay: ClassVar[float] = 0.0
    lr: float | None = None
    dropout: float = 0.0

    def learn(
        self, backbone: Backbone, cloze: bool, generators: Sequence[torch.Generator]
    ) -> AbstractContextManager[Beside]:
        """One shift a bias for every member."""
        pieces: dict[str, Piece] = {}
        for name, (module, bias) in biased(backbone).items():
            pieces[name] = Shift(module, bias.new_zeros(len(generators), len(bias)).requires_grad_(True))
        return beside(pieces)

    def applied(self, backbone: Backbone, state: State) -> AbstractContextManager[None]:
        """Folds the shifts into the biases; beside them where blocks share one bias (ALBERT)."""
        found = biased(backbone)
        if len({bias.data_ptr() for _, bias in found.values()}) < len(found):
            return _alone(found, state)
        stem = f"{backbone.model.base_model_prefix}."
        values = {f"{stem}{name}.bias": bias + state[f"{name}.shift"].to(bias) for name, (_, bias) in found.items()}
        return swapped(dict(backbone.model.named_parameters()), values)

    def rate(self, backbone: Backbone, cloze: bool) -> float:
        """1e-3 at width 1024."""
        return self.lr if self.lr is not None else by_width(1e-3, backbone)


class Shift:
    """What one bias has learnt, for all members of a stack at once."""

    def __init__(self, module: nn.Module, shift: Tensor):
        self.module, self.tensors = module, {"shift": shift}

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """Adds the shift to the module's output, ``(members * batch, ..., width)``."""
        shift = self.tensors["shift"]
        return (by_member(y, len(shift)) + shift[:, None]).view_as(y)


def biased(backbone: Backbone) -> dict[str, tuple[nn.Module, Tensor]]:
    """The encoder's modules that add a bias, and the bias, by name.

    Raises:
        BackboneError: there is none, or one is not added by the module's own forward.
    """
    found = {}
    for name, module in backbone.body.named_modules(remove_duplicate=False):
        bias = getattr(module, "bias", None)
        if not isinstance(bias, nn.Parameter):
            continue
        if type(module).__name__ not in _ADDS_ITS_BIAS:
            kind = type(module).__name__
            raise BackboneError(
                f"bitfit: {name} is a {kind}, whose bias a shift of its output cannot stand for. Write prefix, soft or "
                "a bottleneck such as pfeiffer."
            )
        found[name] = (module, bias.detach())
    if not found:
        raise BackboneError(f"bitfit: {backbone.name} has no biases to learn. Write lora, top or full instead.")
    return found


@contextmanager
def _alone(found: dict[str, tuple[nn.Module, Tensor]], state: State) -> Iterator[None]:
    pieces: dict[str, Piece] = {
        name: Shift(module, state[f"{name}.shift"][None].to(bias)) for name, (module, bias) in found.items()
    }
    with beside(pieces):
        yield
