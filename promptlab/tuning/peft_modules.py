"""What LoRA and IA3 in PEFT's format have in common: modules by their paths, and what to refuse.

    ours    a projection of a block, which may be a slice of a module
    PEFT's  a whole module: by its path in what is stored, by an ending of it or an expression in ``target_modules``

An adapter whose file lacks a module that its targets mean is refused, and so are settings that nothing here computes.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from promptlab.backbone.anatomy import Projection
from promptlab.backbone.backbone import Backbone
from promptlab.errors import BackboneError, SettingError
from promptlab.folders import some
from promptlab.tuning.lora import TARGETS

HARMLESS = {
    *(
        "peft_type",
        "task_type",
        "auto_mapping",
        "base_model_name_or_path",
        "revision",
        "inference_mode",
        "peft_version",
    ),
    *("modules_to_save", "target_modules", "exclude_modules", "fan_in_fan_out"),
}
_SOME_LAYERS = ("layers_to_transform", "layers_pattern")


def path_of(projection: Projection) -> str:
    """The path of the module that a projection is, or is a slice of."""
    return projection.name.partition("[")[0]


def outputs(projection: Projection) -> int:
    """How many output features the projection's module has."""
    weight: Any = projection.module.weight
    return int(weight.shape[1 if projection.transposed else 0])


def rows(projection: Projection) -> Tensor:
    """Which of the module's output features are the projection's."""
    return projection.take(torch.arange(outputs(projection)))


def places(backbone: Backbone) -> dict[str, dict[str, Projection]]:
    """The projections of every block by their module's path, and there by role."""
    found: dict[str, dict[str, Projection]] = {}
    for block in backbone.anatomy.blocks:
        for role, at in TARGETS.items():
            for projection in block.of(at):
                found.setdefault(path_of(projection), {})[role] = projection
    return found


def placed(backbone: Backbone, path: str) -> tuple[str, Projection]:
    """The path in this backbone of a module that PEFT names, with or without the name of the body; and a projection.

    Raises:
        BackboneError: there is no such module, or it is shared by several blocks.
        SettingError: it is no projection of a block.
    """
    known = places(backbone)
    stem = backbone.model.base_model_prefix
    at = next((one for one in (path, f"{stem}.{path}") if one in known), None)
    if at is not None:
        projection = next(iter(known[at].values()))
        if projection.shared:
            raise shared(backbone, projection)
        return at, projection
    modules = dict(backbone.model.named_modules())
    if path in modules or f"{stem}.{path}" in modules:
        raise SettingError(f"the adapter changes {path}, and tunings here reach a block's projections only.")
    raise misfit(backbone, path, "there")


def check_whole(config: Mapping[str, Any], backbone: Backbone, given: Collection[str]) -> None:
    """Refuses an adapter that lacks what its own settings say it has learnt.

    Args:
        config: of the adapter.
        backbone: whose modules the targets name.
        given: paths of the modules that it has tensors for.

    Raises:
        SettingError: it has none at all, or not those of every target.
    """
    if not given:
        raise SettingError("the adapter's file holds no tensor of it. Save it again.")
    if any(config.get(key) is not None for key in _SOME_LAYERS) or config.get("exclude_modules"):
        return
    lacking = [path for path in places(backbone) if path not in given and _targeted(config, backbone, path)]
    if lacking:
        raise SettingError(f"the adapter's targets include {some(lacking)}, and its file has no tensor of that. "
                           "Save it again.")  # fmt: skip


def _targeted(config: Mapping[str, Any], backbone: Backbone, path: str) -> bool:
    wanted: Any = config.get("target_modules") or []
    names = {path, path.removeprefix(f"{backbone.model.base_model_prefix}.")}  # with the body's name, or without
    if isinstance(wanted, str):
        return any(re.fullmatch(wanted, name) for name in names)
    return any(name == one or name.endswith(f".{one}") for name in names for one in wanted)


def targets(backbone: Backbone, paths: list[str]) -> list[str]:
    """The shortest endings that PEFT finds these modules by, and no others; their whole paths where there are none."""
    names = [name for name, _ in backbone.model.named_modules()]
    blocks = [f"{block.name}." for block in backbone.anatomy.blocks]
    below = {path.removeprefix(next((one for one in blocks if path.startswith(one)), "")) for path in paths}
    for endings in ({path.rpartition(".")[2] for path in paths}, below):
        reached = [name for name in names if any(f".{name}".endswith(f".{ending}") for ending in endings)]
        if set(reached) == set(paths):
            return sorted(endings)
    return paths


def refuse(kind: str, config: Mapping[str, Any], harmless: set[str]) -> None:
    """Settings that change what is computed, and that nothing here computes.

    Raises:
        SettingError: there is one.
    """
    strange = [
        key for key, value in config.items() if key not in harmless and value not in (None, False, "none", [], {})
    ]
    if strange:
        raise SettingError(f"this {kind} of PEFT has settings that no tuning here has: {some(sorted(strange))}.")


def shared(backbone: Backbone, projection: Projection) -> SettingError:
    """What to say of blocks that share their weights."""
    return SettingError(
        f"the blocks of {backbone.name} share {path_of(projection)}, while each has a difference of its own: PEFT has "
        "one module for all of them. Write format='promptlab'."
    )


def misfit(backbone: Backbone, path: str, found: str) -> BackboneError:
    """What to say of a module that the backbone has not, or has of another shape."""
    return BackboneError(
        f"the adapter does not fit {backbone.name}: {path} is {found} in it and not so here. Write the backbone it "
        "learnt on."
    )
