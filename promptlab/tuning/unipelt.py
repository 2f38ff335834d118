"""UniPELT: bottlenecks, a prefix and low-rank differences, gated (Mao et al. 2022, arXiv:2110.07577, section 3).

    G(x) = mean over a row's real tokens of sigmoid(x w + b)           one number a row; w ~ N(0, 0.02), b = 0
    adapter  feed-forward's output o:  o <- o + G(o) f(o)              f and its place as pfeiffer has them
    prefix   keys  [G(x) P_keys; k],  values  [G(x) P_values; v]       x the attention's input, one gate for both
    lora     y <- y + G(x) x A B  of queries, and of values            a gate each, instead of alpha / r

The paper's code averages over padding too, so that a row's answer hangs on the rows beside it; here it does not. A gate
looks at a row as a whole: rows are not packed, and go through the last block whole. On a causal backbone
tokens therefore depend on later ones, those of a label word that is read behind the text among them. All is of
self-attentions: an encoder-decoder, whose decoder also attends across, is refused.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, fields
from functools import partial
from typing import ClassVar, Literal, Protocol, cast

import torch
from torch import Tensor, nn

from promptlab.backbone.anatomy import Projection
from promptlab.backbone.attention import Before, Pair, attentions
from promptlab.backbone.backbone import Backbone
from promptlab.backbone.rows import Real, whole_rows
from promptlab.errors import BackboneError, SettingError, did_you_mean
from promptlab.registry import TWO_ROWS
from promptlab.tuning.bottleneck import Funnel
from promptlab.tuning.inject import Piece, beside, drawn_normal, few_bits
from promptlab.tuning.lora import Lora, LowRank
from promptlab.tuning.mix import Union
from promptlab.tuning.pfeiffer import Pfeiffer
from promptlab.tuning.prefix import STORED, Directly, Prefix
from promptlab.tuning.tuning import Learnt, State, Usual, by_member, by_width

PARTS = ("adapter", "prefix", "lora")
ALIASES = {"ap": "adapter+prefix", "apl": "adapter+prefix+lora"}
_OF = {"adapter": ("adapter_r",), "prefix": ("n", "mid"), "lora": ("r",)}
_STD = 0.02  # of a gate's weights, as of BERT's own


@dataclass(frozen=True)
class UniPelt(Usual):
    """Which parts learn behind gates, and how large they are.

    Args:
        parts: of ``adapter``, ``prefix`` and ``lora``, joined by ``+``; ``ap`` and ``apl`` for short.
        adapter_r: units of each bottleneck; at most the backbone's width.
        n: keys and values of the prefix.
        mid: hidden units of the MLP that makes the prefix while it trains; 0 trains it directly.
        r: rank of the differences of queries and values.
        init: ``zero`` starts bottlenecks at 0 and the prefix from the activations of real words, ``paper`` both as the
            paper's code did.
        lr: step size of all parts; by default 5e-4 at width 1024, larger on narrower backbones.
        weight_decay: decoupled, on matrices alone, and not on the prefix.
        dropout: rate before the differences and in the backbone while training.
    """

    name: ClassVar[str] = "unipelt"
    kinds: ClassVar[tuple[str, ...]] = ("masked", "causal")
    stackable: ClassVar[bool] = True
    parts: str = "adapter+prefix+lora"
    adapter_r: int = 48
    n: int = 10
    mid: int = 512
    r: int = 8
    init: Literal["zero", "paper"] = "zero"
    lr: float | None = None
    weight_decay: float = 0.01
    dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        names = ALIASES.get(self.parts, self.parts).split("+")
        for name in names:
            if name not in PARTS:
                near = did_you_mean(name, PARTS)
                raise SettingError(f"unipelt: no part '{name}'.{near} Write some of {'+'.join(PARTS)}, ap or apl.")
        if len(set(names)) < len(names):
            raise SettingError(f"unipelt: parts={self.parts} names a part twice. Write each once.")
        object.__setattr__(self, "parts", "+".join(part for part in PARTS if part in names))
        self._check_chosen()

    def _check_chosen(self) -> None:
        defaults = {one.name: one.default for one in fields(self)}
        for part, settings in _OF.items():
            for key in settings:
                if getattr(self, key) != defaults[key] and part not in self.chosen:
                    raise SettingError(f"unipelt: {key}= is for {part}, and parts={self.parts}. Write it without.")

    @property
    def chosen(self) -> tuple[str, ...]:
        """The parts, in the order of ``PARTS``."""
        return tuple(self.parts.split("+"))

    @property
    def packs(self) -> bool:
        """No: a gate averages over a row."""
        return False

    def learn(
        self, backbone: Backbone, cloze: bool, generators: Sequence[torch.Generator]
    ) -> AbstractContextManager[Union]:
        """Every part with its gates, for every member.

        Raises:
            SettingError: a part is larger than the backbone allows.
            BackboneError: a part has no place in the backbone, or lora meets quantised weights.
        """
        return self._standing(backbone, _Drawn(self, backbone, generators))

    @contextmanager
    def applied(self, backbone: Backbone, state: State) -> Iterator[None]:
        """Beside the weights, for a gate differs from row to row."""
        with self._standing(backbone, _Kept(self, backbone, state)):
            yield

    def rate(self, backbone: Backbone, cloze: bool) -> float:
        """5e-4 at width 1024."""
        return self.lr if self.lr is not None else by_width(5e-4, backbone)

    @property
    def adapter(self) -> Pfeiffer:
        """The bottlenecks without their gates."""
        return Pfeiffer(r=self.adapter_r, init=self.init)

    @property
    def prefix(self) -> Prefix:
        """The prefix without its gates."""
        return Prefix(n=self.n, mid=self.mid, init="words" if self.init == "zero" else "random")

    @property
    def lora(self) -> Lora:
        """The low-rank differences without their gates."""
        return Lora(r=self.r, dropout=self.dropout)

    @contextmanager
    def _standing(self, backbone: Backbone, source: "_Source") -> Iterator[Union]:
        self._check(backbone)
        places = _queries(backbone) if "prefix" in self.chosen else {}  # looked for before anything is hooked
        with whole_rows(backbone) as real, ExitStack() as stack:
            learnt: dict[str, Learnt] = {}
            if "prefix" in self.chosen:  # first, for it may start from what the plain backbone says
                gates = {path: GatedKeys(query.module, source.gate(query.name), real) for path, query in places.items()}
                whole = source.prefix()
                stack.enter_context(self.prefix.standing(backbone, whole, lambda path, own: gates[path].on(own)))
                learnt["prefix"] = whole
                learnt["gate"] = stack.enter_context(beside({places[path].name: gates[path] for path in places}))
            if "adapter" in self.chosen:
                found = self.adapter.pieces(backbone, lambda name: GatedFunnel(source.adapter(name), real))
                learnt["adapter"] = stack.enter_context(beside(dict(found)))
            if "lora" in self.chosen:
                pieces: dict[str, Piece] = {}
                for one in self.lora.projections(backbone):
                    pieces[one.name] = GatedLowRank(one, source.lora(one), source.dropout, real)
                learnt["lora"] = stack.enter_context(beside(pieces))
            yield Union(learnt, {name: (1.0, float(name != "prefix")) for name in learnt})

    def _check(self, backbone: Backbone) -> None:
        if backbone.kind not in self.kinds:
            raise BackboneError(f"{TWO_ROWS}. Write mix or lora.")
        if "adapter" in self.chosen and self.adapter_r > (width := backbone.width):
            raise SettingError(
                f"unipelt: adapter_r={self.adapter_r} does not fit {backbone.name}, which is {width} wide. "
                f"Write adapter_r from 1 to {width}."
            )
        changed = [one for block in backbone.anatomy.blocks for one in (block.query, block.value)]
        weights = {one.name: cast(Tensor, one.module.weight) for one in changed}
        if "lora" in self.chosen and (name := few_bits(weights)):
            raise BackboneError(
                f"unipelt: {name} keeps its weights in few bits, and lora adds to weights of full precision. Write "
                "unipelt:parts=adapter+prefix."
            )
        if "lora" in self.chosen and not backbone.anatomy.stackable:
            raise BackboneError(
                f"unipelt: the projections of {backbone.name} also read positions that belong to no row, for which "
                "there is no gate. Write mix:parts=pfeiffer+lora."
            )


def _queries(backbone: Backbone) -> dict[str, Projection]:
    """For each attention module, by its path, the projection whose input is the attention's."""
    queries = [block.query for block in backbone.anatomy.blocks]
    found = {}
    for path in attentions(backbone.model):
        own = [query for query in queries if query.name.startswith(f"{path}.")]
        if not own:
            raise BackboneError(
                f"unipelt: no input of {path} in {backbone.name} is known, so a gate of the prefix has nothing to "
                "read. Write unipelt:parts=adapter+lora."
            )
        found[path] = own[0]
    return found


# ---------------------------------------------------------------- gated pieces


class Gate:
    """G, for all members of a stack at once.

    Args:
        tensors: ``gate (members, width, 1)`` and ``gate_bias (members, 1)`` among others.
        real: tells real tokens from padding.
    """

    def __init__(self, tensors: Mapping[str, Tensor], real: Real):
        self.weight, self.bias, self.real = tensors["gate"], tensors["gate_bias"], real

    def __call__(self, x: Tensor) -> Tensor:
        """How far the gate is open for each row of states ``(members * batch, tokens, width)``: ``(rows, 1, 1)``."""
        chances = torch.baddbmm(self.bias[:, None], by_member(x, len(self.weight)), self.weight).sigmoid()
        real = self.real.of(x)
        return ((chances.view(real.shape) * real).sum(1) / real.sum(1).clamp_min(1))[:, None, None]


class GatedFunnel(Funnel):
    """``G(x) f(x)``: a bottleneck behind a gate.

    Args:
        tensors: of both.
        real: tells real tokens from padding.
    """

    def __init__(self, tensors: Mapping[str, Tensor], real: Real):
        super().__init__(tensors, "relu")
        self.gate, self.real = Gate(tensors, real), real

    def __call__(self, x: Tensor) -> Tensor:
        """What the gate lets through of f, shaped like the states."""
        whole = self.real.rows(x)
        return (self.gate(whole) * super().__call__(whole)).view(x.shape)


class GatedLowRank(LowRank):
    """``y + G(x) x A B`` where a projection puts out y.

    Args:
        projection: of queries or values.
        tensors: A, B and the gate's.
        dropout: rate before A.
        real: tells real tokens from padding.
    """

    def __init__(self, projection: Projection, tensors: Mapping[str, Tensor], dropout: float, real: Real):
        super().__init__(projection, tensors["A"], tensors["B"], 1.0, dropout)
        self.tensors, self.gate = dict(tensors), Gate(tensors, real)

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """The projection's output with the gated difference added."""
        return y + self.projection.spread(self.gate(x) * self.difference(x))


class GatedKeys:
    """A layer's part of the prefix, keys and values alike times G of the attention's input.

    Args:
        module: reads the attention's input, before the attention function runs.
        tensors: of the gate.
        real: tells real tokens from padding.
    """

    def __init__(self, module: nn.Module, tensors: Mapping[str, Tensor], real: Real):
        self.module, self.tensors, self.gate = module, dict(tensors), Gate(tensors, real)

    def before(self, x: Tensor) -> Tensor:
        """The module's input as it is; G is kept until the attention asks for it, and made again with the block."""
        self.open = self.gate(x)[..., None]
        return x

    def on(self, before: Before) -> Before:
        """What stands before the attention's own keys and values, gated."""
        return partial(self._scaled, before)

    def _scaled(self, before: Before, keys: Tensor, values: Tensor) -> Pair:
        ahead, behind = before(keys, values)
        return self.open * ahead, self.open * behind


# ---------------------------------------------------------------- where their tensors come from


class _Source(Protocol):
    """Tensors of the pieces, each ``(members, ...)``, and the rate at which lora drops what it reads."""

    @property
    def dropout(self) -> float: ...

    def adapter(self, name: str) -> Mapping[str, Tensor]: ...

    def prefix(self) -> Directly: ...

    def gate(self, name: str) -> Mapping[str, Tensor]: ...

    def lora(self, projection: Projection) -> Mapping[str, Tensor]: ...


@dataclass(frozen=True)
class _Drawn:
    """Before the first step, each member's from its own generator."""

    tuning: UniPelt
    backbone: Backbone
    generators: Sequence[torch.Generator]

    @property
    def dropout(self) -> float:
        return self.tuning.dropout

    def adapter(self, name: str) -> Mapping[str, Tensor]:
        learnt = self.tuning.adapter.started(list(self.generators), self.backbone.no_states)
        return {**learnt.tensors, **self.gate(name)}

    def prefix(self) -> Directly:
        return self.tuning.prefix.started(self.backbone, self.generators)

    def gate(self, name: str) -> Mapping[str, Tensor]:
        like = self.backbone.no_states
        return {
            "gate": drawn_normal((self.backbone.width, 1), self.generators, _STD, like),
            "gate_bias": like.new_zeros(len(self.generators), 1).requires_grad_(True),
        }

    def lora(self, projection: Projection) -> Mapping[str, Tensor]:
        down, up = self.tuning.lora.started(projection, self.generators)
        return {"A": down, "B": up, **self.gate(projection.name)}


@dataclass(frozen=True)
class _Kept:
    """As one member has learnt them, and answers with them."""

    dropout: ClassVar[float] = 0.0
    tuning: UniPelt
    backbone: Backbone
    state: State

    def adapter(self, name: str) -> Mapping[str, Tensor]:
        return self._own(f"adapter.{name}.")

    def prefix(self) -> Directly:
        return self.tuning.prefix.kept(self.backbone, {STORED: self.state[f"prefix.{STORED}"]})

    def gate(self, name: str) -> Mapping[str, Tensor]:
        return self._own(f"gate.{name}.")

    def lora(self, projection: Projection) -> Mapping[str, Tensor]:
        return self._own(f"lora.{projection.name}.")

    def _own(self, stem: str) -> dict[str, Tensor]:
        found = {key.removeprefix(stem): one for key, one in self.state.items() if key.startswith(stem)}
        return {key: one[None].to(self.backbone.device, self.backbone.dtype) for key, one in found.items()}
