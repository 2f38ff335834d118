"""A folder that is written whole or not at all, and never over somebody else's files.

    place_of(folder, manifest)     where it will stand, once that is seen to be free or ours
    with replacing(place) as half: write into ``half``, which stands beside and is renamed at the end

A folder is ours where its manifest, a JSON file, lists under ``files`` everything that lies in it.
"""

import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from promptlab.errors import OutputError

_STALE = 3600  # seconds after which nobody is left to finish a half-written folder


def place_of(folder: str | Path, manifest: str) -> Path:
    """The folder's path, whole, once it is seen to be new, empty, or ours.

    Raises:
        OutputError: it is a file, or holds something else.
    """
    place = Path(folder).expanduser().resolve()
    if place.exists() and not place.is_dir():
        raise OutputError(f"{folder} is a file. Write a new folder.")
    names = sorted(path.name for path in place.iterdir()) if place.is_dir() else []
    own = listed_in(place, manifest)
    if names and own is None:
        raise OutputError(f"{folder} holds something else ({some(names)}). Write a new folder, or empty this one.")
    foreign = [name for name in names if name not in (own or ())]
    if foreign:
        raise OutputError(f"{folder} holds {some(foreign)} beside a model. Move that away, or write a new folder.")
    return place


def listed_in(place: Path, manifest: str) -> list[str] | None:
    """What the manifest lists; None where there is none that can be read."""
    try:
        return list(json.loads((place / manifest).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def replacing(place: Path) -> Iterator[Path]:
    """A new folder beside ``place`` that takes its place where the block ends well, and is gone where it does not.

    Raises:
        OutputError: the system refuses to write.
    """
    half = _beside(place, "half")
    try:
        half.mkdir(parents=True)
        _clear(place)
        yield half
        _put(half, place)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"{place} cannot be written: {reason}. Write a folder that you may write to.") from error
    finally:
        shutil.rmtree(half, ignore_errors=True)


def some(names: Sequence[str]) -> str:
    """The first few names."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _put(half: Path, place: Path) -> None:
    if not place.exists():
        half.rename(place)
        return
    old = _beside(place, "old")
    place.rename(old)
    try:
        half.rename(place)
    except OSError:
        old.rename(place)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _beside(place: Path, what: str) -> Path:
    return place.with_name(f".{place.name}-{what}-{os.getpid()}-{time.time_ns()}")


def _clear(place: Path) -> None:
    for half in place.parent.glob(f".{place.name}-half-*"):
        if time.time() - half.stat().st_mtime > _STALE:
            shutil.rmtree(half, ignore_errors=True)
