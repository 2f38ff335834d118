"""What stands in a model folder's files, read without building a model."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from promptlab.backbone.catalog import Place

_READ = ("*.json", "*.txt", "*.model", "*.safetensors")
_BLOCKS, _BLOCK_BYTES = 256, 2**18  # a file of up to 64 MiB is read whole, a larger one at 256 places


def stored_part(folder: Path, part: str) -> dict[str, Tensor]:
    """The weights of a checkpoint below a module of that name, by the rest of their path, on the CPU; may be empty.

    Args:
        folder: holds ``*.safetensors``.
        part: a module's own name (``pooler``), at any depth.
    """
    found = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118 (the open file itself cannot be walked)
                _, match, rest = f".{key}".partition(f".{part}.")
                if match:
                    found[rest] = tensors.get_tensor(key)
    return found


def fingerprint(place: Place) -> str:
    """A digest of everything a loaded model follows from: names, sizes and contents (large files at 256 places).

    The base of a difference counts through its SHA-256, which stands in the difference's note.
    """
    digest = hashlib.sha256()
    alone = [place.folder / place.gguf] if place.gguf else None
    for file in alone or sorted(file for kind in _READ for file in place.folder.glob(kind)):
        digest.update(f"{file.name} {file.stat().st_size}\n".encode())
        _update(digest, file)
    return digest.hexdigest()


def _update(digest: Any, file: Path) -> None:
    with file.open("rb") as stream:
        for place in _places(file.stat().st_size):
            stream.seek(place)
            digest.update(stream.read(_BLOCK_BYTES))


def _places(size: int) -> Iterable[int]:
    if size <= _BLOCKS * _BLOCK_BYTES:
        return range(0, size, _BLOCK_BYTES)
    return [i * (size - _BLOCK_BYTES) // (_BLOCKS - 1) for i in range(_BLOCKS)]
