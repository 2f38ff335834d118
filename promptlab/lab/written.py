"""What a run wrote for its test rows, as it is kept beside the run's row.

    hypotheses   a text a test row
    sources      fingerprint of what was read; with the next one it says whether two runs may be held side by side
    references   fingerprint of the right texts
    shown        a few rows whole, the same ones for every run over these test rows
    values       of metrics that are a mean over rows: a row's value each

Fingerprints, and not the rows, since a task's test rows would be kept once a run.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from promptlab.language.example import Example

SHOWN = 3
"""Rows that are kept whole and shown."""


@dataclass(frozen=True)
class Seen:
    """A test row that is shown.

    Args:
        row: its number, from 0.
        source: what was read.
        references: the right texts.
    """

    row: int
    source: str
    references: tuple[str, ...]


@dataclass(frozen=True)
class Written:
    """Texts of a run's test rows; the fields are those of ``texts.json``."""

    hypotheses: tuple[str, ...]
    sources: str
    references: str
    shown: tuple[Seen, ...] = ()
    values: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, test: Sequence[Example], texts: Sequence[str], values: Mapping[str, Sequence[float]] | None = None
    ) -> "Written":
        """What is kept of texts.

        Args:
            test: the rows they were written for.
            texts: one a row.
            values: a metric's value for each row.
        """
        sources = [source_text(example) for example in test]
        shown = tuple(Seen(row, sources[row], test[row].right) for row in _spread(len(test)))
        marks = _mark(sources), _mark(list(example.right) for example in test)
        return cls(tuple(texts), *marks, shown, dict(values or {}))

    def to_json(self) -> str:
        """The content of ``texts.json``."""
        return json.dumps(asdict(self), ensure_ascii=False, allow_nan=False, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Written":
        """The texts that were kept.

        Raises:
            ValueError: it is no JSON, or a field is missing or of another kind.
        """
        content = json.loads(text)
        try:
            shown = tuple(Seen(one["row"], one["source"], tuple(one["references"])) for one in content["shown"])
            found = cls(tuple(content["hypotheses"]), content["sources"], content["references"], shown,
                        dict(content["values"]))  # fmt: skip
        except (KeyError, TypeError) as error:
            raise ValueError(f"it lacks or spoils {error}") from error
        if not all(isinstance(one, str) for one in found.hypotheses):
            raise ValueError("a hypothesis is no text")
        return found


def source_text(example: Example) -> str:
    """What is read of a row: the text of its one field, or each field behind its name."""
    if len(example.fields) == 1:
        return example.text(next(iter(example.fields)))
    return "; ".join(f"{name}: {example.text(name)}" for name in example.fields)


def _spread(rows: int) -> list[int]:
    """Three rows, from the first to the last."""
    if rows <= SHOWN:
        return list(range(rows))
    return [round(at * (rows - 1) / (SHOWN - 1)) for at in range(SHOWN)]


def _mark(parts: Iterable[Any]) -> str:
    return hashlib.sha256(json.dumps(list(parts), ensure_ascii=False).encode()).hexdigest()[:16]
