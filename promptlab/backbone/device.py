"""Devices, number formats, memory and seeds, so that no floor above needs torch to ask about them."""

import gc
import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path

import torch

from promptlab.errors import SettingError, did_you_mean

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}
_SHORT = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "fp64": "float64"}
_PROC = Path("/proc/self")
_mark = 0  # bytes: a high-water mark no higher than this is older than the last reset


def pick_device(name: str = "auto") -> torch.device:
    """The device of a name: ``auto`` (an accelerator where there is one), ``cpu``, ``cuda``, ``cuda:1``, ``mps``.

    Raises:
        SettingError: no such device, here or anywhere.
    """
    here = _devices()
    if name == "auto":
        return torch.device(here[0])
    try:
        device = torch.device(name)
    except RuntimeError:
        guess = did_you_mean(name, here)
        raise SettingError(f"device={name}: no such device.{guess} Write auto or {_or(here)}.") from None
    if device.type not in here or (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()):
        raise SettingError(f"device={name}: this machine has none. Write auto or {_or(here)}.")
    return device


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """The number format of a name; ``auto`` is bfloat16 on CUDA, float32 elsewhere.

    Raises:
        SettingError: no such format.
    """
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    known = {**DTYPES, **{short: DTYPES[long] for short, long in _SHORT.items()}}
    if name not in known:
        guess = did_you_mean(name, known)
        raise SettingError(f"dtype={name}: no such number format.{guess} Write auto or {_or(DTYPES)}.")
    return known[name]


def token_budget(device: torch.device) -> int:
    """How many tokens, padding counted, one forward may hold.

    Told by the device's whole memory, never by what is free, so that the same plan makes the same batches.
    """
    if device.type != "cuda":
        return 1024  # larger ones leave the caches of two cores, and are no faster
    gibibytes = torch.cuda.get_device_properties(device).total_memory // 2**30
    return 1024 * max(4, min(128, 2 * gibibytes))


def capturing() -> bool:
    """Whether kernels are being recorded, not run: no tensor can be asked for a number."""
    return torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()


def generator(key: str) -> torch.Generator:
    """A CPU generator whose numbers follow from ``key`` alone, whatever ran before."""
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little")
    return torch.Generator().manual_seed(seed)


def free_memory() -> None:
    """Gives back what nothing holds any more: tensors in cycles of references, and the accelerator's free blocks."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def reset_peak() -> None:
    """Starts a new reading of :func:`peak_memory_bytes`."""
    global _mark
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    try:
        (_PROC / "clear_refs").write_text("5")  # Linux: the high-water mark falls to what is held now
        _mark = 0
    except OSError:
        _mark = _high_water() or 0  # elsewhere the mark only ever rises


def peak_memory_bytes() -> int | None:
    """The most memory held at once since :func:`reset_peak`: the accelerator's where one is in use, else the process's.

    Returns:
        bytes, or None where the system cannot say: the process's mark did not rise since the reset, so it is older.
    """
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated()
    high = _high_water()
    return high if high is not None and high > _mark else None


def _high_water() -> int | None:
    try:
        lines = (_PROC / "status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return _usage()


def _usage() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _devices() -> list[str]:
    found = [("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available()), ("cpu", True)]
    return [name for name, there in found if there]


def _or(names: Iterable[str]) -> str:
    listed = list(names)
    return " or ".join(filter(None, [", ".join(listed[:-1]), listed[-1]]))
