"""WebNLG's XML as rows: the challenges of 2017 (Gardent et al. 2017, ACL P17-1017) and of 2020; DART has such files.

    <entry category size eid>     a row: category, size, eid
      <mtriple>                   s | p | o, joined by && as ``source``; the original triples are not read
      <lex>                       ``targets``, in their order; those in another language than English are left out
    ``seen``                      whether the category is among those of the train set of that year

The year shows in the attribute ``shape``, which only later releases have. An entry's line is the row's place.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.parsers import expat

from promptlab.data.tables import Table, by_name
from promptlab.errors import DataError

# fmt: off
SEEN_2017 = frozenset((
    "Airport", "Astronaut", "Building", "City", "ComicsCharacter", "Food", "Monument", "SportsTeam", "University",
    "WrittenWork",
))
# fmt: on
SEEN_2020 = SEEN_2017 | {"Artist", "Athlete", "CelestialBody", "Company", "MeanOfTransportation", "Politician"}
_TEXTS = ("mtriple", "lex")


def webnlg_table(name: str, files: Mapping[Path, bytes]) -> Table:
    """The entries of all files, in their order.

    Args:
        name: what messages call them.
        files: what each holds.

    Raises:
        DataError: a file is cut off, is no XML, or holds no entries; an entry has no triples. Names file and line.
    """
    rows: list[dict[str, Any]] = []
    places: list[str] = []
    for path, content in files.items():
        reader = _Reader(path)
        reader.read(content)
        rows += reader.rows
        places += [f"{path}:{line}" for line in reader.lines]
    if not any(row["targets"] for row in rows):  # the inputs of a challenge, whose references are published apart
        rows = [{key: value for key, value in row.items() if key != "targets"} for row in rows]
    return by_name(name, rows, lambda row: places[row])


class _Reader:
    """One file's entries, by expat, which knows the line of each."""

    def __init__(self, path: Path):
        self.path, self.rows, self.lines = path, list[dict[str, Any]](), list[int]()
        self._open, self._said, self._english = list[str](), list[str](), True
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text
        self._parser.EntityDeclHandler = self._entity

    def read(self, content: bytes) -> None:
        try:
            self._parser.Parse(content, True)
        except expat.ExpatError as error:
            reason = expat.ErrorString(error.code)
            write = "Write the file whole, from its first to its last tag."
            raise DataError(f"{self.path}:{error.lineno}: XML that is cut off or broken ({reason}). {write}") from None
        if not self.rows:
            raise DataError(f"{self.path}: XML without <entry>. Write WebNLG's form, or a .jsonl, .csv or .parquet.")

    def _start(self, name: str, given: dict[str, str]) -> None:
        self._open.append(name)
        self._said.clear()
        if name == "entry":
            category = given.get("category", "")
            seen = category in (SEEN_2020 if "shape" in given else SEEN_2017)
            row = {"category": category, "size": given.get("size"), "eid": given.get("eid")}
            self.rows.append({**row, "seen": seen, "triples": [], "targets": []})
            self.lines.append(self._parser.CurrentLineNumber)
        elif name == "lex":
            self._english = given.get("lang", "en").startswith("en")

    def _text(self, text: str) -> None:
        if self._open and self._open[-1] in _TEXTS:
            self._said.append(text)

    def _end(self, name: str) -> None:
        self._open.pop()
        if "entry" in self._open and name in _TEXTS:
            text = re.sub(r"\s*\n\s*", " ", "".join(self._said).strip())
            if name == "mtriple":
                self.rows[-1]["triples"].append(text)
            elif self._english:
                self.rows[-1]["targets"].append(text)
        elif name == "entry":
            self.rows[-1] = self._entry(self.rows[-1])

    def _entry(self, row: dict[str, Any]) -> dict[str, Any]:
        triples = row.pop("triples")
        if not triples:
            raise DataError(
                f"{self.path}:{self.lines[-1]}: an entry without <mtriple>. Write its triples, or take it out."
            )
        return {"source": " && ".join(triples)} | row

    def _entity(self, name: str, *_: Any) -> None:
        line = self._parser.CurrentLineNumber  # entities of a file's own can grow without end
        raise DataError(f"{self.path}:{line}: XML that declares the entity '{name}'. Write its text where it is used.")
