"""Plain text for language-model training: one paragraph a line, or a named column of a table.

    .txt      a paragraph a line                       read as it comes, so that a big file is never held whole
    .jsonl    an object a line, its ``text`` or another column
    .csv .tsv .parquet .json .xml    a column, read as any table is

Each also with .gz behind. Blank lines are skipped.
"""

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from io import BufferedReader
from pathlib import Path

from promptlab.data.files import KINDS, file_kind, table_in, whole
from promptlab.errors import DataError, did_you_mean

COLUMN = "text"


def paragraphs(texts: Sequence[str | Path], column: str | None = None) -> Iterator[str]:
    """The paragraphs of files (``Path``) and of plain strings, in order.

    Args:
        texts: paths of files; a ``str`` is a paragraph itself.
        column: which column of a table; ``text`` where None.

    Raises:
        DataError: a file that is not there, not text, empty, or without the column; names file and line.
    """
    for text in texts:
        if isinstance(text, Path):
            yield from _in_file(text, column)
        elif text.strip():
            yield whole(text, "a paragraph")


def digest(texts: Sequence[str | Path]) -> str:
    """What the contents of files and strings follow from, whatever the files are called.

    Raises:
        DataError: a file that cannot be read.
    """
    together = hashlib.sha256()
    for text in texts:
        one = hashlib.sha256()
        for piece in _bytes(text) if isinstance(text, Path) else [whole(text, "a paragraph").encode()]:
            one.update(piece)
        together.update(one.digest())
    return together.hexdigest()


def _bytes(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while piece := file.read(2**20):
                yield piece
    except OSError as error:
        raise _unreadable(path, error) from None


def _in_file(path: Path, column: str | None) -> Iterator[str]:
    kind, found = file_kind(path), False
    if kind not in KINDS:
        raise DataError(f"{path}: text of kind '{kind}' is not read. Write one of {' '.join(KINDS)}, or that with .gz.")
    if kind == ".txt" and column is not None:
        raise DataError(f"{path} is plain text and has no columns. Leave --column out, or write a .jsonl.")
    for text in _texts(path, kind, column or COLUMN):
        if text.strip():
            found = True
            yield text.strip() if kind == ".txt" else text
    if not found:
        raise DataError(f"{path} is empty. Write a file with one paragraph a line.")


def _texts(path: Path, kind: str, column: str) -> Iterator[str]:
    if kind == ".txt":
        return (line for _, line in _lines(path))
    if kind == ".jsonl":
        return (_field(path, number, line, column) for number, line in _lines(path) if line.strip())
    return _in_table(path, column)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines, decoded one by one so that a fault names its line."""
    number = 0
    try:
        with _opened(path) as file:
            for number, line in enumerate(file, start=1):
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                if "\0" in text:
                    raise DataError(f"{path}:{number}: a zero byte, as in a binary file. Write a text file in UTF-8.")
                yield number, text
    except UnicodeDecodeError as error:
        found = f"byte 0x{error.object[error.start]:02x}"
        raise DataError(f"{path}:{number}: {found} is not UTF-8 text. Save the file as UTF-8.") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} is no whole gzip file ({error}). Write it again, or without .gz.") from None
    except OSError as error:
        raise _unreadable(path, error) from None


def _opened(path: Path) -> gzip.GzipFile | BufferedReader:
    return gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb")


def _field(path: Path, number: int, line: str, column: str) -> str:
    try:
        row = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{path}:{number}: not JSON ({error}). Write one object a line.") from None
    if not isinstance(row, dict) or not isinstance(row.get(column), str):
        raise _no_column(f"{path}:{number}", column, row if isinstance(row, dict) else {})
    return whole(row[column], f"{path}:{number}: '{column}'")


def _in_table(path: Path, column: str) -> Iterator[str]:
    table = table_in(path)
    if column not in table.columns:
        raise _no_column(str(path), column, table.columns)
    for row, text in enumerate(table.fetch(column)):
        if text is not None and not isinstance(text, str):
            raise DataError(
                f"{table.place(row)}: '{column}' is a {type(text).__name__}, not a text. Write --column NAME."
            )
        yield text or ""


def _no_column(where: str, column: str, columns: Iterable[str]) -> DataError:
    names = list(map(str, columns))
    known = f" Its columns: {', '.join(names)}." if names else ""
    return DataError(
        f"{where}: no text in a column '{column}'.{did_you_mean(column, names)}{known} Write --column NAME."
    )


def _unreadable(path: Path, error: OSError) -> DataError:
    around = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    guess = did_you_mean(path.name, around) if isinstance(error, FileNotFoundError) else ""
    return DataError(f"{path} cannot be read: {error.strerror or error}.{guess} Write a text file that is there.")
