"""Where a backbone's files come from.

    mini       the embedded masked default: a difference in ``assets/mini`` over all-MiniLM-L6-v2
    smollm2    the causal default: SmolLM2-135M-Instruct
    a folder   a whole model, or a difference over a named base
    a .gguf    a file of quantised weights with its own tokenizer
    a hub name in an installed package that carries it (packaged.py), else on the hub or in its cache

locate(name) -> Place

Weights are safetensors or GGUF only: a pickle may run code when it is opened.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptlab.backbone.difference import base_of, check_base, weights_sha256
from promptlab.backbone.packaged import PACKAGES, in_package
from promptlab.errors import BackboneError

MINI, ASSETS = "mini", Path(__file__).parents[1] / "assets"
ALIASES = {"smollm2": "HuggingFaceTB/SmolLM2-135M-Instruct"}

TIMEOUT = 5.0  # seconds the hub may take to answer before its cache is asked instead
TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack")
_WANTED = ["*.json", "*.safetensors", "*.txt", "*.model"]
_UNWANTED = ["*/*", "consolidated*", "*.fp16.*"]  # other formats of the same weights
_SAVED = "Write a folder made by save_pretrained."
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


@dataclass(frozen=True)
class Place:
    """Where the files of a backbone lie.

    Args:
        folder: config and tokenizer, and what else is the backbone's own.
        base: folder of the whole model that ``folder`` holds a difference over; None where it is whole itself.
        gguf: name of the file of weights in ``folder`` that brings config and tokenizer along; None where these are
            files of their own.
    """

    folder: Path
    base: Path | None = None
    gguf: str | None = None


def locate(name: str) -> Place:
    """The files of a name, downloaded from the hub if need be; config, weights and tokenizer are seen to be there.

    Args:
        name: ``mini``, ``smollm2``, a folder, a .gguf file, or a hub name (``google-bert/bert-base-uncased``).

    Raises:
        BackboneError: no such folder or model, no answer from the hub, a folder that lacks a file, or a difference
            whose base is not there or another one.
    """
    path = Path(name).expanduser()
    if name == MINI and not path.is_dir():
        return _whole_or_difference(ASSETS / MINI, name)
    if path.is_file():
        return _gguf(path, name)
    if name and path.is_dir():  # an empty name would be the current folder
        return _whole_or_difference(path, name)
    if not _HUB_NAME.fullmatch(name) or path.suffix == ".gguf":
        raise BackboneError(
            f"no folder '{name}'. Write a folder that is there, or a hub name such as google-bert/bert-base-uncased."
        )
    model = ALIASES.get(name, name)
    packaged = in_package(model)
    if packaged is not None:
        return _gguf(packaged, name) if packaged.suffix == ".gguf" else Place(checked(packaged.parent, name))
    try:
        return _whole_or_difference(_from_hub(model), name)
    except BackboneError as error:
        if model not in PACKAGES:
            raise
        raise BackboneError(f"{error} Or take it from a package: {PACKAGES[model].install}") from error


def locate_config(name: str) -> Place:
    """Where a name's configuration is; nothing else is looked for, and nothing else downloaded.

    Args:
        name: as :func:`locate` takes it, or a ``config.json``.

    Raises:
        BackboneError: there is none, or no answer from the hub.
    """
    path = Path(name).expanduser()
    if name == MINI and not path.is_dir():
        return Place(ASSETS / MINI, base=ASSETS / MINI)
    if path.is_file():
        return Place(path) if path.suffix == ".json" else _gguf(path, name)
    if name and path.is_dir():
        if not (path / "config.json").is_file():
            raise BackboneError(f"{name} has no config.json, so it is no model. {_SAVED}")
        return Place(path, base=path if base_of(path) else None)
    model = ALIASES.get(name, name)
    packaged = in_package(model) if _HUB_NAME.fullmatch(name) else None
    if packaged is not None:
        return _gguf(packaged, name) if packaged.suffix == ".gguf" else Place(packaged.parent)
    if not _HUB_NAME.fullmatch(name) or path.suffix in (".gguf", ".json"):
        raise BackboneError(
            f"no folder or config.json '{name}'. Write one that is there, or a hub name such as "
            "google-bert/bert-base-uncased."
        )
    return Place(_config_from_hub(model).parent)


def _config_from_hub(name: str) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(name, "config.json", etag_timeout=TIMEOUT))
    except Exception as error:  # the client's errors share no root, and differ between its versions
        raise BackboneError(f"no folder '{name}' here, and {_hub_said(error)}") from error


def _gguf(file: Path, name: str) -> Place:
    if file.suffix != ".gguf":
        raise BackboneError(f"{name} is a file. Write the folder that holds config.json and *.safetensors, or a .gguf.")
    with file.open("rb") as stream:
        if stream.read(4) != b"GGUF":
            raise BackboneError(f"{name} does not begin as a GGUF file does. Copy it anew from where it came.")
    return Place(file.parent, gguf=file.name)


def _whole_or_difference(folder: Path, name: str) -> Place:
    checked(folder, name)
    base = base_of(folder)
    if base is None:
        return Place(folder)
    found = _base(base, folder)
    check_base(base, found, name)
    return Place(folder, found)


def _base(base: dict[str, Any], folder: Path) -> Path:
    """The folder of a difference's base: where it lay when the difference was made, or by its name."""
    near = [path.resolve() for path in (folder / place for place in base.get("places", ())) if path.is_dir()]
    if near:
        right = (path for path in near if weights_sha256(path) == base["sha256"])
        return checked(next(right, near[0]), str(near[0]))
    try:
        return locate(base["name"]).folder
    except BackboneError as error:
        raise BackboneError(f"{folder} is a difference over {base['name']}, which is not here: {error}") from error


def checked(folder: Path, name: str) -> Path:
    """The folder, once its files are seen to be there.

    Raises:
        BackboneError: names the missing file and what to do.
    """
    if not (folder / "config.json").is_file():
        raise BackboneError(f"{name} has no config.json, so it is no model. {_SAVED}")
    files = sorted(file.name for file in folder.iterdir())
    if not any(file.endswith(".safetensors") for file in files):
        raise BackboneError(_no_weights(name, files))
    if not any(list(folder.glob(kind)) for kind in TOKENIZERS):
        raise BackboneError(
            f"{name} has no tokenizer ({', '.join(TOKENIZERS)}). Save it there: tokenizer.save_pretrained({name!r})."
        )
    return folder


def read_config(folder: Path, name: str) -> dict[str, Any]:
    """``config.json`` of a folder, or a file that is one, as it stands.

    Raises:
        BackboneError: it cannot be read, or is not a JSON object.
    """
    file = folder if folder.is_file() else folder / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BackboneError(f"{name}/config.json cannot be read: {error.strerror}. Check its permissions.") from error
    except (ValueError, RecursionError) as error:
        raise BackboneError(
            f"{name}/config.json is no JSON: {error}. Copy it anew from where the model came."
        ) from None
    if not isinstance(config, dict):
        raise BackboneError(f"{name}/config.json holds a {type(config).__name__}, not an object. Copy it anew.")
    return config


def first_line(error: Exception) -> str:
    """What an error of another library says first, ending like a sentence."""
    if isinstance(error, KeyError):
        return f"it lacks {error}."
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    line = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    return line if line.endswith((".", "!", "?")) else f"{line}."


def _no_weights(name: str, files: list[str]) -> str:
    pickles = [file for file in files if file.endswith(PICKLES)]
    if not pickles:
        return f"{name} has no weights (*.safetensors). Write a folder that holds a whole model."
    return (
        f"{name} has its weights as {', '.join(pickles)}; promptlab opens only safetensors, since a pickle can run "
        "code. If you trust the file, load it with transformers, call model.save_pretrained(FOLDER) and "
        "tokenizer.save_pretrained(FOLDER), and write that folder."
    )


def _from_hub(name: str) -> Path:
    from huggingface_hub import HfApi, snapshot_download

    try:
        info = HfApi().model_info(name, timeout=TIMEOUT)
    except Exception as error:  # the client's errors share no root, and differ between its versions
        return _from_cache(name, error)
    files = [file.rfilename for file in info.siblings or []]
    if not any(file.endswith(".safetensors") for file in files):
        raise BackboneError(_no_weights(f"the hub's {name}", files))
    try:  # without a revision: only then does the cache note what the name stands for, to answer when offline
        return Path(snapshot_download(name, allow_patterns=_WANTED, ignore_patterns=_UNWANTED))
    except Exception as error:
        raise BackboneError(f"{name} could not be downloaded: {first_line(error)} Try again.") from error


def _from_cache(name: str, error: Exception) -> Path:
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(name, local_files_only=True, allow_patterns=_WANTED, ignore_patterns=_UNWANTED)
        return Path(folder)
    except Exception:
        raise BackboneError(f"no folder '{name}' here, and {_hub_said(error)}") from error


def _hub_said(error: Exception) -> str:
    kind, status = type(error).__name__, getattr(getattr(error, "response", None), "status_code", None)
    if "Gated" in kind:
        return "the hub wants a licence accepted: do so on the model's page, then log in with `hf auth login`."
    if kind == "OfflineModeIsEnabled":
        return "HF_HUB_OFFLINE is set while the cache does not hold it. Unset it, or write a folder."
    if status in (401, 404):
        return "the hub has no model of this name, or keeps it private. Check the spelling, or write a folder."
    return f"the hub cannot be reached: {first_line(error)} Write a folder, or try again with a connection."
