"""Lin's adapters: one a block, on the stream of states itself (Lin et al. 2020, arXiv:2004.03829, section 3).

    f(x) = relu(x D + d) U + u           a bottleneck of r units (bottleneck.py)
    h <- h + f(LN(h))                    h = a block's output, LN a layer norm of the adapter's own, which learns too
    start: LN at weight 1 and bias 0

It is the Adapter^L of GPT-2 tables. r=16 as ``pfeiffer`` has it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from promptlab.backbone.anatomy import Block
from promptlab.backbone.backbone import Backbone
from promptlab.tuning.bottleneck import Bottleneck, Funnel
from promptlab.tuning.inject import Piece
from promptlab.tuning.tuning import by_member

EPS = 1e-5  # GPT-2's, and torch's


@dataclass(frozen=True)
class Lin(Bottleneck):
    """A bottleneck with its own layer norm after every block.

    Args:
        r: units of each bottleneck; at most the backbone's width.
        act: ``gelu``, ``gelu-tanh``, ``swish`` or ``relu``.
        init: ``zero`` starts as the plain backbone, ``paper`` draws normal numbers of deviation 0.02, as GPT-2's are.
        lr: step size; by default 3e-4 at width 1024, larger on narrower backbones.
        weight_decay: decoupled, on matrices alone.
        dropout: rate in the backbone while training.
    """

    name: ClassVar[str] = "lin"

    def of(self, block: Block, backbone: Backbone, f: Callable[[str], Funnel]) -> Iterator[tuple[str, Piece]]:
        """One behind the block."""
        yield block.name, Stream(block.module, f(block.name))

    def started(self, generators: list[torch.Generator], like: Tensor) -> Funnel:
        """A bottleneck and its norm before their first step."""
        found = super().started(generators, like)
        shape = (len(generators), len(like))
        norm = {"norm": like.new_ones(shape), "norm_bias": like.new_zeros(shape)}
        found.tensors |= {name: one.requires_grad_(True) for name, one in norm.items()}
        return found


class Stream:
    """``h + f(LN(h))`` where a block puts out h."""

    def __init__(self, module: nn.Module, f: Funnel):
        self.module, self.f, self.tensors = module, f, f.tensors

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """The block's output with f of its normed self added."""
        weight, bias = self.tensors["norm"][:, None], self.tensors["norm_bias"][:, None]
        normed = by_member(functional.layer_norm(y, y.shape[-1:], eps=EPS), len(weight)) * weight + bias
        return y + self.f(normed.view(y.shape))
