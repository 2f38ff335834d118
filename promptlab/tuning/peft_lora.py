"""LoRA in PEFT's format.

    ours    a difference for each projection:  x A B        A (inputs, r), B (r, outputs)
    PEFT's  one for each module:               B' A' x      A' (rank, inputs), B' (outputs, rank), scaled alpha/rank

Where k projections are slices of one module (GPT-2's c_attn) the module's rank is k r and its alpha k alpha, with
A' = [A1; A2; ..] and a B' whose blocks touch one slice each: the same differences, learnt apart. Read back, columns of
B' that touch one slice go to that slice; where they touch several, every slice takes the whole A'.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from promptlab.backbone.anatomy import Projection
from promptlab.backbone.backbone import Backbone
from promptlab.errors import SettingError
from promptlab.folders import some
from promptlab.tuning.lora import TARGETS, Lora
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

Pair = tuple[Tensor, Tensor]  # A' (rank, inputs) and B' (outputs, rank)
_HARMLESS = HARMLESS | {
    *("r", "lora_alpha", "lora_dropout", "use_rslora", "rank_pattern", "alpha_pattern", "layers_to_transform"),
    *("layers_pattern", "init_lora_weights", "megatron_core", "qalora_group_size", "eva_config", "runtime_config"),
}
_MOVES_THE_BASE = ("pissa", "olora", "loftq", "corda", "lora_ga")


def write(tuning: Lora, backbone: Backbone, state: State, head: bool) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """PEFT's settings and tensors.

    Raises:
        SettingError: blocks that share one weight have differences of their own.
    """
    modules: dict[str, list[Projection]] = {}
    for projection in tuning.held(backbone, state):
        if projection.shared:
            raise shared(backbone, projection)
        modules.setdefault(path_of(projection), []).append(projection)
    tensors: dict[str, Tensor] = {}
    for path, parts in modules.items():
        down, up = _joined(parts, state, tuning.r)
        tensors |= {f"base_model.model.{path}.lora_A.weight": down, f"base_model.model.{path}.lora_B.weight": up}
    counts = {path: len(parts) for path, parts in modules.items()}
    most = max(counts.values(), key=list(counts.values()).count)
    others = {path: count for path, count in counts.items() if count != most}
    config = {
        "peft_type": "LORA",
        "r": most * tuning.r,
        "lora_alpha": _plain(most * tuning.alpha),
        "target_modules": targets(backbone, list(modules)),
        "fan_in_fan_out": any(part.transposed for parts in modules.values() for part in parts),
    }
    if others:
        config["rank_pattern"] = {path: count * tuning.r for path, count in others.items()}
        config["alpha_pattern"] = {path: _plain(count * tuning.alpha) for path, count in others.items()}
    return config, tensors


def read(config: Mapping[str, Any], tensors: State, backbone: Backbone) -> tuple[Lora, dict[str, Tensor]]:
    """The tuning and its tensors.

    Raises:
        SettingError: a variant of LoRA that is none here, a module outside the blocks, or tensors that are missing.
        BackboneError: modules or widths that the backbone has not.
    """
    refuse("LORA", config, _HARMLESS)
    start = str(config.get("init_lora_weights", "")).lower()
    if start.startswith(_MOVES_THE_BASE):
        raise SettingError(
            f"init_lora_weights={start} changed the backbone's own weights. Convert it to plain LoRA first."
        )
    found, scales, known, pairs = dict[str, Pair](), dict[str, float](), places(backbone), _pairs(tensors, backbone)
    check_whole(config, backbone, pairs)
    for path, pair in pairs.items():
        parts = _split(known[path], pair)
        found |= parts
        scales |= dict.fromkeys(parts, _scale(config, path, len(pair[0])))
    return _tuned(backbone, found, scales)


def _tuned(backbone: Backbone, found: dict[str, Pair], scales: Mapping[str, float]) -> tuple[Lora, dict[str, Tensor]]:
    """One rank and scale for all: ranks are filled up with zeros, and a block without a difference gets a zero one."""
    scale = next(iter(scales.values()))
    if len(set(scales.values())) > 1:
        scale, found = 1.0, {name: (down, up * scales[name]) for name, (down, up) in found.items()}
    named = {role: [one for block in backbone.anatomy.blocks for one in block.of(at)] for role, at in TARGETS.items()}
    chosen = {role: parts for role, parts in named.items() if any(one.name in found for one in parts)}
    rank = max(len(down) for down, _ in found.values())
    state: dict[str, Tensor] = {}
    for projection in (one for parts in chosen.values() for one in parts):
        empty = projection.weight.new_zeros(0, projection.inputs), projection.weight.new_zeros(projection.width, 0)
        down, up = found.get(projection.name, empty)
        room = rank - len(down)
        state[f"{projection.name}.A"] = torch.nn.functional.pad(down, (0, 0, 0, room)).T.contiguous()
        state[f"{projection.name}.B"] = torch.nn.functional.pad(up, (0, room)).T.contiguous()
    return Lora(r=rank, alpha=scale * rank, targets="+".join(chosen)), state


def _joined(parts: list[Projection], state: State, rank: int) -> Pair:
    down = torch.cat([state[f"{part.name}.A"].T for part in parts])
    up = down.new_zeros(outputs(parts[0]), len(down))
    for i, part in enumerate(parts):
        up[rows(part), i * rank : (i + 1) * rank] = state[f"{part.name}.B"].T
    return down, up


def _split(parts: Mapping[str, Projection], pair: Pair) -> dict[str, Pair]:
    """A module's difference as differences of its projections, those left out that it does not touch."""
    down, up = pair
    slices = {part.name: up[rows(part)] for part in parts.values()}
    touched = torch.stack([(one != 0).any(0) for one in slices.values()])  # (parts, rank)
    if len(parts) == 1 or not touched.any():
        return {name: (down, one) for name, one in slices.items()}
    apart = bool((touched.sum(0) <= 1).all())
    found = {}
    for (name, one), own in zip(slices.items(), touched, strict=True):
        if own.any():
            found[name] = (down[own], one[:, own]) if apart else (down, one)
    return found


def _pairs(tensors: State, backbone: Backbone) -> dict[str, Pair]:
    """A' and B' by the module's path, checked against the backbone."""
    found: dict[str, dict[str, Tensor]] = {}
    for name, one in tensors.items():
        path, _, part = name.rpartition(".lora_")
        found.setdefault(path, {})[part] = one
    pairs = {}
    for path, parts in found.items():
        if parts.keys() != {"A.weight", "B.weight"}:
            raise SettingError(f"{path} has {some(sorted(parts))}, not lora_A and lora_B alone: no plain LoRA.")
        at, projection = placed(backbone, path)
        down, up = parts["A.weight"], parts["B.weight"]
        fits = down.shape[1:] == (projection.inputs,) and up.shape == (outputs(projection), len(down))
        if not fits:
            raise misfit(backbone, path, f"{list(up.shape)} times {list(down.shape)}")
        if not len(down):
            raise SettingError(f"{path} has a difference of rank 0, which is none. Train it anew.")
        pairs[at] = (down, up)
    return pairs


def _scale(config: Mapping[str, Any], path: str, rank: int) -> float:
    alpha: Any = config.get("lora_alpha", 8)
    for pattern, other in (config.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", path):
            alpha = other
            break
    if not isinstance(alpha, int | float):
        raise SettingError(f"adapter_config.json has lora_alpha={alpha} for {path}. Write the number it learnt with.")
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _plain(number: float) -> float | int:
    return int(number) if float(number).is_integer() else number
