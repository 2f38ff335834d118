"""What language-model training leaves behind: a folder that loads as a backbone, and the note in it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from promptlab.backbone.backbone import Backbone, load_backbone
from promptlab.backbone.difference import ABOUT
from promptlab.backbone.export import base_parameters, write_difference, write_language_model
from promptlab.backbone.identity import base_named
from promptlab.backbone.passages import Passages
from promptlab.errors import OutputError
from promptlab.folders import replacing
from promptlab.training.asking import Asker
from promptlab.training.feed import held_out
from promptlab.training.sitting import Sitting


def finished(place: Path, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
    """The note of a training that was ended with the same settings; None where it goes on or begins.

    Raises:
        OutputError: the folder holds a training with other settings.
    """
    about, other = _had(place, wanted)
    had = about.get("settings", {})
    begun = about.get("finished") or Sitting(place).checkpoint.is_file()
    if other and begun:
        named = {"text": "another text", "fingerprint": "another backbone"}
        was = ", ".join(named.get(name, f"{name}={had.get(name)}") for name in other)
        raise OutputError(
            f"{place} holds a training of other settings ({was}). Write a new folder, or the same settings."
        )
    return about if about.get("finished") and not other else None


def begun(place: Path, wanted: Mapping[str, Any]) -> bool:
    """Whether an unfinished training with the same settings lies there; its text as ids may be whole already."""
    about, other = _had(place, wanted)
    return bool(about) and not about.get("finished") and not other and Sitting(place).work.is_dir()


def _had(place: Path, wanted: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The note that lies there, empty if none, and the names of the settings that differ."""
    if not (place / ABOUT).is_file():
        return {}, []
    about = dict(json.loads((place / ABOUT).read_text(encoding="utf-8")))
    had = about.get("settings", {})
    return about, [name for name in wanted if had.get(name) != wanted[name]]


def base_note(backbone: Backbone, place: Path) -> dict[str, Any]:
    """The base that a difference from this backbone stands over: itself, or its own base."""
    return base_named(backbone, place)


def write(
    sitting: Sitting,
    backbone: Backbone,
    facts: Mapping[str, Any],
    base: Mapping[str, Any] | None,
    factors: Mapping[str, tuple[Tensor, Tensor]],
    passages: Passages,
) -> dict[str, Any]:
    """Writes the model as it answers now; for a difference, what it says when loaded again is noted too."""
    about: dict[str, Any] = {"files": [], "finished": True, "kind": backbone.kind, "base": base, **facts}
    with sitting.writing(), replacing(sitting.place) as half:
        if base is None:
            write_language_model(backbone, half)
        else:  # products say how this training changed the weights, not how they differ from an older base
            parts = {} if backbone.place.base else factors
            write_difference(backbone, base_parameters(backbone), parts, half)
        _note(half, about)
        if base is not None:
            stored = load_backbone(str(half), str(backbone.device), str(backbone.dtype).removeprefix("torch."))
            about["stored"] = Asker(stored, passages).judged(held_out(len(passages)))
        (half / "README.md").write_text(card(about), encoding="utf-8")
        _note(half, about)
    return about


def card(about: Mapping[str, Any]) -> str:
    """The model card of an adapted backbone."""
    settings, last = about["settings"], about["curve"][-1]
    base = (about["base"] or {"name": settings["backbone"]})["name"]
    stored = about.get("stored")
    lines = [
        "---",
        f"pipeline_tag: {'fill-mask' if about['kind'] == 'masked' else 'text-generation'}",
        "tags: [promptlab]",
        "---",
        "",
        f"# {Path(str(base)).name}, adapted",
        "",
        f"A {about['kind']} language model: {base}, trained further on plain text by `promptlab adapt`.",
        "",
        f"- text: {', '.join(about['texts'])}",
        f"- training: `{settings['tuning']}`, {about['tokens']:,} tokens in {about['steps']:,} steps, "
        f"{about['seconds'] / 60:.0f} minutes",
        f"- held-out text before: loss {about['curve'][0]['loss']:.3f} nats, "
        f"accuracy {about['curve'][0]['accuracy']:.3f}",
        f"- and after: loss {last['loss']:.3f} nats, accuracy {last['accuracy']:.3f}",
    ]
    if stored:
        lines.append(f"- as stored here, a difference over {base}: accuracy {stored['accuracy']:.3f}")
    return "\n".join([*lines, ""])


def _note(folder: Path, about: dict[str, Any]) -> None:
    about["files"] = sorted({ABOUT, "README.md", *(path.name for path in folder.iterdir())})
    (folder / ABOUT).write_text(json.dumps(about, indent=1), encoding="utf-8")
