"""Where finished runs are kept: a small folder a run, written whole or not at all.

    OUT/<hash>/row.json     the run's row
    OUT/<hash>/scores.npz   scores (rows, labels) and gold (rows,) of its test rows, so that nothing need run again for
                            another metric, an ensemble or a comparison
    OUT/<hash>/texts.json   in their place, where it wrote texts
    OUT/.part-<hash>/       texts of a decode that is going on, or was cut off

A run is written to ``OUT/.half-<hash>`` and renamed. Runs of one stack name each other (``together``): where one of
them is missing, the stack is missing whole, since its members were trained side by side.
"""

import json
import logging
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from zipfile import BadZipFile

import numpy as np

from promptlab.errors import OutputError
from promptlab.lab.part import NAME, Part
from promptlab.lab.written import Written

log = logging.getLogger("promptlab")

Row = dict[str, Any]
_NEEDED = ("run", "system", "task", "method", "shots", "seed", "metric", "score", "together")
_STALE = 60.0  # seconds: nobody writes a row for so long


@dataclass(frozen=True)
class Finished:
    """A run's row with what it answered to its test rows: scores, or texts.

    Args:
        row: what JSON can hold.
        scores: ``(rows, labels)``; None where it wrote.
        gold: label numbers, ``(rows,)``; None where it wrote.
        written: the texts.
    """

    row: Row
    scores: np.ndarray | None = None
    gold: np.ndarray | None = None
    written: Written | None = None


class Store(Protocol):
    """Keeps finished runs."""

    def rows(self, keys: Iterable[str]) -> dict[str, Row]:
        """The rows of those runs that are whole."""

    def write(self, finished: Sequence[Finished]) -> None:
        """Keeps runs that belong together."""

    def scores(self, key: str) -> tuple[np.ndarray, np.ndarray]:
        """A run's scores ``(rows, labels)`` and gold labels ``(rows,)``."""

    def written(self, key: str) -> Written:
        """What a run wrote."""

    def part(self, key: str, mark: Mapping[str, Any], rows: int) -> Part:
        """The texts of a run that is going on, ``rows`` in all; what an earlier process wrote under ``mark`` is in."""


@dataclass
class Memory:
    """Keeps runs for as long as the process lives."""

    kept: dict[str, Finished] = field(default_factory=dict)

    def rows(self, keys: Iterable[str]) -> dict[str, Row]:
        """The rows of those runs that are kept."""
        return {key: self.kept[key].row for key in keys if key in self.kept}

    def write(self, finished: Sequence[Finished]) -> None:
        """Keeps runs."""
        self.kept.update({one.row["run"]: one for one in finished})

    def scores(self, key: str) -> tuple[np.ndarray, np.ndarray]:
        """A run's scores and gold labels."""
        return _both(self.kept[key].scores, self.kept[key].gold)

    def written(self, key: str) -> Written:
        """What a run wrote."""
        found = self.kept[key].written
        if found is None:
            raise OutputError(f"run {key} wrote no texts.")
        return found

    def part(self, key: str, mark: Mapping[str, Any], rows: int) -> Part:
        """Nothing outlives the process."""
        return Part(None, mark, rows)


@dataclass(frozen=True)
class Folder:
    """Keeps runs on disk."""

    path: Path

    def prepare(self) -> None:
        """Makes the folder, sees that it can be written, and clears away what a killed run left half-written.

        Raises:
            OutputError: it cannot be made or written.
        """
        probe = self.path / f".half-probe-{time.time_ns()}"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            probe.mkdir()
            probe.rmdir()
            self._clear()
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def keys(self) -> list[str]:
        """Names of all runs in the folder."""
        found = self.path.glob("*/row.json") if self.path.is_dir() else ()
        return sorted(path.parent.name for path in found if not path.parent.name.startswith("."))

    def rows(self, keys: Iterable[str]) -> dict[str, Row]:
        """The rows of those runs that are whole, and whose stack is."""
        wanted = list(keys)
        found = {key: row for key in wanted if (row := self._row(key)) is not None}
        there = {mate for row in found.values() for mate in row["together"] if self._is_there(mate, found)}
        return {key: row for key, row in found.items() if there.issuperset(row["together"])}

    def write(self, finished: Sequence[Finished]) -> None:
        """Writes runs that belong together: all of them half, then all renamed.

        Raises:
            OutputError: the folder cannot be written.
        """
        halves = {one.row["run"]: self.path / f".half-{one.row['run']}" for one in finished}
        try:
            for one in finished:
                _write_half(halves[one.row["run"]], one)
            for key, half in halves.items():
                _put(half, self.path / key)
                shutil.rmtree(self._part(key), ignore_errors=True)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        finally:
            for half in halves.values():
                shutil.rmtree(half, ignore_errors=True)

    def scores(self, key: str) -> tuple[np.ndarray, np.ndarray]:
        """A run's scores and gold labels.

        Raises:
            OutputError: they are gone or damaged.
        """
        try:
            return _read_scores(self.path / key / "scores.npz")
        except (OSError, ValueError, KeyError, BadZipFile, EOFError) as error:
            where = self.path / key
            raise OutputError(f"{where}/scores.npz cannot be read ({error}). Remove {where} and run again.") from error

    def written(self, key: str) -> Written:
        """What a run wrote.

        Raises:
            OutputError: it is gone or damaged.
        """
        try:
            return _read_written(self.path / key / "texts.json")
        except (OSError, ValueError) as error:
            where = self.path / key
            raise OutputError(f"{where}/texts.json cannot be read ({error}). Remove {where} and run again.") from error

    def part(self, key: str, mark: Mapping[str, Any], rows: int) -> Part:
        """The texts of a run that is going on; each batch is on disk as soon as it is told."""
        return Part(self._part(key) / NAME, mark, rows)

    def _part(self, key: str) -> Path:
        return self.path / f".part-{key}"

    def _row(self, key: str) -> Row | None:
        path = self.path / key / "row.json"
        try:
            row = json.loads(path.read_text(encoding="utf-8"))
            lacking = [name for name in _NEEDED if name not in row]
            if lacking or row["run"] != key:
                raise ValueError(f"it lacks {', '.join(lacking)}" if lacking else f"it is the row of run {row['run']}")
            if row.get("texts") is None:
                _read_scores(path.with_name("scores.npz"))
            elif len(_read_written(path.with_name("texts.json")).hypotheses) != row["texts"]:
                raise ValueError("texts.json holds another number of texts than the row says")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, KeyError, TypeError, BadZipFile, EOFError) as error:
            log.warning("%s is damaged (%s): the run counts as missing", path.parent, error)
            return None
        return dict(row)

    def _is_there(self, key: str, found: Mapping[str, Row]) -> bool:
        return key in found or self._row(key) is not None

    def _clear(self) -> None:
        for half in self.path.glob(".half-*"):
            if time.time() - half.stat().st_mtime > _STALE:
                shutil.rmtree(half, ignore_errors=True)


def _write_half(half: Path, one: Finished) -> None:
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    if one.written is not None:
        (half / "texts.json").write_text(one.written.to_json(), encoding="utf-8")
    else:
        scores, gold = _both(one.scores, one.gold)
        np.savez_compressed(half / "scores.npz", scores=scores, gold=gold)
    text = json.dumps(one.row, ensure_ascii=False, allow_nan=False, indent=1)
    (half / "row.json").write_text(text + "\n", encoding="utf-8")


def _put(half: Path, place: Path) -> None:
    if place.exists():  # damaged, or another process was quicker: the numbers are the same
        shutil.rmtree(place)
    half.rename(place)


def _read_scores(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(path, allow_pickle=False) as kept:
        return kept["scores"], kept["gold"]


def _read_written(path: Path) -> Written:
    return Written.from_json(path.read_text(encoding="utf-8"))


def _both(scores: np.ndarray | None, gold: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    if scores is None or gold is None:
        raise OutputError("a run that wrote texts has no scores.")
    return scores, gold


def _unwritable(path: Path, error: OSError) -> OutputError:
    reason = error.strerror or str(error)
    return OutputError(f"{path} cannot be written: {reason}. Write --out with a folder that you may write to.")
