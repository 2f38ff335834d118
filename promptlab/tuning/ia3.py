"""IA3: learnt factors on keys, values and inner units (Liu et al. 2022, arXiv:2205.05638, section 3.3).

    in each block, with factors k, v, m that start at 1 (so the start equals the plain backbone):
        keys <- k * keys,  values <- v * values          where their projections put them out
        feed-forward: act(x W1) W2 -> (m * act(x W1)) W2  also where it is gated
    train the factors without weight decay, keep the rest
    to merge: rows of the projections and of their biases times k and v, columns of W2 times m

Keys are multiplied before a norm or a rotation that follows them. Fewer key-value heads have fewer factors. In an
encoder-decoder keys and values are those of every attention, the decoder's to the encoder too.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor

from promptlab.backbone.anatomy import Block, Projection
from promptlab.backbone.backbone import Backbone
from promptlab.tuning.inject import Beside, Piece, beside, few_bits, standing, swapped
from promptlab.tuning.tuning import State, Usual, by_member, by_width


@dataclass(frozen=True)
class Ia3(Usual):
    """A factor for every key, value and inner unit of every block, and for keys and values that it reads an encoder by.

    Args:
        lr: step size; by default 3e-3 at width 1024, larger on narrower backbones.
        dropout: rate in the backbone while training.
    """

    name: ClassVar[str] = "ia3"
    stackable: ClassVar[bool] = True
    weight_decay: ClassVar[float] = 0.0
    lr: float | None = None
    dropout: float = 0.0

    def learn(
        self, backbone: Backbone, cloze: bool, generators: Sequence[torch.Generator]
    ) -> AbstractContextManager[Beside]:
        """One factor a number for every member."""
        like = backbone.no_states

        def ones(name: str, size: int) -> Tensor:
            return like.new_ones(len(generators), size).requires_grad_(True)

        return beside(dict(_pieces(backbone, ones)))

    def applied(self, backbone: Backbone, state: State) -> AbstractContextManager[None]:
        """Folds the factors into weights and biases; beside shared ones (ALBERT's) and those of few bits."""
        scaled = [one for block in backbone.anatomy.blocks for one in (block.key, block.value, block.ffn_out)]
        if any(one.shared for one in scaled) or few_bits({one.name: cast(Tensor, one.module.weight) for one in scaled}):
            like = backbone.no_states
            return standing(dict(_pieces(backbone, lambda name, size: state[f"{name}.factor"][None].to(like))))
        return swapped(dict(backbone.model.named_parameters()), self.merged(backbone, state))

    def merged(self, backbone: Backbone, state: State) -> dict[str, Tensor]:
        """The changed weights and biases by parameter name."""
        own, found = dict(backbone.model.named_parameters()), dict[str, Tensor]()

        def whole(projection: Projection, part: str) -> Tensor | None:
            name = f"{projection.name.partition('[')[0]}.{part}"
            return found.setdefault(name, own[name].detach().clone()) if name in own else None

        for block in backbone.anatomy.blocks:
            for projection in held(block, state):
                weight, bias = whole(projection, "weight"), whole(projection, "bias")
                factor = state[f"{projection.name}.factor"].to(projection.weight)
                if projection is block.ffn_out:
                    _across(weight, projection).mul_(factor)
                    continue
                scale = 1 + projection.spread(factor - 1)
                _across(weight, projection).mul_(scale[:, None])
                if bias is not None:
                    bias *= scale
        return found

    def rate(self, backbone: Backbone, cloze: bool) -> float:
        """3e-3 at width 1024."""
        return self.lr if self.lr is not None else by_width(3e-3, backbone)


class Outputs:
    """Factors on what a projection puts out."""

    def __init__(self, projection: Projection, factor: Tensor):
        self.module, self.projection, self.tensors = projection.module, projection, {"factor": factor}

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """The module's output, ``(members * batch, tokens, outputs)``, its own features multiplied."""
        whole = 1 + self.projection.spread(self.tensors["factor"] - 1)
        return (by_member(y, len(whole)) * whole[:, None]).view(y.shape)


class Inputs:
    """Factors on what a projection reads."""

    def __init__(self, projection: Projection, factor: Tensor):
        self.module, self.tensors = projection.module, {"factor": factor}

    def before(self, x: Tensor) -> Tensor:
        """The module's input, ``(members * batch, tokens, inputs)``, multiplied."""
        factor = self.tensors["factor"]
        return (by_member(x, len(factor)) * factor[:, None]).view(x.shape)


def keys_and_values(block: Block) -> tuple[Projection, ...]:
    """What puts out the keys and values of all attentions of a block."""
    return *block.of("key"), *block.of("value")


def held(block: Block, state: State) -> list[Projection]:
    """What a state has factors of in a block; not of keys and values across, if it was saved before they learnt."""
    own, every = (block.key, block.value, block.ffn_out), (*keys_and_values(block), block.ffn_out)
    return [one for one in every if one in own or f"{one.name}.factor" in state]


def _pieces(backbone: Backbone, factor: Callable[[str, int], Tensor]) -> Iterator[tuple[str, Piece]]:
    for block in backbone.anatomy.blocks:
        for projection in keys_and_values(block):
            yield projection.name, Outputs(projection, factor(projection.name, projection.width))
        out = block.ffn_out
        yield out.name, Inputs(out, factor(out.name, out.inputs))


def _across(weight: Tensor | None, projection: Projection) -> Tensor:
    # the whole module's weight as (outputs, inputs), a view
    assert weight is not None
    return weight.T if projection.transposed else weight
