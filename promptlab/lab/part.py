"""A decode that was cut off goes on where it stopped.

    OUT/.part-<hash>/texts.part.jsonl    what wrote it, then a line a batch: {"rows": [4, 9], "texts": ["...", "..."]}

A batch is there as soon as it is written. The same run again trains again, from the same seed, and writes what is
missing; lines of another run, of other versions or of another commit are left unread, and a half line is dropped.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promptlab.errors import OutputError

NAME = "texts.part.jsonl"


@dataclass
class Part:
    """Texts written so far.

    Args:
        path: the file; None where nothing is kept.
        mark: says what writes them; only texts under the same mark are taken up again.
        rows: how many texts there are to be.
    """

    path: Path | None
    mark: Mapping[str, Any]
    rows: int
    done: dict[int, str] = field(default_factory=dict)
    """Text by row, of an earlier process."""

    def __post_init__(self) -> None:
        if self.path is None:
            return
        self.done = self._read(self.path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fresh = self.path.with_name(f".{NAME}-{os.getpid()}")
            lines = [dict(self.mark), *([_line(list(self.done), list(self.done.values()))] if self.done else [])]
            fresh.write_text("".join(map(_json, lines)), encoding="utf-8")
            fresh.replace(self.path)
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def told(self, rows: Sequence[int], texts: Sequence[str]) -> None:
        """Keeps a batch.

        Raises:
            OutputError: the file cannot be written.
        """
        if self.path is None:
            return
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(_json(_line(rows, texts)))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def _read(self, path: Path) -> dict[int, str]:
        try:
            whole = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return {}
        lines = list(_whole(whole))
        if not lines or lines[0] != json.loads(_json(dict(self.mark))):
            return {}
        batches = [line for line in lines[1:] if "rows" in line and "texts" in line]
        found = {row: text for line in batches for row, text in zip(line["rows"], line["texts"], strict=False)}
        return {row: text for row, text in sorted(found.items()) if 0 <= row < self.rows}


def _whole(lines: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Lines up to the first that is cut off or damaged."""
    for line in lines:
        try:
            value = json.loads(line)
        except ValueError:
            return
        if not isinstance(value, dict):
            return
        yield value


def _line(rows: Sequence[int], texts: Sequence[str]) -> dict[str, Any]:
    return {"rows": [int(row) for row in rows], "texts": list(texts)}


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=True) + "\n"


def _unwritable(path: Path, error: OSError) -> OutputError:
    reason = error.strerror or str(error)
    return OutputError(f"{path} cannot be written: {reason}. Write --out with a folder that you may write to.")
