"""Parallel adapters: beside the feed-forward, not behind it (He et al. 2022, arXiv:2110.04366, section 3.3).

    f(x) = relu(x D + d) U + u           a bottleneck of r units (bottleneck.py)
    o <- o + scale f(x)                  x = what the feed-forward reads, o = what it puts out
                                         before dropout, residual and norm
    start: D ~ Kaiming, U = 0, as LoRA's, which is the paper's own start

In a pre-norm block x has gone through the norm. ``scale=4`` and r=512 are the paper's for summarisation; r=16 its
choice for GLUE, and enough for few rows.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from promptlab.backbone.anatomy import Block
from promptlab.backbone.backbone import Backbone
from promptlab.tuning.bottleneck import Bottleneck, Funnel
from promptlab.tuning.inject import Piece


@dataclass(frozen=True)
class Parallel(Bottleneck):
    """A bottleneck beside the feed-forward of every block.

    Args:
        r: units of each bottleneck; at most the backbone's width.
        act: ``gelu``, ``gelu-tanh``, ``swish`` or ``relu``.
        init: ``zero`` and ``paper`` are one start here.
        lr: step size; by default 3e-4 at width 1024, larger on narrower backbones.
        weight_decay: decoupled, on matrices alone.
        dropout: rate in the backbone while training.
        scale: the bottleneck's output is multiplied by it.
    """

    name: ClassVar[str] = "parallel"
    std: ClassVar[float | None] = None
    scale: float = 4.0

    def of(self, block: Block, backbone: Backbone, f: Callable[[str], Funnel]) -> Iterator[tuple[str, Piece]]:
        """One looks at what goes into the feed-forward, one adds to what comes out."""
        name = block.ffn_out.name
        look = Look(block.ffn_in.module)
        yield f"{name}/in", look
        yield name, Beneath(block.ffn_out.module, f(name), look, self.scale)


class Look:
    """Keeps what a module reads until it is taken.

    A block that is computed again for its gradients passes here again first, so what is taken is its own.
    """

    def __init__(self, module: nn.Module):
        self.module, self.tensors, self.seen = module, dict[str, Tensor](), list[Tensor]()

    def before(self, x: Tensor) -> Tensor:
        """The input as it is."""
        self.seen[:] = [x]
        return x

    def take(self) -> Tensor:
        """What was read last; kept no longer."""
        return self.seen.pop()


class Beneath:
    """``y + scale f(x)`` where a module puts out y and another read x."""

    def __init__(self, module: nn.Module, f: Funnel, look: Look, scale: float):
        self.module, self.f, self.look, self.scale, self.tensors = module, f, look, scale, f.tensors

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """The module's output with f of the other's input added."""
        return y + self.scale * self.f(self.look.take())
