"""What bottleneck adapters share: down to r units and up again (Houlsby et al. 2019, arXiv:1902.00751, section 2.1).

    f(x) = act(x D + d) U + u             D (width, r), U (r, width); biases d and u
    start: D ~ Kaiming, U = d = u = 0     so that f = 0 and the backbone answers as it did
    init=paper: D and U as the paper's code drew them
    train D, d, U, u; weight decay on D and U alone

What f reads and where its output is added is all that the adapters differ in: ``houlsby``, ``pfeiffer``, ``parallel``
and ``lin``, a file each. None folds into the weights, for there is an activation in the middle.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from promptlab.backbone.anatomy import Block
from promptlab.backbone.backbone import Backbone
from promptlab.errors import SettingError, did_you_mean
from promptlab.tuning.inject import Beside, Piece, beside, drawn, drawn_normal, standing
from promptlab.tuning.tuning import State, Usual, by_member, by_width

Act = Literal["gelu", "gelu-tanh", "swish", "relu"]
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "gelu-tanh": partial(functional.gelu, approximate="tanh"),
    "swish": functional.silu,
    "relu": functional.relu,
}


@dataclass(frozen=True)
class Bottleneck(Usual, ABC):
    """The settings of all bottleneck adapters.

    Args:
        r: units of the bottleneck; at most the backbone's width.
        act: their activation: ``gelu``, ``gelu-tanh``, ``swish`` or ``relu``.
        init: ``zero`` starts as the plain backbone, ``paper`` as the paper's code did.
        lr: step size; by default 3e-4 at width 1024, larger on narrower backbones.
        weight_decay: decoupled, on matrices alone.
        dropout: rate in the backbone while training; 0 keeps comparisons unconfounded.
    """

    stackable: ClassVar[bool] = True
    std: ClassVar[float | None] = 0.02
    """Of the normal numbers that the paper's own start draws; None where it is the zero one."""
    cut: ClassVar[float | None] = None
    """None of them lies farther out than so many std."""
    r: int = 16
    act: Act = "relu"
    init: Literal["zero", "paper"] = "zero"
    lr: float | None = None
    weight_decay: float = 0.01
    dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for key, known in (("act", list(ACTIVATIONS)), ("init", ["zero", "paper"])):
            if (value := getattr(self, key)) not in known:
                listed = ", ".join(known)
                raise SettingError(
                    f"{self.name}: {key}={value} cannot be.{did_you_mean(str(value), known)} Write one of {listed}."
                )

    def pieces(self, backbone: Backbone, f: Callable[[str], "Funnel"]) -> Iterator[tuple[str, Piece]]:
        """Every learnt part with the name that its tensors go by.

        Args:
            backbone: where they stand.
            f: makes the bottleneck of a name.
        """
        for block in backbone.anatomy.blocks:
            yield from self.of(block, backbone, f)

    @abstractmethod
    def of(self, block: Block, backbone: Backbone, f: Callable[[str], "Funnel"]) -> Iterator[tuple[str, Piece]]:
        """The learnt parts of one block."""

    def learn(
        self, backbone: Backbone, cloze: bool, generators: Sequence[torch.Generator]
    ) -> AbstractContextManager[Beside]:
        """A bottleneck for every member at every place.

        Raises:
            SettingError: it would be no bottleneck.
        """
        like = backbone.no_states
        if self.r > (width := len(like)):
            raise SettingError(
                f"{self.name}: r={self.r} does not fit {backbone.name}, which is {width} wide. "
                f"Write r from 1 to {width}."
            )
        return beside(dict(self.pieces(backbone, lambda name: self.started(list(generators), like))))

    def applied(self, backbone: Backbone, state: State) -> AbstractContextManager[None]:
        """Beside the weights, for what has an activation folds into none."""
        like = backbone.no_states

        def learnt(name: str) -> Funnel:
            own = {key.removeprefix(f"{name}."): one for key, one in state.items() if key.startswith(f"{name}.")}
            return Funnel({key: one[None].to(like) for key, one in own.items()}, self.act)

        return standing(dict(self.pieces(backbone, learnt)))

    def rate(self, backbone: Backbone, cloze: bool) -> float:
        """3e-4 at width 1024."""
        return self.lr if self.lr is not None else by_width(3e-4, backbone)

    def started(self, generators: list[torch.Generator], like: Tensor) -> "Funnel":
        """A bottleneck before its first step.

        Args:
            generators: one a member.
            like: a matrix whose rows are the states, ``(width, ...)``.
        """
        width, members = len(like), len(generators)
        bias, shift = (like.new_zeros(members, size).requires_grad_(True) for size in (self.r, width))
        if self.init == "paper" and self.std is not None:
            down = drawn_normal((width, self.r), generators, self.std, like, self.cut)
            up = drawn_normal((self.r, width), generators, self.std, like, self.cut)
        else:
            down = drawn((width, self.r), generators, 1 / math.sqrt(width), like)
            up = like.new_zeros(members, self.r, width).requires_grad_(True)
        return Funnel({"down": down, "down_bias": bias, "up": up, "up_bias": shift}, self.act)


class Funnel:
    """f, for all members of a stack at once.

    Args:
        tensors: ``down (members, width, r)``, ``down_bias``, ``up (members, r, width)``, ``up_bias``.
        act: name of the activation.
    """

    def __init__(self, tensors: Mapping[str, Tensor], act: str):
        self.tensors, self.act = dict(tensors), ACTIVATIONS[act]

    def __call__(self, x: Tensor) -> Tensor:
        """What f makes of states ``(members * batch, tokens, width)``, member-major: the same shape."""
        down, up = self.tensors["down"], self.tensors["up"]
        inner = torch.baddbmm(self.tensors["down_bias"][:, None], by_member(x, len(down)), down)
        return torch.baddbmm(self.tensors["up_bias"][:, None], self.act(inner), up).view(x.shape)


class Added:
    """``y + f(y)`` where a module puts out y."""

    def __init__(self, module: nn.Module, f: Funnel):
        self.module, self.f, self.tensors = module, f, f.tensors

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """The module's output with f of itself added."""
        return y + self.f(y)
