"""Where a family that is not known here keeps its parts: found by names and shapes, and held to what a forward does.

    blocks    the longest list of modules of one class below the body
    q, k, v   by their usual names; the attention's output is the other matrix beside them
    ffn       what is left: one or two matrices from the width to the inner units (the gate by its name), one back
    a forward of two short rows: every projection is called once, on all rows, in the width it says

What does not hold is refused: a tuning beside the wrong matrix would learn, and say nothing.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from itertools import chain
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from promptlab.backbone.layouts import LAYOUTS, Layout, sizes
from promptlab.errors import BackboneError, did_you_mean

ROWS, TOKENS = 2, 5
_QUERY = ("query", "q_proj", "q_lin", "query_proj", "q_linear", "to_q", "wq", "q")
_KEY = ("key", "k_proj", "k_lin", "key_proj", "k_linear", "to_k", "wk", "k")
_VALUE = ("value", "v_proj", "v_lin", "value_proj", "v_linear", "to_v", "wv", "v")
_GATES = ("gate_proj", "gate", "wi_0", "w1")

Named = dict[str, nn.Module]


class _No(Exception):
    """Why a model's parts were not found."""


def probed(model: PreTrainedModel) -> Layout:
    """The layout of a model, with any head or none, read off the model itself.

    Raises:
        BackboneError: none was found that holds.
    """
    family = model.config.model_type
    try:
        if model.config.is_encoder_decoder:
            raise _No("it is an encoder-decoder")
        return _found(model)
    except _No as reason:
        raise BackboneError(
            f"the parts of a '{family}' model are not known here, so no tuning can reach them, and looking for them "
            f"failed: {reason}. Known families: {', '.join(LAYOUTS)}.{did_you_mean(family, LAYOUTS)}"
        ) from None


def _found(model: PreTrainedModel) -> Layout:
    path, blocks = _blocks(model.base_model)
    parts = _parts(blocks[0])
    for number, block in enumerate(blocks):
        named = dict(block.named_modules())
        lacking = [one for one in parts.values() if one not in named]
        if lacking:
            raise _No(f"block {number} has no {lacking[0]}, as the first has")
    if model.device.type == "meta":
        return _found(_shallow(model))
    with _calls(model.base_model) as calls:
        _forward(model)
    for block in blocks:
        for part, one in parts.items():
            _check(part, block.get_submodule(one), calls)
    order = [module for module, _ in calls]
    found: dict[str, Any] = {**parts, "norms": _norms(blocks, order)}
    return Layout(path, **found, final_norm=_final(model.base_model, blocks, order))


def _shallow(model: PreTrainedModel) -> PreTrainedModel:
    """Two blocks of the same kind with weights, to be run where the model itself cannot."""
    config = deepcopy(model.config)
    try:
        config.num_hidden_layers = 2
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[:2]
        config.vocab_size = min(config.vocab_size, 64)
        config.pad_token_id = min(config.pad_token_id or 0, config.vocab_size - 1)
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            return type(model)(config).eval()
    except Exception as error:  # a config checks its fields with errors of its own
        raise _No(f"two blocks of it cannot be built: {type(error).__name__}") from None


def _blocks(body: nn.Module) -> tuple[str, Sequence[nn.Module]]:
    lists = [(path, list(one)) for path, one in body.named_modules() if isinstance(one, nn.ModuleList) and len(one)]
    alike = [(path, blocks) for path, blocks in lists if len({type(block) for block in blocks}) == 1]
    deep = [(path, blocks) for path, blocks in alike if len(_matrices(blocks[0])) >= 4]
    if not deep:
        raise _No("it has no list of equal blocks with an attention and a feed-forward in each")
    return max(deep, key=lambda one: len(one[1]))  # of equally long ones the outermost, which comes first


def _parts(block: nn.Module) -> dict[str, str]:
    matrices = _matrices(block)
    asked = [_one(matrices, names) for names in (_QUERY, _KEY, _VALUE)]
    heads = asked[0].rpartition(".")[0]
    above = heads.rpartition(".")[0] if heads.endswith("self") else heads  # BERT's output stands beside ``self``
    stem = f"{above}." if above else ""
    beside = {path: one for path, one in matrices.items() if path.startswith(stem) and path not in asked}
    width, inner = sizes(matrices[asked[0]])
    outs = [path for path, one in beside.items() if sizes(one) == (inner, width)]
    if len(outs) != 1:
        raise _No(f"it has {len(outs)} matrices beside {asked[0]} that could be the attention's output, not one")
    names = dict(zip(("query", "key", "value", "attention_out"), [*asked, *outs], strict=True))
    return names | _feed_forward({path: one for path, one in matrices.items() if path not in names.values()}, width)


def _feed_forward(left: Named, width: int) -> dict[str, str]:
    back = [path for path, one in left.items() if sizes(one)[1] == width and sizes(one)[0] != width]
    into = [path for path, one in left.items() if sizes(one)[0] == width and path not in back]
    if len(back) != 1 or len(into) not in (1, 2) or len(left) != len(into) + 1:
        raise _No(f"{', '.join(left) or 'nothing'} is no feed-forward of one matrix into its inner units and one back")
    if len(into) == 1 and sizes(left[into[0]])[1] != sizes(left[back[0]])[0]:
        raise _No(f"{into[0]} holds the gate too, and which half that is its name does not say")
    gates = [path for path in into if path.rpartition(".")[2] in _GATES]
    if len(gates) != len(into) - 1:
        raise _No(f"which of {' and '.join(into)} is the gate, their names do not say")
    (plain,) = [path for path in into if path not in gates]
    return {"ffn_in": plain, "ffn_out": back[0], **({"ffn_gate": gates[0]} if gates else {})}


def _matrices(block: nn.Module) -> Named:
    return {path: one for path, one in block.named_modules() if isinstance(one, nn.Linear | Conv1D)}


def _one(matrices: Named, names: Sequence[str]) -> str:
    found = [path for path in matrices if path.rpartition(".")[2] in names]
    if len(found) != 1:
        raise _No(f"each block should have one matrix called {' or '.join(names[:3])}, and has {len(found)}")
    return found[0]


def _forward(model: PreTrainedModel) -> None:
    ids = torch.arange(3, 3 + ROWS * TOKENS, device=model.device).view(ROWS, TOKENS)
    ids = ids.clamp(max=model.get_input_embeddings().num_embeddings - 1)
    try:
        with torch.no_grad():
            model.base_model(input_ids=ids, attention_mask=torch.ones_like(ids))
    except Exception as error:  # whatever code of another family may raise
        raise _No(f"a forward ends in {type(error).__name__}") from None


@contextmanager
def _calls(body: nn.Module) -> Iterator[list[tuple[nn.Module, torch.Size | None]]]:
    """Modules in the order in which they are called, and the shape of what each says."""
    calls: list[tuple[nn.Module, torch.Size | None]] = []

    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        calls.append((module, output.shape if isinstance(output, torch.Tensor) else None))

    handles = [module.register_forward_hook(note) for module in body.modules()]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _check(part: str, module: nn.Module, calls: list[tuple[nn.Module, torch.Size | None]]) -> None:
    shapes = [shape for called, shape in calls if called is module]
    if len(shapes) != 1:
        raise _No(f"its {part} is called {len(shapes)} times in a forward, not once")
    shape, width = shapes[0], sizes(module)[1]
    if shape not in ((ROWS, TOKENS, width), (ROWS * TOKENS, width)):
        raise _No(f"its {part} says {tuple(shape or ())} of {ROWS} rows of {TOKENS} tokens")


def _norms(blocks: Sequence[nn.Module], order: Sequence[nn.Module]) -> tuple[str, ...]:
    """The norms of all blocks (one may lack some), in the order of the forward."""
    longest: list[str] = []
    for block in blocks:
        paths = {id(module): path for path, module in block.named_modules()}
        ran = [paths[id(one)] for one in order if id(one) in paths and _is_norm(one)]
        longest = max(longest, list(dict.fromkeys(ran)), key=len)
    return tuple(longest)


def _final(body: nn.Module, blocks: Sequence[nn.Module], order: Sequence[nn.Module]) -> str | None:
    inside = {id(module) for module in chain.from_iterable(block.modules() for block in blocks)}
    last = max(at for at, module in enumerate(order) if module is blocks[-1])
    after = [module for module in order[last:] if _is_norm(module) and id(module) not in inside]
    return next((path for path, module in body.named_modules() if after and module is after[0]), None)


def _is_norm(module: nn.Module) -> bool:
    return type(module).__name__.lower().endswith("norm")
