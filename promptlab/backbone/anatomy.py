"""What stands where in a model: its blocks, and in each the projections and norms, whatever the family calls them.

anatomy_of(model) -> Anatomy      one Layout a family says the paths; a family without one is refused
unroll(model)                     ALBERT's one layer, called L times, becomes L modules that hold the same weights

A path may end in ``[2/3]``: the second of three equal, contiguous parts of the module's output features.
"""

import re
from collections import Counter
from collections.abc import Iterator
from copy import copy, deepcopy
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from promptlab.errors import BackboneError, did_you_mean

_PART = re.compile(r"(?P<path>[\w.]+)\[(?P<nth>\d)/(?P<of>\d)\]")


@dataclass(frozen=True)
class Projection:
    """A matrix of a block: all of a module's output features, or a slice of them.

    Args:
        name: the module's path in the model, with the role in brackets where it is a slice: ``...attn.c_attn[query]``.
        module: a Linear, or GPT-2's Conv1D.
        start: first output feature.
        stop: one past the last.
        transposed: the module's weight is ``(inputs, outputs)``, not ``(outputs, inputs)``.
        inputs: width of what comes in.
        shared: its weight serves several blocks (ALBERT).
    """

    name: str
    module: nn.Module
    start: int
    stop: int
    transposed: bool
    inputs: int
    shared: bool

    @property
    def width(self) -> int:
        """How many output features."""
        return self.stop - self.start

    @property
    def whole(self) -> bool:
        """Whether it is all of its module."""
        return self.width == _sizes(self.module)[1]

    @property
    def weight(self) -> Tensor:
        """The part of the module's weight, ``(width, inputs)``: a view, so what is written here is written there."""
        weight = cast(Tensor, self.module.weight)
        return (weight.T if self.transposed else weight)[self.start : self.stop]

    @property
    def bias(self) -> Tensor | None:
        """The part of the module's bias, ``(width,)``, a view; None where there is none."""
        bias = cast(Tensor | None, self.module.bias)
        return None if bias is None else bias[self.start : self.stop]

    def take(self, outputs: Tensor) -> Tensor:
        """This projection's features of the module's output, ``(..., width)``, a view."""
        return outputs[..., self.start : self.stop]


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


@dataclass(frozen=True)
class Anatomy:
    """The blocks of a model, from the embeddings up.

    Args:
        family: the model type, as transformers calls it.
        blocks: in the order they run.
        final_norm: path and module of the norm above the last block, in pre-norm models.
        stackable: rows of several members may go through the body in one batch.
    """

    family: str
    blocks: tuple[Block, ...]
    final_norm: tuple[str, nn.Module] | None
    stackable: bool = True


@dataclass(frozen=True)
class Layout:
    """Where a family keeps its parts: paths below the body (``blocks``, ``final_norm``) and below a block (the rest).

    ``*`` in ``blocks`` stands for each of a list of modules; norms that a model lacks are passed over.
    """

    blocks: str
    query: str
    key: str
    value: str
    attention_out: str
    ffn_in: str
    ffn_out: str
    norms: tuple[str, ...]
    ffn_gate: str | None = None
    final_norm: str | None = None


_BERT = Layout(
    blocks="encoder.layer",
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    attention_out="attention.output.dense",
    ffn_in="intermediate.dense",
    ffn_out="output.dense",
    norms=("attention.output.LayerNorm", "output.LayerNorm"),
)
_LLAMA = Layout(
    blocks="layers",
    query="self_attn.q_proj",
    key="self_attn.k_proj",
    value="self_attn.v_proj",
    attention_out="self_attn.o_proj",
    ffn_in="mlp.up_proj",
    ffn_gate="mlp.gate_proj",
    ffn_out="mlp.down_proj",
    norms=("input_layernorm", "self_attn.q_norm", "self_attn.k_norm", "post_attention_layernorm"),
    final_norm="norm",
)
LAYOUTS = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "camembert", "electra"), _BERT),
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "smollm3"), _LLAMA),
    "distilbert": Layout(
        blocks="transformer.layer",
        query="attention.q_lin",
        key="attention.k_lin",
        value="attention.v_lin",
        attention_out="attention.out_lin",
        ffn_in="ffn.lin1",
        ffn_out="ffn.lin2",
        norms=("sa_layer_norm", "output_layer_norm"),
    ),
    "albert": Layout(
        blocks="encoder.albert_layer_groups.*.albert_layers",
        query="attention.query",
        key="attention.key",
        value="attention.value",
        attention_out="attention.dense",
        ffn_in="ffn",
        ffn_out="ffn_output",
        norms=("attention.LayerNorm", "full_layer_layer_norm"),
    ),
    "modernbert": Layout(
        blocks="layers",
        query="attn.Wqkv[1/3]",
        key="attn.Wqkv[2/3]",
        value="attn.Wqkv[3/3]",
        attention_out="attn.Wo",
        ffn_gate="mlp.Wi[1/2]",
        ffn_in="mlp.Wi[2/2]",
        ffn_out="mlp.Wo",
        norms=("attn_norm", "mlp_norm"),
        final_norm="final_norm",
    ),
    "gpt2": Layout(
        blocks="h",
        query="attn.c_attn[1/3]",
        key="attn.c_attn[2/3]",
        value="attn.c_attn[3/3]",
        attention_out="attn.c_proj",
        ffn_in="mlp.c_fc",
        ffn_out="mlp.c_proj",
        norms=("ln_1", "ln_2"),
        final_norm="ln_f",
    ),
}


def anatomy_of(model: PreTrainedModel) -> Anatomy:
    """The anatomy of a model, with any head or none.

    Raises:
        BackboneError: of a family that has no layout here.
    """
    family = model.config.model_type
    if family not in LAYOUTS:
        known = ", ".join(LAYOUTS)
        raise BackboneError(
            f"the parts of a '{family}' model are not known here, so no tuning can reach them. Known families: {known}."
            + did_you_mean(family, LAYOUTS)
        )
    layout, body = LAYOUTS[family], model.base_model
    root = _root(model)
    places = list(_walk(body, layout.blocks))
    uses = Counter(id(weight) for _, module in places for weight in module.parameters())
    blocks = tuple(_block(layout, f"{root}{path}", module, uses) for path, module in places)
    final = (f"{root}{layout.final_norm}", body.get_submodule(layout.final_norm)) if layout.final_norm else None
    return Anatomy(family, blocks, final)


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


def _block(layout: Layout, name: str, module: nn.Module, uses: Counter[int]) -> Block:
    def projection(role: str, path: str) -> Projection:
        return _projection(name, module, role, path, uses)

    roles = ("query", "key", "value", "attention_out", "ffn_in", "ffn_out")
    parts = {role: projection(role, getattr(layout, role)) for role in roles}
    gate = projection("ffn_gate", layout.ffn_gate) if layout.ffn_gate else None
    norms = tuple((f"{name}.{path}", norm) for path in layout.norms if (norm := _norm(module, path)) is not None)
    return Block(name, module, **parts, ffn_gate=gate, norms=norms)


def _norm(block: nn.Module, path: str) -> nn.Module | None:
    try:
        norm = block.get_submodule(path)
    except AttributeError:
        return None
    return None if isinstance(norm, nn.Identity) else norm  # ModernBERT's first block has no norm before its attention


def _projection(block: str, module: nn.Module, role: str, path: str, uses: Counter[int]) -> Projection:
    part = _PART.fullmatch(path)
    path, nth, of = (part["path"], int(part["nth"]), int(part["of"])) if part else (path, 1, 1)
    found = module.get_submodule(path)
    inputs, outputs = _sizes(found)
    label = f"[{role}]" if part else ""
    start, stop = (nth - 1) * outputs // of, nth * outputs // of
    shared = uses[id(found.weight)] > 1
    return Projection(f"{block}.{path}{label}", found, start, stop, isinstance(found, Conv1D), inputs, shared)


def _sizes(module: nn.Module) -> tuple[int, int]:
    first, second = cast(Tensor, module.weight).shape
    return (first, second) if isinstance(module, Conv1D) else (second, first)
