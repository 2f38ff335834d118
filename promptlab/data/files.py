"""Files of rows as tables: .jsonl .csv .tsv .parquet .txt .json .xml, each also with .gz behind.

    jsonl      one object a line
    csv        a field that holds a comma, a quote or a line end is quoted, its quotes doubled (RFC 4180)
    tsv        nothing is quoted: a quote is text, as in GLUE's files; but a field that a csv writer quoted, which
               shows in its doubled inner quotes, is read as that writer meant it
    parquet    read column by column
    txt        one text a line
    json       one list of objects (DART)
    xml        WebNLG's entries; a folder holds as many such files as it likes

Text is UTF-8. Blank lines are skipped and still counted, so that a message names the line that an editor shows.
"""

import csv
import gzip
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

from promptlab.data.tables import Table, by_name
from promptlab.data.webnlg import webnlg_table
from promptlab.errors import DataError, did_you_mean

KINDS = (".jsonl", ".csv", ".tsv", ".parquet", ".txt", ".json", ".xml")
_QUOTED = re.compile(r'"(?:[^"]|"")*""(?:[^"]|"")*"')
_LONGEST = 2**31 - 1  # the csv module stops at 128 KiB a field otherwise

Row = dict[str, Any]


def table_in(path: Path) -> Table:
    """Reads a file, or the XML files of a folder.

    Raises:
        DataError: no such file, a kind that is not read, or a content that is not of its kind; names the line.
    """
    if path.is_dir() and (inside := sorted(path.rglob("*.xml"))):
        return tables_in(inside)
    kind = file_kind(path)
    if kind not in KINDS:
        raise DataError(
            f"{path}: files of kind '{kind}' are not read. Write one of {' '.join(KINDS)}, or that with .gz."
        )
    content = _content(path)
    if kind == ".parquet":
        return _parquet(path, content)
    if kind == ".xml":
        return webnlg_table(str(path), {path: content})
    if kind == ".json":
        return _json(path, _text(path, content))
    lines, rows = _rows(path, kind, _text(path, content))
    if not rows:
        raise DataError(f"{path} has a header but no rows. Write at least one row under it.")
    return by_name(str(path), rows, lambda row: f"{path}:{lines[row]}")


def tables_in(paths: Sequence[Path]) -> Table:
    """Reads XML files as one table, in their order.

    Raises:
        DataError: as ``table_in``.
    """
    return webnlg_table(str(paths[0].parent), {path: _content(path) for path in paths})


def whole(text: str, what: str) -> str:
    """The text, if it can be written down: half of a surrogate pair would stop a tokenizer later on.

    Raises:
        DataError: it cannot; ``what`` names the place.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(text[error.start]):04x}"
        raise DataError(f"{what} holds half a character ({half}). Write it whole or leave it out.") from None
    return text


def file_kind(path: Path) -> str:
    """The suffix that says how a file is read, without ``.gz``."""
    return (Path(path.stem) if path.suffix.lower() == ".gz" else path).suffix.lower()


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix.lower() == ".gz" else content
    except FileNotFoundError:
        around = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"no file {path}.{did_you_mean(path.name, around)}") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} is no whole gzip file ({error}). Write it again, or without .gz.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None


def _text(path: Path, content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, found = content.count(b"\n", 0, error.start) + 1, f"byte 0x{content[error.start]:02x}"
        raise DataError(f"{path}:{line}: {found} is not UTF-8 text. Save the file as UTF-8.") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(f"{path}:{line}: a zero byte, as in a binary file. Write a text file in UTF-8.")
    if not text.strip():
        raise DataError(f"{path} is empty. Write a file with at least one row.")
    return text


def _rows(path: Path, kind: str, text: str) -> tuple[list[int], list[Row]]:
    if kind == ".jsonl":
        numbered: Iterable[tuple[int, Row]] = ((number, _object(path, number, line)) for number, line in _lines(text))
    elif kind == ".txt":
        numbered = ((number, {"text": line}) for number, line in _lines(text))
    else:
        numbered = _under_header(path, _csv(path, text) if kind == ".csv" else _tsv(text))
    both = list(numbered)
    return [number for number, _ in both], [row for _, row in both]


def _lines(text: str) -> Iterator[tuple[int, str]]:
    # not splitlines(), which also cuts at line separators inside a text (U+2028)
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip(" \r"):
            yield number, line.rstrip("\r")


def _object(path: Path, number: int, line: str) -> Row:
    try:
        row = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{path}:{number}: not JSON ({error}). Write one object a line.") from None
    if not isinstance(row, dict):
        found = type(row).__name__
        raise DataError(
            f'{path}:{number}: a {found} where an object is expected. Write {{"column": value}} on each line.'
        )
    return row


def _json(path: Path, text: str) -> Table:
    try:
        rows = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise DataError(f"{path}:{line}: not JSON, or cut off ({error}). Write a list of objects.") from None
    wrong = [] if isinstance(rows, list) else [0]
    wrong += [at for at, row in enumerate(rows, 1) if not isinstance(row, dict)] if not wrong else []
    if wrong or not rows:
        where = f"{path}, row {wrong[0]}" if wrong and wrong[0] else str(path)
        raise DataError(f'{where}: no list of objects. Write [{{"column": value}}, ...], or a .jsonl.')
    return by_name(str(path), rows, lambda row: f"{path}, row {row + 1}")


def _csv(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    limit, start = csv.field_size_limit(_LONGEST), 1
    reader = csv.reader(StringIO(text, newline=""), strict=True)
    try:
        for fields in reader:
            if fields:
                yield start, fields
            start = reader.line_num + 1
    except csv.Error as error:
        advice = "Quote a field that holds a comma, a quote or a line end, and double its quotes"
        raise DataError(f"{path}:{start}: {error}. {advice}.") from None
    finally:
        csv.field_size_limit(limit)


def _tsv(text: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in _lines(text):
        yield number, [_unquoted(field) for field in line.split("\t")]


def _unquoted(field: str) -> str:
    return field[1:-1].replace('""', '"') if _QUOTED.fullmatch(field) else field


def _under_header(path: Path, table: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, Row]]:
    first, header = next(table)
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise DataError(f"{path}:{first}: two columns named {', '.join(map(repr, twice))}. Rename one.")
    for number, fields in table:
        if len(fields) != len(header):
            raise DataError(
                f"{path}:{number}: {len(fields)} fields where the header names {len(header)} ({', '.join(header)}). "
                "Write as many; a text that holds the separator goes in quotes in a .csv, or in a .jsonl."
            )
        yield number, {name: field for name, field in zip(header, fields, strict=True) if name}


def _parquet(path: Path, content: bytes) -> Table:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        data = ParquetFile(BytesIO(content))
        size, columns = data.metadata.num_rows, tuple(data.schema_arrow.names)
    except (ArrowException, OSError) as error:
        raise DataError(f"{path} is no parquet file ({error}).") from None
    if not size:
        raise DataError(f"{path} has no rows. Write at least one.")

    def fetch(column: str) -> list[Any]:
        return list(data.read(columns=[column]).column(column).to_pylist())

    return Table(str(path), columns, size, fetch, lambda row: f"{path}, row {row + 1}")
