"""AdaMix: experts met at random, averaged at the end (Wang et al. 2022, arXiv:2205.12410, sections 3.1 to 3.3).

    in each block, on the feed-forward's output y before dropout:   y <- y + Up_j(gelu(Down_i(y)))
    each step: the rows go through twice, the experts i, j drawn anew for each pass, block and projection
        A, B = label scores of the two passes
        L = CE(A) + consistency x 1/2 [KL(A||B) + KL(B||A)]          what each is pulled towards does not learn itself
    at the end: every projection is the mean of its experts, so one bottleneck is stored and answers

    adamix-lora: the same over LoRA's A and B beside chosen projections, which then fold into the weights

Both passes are one batch of twice the rows. ``share`` says which projection has one expert only: ``up`` in the released
code, ``none`` in the paper's text. Four experts of 16 units are the paper's own (RoBERTa-large): a step of two passes
teaches an expert every second time, so few steps are enough for four and too few for more.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from promptlab.backbone.anatomy import Projection
from promptlab.backbone.backbone import Backbone
from promptlab.errors import SettingError, did_you_mean
from promptlab.tuning.inject import Piece, beside, drawn
from promptlab.tuning.lora import Lora
from promptlab.tuning.routes import Experts, Mixed, Routes, mixed
from promptlab.tuning.tuning import State, Usual, by_width

_STD = 0.02  # of every new matrix in the released code
_ROUNDING = 256  # units in the last place of log-probabilities that are the same
_OF: tuple[Literal["down"], Literal["up"]] = ("down", "up")
_CHOICES = {"share": ("up", "down", "none"), "routing": ("batch", "row"), "init": ("zero", "paper")}


@dataclass(frozen=True)
class Mixing(Usual):
    """What both tunings have in common: how routes are drawn, and the loss of two of them.

    Args:
        experts: copies of a projection, at least two.
        share: the projection that all routes share: ``up`` (released code), ``down``, or ``none`` (the paper's text).
        consistency: weight of the divergence between the two passes' answers, a hundred times as much on tokens of a
            text (released code for GPT-2); 0 leaves it out.
        detach: what each pass is pulled towards does not learn from it (released code); false: the printed formula.
        second_pass_loss: the second pass learns from the labels too, its loss added to the first's.
        routing: one route for all rows of a pass (``batch``, as published), or one a ``row``.
    """

    stackable: ClassVar[bool] = True
    experts: int = 4
    share: Literal["up", "down", "none"] = "up"
    consistency: float = 1.0
    detach: bool = True
    second_pass_loss: bool = False
    routing: Literal["batch", "row"] = "batch"

    def __post_init__(self) -> None:
        super().__post_init__()
        for key, known in _CHOICES.items():
            value = getattr(self, key, known[0])
            if value not in known:
                guess = did_you_mean(str(value), known)
                raise SettingError(f"{self.name}: {key}={value} cannot be.{guess} Write one of {', '.join(known)}.")

    @property
    def packs(self) -> bool:
        """Unless every row has a route of its own."""
        return self.routing == "batch"

    @property
    def passes(self) -> int:
        """Twice; once where no loss reads the second."""
        return 2 if self.consistency or self.second_pass_loss else 1

    def joined(self, each: Tensor, scores: Tensor, agreement: float = 1.0) -> Tensor:
        """Labels on the first pass, and how far the two are apart."""
        labels = each.sum(1) if self.second_pass_loss else each[:, 0]
        if not self.consistency:
            return labels.mean(1)
        apart = divergence(scores[:, 0], scores[:, 1], self.detach)
        return (labels + agreement * self.consistency * apart).mean(1)

    def routes(self, generators: Sequence[torch.Generator]) -> Routes:
        """Routes of a stack of so many members."""
        return Routes(generators, self.experts, self.passes, self.routing == "row")

    def copies(self, of: Literal["down", "up"]) -> int:
        """How many experts a projection has."""
        return 1 if self.share == of else self.experts


@dataclass(frozen=True)
class AdaMix(Mixing):
    """Mixed bottlenecks after every feed-forward.

    Args:
        r: hidden units of each expert; at most the backbone's width.
        experts: copies of a projection, at least two.
        share: the projection that all routes share: ``up``, ``down``, ``none``.
        consistency: weight of the divergence between the two passes' answers, a hundred times as much on tokens of a
            text (released code for GPT-2); 0 leaves it out.
        detach: what each pass is pulled towards does not learn from it; false: the printed formula.
        second_pass_loss: the second pass learns from the labels too.
        routing: one route a ``batch`` and pass, or one a ``row``.
        init: ``zero``: up-projections 0, so the start equals the plain backbone; ``paper``: N(0, 0.02), biases 0.
        lr: step size; by default 3e-4 at width 1024, larger on narrower backbones.
        weight_decay: decoupled; biases have none.
        dropout: rate in the backbone while training.
    """

    name: ClassVar[str] = "adamix"
    r: int = 16
    init: Literal["zero", "paper"] = "zero"
    lr: float | None = None
    weight_decay: float = 0.01
    dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.share == "down" and self.init == "zero":
            raise SettingError(
                "adamix: share=down with init=zero starts all experts alike. Write init=paper beside it."
            )

    def learn(
        self, backbone: Backbone, cloze: bool, generators: Sequence[torch.Generator]
    ) -> AbstractContextManager[Mixed]:
        """The experts of every member after every feed-forward.

        Raises:
            SettingError: more hidden units than the backbone is wide.
        """
        routes, pieces, like = self.routes(generators), dict[str, Piece](), backbone.no_states
        for place in _places(backbone):
            self._check(place)
            down, up = (self._experts(like, of, routes, generators) for of in _OF)
            pieces[place.name] = Bottleneck(place.module, down, up, _tanh(backbone))
        counts = {f"{of}{part}": self.copies(of) for of in _OF for part in ("", "_bias")}
        return mixed(pieces, counts, routes)

    def applied(self, backbone: Backbone, state: State) -> AbstractContextManager[None]:
        """One bottleneck a block."""
        return _alone(backbone, state)

    def rate(self, backbone: Backbone, cloze: bool) -> float:
        """3e-4 at width 1024."""
        return self.lr if self.lr is not None else by_width(3e-4, backbone)

    def _check(self, place: Projection) -> None:
        if self.r > place.width:
            raise SettingError(
                f"adamix: r={self.r} does not fit {place.name} ({place.width} wide). Write r from 1 to {place.width}."
            )

    def _experts(
        self, like: Tensor, of: Literal["down", "up"], routes: Routes, generators: Sequence[torch.Generator]
    ) -> Experts:
        inputs, outputs = (len(like), self.r) if of == "down" else (self.r, len(like))
        count = self.copies(of)
        shape = (count * inputs, outputs)
        if self.init == "paper":
            weight = _normal(shape, generators, like)
        elif of == "down":
            weight = drawn(shape, list(generators), 1 / math.sqrt(inputs), like)
        else:
            weight = like.new_zeros(len(generators), *shape).requires_grad_(True)
        bias = like.new_zeros(len(generators), count * outputs).requires_grad_(True)
        return Experts(weight, bias, count, routes)


@dataclass(frozen=True)
class AdaMixLora(Mixing):
    """Mixed low-rank differences of chosen projections.

    Args:
        r: rank; at most the projection's width.
        alpha: the difference is scaled by ``alpha / r``.
        targets: parts of a block joined by ``+`` (q k v o in gate out), or ``all`` that the backbone has; q k v o of
            all its attentions.
        experts: copies of A, at least two, and with ``share=none`` of B.
        share: ``up``: all routes share B; ``none``.
        consistency: weight of the divergence between the two passes' answers, a hundred times as much on tokens of a
            text (released code for GPT-2); 0 leaves it out.
        detach: what each pass is pulled towards does not learn from it; false: the printed formula.
        second_pass_loss: the second pass learns from the labels too.
        routing: one route a ``batch`` and pass, or one a ``row``.
        lr: step size; by default 5e-4 at width 1024, larger on narrower backbones.
        weight_decay: decoupled, on A and B.
        dropout: rate before A and in the backbone while training.
    """

    name: ClassVar[str] = "adamix-lora"
    r: int = 8
    alpha: float = 16.0
    targets: str = "q+v"
    lr: float | None = None
    weight_decay: float = 0.01
    dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.share == "down":
            raise SettingError(
                "adamix-lora: share=down leaves B to differ, and every B starts at 0. Write share=up or share=none."
            )

    def learn(
        self, backbone: Backbone, cloze: bool, generators: Sequence[torch.Generator]
    ) -> AbstractContextManager[Mixed]:
        """The experts of A and B of every member beside every chosen projection.

        Raises:
            SettingError: what the projections read is not rows alone, so that two passes cannot go side by side.
        """
        if self.passes > 1 and not backbone.stackable:
            raise SettingError(
                f"adamix-lora: {backbone.name} sends relative positions through its projections, which rows of two "
                "passes share. Write consistency=0, or adamix."
            )
        routes, pieces = self.routes(generators), dict[str, Piece]()
        downs, ups, members = self.copies("down"), self.copies("up"), len(generators)
        for projection in self._plain.projections(backbone):
            like, bound = projection.weight, 1 / math.sqrt(projection.inputs)
            down = drawn((downs * projection.inputs, self.r), list(generators), bound, like)
            up = like.new_zeros(members, ups * self.r, projection.width).requires_grad_(True)
            pieces[projection.name] = Difference(
                projection, Experts(down, None, downs, routes), Experts(up, None, ups, routes), self._plain
            )
        return mixed(pieces, {"A": downs, "B": ups}, routes)

    def applied(self, backbone: Backbone, state: State) -> AbstractContextManager[None]:
        """Folds the means into the weights, as LoRA does."""
        return self._plain.applied(backbone, state)

    def rate(self, backbone: Backbone, cloze: bool) -> float:
        """5e-4 at width 1024."""
        return self._plain.rate(backbone, cloze)

    @property
    def _plain(self) -> Lora:
        return _Plain(self.r, self.alpha, self.targets, self.lr, self.weight_decay, self.dropout)


class _Plain(Lora):
    """What is left when the experts are averaged."""

    name = AdaMixLora.name


class Bottleneck:
    """The experts after one feed-forward."""

    def __init__(self, module: nn.Module, down: Experts, up: Experts, tanh: bool):
        self.module, self.down, self.up, self.tanh = module, down, up, tanh
        self.tensors = {"down": down.weight, "up": up.weight}
        self.tensors |= {
            f"{of}_bias": one.bias for of, one in zip(_OF, (down, up), strict=True) if one.bias is not None
        }

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """``y + Up(gelu(Down(y)))`` of the feed-forward's output ``(groups * batch, ..., width)``, group-major."""
        inner = functional.gelu(self.down(y), approximate="tanh" if self.tanh else "none")
        return y + self.up(inner)


class Difference:
    """The experts of one projection's low-rank difference."""

    def __init__(self, projection: Projection, down: Experts, up: Experts, plain: Lora):
        self.module, self.projection, self.down, self.up = projection.module, projection, down, up
        self.scale, self.dropout = plain.alpha / plain.r, plain.dropout
        self.tensors = {"A": down.weight, "B": up.weight}

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """Adds ``alpha/r x A B`` to the frozen module's output ``(groups * batch, ..., outputs)``, group-major."""
        inner = self.down(functional.dropout(x, self.dropout) if self.dropout else x)
        difference = self.scale * self.up(inner)
        return y + self.projection.spread(difference)


def divergence(first: Tensor, second: Tensor, detach: bool) -> Tensor:
    """``1/2 [KL(A||B) + KL(B||A)]`` between the softmaxes of label scores; ``(A - B)^2`` of a head's single number.

    Args:
        first: scores of pass A, ``(..., labels)``; minus infinity, in both, where a row has no such label.
        second: scores of pass B.
        detach: the first distribution of each divergence counts as given.

    Returns:
        ``(...)``.
    """
    if first.shape[-1] == 1:
        pulled = (first - second.detach()).square() + (first.detach() - second).square()
        return (0.5 * pulled if detach else (first - second).square()).squeeze(-1)
    a, b = first.log_softmax(-1), second.log_softmax(-1)
    missing = first.isneginf()
    gap = (a - b).detach().masked_fill(missing, 0).abs().amax(-1)

    def kl(target: Tensor, other: Tensor) -> Tensor:
        target = target.detach() if detach else target
        return (target.exp() * (target - other).masked_fill(missing, 0)).sum(-1)

    # before anything is learnt both passes agree, and Adam would make whole steps of what rounding leaves between them
    return (0.5 * (kl(a, b) + kl(b, a))).masked_fill(gap <= _ROUNDING * torch.finfo(a.dtype).eps, 0)


def _places(backbone: Backbone) -> list[Projection]:
    return [block.ffn_out for block in backbone.anatomy.blocks]


def _tanh(backbone: Backbone) -> bool:
    return backbone.anatomy.family == "gpt2"  # each release takes the gelu of the models that it was written for


def _normal(shape: tuple[int, ...], generators: Sequence[torch.Generator], like: Tensor) -> Tensor:
    slices = [_STD * torch.randn(shape, generator=one, dtype=torch.float64) for one in generators]
    return torch.stack(slices).to(device=like.device, dtype=like.dtype).requires_grad_(True)


@contextmanager
def _alone(backbone: Backbone, state: State) -> Iterator[None]:
    pieces, like = dict[str, Piece](), backbone.no_states
    for place in _places(backbone):
        own = {part: state[f"{place.name}.{part}"][None].to(like) for of in _OF for part in (of, f"{of}_bias")}
        down, up = (Experts(own[of], own[f"{of}_bias"], 1) for of in _OF)
        pieces[place.name] = Bottleneck(place.module, down, up, _tanh(backbone))
    with beside(pieces):
        yield
