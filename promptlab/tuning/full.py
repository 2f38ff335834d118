"""All weights learn, or the last blocks.

    full: every parameter of the encoder, and of the language-model head under a cloze
    top:  the last blocks and the final norm; never embeddings, so tied ones stay as they are (Li & Liang 2021,
          arXiv:2101.00190, "FT-Top2")

The backbone itself changes, so members run in turn: each trains a copy of the chosen tensors, which then are its state,
and the backbone's own tensors are put back untouched.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from promptlab.backbone.backbone import Backbone
from promptlab.errors import SettingError
from promptlab.tuning.inject import learning, refuse_few_bits, swapped
from promptlab.tuning.tuning import State, Usual, by_width


@dataclass(frozen=True)
class Full(Usual):
    """Every weight learns.

    Args:
        lr: step size; by default 1e-5 at width 1024 (PET's), larger on narrower backbones.
        weight_decay: decoupled; biases and norms have none.
        dropout: rate in the backbone while training.
    """

    name: ClassVar[str] = "full"
    stackable: ClassVar[bool] = False
    pooler: ClassVar[str] = "all"
    lr: float | None = None
    weight_decay: float = 0.01
    dropout: float = 0.0

    def learn(
        self, backbone: Backbone, cloze: bool, generators: Sequence[torch.Generator]
    ) -> AbstractContextManager["Inside"]:
        """Copies of all parameters learn.

        Raises:
            BackboneError: weights are quantised.
        """
        own = dict(backbone.model.named_parameters())
        body = {id(parameter) for parameter in backbone.body.parameters()}
        chosen = {name: one for name, one in own.items() if cloze or id(one) in body}
        return _inside(self.name, chosen, generators)

    def applied(self, backbone: Backbone, state: State) -> AbstractContextManager[None]:
        """The backbone holds the learnt tensors."""
        return _holding(backbone, state)

    def rate(self, backbone: Backbone, cloze: bool) -> float:
        """1e-5 at width 1024."""
        return self.lr if self.lr is not None else by_width(1e-5, backbone)


@dataclass(frozen=True)
class Top(Usual):
    """The last blocks and the final norm learn.

    Args:
        layers: how many blocks, counted from the output.
        lr: step size; by default 2e-5 at width 1024, larger on narrower backbones.
        weight_decay: decoupled; biases and norms have none.
        dropout: rate in the backbone while training.
    """

    name: ClassVar[str] = "top"
    stackable: ClassVar[bool] = False
    layers: int = 2
    lr: float | None = None
    weight_decay: float = 0.01
    dropout: float = 0.0

    def learn(
        self, backbone: Backbone, cloze: bool, generators: Sequence[torch.Generator]
    ) -> AbstractContextManager["Inside"]:
        """Copies of the top's parameters learn.

        Raises:
            SettingError: more layers than the backbone has.
            BackboneError: weights are quantised.
        """
        blocks = len(backbone.anatomy.blocks)
        if self.layers > blocks:
            raise SettingError(f"top: layers={self.layers}, but {backbone.name} has {blocks}. Write 1 to {blocks}.")
        ids, own = self._chosen(backbone), backbone.model.named_parameters()
        return _inside(self.name, {name: one for name, one in own if id(one) in ids}, generators)

    def below(self, backbone: Backbone) -> int:
        """Those under the top; none where blocks share their weights, or some of them are an encoder's."""
        under, chosen = backbone.anatomy.blocks[: -self.layers], self._chosen(backbone)
        shared = any(id(parameter) in chosen for block in under for parameter in block.module.parameters())
        return 0 if shared or backbone.config.is_encoder_decoder else len(under)

    def _chosen(self, backbone: Backbone) -> set[int]:
        blocks, norm = backbone.anatomy.blocks, backbone.anatomy.final_norm
        modules = [block.module for block in blocks[-self.layers :]] + ([norm[1]] if norm else [])
        return {id(parameter) for module in modules for parameter in module.parameters()}

    def applied(self, backbone: Backbone, state: State) -> AbstractContextManager[None]:
        """The backbone holds the learnt tensors."""
        return _holding(backbone, state)

    def rate(self, backbone: Backbone, cloze: bool) -> float:
        """2e-5 at width 1024."""
        return self.lr if self.lr is not None else by_width(2e-5, backbone)


class Inside:
    """The backbone's own parameters while they learn: a stack of one."""

    stacked = False

    def __init__(self, tensors: dict[str, Tensor]):
        self.tensors = tensors

    def route(self, rows: Sequence[Sequence[int]]) -> None:
        """Nothing: every row meets the same weights."""

    def state(self, member: int) -> dict[str, Tensor]:
        """The learnt tensors themselves: the backbone lets go of them after the block."""
        return {name: tensor.data for name, tensor in self.tensors.items()}


@contextmanager
def _inside(
    tuning: str, parameters: dict[str, nn.Parameter], generators: Sequence[torch.Generator]
) -> Iterator[Inside]:
    if len(generators) != 1:
        raise SettingError("a tuning that changes the backbone trains one member at a time.")
    refuse_few_bits(tuning, parameters, "between which there is no small step")
    copies = {name: parameter.data.clone() for name, parameter in parameters.items()}
    with swapped(parameters, copies), learning(parameters):
        yield Inside(dict(parameters))


def _holding(backbone: Backbone, state: State) -> AbstractContextManager[None]:
    device = {name: tensor.to(backbone.device) for name, tensor in state.items()}
    return swapped(dict(backbone.model.named_parameters()), device)
