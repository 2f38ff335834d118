"""Predictors on disk and on the hub.

    promptlab.json        what it is: format, system and settings, backbone (name, fingerprint), labels, versions
    task.yaml             the task, a pattern file like any other
    weights.safetensors   what was learnt; never the backbone itself
    README.md             a model card that writes itself

Merged, a folder holds a plain transformers checkpoint in place of the weights; with ``format="peft"``, the adapter that
PEFT reads (docs/formats.md).
"""

import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.catalog import first_line
from promptlab.backbone.identity import ABOUT, describe, recover
from promptlab.backbone.stacks import apart, stacked
from promptlab.card import model_card
from promptlab.errors import OutputError, SettingError, did_you_mean
from promptlab.folders import place_of, replacing, some
from promptlab.language.example import Example
from promptlab.language.library import load_task
from promptlab.language.task import Task
from promptlab.methods.adapter import ADAPTER, read_adapter, write_adapter
from promptlab.methods.merge import manner, mergeable, write_merged
from promptlab.methods.method import Predictor, Saved, restore
from promptlab.methods.patterns import usable
from promptlab.spec import Spec, System

FORMATS = ("promptlab", "peft")
FORMAT = 2
"""Raised where a promptlab before could not read the folder any more."""
TASK, WEIGHTS, CARD = "task.yaml", "weights.safetensors", "README.md"
_PACKAGES = ("promptlab", "torch", "transformers", "scikit-learn", "numpy", "safetensors")
_MADE = "Write the folder that save_pretrained, or promptlab fit --out, made."
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


@dataclass(frozen=True)
class Origin:
    """How a predictor came about.

    Args:
        system: method and tuning as text.
        settings: all of theirs, those left out included.
        seed: of the training.
        labelled: rows it learnt from.
        unlabelled: rows without labels that it could read.
        metrics: scores worth telling, by name.
        more: what else is to be found again at loading; JSON.
    """

    system: System
    settings: Mapping[str, Any]
    seed: int = 0
    labelled: int = 0
    unlabelled: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Loaded:
    """A predictor from disk, with what stood beside it; ``backbone`` is None where it needs none."""

    predictor: Predictor
    task: Task
    backbone: Backbone | None
    origin: Origin


# save


def save_predictor(
    folder: str | Path,
    predictor: Predictor,
    backbone: Backbone | None,
    origin: Origin,
    *,
    merge: bool = False,
    format: str = FORMATS[0],
    name: str | None = None,
) -> Path:
    """Writes a folder, whole or not at all.

    Args:
        folder: new, empty, or a model saved before, which is replaced.
        predictor: a lasting one (``predictor.keep()``).
        backbone: what it stands on; None where it needs none.
        origin: how it came about.
        merge: write a plain transformers checkpoint that answers as the predictor does.
        format: of what was learnt, ``promptlab`` or ``peft``.
        name: what the card calls it where it is to leave this machine, about which it then says nothing.

    Raises:
        OutputError: the folder cannot be written, or holds something else.
        SettingError: there is nothing that could be saved, or merged, or no such format holds it.
    """
    if format not in FORMATS or (merge and format != FORMATS[0]):
        guess = " A merged model has no adapter." if format in FORMATS else did_you_mean(format, FORMATS)
        raise SettingError(f"format={format} cannot be.{guess} Write promptlab, or peft without merge.")
    place = place_of(folder, ABOUT)
    model = mergeable(predictor, str(origin.system)) if merge else None
    saved, number = predictor.saved(), backbone.dtype if backbone else torch.float32
    kept = stacked({key: _tensor(one, number) for key, one in saved.tensors.items()})
    content = _content(predictor, saved, origin) | {
        "merged": manner(model) if model else "",
        "weights": format,
        "patterns": _patterns(saved.config, origin.settings, predictor.task, backbone),
        "backbone": backbone and describe(backbone, None if name else place),
        "tensors": {key: list(one.shape) for key, one in kept.items()},
    }
    with replacing(place) as half:
        if model:
            write_merged(model, half, str(origin.system))
        elif format == "peft":
            write_adapter(predictor, half, str(origin.system), bool(name))
        else:
            _write(kept, half / WEIGHTS)
        _describe(half, content, predictor.task, name or place.name)
    return place


def _content(predictor: Predictor, saved: Saved, origin: Origin) -> dict[str, Any]:
    facts, task, tuning = predictor.facts, predictor.task, origin.system.tuning
    return {
        "format": FORMAT,
        "system": {"method": _spec(origin.system.method), "tuning": tuning and _spec(tuning)},
        "settings": dict(origin.settings),
        "seed": origin.seed,
        "task": task.name,
        "labels": list(task.labels),
        "data": {"labelled_rows": origin.labelled, "unlabelled_rows": origin.unlabelled},
        "parameters": {"stored": facts.get("stored_parameters", 0), "head": facts.get("head_parameters", 0)},
        "notes": list(facts.get("notes") or ()),
        "metrics": {key: float(value) for key, value in origin.metrics.items()},
        "more": dict(origin.more),
        "predictor": {"kind": saved.kind, "config": saved.config},
        "versions": _versions(),
    }


def _spec(spec: Spec) -> dict[str, Any]:
    return {"name": spec.name, "text": str(spec), "settings": dict(spec.settings)}


def _patterns(
    config: Mapping[str, Any], settings: Mapping[str, Any], task: Task, backbone: Backbone | None
) -> list[str]:
    """Names of the patterns that it asks, or that its teachers asked."""
    members = [part["config"] for part in config.get("members", ())] or [config]
    found = [name for member in members if (name := member.get("pvp"))]
    choice = (settings.get("method") or {}).get("patterns")
    if not found and choice and backbone:
        found = [pvp.name for pvp in usable(task, backbone, choice, numbers=True)[0]]
    return list(dict.fromkeys(found))


def _tensor(array: np.ndarray, number: torch.dtype) -> torch.Tensor:
    tensor = torch.from_numpy(np.array(array))
    if number is not torch.bfloat16 or tensor.dtype is not torch.float32:
        return tensor
    half = tensor.bfloat16()  # NumPy lacks it, so such weights come as float32
    return half if half.float().equal(tensor) else tensor


def _write(tensors: dict[str, torch.Tensor], path: Path) -> None:
    try:
        save_file(tensors, path, {"format": "pt"})
    except SafetensorError as error:
        raise OutputError(f"{path} cannot be written: {first_line(error)}") from error


def _describe(half: Path, content: dict[str, Any], task: Task, name: str) -> None:
    (half / TASK).write_text(task.to_yaml(), encoding="utf-8")
    (half / CARD).write_text(model_card(content, task, name), encoding="utf-8")
    whole = _plain(content | {"files": sorted([*os.listdir(half), ABOUT])})
    text = json.dumps(whole, ensure_ascii=False, allow_nan=False, indent=2)
    (half / ABOUT).write_text(text + "\n", encoding="utf-8")
    for path in half.iterdir():
        path.chmod((half / ABOUT).stat().st_mode)  # safetensors lets nobody but the owner read what it writes


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


# load


def load_predictor(
    folder: str | Path,
    backbone: str | Path | Backbone | None = None,
    device: str = "auto",
    dtype: str = "auto",
    *,
    allow_other_backbone: bool = False,
) -> Loaded:
    """Reads what :func:`save_predictor` wrote.

    Args:
        folder: the folder, or its name on the hub (``user/model``).
        backbone: where the backbone is now, or itself; by default where it was when the model was saved.
        device: for the backbone.
        dtype: its number format; ``auto`` is the one it was saved with (float32 on a CPU in place of a half format).
        allow_other_backbone: lets a backbone answer that is not the one it learnt on.

    Raises:
        OutputError: a file is missing, damaged, or of a newer promptlab.
        BackboneError: the backbone is missing, or is another than the one it learnt on.
    """
    home = _home(folder)
    content = _read_about(home)
    with _belonging(home):
        task, origin = _read_task(home / TASK, content["labels"]), _origin(content)
        adapter = content.get("weights") == "peft"
        tensors = {} if adapter else _read_weights(home / WEIGHTS, content["tensors"])
        stood, stand = content["backbone"], None
        if stood is not None:
            stand = recover(stood, home, backbone, device, dtype, allow_other_backbone)
        saved = Saved(content["predictor"]["kind"], content["predictor"]["config"], tensors)
        predictor = restore(
            task, stand, read_adapter(home, stand, saved.kind, saved.config) if adapter and stand else saved
        )
        if stand and stand.fingerprint != stood["fingerprint"]:
            _try(predictor, Example({name: "x" for name in task.inputs}))  # it may be of another shape
        return Loaded(predictor, task, stand, origin)


def _try(predictor: Any, example: Example) -> None:
    (predictor.texts if predictor.task.generates else predictor.scores)([example])


def saved_task(folder: str | Path) -> Task:
    """The task of what was saved in a folder, read before anything is loaded.

    Raises:
        OutputError: as :func:`load_predictor`.
    """
    home = _home(folder)
    content = _read_about(home)
    with _belonging(home):
        return _read_task(home / TASK, content["labels"])


@contextmanager
def _belonging(home: Path) -> Iterator[None]:
    """Files that were changed by hand, or come from several folders, fail in many ways: told as one."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
        raise OutputError(
            f"{home}: its files, or its backbone, do not belong together ({type(error).__name__}: {first_line(error)}) "
            "Copy the folder anew."
        ) from error


def _home(folder: str | Path) -> Path:
    path = Path(folder).expanduser()
    if path.is_dir():
        return path
    if isinstance(folder, Path) or not _HUB_NAME.fullmatch(folder):
        raise OutputError(f"no folder {folder}. {_MADE}")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(folder, allow_patterns=[ABOUT, TASK, WEIGHTS, CARD, *ADAPTER]))
    except Exception as error:  # the client's errors share no root
        raise OutputError(f"no folder {folder}, and the hub did not give it: {first_line(error)} {_MADE}") from error


def _read_about(home: Path) -> dict[str, Any]:
    try:
        content = json.loads((home / ABOUT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        plain = " It is a plain model: write it as backbone=." if (home / "config.json").is_file() else ""
        raise OutputError(f"{home} holds no model of promptlab (no {ABOUT}).{plain} {_MADE}") from None
    except (OSError, ValueError) as error:
        raise OutputError(f"{home / ABOUT} cannot be read: {first_line(error)} Copy the folder anew.") from error
    found = content.get("format") if isinstance(content, dict) else None
    if not isinstance(found, int):
        raise OutputError(f"{home / ABOUT} says no format. Copy the folder anew.")
    if found > FORMAT:
        by = (content.get("versions") or {}).get("promptlab", "a newer version")
        raise OutputError(
            f"{home} is in format {found}, written by promptlab {by}; this one reads formats up to {FORMAT}. "
            "Update it: pip install --upgrade promptlab."
        )
    if content.get("merged"):
        raise OutputError(f"{home} is merged: a plain checkpoint. Load it with transformers, or write it as backbone=.")
    return dict(content)


def _origin(content: Mapping[str, Any]) -> Origin:
    system, data = content["system"], content["data"]
    method, tuning = (part and Spec(part["name"], part["settings"]) for part in (system["method"], system["tuning"]))
    return Origin(System(method, tuning), content["settings"], content["seed"], data["labelled_rows"],
                  data["unlabelled_rows"], content["metrics"], content["more"])  # fmt: skip


def _read_task(path: Path, labels: Sequence[str]) -> Task:
    if not path.is_file():
        raise OutputError(f"{path.parent} has no {path.name}. Copy the folder anew; every file of it is needed.")
    task = load_task(path)
    if list(task.labels) != labels:
        raise OutputError(
            f"{path} has the labels {', '.join(task.labels)}, but the model learnt {', '.join(labels)}. "
            "Put the file back as it was."
        )
    return task


def _read_weights(path: Path, shapes: Mapping[str, Sequence[int]]) -> dict[str, np.ndarray]:
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"{path} cannot be read: {first_line(error)} Copy the folder anew.") from error
    found = {name: list(one.shape) for name, one in tensors.items()}
    wrong = [name for name in {**shapes, **found} if found.get(name) != shapes.get(name)]
    if wrong:
        raise OutputError(f"{path} holds other weights than {ABOUT} says ({some(wrong)}). Copy the folder anew.")
    each = apart(tensors)
    return {name: (one.float() if one.dtype is torch.bfloat16 else one).numpy() for name, one in each.items()}


# push


def push_folder(folder: Path, repo: str, private: bool | None = None, message: str = "Upload with promptlab") -> str:
    """Puts a saved model on the hub and returns its address.

    Args:
        folder: as :func:`save_predictor` wrote it, with a ``name``.
        repo: ``user/model``; made if it is not there.
        private: whether only its owner sees it; the account's default where None.
        message: of the commit.

    Raises:
        OutputError: the hub refuses, or cannot be reached.
    """
    from huggingface_hub import HfApi

    try:
        api = HfApi()
        api.create_repo(repo, private=private, exist_ok=True)
        return str(api.upload_folder(repo_id=repo, folder_path=folder, commit_message=message).repo_url)
    except Exception as error:  # the client's errors share no root
        raise OutputError(f"{repo} cannot be written on the hub: {first_line(error)} Log in: hf auth login.") from error
