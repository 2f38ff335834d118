"""Houlsby's adapters: two a block (Houlsby et al. 2019, arXiv:1902.00751, section 2.1).

    f(x) = act(x D + d) U + u                     a bottleneck of r units (bottleneck.py)
    a <- a + f1(a)      a = attention's output    before dropout, residual and norm
    o <- o + f2(o)      o = feed-forward's output before dropout, residual and norm

The paper trains the layer norms too; the tables that quote it as "Houlsby" do not, and neither does this. ``act=swish``
is the adapter of LoRA's RoBERTa table, ``act=relu`` the Adapter^H of GPT-2 tables. r=8 is the small one of those
tables; on a backbone 384 wide with 6 blocks it learns 78,432 numbers, a third of a percent of it and about as many as
the default LoRA, which few rows can set.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from promptlab.backbone.anatomy import Block
from promptlab.backbone.backbone import Backbone
from promptlab.tuning.bottleneck import Act, Added, Bottleneck, Funnel
from promptlab.tuning.inject import Piece


@dataclass(frozen=True)
class Houlsby(Bottleneck):
    """A bottleneck after the attention and one after the feed-forward of every block.

    Args:
        r: units of each bottleneck; at most the backbone's width.
        act: ``gelu``, ``gelu-tanh``, ``swish`` or ``relu``.
        init: ``zero`` starts as the plain backbone, ``paper`` draws normal numbers of deviation 1e-3, cut at two.
        lr: step size; by default 3e-4 at width 1024, larger on narrower backbones.
        weight_decay: decoupled, on matrices alone.
        dropout: rate in the backbone while training.
    """

    name: ClassVar[str] = "houlsby"
    std: ClassVar[float | None] = 1e-3
    cut: ClassVar[float | None] = 2.0
    r: int = 8
    act: Act = "gelu"

    def of(self, block: Block, backbone: Backbone, f: Callable[[str], Funnel]) -> Iterator[tuple[str, Piece]]:
        """One behind each of the two projections back to the width."""
        for projection in (block.attention_out, block.ffn_out):
            yield projection.name, Added(projection.module, f(projection.name))
