"""Where a backbone's files come from: a folder, or a model on the Hugging Face hub (kept in the hub's own cache).

locate(name) -> a folder that holds config.json, *.safetensors and a tokenizer

Weights are safetensors only: a pickle may run code when it is opened.
"""

import json
import re
from pathlib import Path
from typing import Any

from promptlab.errors import BackboneError

TIMEOUT = 5.0  # seconds the hub may take to answer before its cache is asked instead
TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack")
_WANTED = ["*.json", "*.safetensors", "*.txt", "*.model"]
_UNWANTED = ["*/*", "consolidated*", "*.fp16.*"]  # other formats of the same weights
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


def locate(name: str) -> Path:
    """The folder of a name, downloaded from the hub if need be; config, weights and tokenizer are seen to be there.

    Args:
        name: a folder, or a hub name (``google-bert/bert-base-uncased``).

    Raises:
        BackboneError: no such folder or model, no answer from the hub, or a folder that lacks a file.
    """
    path = Path(name).expanduser()
    if path.is_file():
        raise BackboneError(f"{name} is a file. Write the folder that holds config.json and *.safetensors.")
    if name and path.is_dir():  # an empty name would be the current folder
        return checked(path, name)
    if not _HUB_NAME.fullmatch(name):
        raise BackboneError(
            f"no folder '{name}'. Write a folder that is there, or a hub name such as google-bert/bert-base-uncased."
        )
    return checked(_from_hub(name), name)


def checked(folder: Path, name: str) -> Path:
    """The folder, once its files are seen to be there.

    Raises:
        BackboneError: names the missing file and what to do.
    """
    if not (folder / "config.json").is_file():
        raise BackboneError(f"{name} has no config.json, so it is no model. Write a folder made by save_pretrained.")
    files = sorted(file.name for file in folder.iterdir())
    if not any(file.endswith(".safetensors") for file in files):
        raise BackboneError(_no_weights(name, files))
    if not any(list(folder.glob(kind)) for kind in TOKENIZERS):
        raise BackboneError(
            f"{name} has no tokenizer ({', '.join(TOKENIZERS)}). Save it there: tokenizer.save_pretrained({name!r})."
        )
    return folder


def read_config(folder: Path, name: str) -> dict[str, Any]:
    """``config.json`` as it stands in the file.

    Raises:
        BackboneError: it cannot be read, or is not a JSON object.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
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
