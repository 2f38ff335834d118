"""IA3 in PEFT's format.

    ours    factors on keys, on values, and on what the feed-forward's last projection reads
    PEFT's  ``ia3_l`` (outputs, 1) on what a module puts out, or (1, inputs) on what it reads

A fused module (GPT-2's c_attn) is written with factors 1 for what does not learn. PEFT's defaults reach further, and
two of their factors move to ours exactly: those on what the attention's last projection reads are factors on values
(where every head has values of its own), and those on queries are factors on keys (where the two meet in nothing but
their product: no rotation or norm stands between, and no embedding of distances meets them too).
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from promptlab.backbone.anatomy import Block, Cross, Projection
from promptlab.backbone.backbone import Backbone
from promptlab.errors import SettingError
from promptlab.tuning.ia3 import Ia3, held, keys_and_values
from promptlab.tuning.peft_modules import (
    HARMLESS,
    check_whole,
    misfit,
    outputs,
    path_of,
    placed,
    places,
    refuse,
    rows,
    shared,
    targets,
)
from promptlab.tuning.tuning import State

_PRODUCTS = {"bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert", "gpt2", "opt", "t5", "bart"}
_UNTOUCHED = {">o": "attention_out", ">in": "ffn_in", ">out": "ffn_out", ">gate": "ffn_gate"}
_HARMLESS = HARMLESS | {"feedforward_modules", "init_ia3_weights"}


def write(tuning: Ia3, backbone: Backbone, state: State, head: bool) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """PEFT's settings and tensors.

    Raises:
        SettingError: blocks that share one weight have factors of their own.
    """
    found, last = dict[str, Tensor](), list[str]()
    for block in backbone.anatomy.blocks:
        if block.ffn_out.shared:
            raise shared(backbone, block.ffn_out)
        for projection in held(block, state):
            factor, path = state[f"{projection.name}.factor"], path_of(projection)
            if projection is block.ffn_out:
                found[path] = factor[None]
                last.append(path)
                continue
            found.setdefault(path, factor.new_ones(outputs(projection), 1))[rows(projection), 0] = factor
    names = targets(backbone, list(found))
    config = {
        "peft_type": "IA3",
        "target_modules": names,
        "feedforward_modules": [name for name in names if any(f".{path}".endswith(f".{name}") for path in last)],
        "fan_in_fan_out": backbone.anatomy.blocks[0].key.transposed,
    }
    return config, {f"base_model.model.{path}.ia3_l": one for path, one in found.items()}


def read(config: Mapping[str, Any], tensors: State, backbone: Backbone) -> tuple[Ia3, dict[str, Tensor]]:
    """The tuning and its tensors.

    Raises:
        SettingError: factors where the tuning here has none, and to which they cannot be moved.
        BackboneError: modules or widths that the backbone has not.
    """
    refuse("IA3", config, _HARMLESS)
    given, known, paths = dict[str, Tensor](), places(backbone), set[str]()
    for name, one in tensors.items():
        path = name.removesuffix(".ia3_l")
        at, _ = placed(backbone, path)
        paths.add(at)
        for role, projection in known[at].items():
            given |= _parted(backbone, path, role, projection, one)
    check_whole(config, backbone, paths)
    state: dict[str, Tensor] = {}
    for block in backbone.anatomy.blocks:
        for projection, factor in _ours(backbone, block, given):
            state[f"{projection.name}.factor"] = factor
    return Ia3(), state


def _parted(backbone: Backbone, path: str, role: str, projection: Projection, factor: Tensor) -> dict[str, Tensor]:
    """A module's factors as those of one of its projections, by the projection's name and the side they are on."""
    if factor.shape == (outputs(projection), 1):
        return {f"{projection.name}>{role}": factor[rows(projection), 0]}
    if factor.shape == (1, projection.inputs) and role in ("o", "out"):
        return {f"{projection.name}<{role}": factor[0]}
    if factor.shape == (1, projection.inputs):
        raise _beyond(backbone, f"what {path} reads")
    raise misfit(backbone, path, f"{list(factor.shape)}")


def _ours(backbone: Backbone, block: Block, given: dict[str, Tensor]) -> Iterator[tuple[Projection, Tensor]]:
    """Factors on a block's keys, values and inner units, with PEFT's others moved to them, or refused."""

    def factor(projection: Projection, mark: str) -> Tensor:
        size = projection.inputs if mark[0] == "<" else projection.width
        return given.pop(f"{projection.name}{mark}", torch.ones(size))

    rest: dict[str, Tensor] = {}
    attentions: list[Block | Cross] = [block, block.cross] if block.cross else [block]
    for attention in attentions:
        keys, values = factor(attention.key, ">k"), factor(attention.value, ">v")
        queries, heads = factor(attention.query, ">q"), factor(attention.attention_out, "<o")
        if _moves(queries) and backbone.anatomy.family in _PRODUCTS and len(queries) == len(keys):
            keys, queries = keys * queries, torch.ones(1)
        if _moves(heads) and len(heads) == len(values):
            values, heads = values * heads, torch.ones(1)
        yield attention.key, keys
        yield attention.value, values
        rest |= {f"what {attention.query.name} puts out": queries, f"what {attention.attention_out.name} reads": heads}
    yield block.ffn_out, factor(block.ffn_out, "<out")
    for mark, role in _UNTOUCHED.items():
        rest |= {f"what {one.name} puts out": factor(one, mark) for one in block.of(role)}
    for where, one in rest.items():
        if _moves(one):
            raise _beyond(backbone, where)


def _beyond(backbone: Backbone, where: str) -> SettingError:
    blocks = backbone.anatomy.blocks
    inner = {_ending(block, block.ffn_out) for block in blocks}
    outer = {_ending(block, one) for block in blocks for one in keys_and_values(block) if one.whole}
    return SettingError(
        f"this IA3 of PEFT also multiplies {where}, which no tuning here does. Train it with target_modules="
        f"{sorted(outer | inner)} and feedforward_modules={sorted(inner)}, or ia3 here."
    )


def _ending(block: Block, projection: Projection) -> str:
    return path_of(projection).removeprefix(f"{block.name}.")


def _moves(factor: Tensor) -> bool:
    return bool((factor != 1).any())
