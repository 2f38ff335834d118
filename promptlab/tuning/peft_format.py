"""Folders as PEFT writes and reads them: ``adapter_config.json`` and ``adapter_model.safetensors``.

    export_peft(folder, backbone, tuning, state)     lora, ia3, prefix, soft, and the classification head beside them
    import_peft(folder, backbone) -> tuning, state   the same from PEFT's own files

Only the keys that are needed are written, for PEFT of one version refuses keys of a later one. What PEFT computes and a
tuning here cannot is refused by name, in both directions. A folder written here says in its weights' header which
backbone it learnt on.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.catalog import Place, first_line
from promptlab.backbone.files import fingerprint
from promptlab.backbone.heads import head_paths
from promptlab.backbone.identity import describe
from promptlab.errors import BackboneError, OutputError, SettingError
from promptlab.tuning import peft_ia3, peft_lora, peft_prompts
from promptlab.tuning.tuning import State, Tuning

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_WRITE: dict[str, Callable[..., Any]] = {
    "lora": peft_lora.write,
    "ia3": peft_ia3.write,
    "soft": peft_prompts.write_soft,
    "prefix": peft_prompts.write_prefix,
}
_READ: dict[str, Callable[..., Any]] = {
    "LORA": peft_lora.read,
    "IA3": peft_ia3.read,
    "PROMPT_TUNING": peft_prompts.read_soft,
    "PREFIX_TUNING": peft_prompts.read_prefix,
}
_PROMPTS = ("PROMPT_TUNING", "PREFIX_TUNING")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def export_peft(folder: str | Path, backbone: Backbone, tuning: Tuning, state: State, away: bool = False) -> None:
    """Writes one member's tensors as PEFT does; with ``head.*`` among them, as a sequence classifier.

    Args:
        folder: where the two files go; made if it is not there.
        backbone: what the member learnt on.
        tuning: lora, ia3, prefix or soft.
        state: its tensors, and those of its head.
        away: the folder leaves this machine, whose folders then stay unsaid.

    Raises:
        SettingError: PEFT has no place for what was learnt.
        OutputError: the folder cannot be written.
    """
    if tuning.name not in _WRITE:
        known = ", ".join(_WRITE)
        raise SettingError(f"PEFT's format has no place for {tuning.name}, only for {known}. Write format='promptlab'.")
    if backbone.kind == "seq2seq" and tuning.name in ("soft", "prefix"):
        raise SettingError(
            f"PEFT gives an encoder-decoder's halves other {tuning.name} tokens than were learnt here. "
            "Write format='promptlab'."
        )
    inside = {name: one for name, one in state.items() if not name.startswith("head.")}
    own, tensors = _WRITE[tuning.name](tuning, backbone, inside, len(inside) < len(state))
    heads, saved = _head_out(backbone, state, "base_model." if own["peft_type"] in _PROMPTS else "base_model.model.")
    told = describe(backbone, None if away else Path(folder))
    config = {
        "base_model_name_or_path": told["name"],
        "task_type": _task(backbone, own["peft_type"], bool(heads)),
        "inference_mode": True,
        **own,
        **({"modules_to_save": saved} if saved else {}),
    }
    origin = {"backbone": told["name"], "fingerprint": backbone.fingerprint, "tuning": tuning.name}
    origin |= {"settings": asdict(tuning)}  # type: ignore[call-overload]
    _write(Path(folder), config, {**tensors, **heads}, origin)


def import_peft(
    folder: str | Path, backbone: Backbone, *, allow_other_backbone: bool = False
) -> tuple[Tuning, dict[str, Tensor]]:
    """Reads what PEFT, or :func:`export_peft`, wrote.

    Args:
        folder: with the two files.
        backbone: the model it is for.
        allow_other_backbone: take it though it learnt on another one.

    Returns:
        the tuning, and one member's tensors; those of a classification head are named ``head.*``.

    Raises:
        OutputError: a file is missing or damaged.
        SettingError: the adapter does what no tuning here does.
        BackboneError: it learnt on another backbone, or does not fit this one.
    """
    home = Path(folder).expanduser()
    config, (tensors, origin) = _config(home / CONFIG), _tensors(home / WEIGHTS)
    if not allow_other_backbone:
        _check_backbone(home, config, origin, backbone)
    kind = config.get("peft_type")
    if kind not in _READ:
        raise SettingError(f"{home} holds a {kind} of PEFT, which no tuning here is. Known: {', '.join(_READ)}.")
    heads, inside = _head_in(home, backbone, tensors)
    tuning, state = _READ[kind](config, inside, backbone)
    return tuning, {**{name: one.to(backbone.device, backbone.dtype) for name, one in state.items()}, **heads}


def _task(backbone: Backbone, kind: str, head: bool) -> str | None:
    if head:
        return "SEQ_CLS"
    if backbone.kind != "masked":
        return "CAUSAL_LM" if backbone.kind == "causal" else "SEQ_2_SEQ_LM"
    return "FEATURE_EXTRACTION" if kind in _PROMPTS else None  # PEFT has no name for masked language models


# heads


def _head_out(backbone: Backbone, state: State, root: str) -> tuple[dict[str, Tensor], list[str]]:
    """The head's tensors as PEFT names them, and the modules that they are the whole of."""
    found: dict[str, Tensor] = {}
    paths = head_paths(backbone) if any(name.startswith("head.") for name in state) else {}
    for step, path in paths.items():
        stem = f"head.{step}."
        found |= {
            f"{root}{path}.{name.removeprefix(stem)}": one for name, one in state.items() if name.startswith(stem)
        }
    return found, [step for step in paths if any(name.startswith(f"head.{step}.") for name in state)]


def _head_in(home: Path, backbone: Backbone, tensors: State) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The head's tensors as they are named here, and the rest without PEFT's ``base_model.model.``."""
    plain = {re.sub(r"^base_model\.(model\.)?", "", name): one for name, one in tensors.items()}
    inside = {name: one for name, one in plain.items() if re.search(r"(^prompt_embeddings$|\.lora_|\.ia3_)", name)}
    heads, others = dict[str, Tensor](), plain.keys() - inside.keys()
    paths = head_paths(backbone) if others else {}  # not every family has a head that is known
    for name in others:
        fits = [(step, path) for step, path in paths.items() if name.startswith(f"{path}.")]
        if not fits:
            raise SettingError(f"{home} also changes {name}, which no tuning or head here does. Train it anew.")
        step, path = fits[0]
        heads[f"head.{step}{name.removeprefix(path)}"] = plain[name]
    lacking = "pooler" in paths and not backbone.has_pooler_weights
    if heads and lacking and not any(name.startswith("head.pooler.") for name in heads):
        raise BackboneError(
            f"{home} has a classifier that reads a pooler, and neither it nor {backbone.name} holds one. Save it with "
            "modules_to_save=['pooler', 'classifier']."
        )
    return heads, inside


# files


def _write(folder: Path, config: Mapping[str, Any], tensors: State, origin: Mapping[str, Any]) -> None:
    header = {"format": "pt", "promptlab": json.dumps(origin)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG).write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        save_file({name: one.detach().cpu().contiguous() for name, one in tensors.items()}, folder / WEIGHTS, header)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"{folder} cannot be written: {first_line(error)}") from error


def _config(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise OutputError(
            f"{path.parent} holds no adapter (no {path.name}). Write the folder that PEFT made."
        ) from None
    except (OSError, ValueError) as error:
        raise OutputError(f"{path} cannot be read: {first_line(error)} Copy the folder anew.") from error
    if not isinstance(content, dict):
        raise OutputError(f"{path} is no configuration. Copy the folder anew.")
    return content


def _tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, "pt") as file:
            origin = json.loads((file.metadata() or {}).get("promptlab", "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, origin  # noqa: SIM118
    except (OSError, SafetensorError, ValueError) as error:
        raise OutputError(f"{path} cannot be read: {first_line(error)} Copy the folder anew.") from error


def _check_backbone(home: Path, config: Mapping[str, Any], origin: Mapping[str, Any], backbone: Backbone) -> None:
    """By fingerprint where it is known; else by the name on the hub."""
    name = config.get("base_model_name_or_path") or ""
    here = origin.get("fingerprint") or _fingerprint(name)
    other = here != backbone.fingerprint if here else _elsewhere(name, backbone)
    if other:
        known = f" ({here[:12]})" if here else ""
        raise BackboneError(
            f"{home} learnt on {name}{known}, and {backbone.name} ({backbone.fingerprint[:12]}) is another model. "
            "Write the one it learnt on, or allow_other_backbone=True to try this one all the same."
        )


def _fingerprint(name: str) -> str:
    there = bool(name) and (Path(name).expanduser() / "config.json").is_file()
    return fingerprint(Place(Path(name).expanduser())) if there else ""


def _elsewhere(name: str, backbone: Backbone) -> bool:
    on_hub = bool(_HUB_NAME.fullmatch(name)) and bool(_HUB_NAME.fullmatch(backbone.name))
    return on_hub and not Path(backbone.name).exists() and name != backbone.name
