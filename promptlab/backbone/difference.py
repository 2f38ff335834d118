"""A model as a small difference over a base that is found elsewhere.

    matrix     q = round((W - B) / s), s = the row's largest / 127        int8, a float32 scale a row
    low rank   U V                                                        float16, where it was learnt so
    the rest   vectors as a difference, and weights that the base lacks   float16

    W = B + q s    W = B + U V    W = B + d    W = w

The file names its base and the SHA-256 of the base's weights; over any other base it is refused.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from promptlab.errors import BackboneError

FILE, ABOUT = "difference.safetensors", "adapt.json"
LEVELS = 127


def sha256(file: Path) -> str:
    """Of a file's whole content, as hexadecimal digits."""
    about = file.stat()
    return _sha256(file.resolve(), about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256(file: Path, size: int, changed: int) -> str:
    """Remembered for as long as the file keeps its size and time."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def weights_sha256(folder: Path) -> dict[str, str]:
    """Of every file of weights of a folder, by name."""
    return {file.name: sha256(file) for file in sorted(folder.glob("*.safetensors"))}


def base_of(folder: Path) -> dict[str, Any] | None:
    """The base that a folder's difference was made over; None where it holds a whole model.

    Raises:
        BackboneError: a difference without the note that names its base.
    """
    if not (folder / FILE).is_file():
        return None
    try:
        base = json.loads((folder / ABOUT).read_text(encoding="utf-8"))["base"]
        texts = [base["name"], *base.get("places", []), *base["sha256"], *base["sha256"].values()]
        if all(isinstance(text, str) for text in texts):
            return dict(base)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    raise BackboneError(f"{folder}/{ABOUT} does not name the base of the difference beside it. Copy the folder anew.")


def check_base(base: Mapping[str, Any], found: Path, folder: str) -> None:
    """Sees that a folder holds the base which a difference was made over.

    Raises:
        BackboneError: names both.
    """
    here = weights_sha256(found)
    if here != base["sha256"]:
        wanted, got = (", ".join(f"{name} {one[:12]}" for name, one in side.items()) for side in (base["sha256"], here))
        raise BackboneError(
            f"{folder} is a difference over {base['name']} ({wanted}), and {found} holds another model ({got}). "
            "Install or download the one it was made over."
        )


def pack(
    model: nn.Module, base: Mapping[str, Tensor], low_rank: Mapping[str, tuple[Tensor, Tensor]] | None = None
) -> dict[str, Tensor]:
    """The difference of a model's parameters over its base's.

    Args:
        model: as it is now; tied parameters count once.
        base: the base's parameters by the model's names; what it lacks is stored whole.
        low_rank: by parameter name ``U (rows, r)`` and ``V (r, columns)``, for parts that were learnt so;
            ``name@row,column`` places the product in the whole.
    """
    factors = low_rank or {}
    factored = {name.partition("@")[0] for name in factors}
    packed = {f"{name}.U": left.half() for name, (left, _) in factors.items()}
    packed |= {f"{name}.V": right.half() for name, (_, right) in factors.items()}
    for name, parameter in model.named_parameters():
        if name in factored:
            continue
        if name not in base:
            packed[f"{name}.new"] = _narrow(parameter.detach())
        elif parameter.dim() < 2:
            packed[f"{name}.plus"] = _narrow(parameter.detach() - base[name])
        else:
            packed |= _int8(name, (parameter.detach() - base[name]).float())
    return packed


def write(packed: Mapping[str, Tensor], folder: Path) -> None:
    """Writes the difference's file."""
    save_file({name: tensor.cpu().contiguous() for name, tensor in packed.items()}, folder / FILE)
    (folder / FILE).chmod(0o644)  # the writer leaves it to its owner alone, and a package is read by others too


@torch.no_grad()
def apply(model: nn.Module, folder: Path) -> set[str]:
    """Adds a folder's difference to a model that holds its base, and returns the names that the base lacked.

    Raises:
        BackboneError: the file is damaged, or names what the model has not.
    """
    own, new = dict(model.named_parameters()), set[str]()
    for name, part, tensors in _entries(folder):
        where, _, place = name.partition("@")
        if where not in own:
            raise BackboneError(
                f"{folder}/{FILE} holds a difference of {where}, which its model has not. Copy it anew."
            )
        try:
            target = _part(own[where], part, place, tensors)
            value = _value(part, tensors).to(target)
            if value.shape != target.shape:
                raise ValueError(f"{tuple(value.shape)} over {tuple(target.shape)}")
        except (KeyError, ValueError, RuntimeError, TypeError) as error:
            raise BackboneError(
                f"{folder}/{FILE}: {name}.{part} does not fit its model: {error}. Copy it anew."
            ) from None
        if part == "new":
            new.add(where)
            target.copy_(value)
        else:
            target.add_(value)
    return new


def _part(target: Tensor, part: str, place: str, tensors: list[Tensor]) -> Tensor:
    """What of a parameter is changed: all, or where a product stands."""
    if not place:
        return target
    row, column = map(int, place.split(","))
    return target[row : row + tensors[0].shape[0], column : column + tensors[-1].shape[1]]


def _value(part: str, tensors: list[Tensor]) -> Tensor:
    if part == "UV":
        return tensors[0].float() @ tensors[1].float()
    if part == "q":
        return tensors[0].float() * tensors[1]
    return {"plus": tensors[0], "new": tensors[0]}[part]


def _narrow(tensor: Tensor) -> Tensor:
    """As float16, unless that overflows."""
    half = tensor.half()
    return half if bool(half.isfinite().all()) else tensor.float()


def _int8(name: str, difference: Tensor) -> dict[str, Tensor]:
    rows = difference.flatten(1)
    scale = (rows.abs().amax(1) / LEVELS).clamp_min(torch.finfo(torch.float32).tiny)
    levels = (rows / scale[:, None]).round().clamp(-LEVELS, LEVELS).to(torch.int8)
    return {f"{name}.q": levels.view_as(difference), f"{name}.s": scale.view(-1, *[1] * (difference.dim() - 1))}


def _entries(folder: Path) -> Iterator[tuple[str, str, list[Tensor]]]:
    """(parameter, kind, tensors) one by one: kind ``q`` with its scale, ``UV``, ``plus`` or ``new``."""
    try:
        with safe_open(folder / FILE, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118 (the open file itself cannot be walked)
                name, _, part = key.rpartition(".")
                if part in ("s", "V"):
                    continue
                second = {"q": "s", "U": "V"}.get(part)
                tensors = [file.get_tensor(key), *([file.get_tensor(f"{name}.{second}")] if second else [])]
                yield name, "UV" if part == "U" else part, tensors
    except Exception as error:  # the reader's errors share no root
        raise BackboneError(f"{folder}/{FILE} cannot be read: {error}. Copy the folder anew.") from error
