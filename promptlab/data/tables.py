"""Anything in memory that holds rows, as a table whose columns are fetched only when asked.

    datasets.Dataset · pandas.DataFrame · a list of dicts, of tuples or of texts

Neither datasets nor pandas is imported here: whoever brings such an object has imported it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from promptlab.errors import DataError


@dataclass(frozen=True)
class Table:
    """Rows from anywhere.

    Args:
        name: what messages call it: a file, or ``list``.
        columns: in their order; positions as text (``"0"``) where rows have no names.
        size: number of rows.
        fetch: a column's values in row order; None where a row has none.
        place: where a row stands: ``train.csv:3``, ``list[2]``.
        named: False for rows without names, whose columns go by position.
        classes: names of the class ids of a Dataset's column, by column.
    """

    name: str
    columns: tuple[str, ...]
    size: int
    fetch: Callable[[str], list[Any]]
    place: Callable[[int], str]
    named: bool = True
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)


def table_of(source: Any, where: str = "") -> Table:
    """Reads rows that are in memory.

    Args:
        source: a Dataset, a DataFrame, or rows: dicts, tuples (a label may come last) or texts.
        where: what messages call it; its type otherwise.

    Raises:
        DataError: something else, several splits at once, or rows of different kinds.
    """
    kind = _library_class(source)
    name = where or kind or "list"
    if kind == "Dataset":
        return _of_dataset(source, name)
    if kind == "DataFrame":
        return _of_frame(source, name)
    if kind in ("DatasetDict", "IterableDatasetDict"):
        first = next(iter(source), "train")
        raise DataError(f"{name} holds several splits ({', '.join(source)}). Write one of them: data[{first!r}].")
    if kind == "IterableDataset":
        raise DataError(f"{name} streams, and rows are drawn from a whole. Write Dataset.from_list(list(data)).")
    return _of_rows(source, name)


def by_name(
    name: str,
    rows: Sequence[Mapping[Any, Any]],
    place: Callable[[int], str],
    classes: Mapping[str, Sequence[str]] | None = None,
) -> Table:
    """A table of rows that name their fields; its columns are all the names found."""
    columns = tuple(dict.fromkeys(str(key) for row in rows for key in row))
    return Table(name, columns, len(rows), lambda column: [row.get(column) for row in rows], place, True, classes or {})


def rows_of(table: Table) -> list[dict[str, Any]]:
    """The rows of a table as mappings, every column in each."""
    columns = {column: table.fetch(column) for column in table.columns}
    return [{column: values[row] for column, values in columns.items()} for row in range(table.size)]


def _library_class(source: Any) -> str:
    for cls in type(source).__mro__:
        if cls.__module__.partition(".")[0] in ("datasets", "pandas"):
            return cls.__name__
    return ""


def _of_dataset(data: Any, name: str) -> Table:
    classes = {column: feature.names for column, feature in data.features.items() if hasattr(feature, "names")}

    def fetch(column: str) -> list[Any]:
        return list(data[column][:])  # a column read as a slice is some forty times as fast as one read row by row

    return Table(name, tuple(data.column_names), len(data), fetch, lambda row: f"{name}[{row}]", classes=classes)


def _of_frame(data: Any, name: str) -> Table:
    columns = {str(column): column for column in data.columns}
    if len(columns) < len(data.columns):
        raise DataError(f"{name} has two columns of one name: {', '.join(map(str, data.columns))}. Rename one.")

    def fetch(column: str) -> list[Any]:
        values = data[columns[column]]
        return list(values.astype(object).where(values.notna(), None))

    return Table(name, tuple(columns), len(data), fetch, lambda row: f"{name}.iloc[{row}]")


def _of_rows(source: Any, name: str) -> Table:
    if isinstance(source, Mapping | bytes) or not isinstance(source, Iterable):
        wanted = "a path, a Dataset, a DataFrame, or a list of dicts, of tuples or of texts"
        raise DataError(f"{name}: a {type(source).__name__} holds no rows. Write {wanted}.")
    rows = list(source.tolist() if hasattr(source, "tolist") else source)
    kind = _row_kind(rows[0]) if rows else "tuple"
    for at, row in enumerate(rows):
        if _row_kind(row) != kind or kind not in ("text", "dict", "tuple"):
            raise DataError(
                f"{name}[{at}] is a {_row_kind(row)}. Write all rows as dicts, all as tuples, or all as texts."
            )
    if kind == "dict":
        return by_name(name, rows, lambda row: f"{name}[{row}]")
    return _by_position(name, [(row,) if isinstance(row, str) else tuple(row) for row in rows])


def _row_kind(row: Any) -> str:
    known = (("text", str), ("dict", Mapping), ("tuple", tuple | list))
    return next((kind for kind, cls in known if isinstance(row, cls)), type(row).__name__)


def _by_position(name: str, rows: Sequence[tuple[Any, ...]]) -> Table:
    width = len(rows[0]) if rows else 0
    for at, row in enumerate(rows):
        if len(row) != width:
            raise DataError(f"{name}[{at}] has {len(row)} fields, the rows before it {width}. Write as many in each.")

    def fetch(column: str) -> list[Any]:
        return [row[int(column)] for row in rows]

    return Table(name, tuple(map(str, range(width))), len(rows), fetch, lambda row: f"{name}[{row}]", named=False)
