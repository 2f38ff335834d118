"""What stands where in a model: its blocks, and in each the projections and norms, whatever the family calls them.

anatomy_of(model) -> Anatomy      by the family's layout (layouts.py); a family without one is probed (probing.py)
unroll(model)                     ALBERT's one layer, called L times, becomes L modules that hold the same weights

Blocks of an encoder-decoder are the encoder's, then the decoder's, which also attend across.
"""

import re
from collections import Counter
from collections.abc import Iterator
from copy import copy, deepcopy
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from promptlab.backbone.layouts import LAYOUTS, Layout, sizes, submodule
from promptlab.backbone.probing import probed

_PART = re.compile(r"(?P<path>[\w.]+)\[(?P<nth>\d)/(?P<of>\d)(?P<heads> a head)?\]")


@dataclass(frozen=True)
class Projection:
    """A matrix of a block: all of a module's output features, a slice of them, or the same slice of each head's.

    Args:
        name: the module's path in the model, with the role in brackets where it is a slice: ``...attn.c_attn[query]``.
        module: a Linear, or GPT-2's Conv1D.
        start: first output feature, counted within a group.
        stop: one past the last, likewise.
        transposed: the module's weight is ``(inputs, outputs)``, not ``(outputs, inputs)``.
        inputs: width of what comes in.
        shared: its weight serves several blocks (ALBERT).
        groups: equal runs of the module's output features, each of which holds ``start`` to ``stop``: 1, or the heads
            where queries, keys and values lie head by head (GPT-NeoX).
    """

    name: str
    module: nn.Module
    start: int
    stop: int
    transposed: bool
    inputs: int
    shared: bool
    groups: int = 1

    @property
    def width(self) -> int:
        """How many output features."""
        return self.groups * (self.stop - self.start)

    @property
    def whole(self) -> bool:
        """Whether it is all of its module."""
        return self.width == sizes(self.module)[1]

    @property
    def weight(self) -> Tensor:
        """The part of the module's weight, ``(width, inputs)``: a view, so what is written here is written there.

        Of several groups a copy: :meth:`add_to` writes.
        """
        weight = cast(Tensor, self.module.weight)
        return self._part(weight.T if self.transposed else weight).flatten(0, 1)

    @property
    def bias(self) -> Tensor | None:
        """The part of the module's bias, ``(width,)``, a view (of several groups a copy); None where there is none."""
        bias = cast(Tensor | None, self.module.bias)
        return None if bias is None else self._part(bias).flatten(0, 1)

    def take(self, outputs: Tensor) -> Tensor:
        """This projection's features of the module's output, ``(..., width)``; a view of one group."""
        if self.groups == 1:
            return outputs[..., self.start : self.stop]
        return outputs.unflatten(-1, (self.groups, -1))[..., self.start : self.stop].flatten(-2)

    def spread(self, features: Tensor) -> Tensor:
        """The inverse of :meth:`take`: ``(..., width)`` among the module's output features, 0 at the others."""
        each = sizes(self.module)[1] // self.groups
        room = (self.start, each - self.stop)
        if self.groups == 1:
            return pad(features, room) if any(room) else features
        return pad(features.unflatten(-1, (self.groups, -1)), room).flatten(-2)

    def add_to(self, weight: Tensor, difference: Tensor) -> None:
        """Adds to this part of a weight of the module's shape, in place.

        Args:
            weight: as the module has it, ``(outputs, inputs)``, or the other way round where ``transposed``.
            difference: ``(width, inputs)``.
        """
        part = self._part(weight.T if self.transposed else weight)
        part += difference.unflatten(0, (self.groups, -1))

    def _part(self, features: Tensor) -> Tensor:
        return features.unflatten(0, (self.groups, -1))[:, self.start : self.stop]


@dataclass(frozen=True)
class Cross:
    """A decoder block's attention to what the encoder says; ``key`` and ``value`` read the encoder's states."""

    query: Projection
    key: Projection
    value: Projection
    attention_out: Projection


@dataclass(frozen=True)
class Block:
    """One transformer block.

    Args:
        name: path in the model.
        module: the block.
        query: to the attention; likewise ``key`` and ``value``, narrower where key-value heads are fewer.
        key: see ``query``.
        value: see ``query``.
        attention_out: from the attention's heads back to the width.
        ffn_in: from the width to the feed-forward's inner units; in a gated one, the factor without activation.
        ffn_out: back to the width.
        ffn_gate: in a gated one, the factor under the activation: ``ffn_out(act(ffn_gate(x)) * ffn_in(x))``.
        norms: path in the model and module, in the order of the forward.
        cross: the attention to an encoder, in blocks that have one.
    """

    name: str
    module: nn.Module
    query: Projection
    key: Projection
    value: Projection
    attention_out: Projection
    ffn_in: Projection
    ffn_out: Projection
    ffn_gate: Projection | None
    norms: tuple[tuple[str, nn.Module], ...]
    cross: Cross | None = None

    def of(self, role: str) -> tuple[Projection, ...]:
        """Its projections of a role, as ``query``: its own, then that of its attention to an encoder; none it lacks."""
        found = getattr(self, role), getattr(self.cross, role, None)
        return tuple(one for one in found if one is not None)


@dataclass(frozen=True)
class Anatomy:
    """The blocks of a model, from the embeddings up.

    Args:
        family: the model type, as transformers calls it.
        blocks: in the order they run; of an encoder-decoder both halves'.
        final_norm: path and module of the norm above the last block, in pre-norm models.
        stackable: rows of several members may go through the body in one batch.
        encoder_norm: the same above an encoder-decoder's encoder.
    """

    family: str
    blocks: tuple[Block, ...]
    final_norm: tuple[str, nn.Module] | None
    stackable: bool = True
    encoder_norm: tuple[str, nn.Module] | None = None

    @property
    def decoder(self) -> tuple[Block, ...]:
        """Those of the blocks that attend to an encoder."""
        return tuple(block for block in self.blocks if block.cross)

    @property
    def across(self) -> frozenset[str]:
        """Names of the projections of the decoder's attentions to the encoder."""
        return frozenset(one.name for block in self.decoder for one in vars(block.cross).values())


def anatomy_of(model: PreTrainedModel) -> Anatomy:
    """The anatomy of a model, with any head or none.

    Raises:
        BackboneError: of a family that has no layout here, and in which none was found.
    """
    family, body, root = model.config.model_type, model.base_model, _root(model)
    layout = LAYOUTS.get(family) or probed(model)
    halves = [layout, layout.decoder] if layout.decoder else [layout]
    heads = getattr(model.config, "num_attention_heads", 1)
    blocks = [block for half in halves for block in _blocks(half, body, root, heads)]
    norms = [_named(half, body, root) for half in halves]
    return Anatomy(family, tuple(blocks), norms[-1], layout.stackable, norms[0] if layout.decoder else None)


def _blocks(layout: Layout, body: nn.Module, root: str, heads: int) -> list["Block"]:
    places = list(_walk(body, layout.blocks))
    uses = Counter(id(weight) for _, module in places for weight in module.parameters())
    return [_block(layout, f"{root}{path}", module, uses, heads) for path, module in places]


def _named(layout: Layout, body: nn.Module, root: str) -> tuple[str, nn.Module] | None:
    found = submodule(body, layout.final_norm) if layout.final_norm else None
    return None if found is None else (f"{root}{layout.final_norm}", found)


def unroll(model: PreTrainedModel) -> None:
    """Gives each call of ALBERT's shared layers a module of its own that holds the same Parameters.

    Outputs stay equal to the bit and weights count once, while a hook or a learnt piece can tell the blocks apart.
    Other families stay as they are.
    """
    if model.config.model_type != "albert":
        return
    encoder, config = model.base_model.encoder, model.config
    if len(encoder.albert_layer_groups) == config.num_hidden_layers:
        return
    groups, seen = [], set()
    for group in _group_of_layer(config.num_hidden_layers, config.num_hidden_groups):
        module = encoder.albert_layer_groups[group]
        groups.append(_twin(module) if group in seen else module)
        seen.add(group)
    encoder.albert_layer_groups = nn.ModuleList(groups).train(encoder.training)
    encoder.config = copy(config)  # the model's own goes on saying what the checkpoint has
    encoder.config.num_hidden_groups = config.num_hidden_layers


def rolled_state(model: PreTrainedModel) -> dict[str, Tensor]:
    """The model's state dict as a checkpoint of its config names it, with what :func:`unroll` doubled left out."""
    state = dict(model.state_dict())
    if model.config.model_type != "albert":
        return state
    stem = f"{_root(model)}encoder.albert_layer_groups."
    groups = _group_of_layer(model.config.num_hidden_layers, model.config.num_hidden_groups)
    kept = {key: value for key, value in state.items() if not key.startswith(stem)}
    for key, value in state.items():
        layer, _, rest = key.removeprefix(stem).partition(".")
        if key.startswith(stem) and groups.index(groups[int(layer)]) == int(layer):
            kept[f"{stem}{groups[int(layer)]}.{rest}"] = value
    return kept


def _root(model: PreTrainedModel) -> str:
    return "" if model.base_model is model else f"{model.base_model_prefix}."


def _group_of_layer(layers: int, groups: int) -> list[int]:
    return [int(layer / (layers / groups)) for layer in range(layers)]  # as AlbertTransformer computes it


def _twin(module: nn.Module) -> nn.Module:
    configs = [part.config for part in module.modules() if hasattr(part, "config")]
    return deepcopy(module, {id(thing): thing for thing in [*module.parameters(), *module.buffers(), *configs]})


def _walk(body: nn.Module, pattern: str) -> Iterator[tuple[str, nn.Module]]:
    before, star, after = pattern.partition(".*.")
    for i, module in enumerate(cast(nn.ModuleList, body.get_submodule(before))):
        if star:
            yield from ((f"{before}.{i}.{path}", found) for path, found in _walk(module, after))
        else:
            yield f"{before}.{i}", module


def _block(layout: Layout, name: str, module: nn.Module, uses: Counter[int], heads: int) -> Block:
    def projection(role: str, path: str) -> Projection:
        return _projection(name, module, role, path, uses, heads)

    roles = ("query", "key", "value", "attention_out", "ffn_in", "ffn_out")
    parts = {role: projection(role, getattr(layout, role)) for role in roles}
    gate = layout.ffn_gate and submodule(module, layout.ffn_gate.partition("[")[0])
    norms = [(path, submodule(module, path)) for path in layout.norms]
    return Block(
        name, module, **parts,
        ffn_gate=projection("ffn_gate", layout.ffn_gate) if layout.ffn_gate and gate else None,
        norms=tuple((f"{name}.{path}", norm) for path, norm in norms if norm is not None),
        cross=Cross(*map(projection, roles, layout.cross)) if layout.cross else None,
    )  # fmt: skip


def _projection(block: str, module: nn.Module, role: str, paths: str, uses: Counter[int], heads: int) -> Projection:
    path = next(one for one in paths.split("|") if submodule(module, one.partition("[")[0]) is not None)
    part = _PART.fullmatch(path)
    path, nth, of = (part["path"], int(part["nth"]), int(part["of"])) if part else (path, 1, 1)
    groups = heads if part and part["heads"] else 1
    found = module.get_submodule(path)
    inputs, outputs = sizes(found)
    label = f"[{role}]" if part else ""
    start, stop = (end * outputs // groups // of for end in (nth - 1, nth))
    shared = uses[id(found.weight)] > 1
    transposed = isinstance(found, Conv1D)
    return Projection(f"{block}.{path}{label}", found, start, stop, transposed, inputs, shared, groups)
