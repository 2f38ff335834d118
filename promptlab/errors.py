"""Everything promptlab raises on purpose.

    PromptlabError
    ├── PatternError    a pattern file or a pattern is wrong; holds every fault of the file
    ├── DataError       a table, column, label or split is wrong
    ├── BackboneError   a model folder is missing something, or is of a kind that cannot do what is asked
    ├── SettingError    an unknown name, or a setting that cannot be
    ├── OutputError     a folder that cannot be written, or holds something unexpected
    ├── TrainingError   training cannot go on (every member became non-finite, or no memory is left)
    └── MissingExtra    an optional package is needed: says what to install

A message says what was found and where, what was expected, and what to write instead.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches


class PromptlabError(Exception):
    """Root of the tree; the command line turns it into one message and exit code 2."""


@dataclass(frozen=True)
class Fault:
    """One thing wrong in a file, printed as ``file:line: what was found. What to write instead``."""

    file: str
    line: int | None
    text: str

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{where}: {self.text}"


class PatternError(PromptlabError):
    """A pattern file or a pattern is wrong.

    Args:
        faults: every fault found, in the order of the file; a bare text stands for one fault without a place.
    """

    def __init__(self, faults: Sequence[Fault] | str):
        self.faults = (Fault("pattern", None, faults),) if isinstance(faults, str) else tuple(faults)
        super().__init__(faults if isinstance(faults, str) else "\n".join(map(str, faults)))


class DataError(PromptlabError):
    """A table, column, label or split is wrong."""


class BackboneError(PromptlabError):
    """A model folder is missing something, or is of a kind that cannot do what is asked."""


class SettingError(PromptlabError):
    """An unknown name, or a setting that cannot be."""


class OutputError(PromptlabError):
    """A folder that cannot be written, or holds something unexpected."""


class TrainingError(PromptlabError):
    """Training cannot go on."""


class MissingExtra(PromptlabError):
    """An optional package is needed."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` for the nearest known word, else the empty string."""
    near = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{near[0]}'?" if near else ""
