"""Which backbone it was, written down, and found again.

    describe(backbone, place) -> a JSON object      name, fingerprint, kind, number format, where its folder lies
    recover(described, home) -> the same backbone
    check_base(home, backbone)                      refused where the saved model in a folder learnt on another

A folder may have moved, but what lies in it may not have changed: the fingerprint tells.
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any

from promptlab.backbone.backbone import Backbone, load_backbone
from promptlab.backbone.catalog import Place
from promptlab.backbone.device import pick_device
from promptlab.backbone.difference import base_of, weights_sha256
from promptlab.backbone.files import fingerprint
from promptlab.errors import BackboneError

ABOUT = "promptlab.json"
"""The file of a saved model's folder that says what it is; ``backbone`` in it is :func:`describe`'s object."""


def describe(backbone: Backbone, place: Path | None) -> dict[str, Any]:
    """What says which backbone it is.

    Args:
        backbone: from the hub or from a folder.
        place: where this will be written; None where it leaves this machine, whose folders then stay unsaid.
    """
    own = backbone.folder / (backbone.place.gguf or "")
    local = Path(backbone.name).expanduser() == own
    found = {
        "name": backbone.name,
        "local": local,
        "kind": backbone.kind,
        "fingerprint": backbone.fingerprint,
        "dtype": str(backbone.dtype).removeprefix("torch."),
        "new_head": backbone.new_head,
    }
    if place is None:
        return {**found, "name": PurePath(own.resolve()).name if local else backbone.name}
    return {**found, "places": _places(own, place) if local else []}


def base_named(backbone: Backbone, place: Path) -> dict[str, Any]:
    """What names the base of a difference that is written at ``place``: name, places, SHA-256 of its weights.

    Raises:
        BackboneError: a GGUF file, whose weights are quantised.
    """
    if backbone.place.gguf:
        raise BackboneError(f"{backbone.name} is a GGUF file, which can be no base. Leave --difference out.")
    own = base_of(backbone.folder)
    if own is not None:
        root = backbone.place.base or backbone.folder
        return {**own, "places": _places(root, place) if own.get("places") else []}
    local = Path(backbone.name).expanduser() == backbone.folder
    name = str(backbone.folder.resolve()) if local else backbone.name
    places = _places(backbone.folder, place) if local else []
    return {"name": name, "places": places, "sha256": weights_sha256(backbone.folder)}


def recover(
    described: Mapping[str, Any],
    home: Path,
    given: str | Path | Backbone | None = None,
    device: str = "auto",
    dtype: str = "auto",
    allow_other: bool = False,
) -> Backbone:
    """The backbone that was described.

    Args:
        described: by :func:`describe`.
        home: the folder that this was read from.
        given: where the backbone is now, or itself; looked for where None.
        device: to load it on.
        dtype: ``auto`` is the described one, or float32 on a CPU in place of a half format.
        allow_other: take another one too.

    Raises:
        BackboneError: it is not there, or is another one.
    """
    found = given
    if not isinstance(found, Backbone):
        name = str(given) if given is not None else _whereabouts(described, home)
        number = _dtype(described["dtype"], device) if dtype == "auto" else dtype
        found = load_backbone(name, device, number, allow_new_head=described["new_head"], kind=described["kind"])
    if found.fingerprint != described["fingerprint"] and not allow_other:
        raise BackboneError(
            f"{_another(home, described, found)} Write backbone= with the one it learnt on, or "
            "allow_other_backbone=True to try this one all the same."
        )
    return found


def check_base(home: Path, backbone: Backbone) -> None:
    """Refuses weights of a saved model that learnt on another backbone.

    Args:
        home: its folder; one that says no backbone is passed over.
        backbone: that is to go on with them; one without weights (``blank_backbone``) is no particular one.

    Raises:
        BackboneError: names both backbones.
    """
    try:
        described = json.loads((home / ABOUT).read_text(encoding="utf-8"))["backbone"]
        differs = described["fingerprint"] != backbone.fingerprint
    except (OSError, ValueError, KeyError, TypeError):
        return
    if differs and backbone.fingerprint:
        raise BackboneError(f"{_another(home, described, backbone)} Write backbone= with the one it learnt on.")


def _another(home: Path, described: Mapping[str, Any], found: Backbone) -> str:
    return (
        f"{home} learnt on {described['name']} ({described['fingerprint'][:12]}), and {found.name} "
        f"({found.fingerprint[:12]}) is another model, or its files have changed."
    )


def _places(folder: Path, place: Path) -> list[str]:
    """A folder as seen from another, in case both move together; and its whole path."""
    found = [str(folder.resolve())]
    with suppress(ValueError):  # on another drive
        found.insert(0, os.path.relpath(folder.resolve(), place))
    return found


def _whereabouts(described: Mapping[str, Any], home: Path) -> str:
    """The hub name, or of the folders where the backbone may be now the one with the right contents."""
    if not described["local"]:
        return str(described["name"])
    tried = [Path(described["name"]).expanduser(), *(home / place for place in described.get("places", ()))]
    there = [path for path in tried if path.exists()]
    if not there:
        looked = ", ".join(map(str, dict.fromkeys(tried)))
        raise BackboneError(
            f"{home} learnt on {described['name']}, which is not there (looked at {looked}). "
            "Write backbone= with where it is now."
        )
    return str(next((path for path in there if fingerprint(_place(path)) == described["fingerprint"]), there[0]))


def _place(path: Path) -> Place:
    return Place(path.parent, gguf=path.name) if path.is_file() else Place(path)


def _dtype(described: str, device: str) -> str:
    half = described in ("bfloat16", "float16")
    return "auto" if half and pick_device(device).type == "cpu" else described  # half formats are slow there
