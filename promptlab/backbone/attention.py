"""Learnt keys and values before an attention's own: one attention function for every model that can be given one.

    attention(q, k, v)  ->  attention(q, [k'; k], [v'; v])        k', v' (rows, key-value heads, n, head width)
    the mask gets n columns that every query sees, sliding windows and packed rows too; T5's position bias n of zeros
    a causal model that would leave the mask out gets a real one, for keys now outnumber queries
    what is before stands in no cache, and real tokens keep their positions

After Li & Liang 2021 (arXiv:2101.00190, section 4.2). The function wraps the model's own, SDPA or eager. A probe of two
tokens says whether a model calls it once in every attention module; others are refused by name.
"""

import inspect
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from promptlab.errors import BackboneError, SettingError

Pair = tuple[Tensor, Tensor]
Before = Callable[[Tensor, Tensor], Pair]
"""What stands before an attention's own keys and values: it is shown those, ``(rows, heads, tokens, head width)``, and
gives keys and values of as many rows and heads."""

_KINDS, _MARK, _BEFORE = ("sdpa", "eager"), "promptlab_", "_promptlab_before"
_POSITIONS = ("position_embeddings", "wpe", "rotary_emb", "embed_positions")


@dataclass(frozen=True)
class Heads:
    """The keys of an attention module, and its values likewise.

    Args:
        count: key-value heads, fewer than the query's in grouped attention.
        width: of each.
    """

    count: int
    width: int

    @property
    def size(self) -> int:
        """Width of all heads together."""
        return self.count * self.width


_FOUND: "WeakKeyDictionary[nn.Module, dict[str, Heads]]" = WeakKeyDictionary()


def attentions(model: PreTrainedModel) -> dict[str, Heads]:
    """The model's attention modules in the order they run: path, and what their keys look like.

    Raises:
        BackboneError: the model does not attend through transformers' interface, or one module serves several layers.
    """
    if model not in _FOUND:
        _FOUND[model] = _probed(model)
    return _FOUND[model]


@contextmanager
def preceded(model: PreTrainedModel, given: Mapping[str, Before], shift: int = 0) -> Iterator[None]:
    """Inside the block, attention modules see more keys and values than their own.

    Args:
        model: a frozen one, or one that learns.
        given: by path of the module. Blocks may be nested: what is given inside stands further to the left.
        shift: added to the positions of real tokens (PEFT's prefixes count as tokens), of an encoder-decoder in those
            halves that are given something; 0 leaves them alone.

    Raises:
        BackboneError: the model runs an attention that cannot be wrapped, or has no positions to shift.
    """
    modules = {model.get_submodule(path): before for path, before in given.items()}
    own = {module: getattr(module, _BEFORE, ()) for module in modules}
    with _wrapped(model), ExitStack() as shifting:
        for module in _numbered(model, given) if shift else ():
            handle = module.register_forward_pre_hook(_shifting(module, shift), with_kwargs=True)
            shifting.callback(handle.remove)
        try:
            for module, before in modules.items():
                setattr(module, _BEFORE, (*own[module], before))
            yield
        finally:
            for module, earlier in own.items():
                setattr(module, _BEFORE, earlier) if earlier else delattr(module, _BEFORE)


def for_rows(pair: Tensor, heads: Heads, own: Tensor) -> Pair:
    """Keys and values of a stack's members for each row of a batch, member-major.

    Args:
        pair: ``(members, 2, n, heads * head width)``.
        heads: of the attention module.
        own: the keys of the rows, ``(rows, heads, tokens, head width)``.

    Raises:
        SettingError: the rows are not a multiple of the members.
    """
    members, _, n, _ = pair.shape
    if len(own) % members:
        raise SettingError(f"{len(own)} rows are no multiple of {members} members: every member needs as many rows.")
    split = pair.to(own.dtype).view(members, 2, n, heads.count, heads.width).transpose(2, 3)
    rows = split[:, None].expand(-1, len(own) // members, -1, -1, -1, -1).flatten(0, 1)
    return rows[:, 0], rows[:, 1]


@torch.no_grad()
def activations(model: PreTrainedModel, ids: Tensor) -> Tensor:
    """Keys and values that the model computes for tokens, ``(attention modules, 2, tokens, heads * head width)``.

    Args:
        model: one whose attention modules are alike.
        ids: one row, ``(tokens,)``, at the positions from the first on.
    """
    seen: dict[str, Tensor] = {}

    def look(path: str, keys: Tensor, values: Tensor) -> Pair:
        seen[path] = torch.stack([one[0].transpose(0, 1).flatten(1) for one in (keys, values)])
        return keys[:, :, :0], values[:, :, :0]

    paths = attentions(model)
    with preceded(model, {path: partial(look, path) for path in paths}):
        _read(model, ids[None])
    return torch.stack([seen[path] for path in paths])


# ---------------------------------------------------------------- the function, and the masks made for it


def _attend(
    kind: str, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **rest: Any
) -> tuple[Tensor, Tensor | None]:
    if attention_mask is None and kind == "sdpa" and _by_flag(module, query, rest):
        shape = (query.shape[2], key.shape[2])
        attention_mask = query.new_ones(shape, dtype=torch.bool).tril(shape[1] - shape[0])[None, None]
    bias = rest.get("position_bias")
    for before in getattr(module, _BEFORE, ()):
        keys, values = before(key, value)
        key, value = torch.cat([keys.to(key), key], 2), torch.cat([values.to(value), value], 2)
        if attention_mask is not None:
            seen = attention_mask.dtype == torch.bool
            attention_mask = functional.pad(attention_mask, (keys.shape[2], 0), value=seen)
        if bias is not None:
            bias = functional.pad(bias, (keys.shape[2], 0))
    if bias is not None:
        rest["position_bias"] = bias
    return _inner(kind, module)(module, query, key, value, attention_mask, **rest)


def _by_flag(module: nn.Module, query: Tensor, rest: Mapping[str, Any]) -> bool:
    # no mask, and the kernel is told that it is causal: it would count from the first key, no longer the row's own
    told = rest.get("is_causal")
    causal: bool = getattr(module, "is_causal", True) if told is None else told
    return causal and query.shape[2] > 1


def _inner(kind: str, module: nn.Module) -> Callable[..., Any]:
    if kind == "eager":
        return sys.modules[type(module).__module__].eager_attention_forward
    return ALL_ATTENTION_FUNCTIONS[kind]


def _mask(kind: str, **arguments: Any) -> Tensor | None:
    arguments["allow_is_causal_skip"] = False
    if torch.device(arguments.get("device", "cpu")).type == "meta":  # whether all is seen cannot be asked there
        arguments["allow_is_bidirectional_skip"] = False
    return ALL_MASK_ATTENTION_FUNCTIONS[kind](**arguments)


for _kind in _KINDS:
    ALL_ATTENTION_FUNCTIONS.register(f"{_MARK}{_kind}", partial(_attend, _kind))
    ALL_MASK_ATTENTION_FUNCTIONS.register(f"{_MARK}{_kind}", partial(_mask, _kind))


# ---------------------------------------------------------------- putting it in, and looking whether it is called


@contextmanager
def _wrapped(model: PreTrainedModel) -> Iterator[None]:
    found = [getattr(module, "config", None) for module in model.modules()]  # ALBERT unrolled and T5 have several
    own = {id(one): (one, one._attn_implementation_internal) for one in found if isinstance(one, PreTrainedConfig)}
    wrapped = {
        key: kind if str(kind).startswith(_MARK) else _MARK + (kind or "eager") for key, (_, kind) in own.items()
    }
    for kind in wrapped.values():
        if kind.removeprefix(_MARK) not in _KINDS:
            raise BackboneError(
                f"a '{model.config.model_type}' model that attends with {kind.removeprefix(_MARK)} cannot be given "
                "keys and values. Load it with attn_implementation='sdpa'."
            )
    try:
        for key, (config, _) in own.items():
            config._attn_implementation_internal = wrapped[key]
        yield
    finally:
        for config, kind in own.values():
            config._attn_implementation_internal = kind


@torch.no_grad()
def _probed(model: PreTrainedModel) -> dict[str, Heads]:
    seen: dict[str, list[Heads]] = {}

    def look(path: str, keys: Tensor, values: Tensor) -> Pair:
        if keys.shape[-1] != values.shape[-1]:
            raise BackboneError(f"{path} has keys {keys.shape[-1]} wide and values {values.shape[-1]}: {_INSTEAD}")
        seen.setdefault(path, []).append(Heads(keys.shape[1], keys.shape[3]))
        return keys[:, :, :0], values[:, :, :0]

    with preceded(model, {path: partial(look, path) for path, _ in model.named_modules() if path}):
        _two_tokens(model)
    missing = [path for path, module in model.named_modules() if _attends(module) and path not in seen]
    family = f"a '{model.config.model_type}' model"
    if missing or not seen:
        raise BackboneError(
            f"{family} does not attend through transformers' attention interface ({(missing or ['no module'])[0]} does "
            f"not), so it cannot be given keys and values: {_INSTEAD}"
        )
    for path, calls in seen.items():
        if len(calls) > 1:
            raise BackboneError(f"{path} of {family} serves {len(calls)} layers: unroll it, so that each has its own.")
    return {path: calls[0] for path, calls in seen.items()}


_INSTEAD = "no prefix can stand there. Write lora, soft or another tuning."


def _attends(module: nn.Module) -> bool:
    # the innermost of what calls itself attention: BertAttention holds a BertSelfAttention and a BertSelfOutput
    named = ["Attention" in type(one).__name__ for one in module.modules()]
    return named[0] and sum(named) == 1


def _two_tokens(model: PreTrainedModel) -> None:
    ids = torch.zeros(1, 2, dtype=torch.long, device=model.get_input_embeddings().weight.device)
    _read(model, ids)


def _read(model: PreTrainedModel, ids: Tensor) -> None:
    # both halves of an encoder-decoder read the same
    decoder = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}
    model.base_model(input_ids=ids, attention_mask=torch.ones_like(ids), **decoder)


# ---------------------------------------------------------------- positions that count the prefix


def _numbered(model: PreTrainedModel, given: Collection[str]) -> list[nn.Module]:
    named = {path: module for path, module in model.named_modules() if path.rpartition(".")[2] in _POSITIONS}
    found = {path: module for path, module in named.items() if _place(module)}
    if not found:
        raise BackboneError(
            f"the positions of a '{model.config.model_type}' model cannot be shifted: no module of its own is told "
            "them. Write shift=false."
        )
    if not model.config.is_encoder_decoder:
        return list(found.values())
    return [module for path, module in found.items() if any(one.startswith(_above(path)) for one in given)]


def _place(module: nn.Module) -> str | None:
    # what its forward calls the positions
    names = list(inspect.signature(module.forward).parameters)
    plain = isinstance(module, nn.Embedding)
    return "position_ids" if "position_ids" in names else names[0] if plain else None


def _above(path: str) -> str:
    return f"{path.rpartition('.')[0]}."


def _shifting(module: nn.Module, n: int) -> Callable[..., tuple[tuple[Any, ...], dict[str, Any]]]:
    signature, place = inspect.signature(module.forward), str(_place(module))

    def hook(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        told = signature.bind(*args, **kwargs)
        own = told.arguments.get(place)
        if own is None:  # BART's encoder leaves it to the module to number its columns
            own = torch.arange(args[0].shape[1], device=args[0].device)
        told.arguments[place] = own + n
        return told.args, told.kwargs

    return hook
