"""LoRA: a low-rank difference beside a frozen projection (Hu et al. 2022, arXiv:2106.09685, section 4.1).

    for each chosen projection  y = x W + b:
        A ~ Kaiming (in, r),  B = 0 (r, out)          so the start equals the plain backbone
        y <- y + alpha/r  dropout(x) A B
    train A and B, keep W
    to merge:  W <- W + alpha/r  A B

On a fused projection (GPT-2's [q|k|v]) the difference touches only the outputs of q and of v: the anatomy says which.
In an encoder-decoder q, k, v and o are those of every attention, the decoder's to the encoder too.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor
from torch.nn import functional

from promptlab.backbone.anatomy import Projection
from promptlab.backbone.backbone import Backbone
from promptlab.errors import SettingError, did_you_mean
from promptlab.tuning.inject import Beside, Piece, beside, drawn, refuse_few_bits, swapped
from promptlab.tuning.tuning import State, Usual, by_member, by_width

TARGETS = {
    "q": "query",
    "k": "key",
    "v": "value",
    "o": "attention_out",
    "in": "ffn_in",
    "gate": "ffn_gate",
    "out": "ffn_out",
}


@dataclass(frozen=True)
class Lora(Usual):
    """Which projections learn a low-rank difference.

    Args:
        r: rank; at most the projection's width.
        alpha: the difference is scaled by ``alpha / r``.
        targets: parts of a block joined by ``+`` (q k v o in gate out), or ``all`` that the backbone has; q k v o of
            all its attentions.
        lr: step size; by default 5e-4 at width 1024, larger on narrower backbones.
        weight_decay: decoupled, on A and B.
        dropout: rate before A and in the backbone while training; 0 keeps comparisons unconfounded.
    """

    name: ClassVar[str] = "lora"
    stackable: ClassVar[bool] = True
    r: int = 8
    alpha: float = 16.0
    targets: str = "q+v"
    lr: float | None = None
    weight_decay: float = 0.01
    dropout: float = 0.0

    def learn(
        self, backbone: Backbone, cloze: bool, generators: Sequence[torch.Generator]
    ) -> AbstractContextManager[Beside]:
        """A and B for every member beside every chosen projection."""
        pieces: dict[str, Piece] = {}
        for projection in self.projections(backbone):
            down, up = self.started(projection, generators)
            pieces[projection.name] = LowRank(projection, down, up, self.alpha / self.r, self.dropout)
        return beside(pieces)

    def started(self, projection: Projection, generators: Sequence[torch.Generator]) -> tuple[Tensor, Tensor]:
        """A and B of a projection before the first step, of as many members as there are generators."""
        bound = 1 / math.sqrt(projection.inputs)  # Kaiming uniform with a = sqrt(5), as loralib starts A
        weight = projection.weight
        down = drawn((projection.inputs, self.r), list(generators), bound, weight)
        return down, weight.new_zeros(len(generators), self.r, projection.width).requires_grad_(True)

    def applied(self, backbone: Backbone, state: State) -> AbstractContextManager[None]:
        """Folds the differences into the weights; beside them where blocks share one weight (ALBERT)."""
        if any(projection.shared for projection in self.projections(backbone)):
            return _alone(self, backbone, state)
        return swapped(dict(backbone.model.named_parameters()), self.merged(backbone, state))

    def merged(self, backbone: Backbone, state: State) -> dict[str, Tensor]:
        """The changed weights by parameter name."""
        own, weights = dict(backbone.model.named_parameters()), dict[str, Tensor]()
        for projection in self.held(backbone, state):
            name = projection.name.partition("[")[0] + ".weight"
            whole = weights.setdefault(name, own[name].detach().clone())
            down, up = (state[f"{projection.name}.{part}"].to(whole) for part in "AB")
            projection.add_to(whole, self.alpha / self.r * (down @ up).T)
        return weights

    def rate(self, backbone: Backbone, cloze: bool) -> float:
        """5e-4 at width 1024."""
        return self.lr if self.lr is not None else by_width(5e-4, backbone)

    def projections(self, backbone: Backbone) -> list[Projection]:
        """The chosen projections of every block, in order.

        Raises:
            SettingError: a target that no block has, or that is named twice, or a rank wider than a projection.
            BackboneError: a projection's weights are quantised.
        """
        roles, blocks = self._roles(backbone), backbone.anatomy.blocks
        chosen = [found for block in blocks for role in roles for found in block.of(role)]
        for projection in chosen:
            weight = cast(Tensor, projection.module.weight)  # four bits lie in other shapes, too
            refuse_few_bits(
                self.name, {projection.name: weight}, "and a difference is added to weights of full precision"
            )
            if self.r > projection.width:
                raise SettingError(
                    f"{self.name}: r={self.r} does not fit {projection.name} ({projection.width} wide). "
                    f"Write r from 1 to {projection.width}."
                )
        return chosen

    def held(self, backbone: Backbone, state: State) -> list[Projection]:
        """The chosen projections that a state has differences of; raises as :meth:`projections` does.

        None of those across, if it was saved before they learnt.
        """
        across = backbone.anatomy.across
        return [one for one in self.projections(backbone) if one.name not in across or f"{one.name}.A" in state]

    def _roles(self, backbone: Backbone) -> list[str]:
        blocks = backbone.anatomy.blocks
        there = {name: role for name, role in TARGETS.items() if any(block.of(role) for block in blocks)}
        names = list(there) if self.targets == "all" else self.targets.split("+")
        for name in names:
            if name not in there:
                raise SettingError(
                    f"{self.name}: no target '{name}' in {backbone.name}.{did_you_mean(name, there)} "
                    f"Known: {'+'.join(there)}, or all."
                )
        if len(set(names)) < len(names):
            raise SettingError(f"{self.name}: targets={self.targets} names a target twice. Write each once.")
        return [there[name] for name in names]


class LowRank:
    """One projection's difference, for all members of a stack at once."""

    def __init__(self, projection: Projection, down: Tensor, up: Tensor, scale: float, dropout: float):
        self.projection, self.module, self.scale, self.dropout = projection, projection.module, scale, dropout
        self.tensors = {"A": down, "B": up}

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """Adds the difference to the frozen projection's output.

        Args:
            x: input, ``(members * batch, tokens, inputs)``, member-major.
            y: the frozen module's output, ``(members * batch, tokens, outputs)``.
        """
        return y + self.projection.spread(self.difference(x))

    def difference(self, x: Tensor) -> Tensor:
        """What the projection's own features gain, ``(members * batch, tokens, width)``."""
        down, up = self.tensors["A"], self.tensors["B"]
        rows = by_member(functional.dropout(x, self.dropout) if self.dropout else x, len(down))
        return self.scale * torch.bmm(torch.bmm(rows, down), up).view(*x.shape[:-1], -1)


@contextmanager
def _alone(tuning: Lora, backbone: Backbone, state: State) -> Iterator[None]:
    pieces: dict[str, Piece] = {}
    for projection in tuning.projections(backbone):
        down, up = (state[f"{projection.name}.{part}"][None].to(projection.weight) for part in "AB")
        pieces[projection.name] = LowRank(projection, down, up, tuning.alpha / tuning.r, dropout=0.0)
    with beside(pieces):
        yield
