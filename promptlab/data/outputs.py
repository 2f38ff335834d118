"""What a system wrote, and the right texts beside it, read for scoring: one text an input on either side.

hypotheses    .txt, a line an input; or .jsonl, .csv, .tsv with a column ``text`` (output, hypothesis, prediction)
references    .txt whose inputs are parted by a blank line, a reference a line (E2E); without blank lines one each
              .csv, .tsv with ``mr`` and ``ref``: neighbouring rows of one mr are one input (E2E)
              .jsonl with ``targets``
              several .txt: the first reference of each input, the second, and so on; an empty line is none (WebNLG)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from promptlab.data.files import file_kind, table_in, text_in
from promptlab.data.tables import Table
from promptlab.errors import DataError

SAID = ("text", "output", "hypothesis", "prediction")
SOURCES = ("mr", "source", "input")
RIGHT = ("ref", "reference", "target")
_MENDED = (("Ł", "£"), ("Â£", "£"), ("Ã©", "é"), ("ã©", "é"))  # as E2E's script mends tables, so that scores are its
TARGETS = ("targets", "references", "refs")


@dataclass(frozen=True)
class Outputs:
    """What was written and what is right, an input a row; ``references`` has at least one a row."""

    hypotheses: list[str]
    references: list[list[str]]


def read_outputs(hypotheses: Path, references: Sequence[Path]) -> Outputs:
    """Reads both sides.

    Args:
        hypotheses: a file.
        references: one file, or one for the first reference of each input, one for the second, and so on.

    Raises:
        DataError: a file that cannot be read so, an empty hypothesis, an input without references, or other counts on
            the two sides; names file and line.
    """
    said = read_hypotheses(hypotheses)
    right = read_references(references)
    if len(said) != len(right):
        where = ", ".join(map(str, references))
        raise DataError(
            f"{hypotheses} holds {len(said)} hypotheses, but {where} the references of {len(right)} inputs. "
            "Write one hypothesis an input, in the same order; in a .txt a blank line parts the references of inputs."
        )
    return Outputs(said, right)


def read_hypotheses(path: Path) -> list[str]:
    """The text of each input.

    Raises:
        DataError: it cannot be read so, or one is empty.
    """
    if file_kind(path) != ".txt":
        return _column(table_in(path), SAID)
    lines = _lines(path)
    for number, line in enumerate(lines, start=1):
        if not line:
            raise DataError(
                f"{path}:{number}: an empty hypothesis. Write what the system wrote for input {number}, "
                "one line an input and no line between."
            )
    return lines


def read_references(paths: Sequence[Path]) -> list[list[str]]:
    """The right texts of each input.

    Raises:
        DataError: they cannot be read so, or an input has none.
    """
    if not paths:
        raise DataError("no file of references. Write promptlab score HYPOTHESES REFERENCES.")
    if len(paths) > 1:
        return _side_by_side(paths)
    kind = file_kind(paths[0])
    if kind == ".txt":
        return _blocks(paths[0])
    table = table_in(paths[0])
    lists = [name for name in TARGETS if name in table.columns]
    return _lists(table, lists[0]) if lists else _grouped(table)


def _lines(path: Path) -> list[str]:
    """Every line, without blanks around it; empty lines at the end are no lines, and one in between is."""
    lines = [line.strip() for line in text_in(path).split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _blocks(path: Path) -> list[list[str]]:
    lines = _lines(path)
    if "" not in lines:
        return [[line] for line in lines]
    blocks: list[list[str]] = [[]]
    for number, line in enumerate(lines, start=1):
        if line:
            blocks[-1].append(line)
        elif blocks[-1]:
            blocks.append([])
        else:
            raise DataError(
                f"{path}:{number}: a blank line where a reference of input {len(blocks)} is expected. "
                "Write one blank line between two inputs, and none before the first."
            )
    return blocks


def _side_by_side(paths: Sequence[Path]) -> list[list[str]]:
    columns = [[line.strip() for line in text_in(path).removesuffix("\n").split("\n")] for path in paths]
    most = max(map(len, columns))
    for path, column in zip(paths, columns, strict=True):
        if any(column[len(column) :]) or len(column) != most:
            raise DataError(
                f"{path} has {len(column)} lines, another file of references {most}. Write a line an input in each, "
                "empty where an input has no further reference."
            )
    rows = [[column[row] for column in columns if column[row]] for row in range(most)]
    for row, some in enumerate(rows, start=1):
        if not some:
            raise DataError(f"{paths[0]}:{row}: input {row} has no reference in any file. Write at least one.")
    return rows


def _lists(table: Table, column: str) -> list[list[str]]:
    rows = table.fetch(column)
    for at, some in enumerate(rows):
        if not isinstance(some, list) or not some or not all(isinstance(one, str) and one.strip() for one in some):
            raise DataError(f'{table.place(at)}: "{column}" is no list of texts. Write "{column}": ["A text."].')
    return [list(some) for some in rows]


def _grouped(table: Table) -> list[list[str]]:
    sources, texts = table.fetch(_named(table, SOURCES)), _column(table, RIGHT)
    groups: list[list[str]] = []
    for at, text in enumerate(texts):
        if at and sources[at] == sources[at - 1]:
            groups[-1].append(text)
        else:
            groups.append([text])
    return groups


def _column(table: Table, names: Sequence[str]) -> list[str]:
    name = _named(table, names)
    values = table.fetch(name)
    for at, value in enumerate(values):
        if not isinstance(value, str) or not value.strip():
            raise DataError(f"{table.place(at)}: no text under '{name}'. Write the text of every row.")
    return [_mended(" ".join(value.split())) for value in values]


def _mended(text: str) -> str:
    for wrong, right in _MENDED:
        text = text.replace(wrong, right)
    return text


def _named(table: Table, names: Sequence[str]) -> str:
    for name in names:
        if name in table.columns:
            return name
    raise DataError(
        f"{table.name} has the columns {', '.join(table.columns)}, but none of {', '.join(names)}. "
        f"Name the column '{names[0]}'."
    )
