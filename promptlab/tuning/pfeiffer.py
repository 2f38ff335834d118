"""Pfeiffer's adapters: one a block (Pfeiffer et al. 2021, arXiv:2005.00247, appendix A).

    f(x) = relu(x D + d) U + u           a bottleneck of r units (bottleneck.py)
    where the norm comes after the residual (BERT):  s = o + a     o feed-forward's output, a its input
        h = LN(s);  y = LN(s + f(h))                               LN twice, the same frozen weights
    where it comes before (GPT-2, Llama, ModernBERT): o <- o + f(o) before the residual, without a norm

The order is that of AdapterHub's ``seq_bn``. r=16 makes as many numbers as Houlsby's r=8: 76,128 on a backbone 384
wide with 6 blocks.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from promptlab.backbone.anatomy import Block
from promptlab.backbone.backbone import Backbone
from promptlab.tuning.bottleneck import Added, Bottleneck, Funnel
from promptlab.tuning.inject import Piece


@dataclass(frozen=True)
class Pfeiffer(Bottleneck):
    """A bottleneck after the feed-forward of every block.

    Args:
        r: units of each bottleneck; at most the backbone's width.
        act: ``gelu``, ``gelu-tanh``, ``swish`` or ``relu``.
        init: ``zero`` starts as the plain backbone, ``paper`` draws normal numbers of deviation 0.02, as BERT's are.
        lr: step size; by default 3e-4 at width 1024, larger on narrower backbones.
        weight_decay: decoupled, on matrices alone.
        dropout: rate in the backbone while training.
    """

    name: ClassVar[str] = "pfeiffer"

    def of(self, block: Block, backbone: Backbone, f: Callable[[str], Funnel]) -> Iterator[tuple[str, Piece]]:
        """Around the last norm of a post-norm block, or behind the feed-forward of a pre-norm one."""
        name = block.ffn_out.name
        if backbone.anatomy.final_norm is None:
            yield name, Twice(block.norms[-1][1], f(name))
        else:
            yield name, Added(block.ffn_out.module, f(name))


class Twice:
    """``LN(s + f(LN(s)))`` where a layer norm reads s."""

    def __init__(self, module: nn.Module, f: Funnel):
        self.module, self.f, self.tensors = module, f, f.tensors

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """The norm again, of its input with f of its output added."""
        again: Tensor = self.module.forward(x + self.f(y))  # not through the hooks, which would come here again
        return again
