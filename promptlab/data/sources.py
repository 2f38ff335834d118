"""Rows from anywhere as the examples of a task.

    read_examples   one source: a file, a Dataset, a DataFrame, a list
    read_splits     train, test and unlabelled rows: from files, from a folder DIR/<task>/, or from the hub
    read_embedded   the rows that the package brings along
    read_hub        one split of the task's data set on the hub

A row that cannot be used is an error that names it: nothing is skipped or guessed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from promptlab.data.answers import answerable
from promptlab.data.columns import match_columns
from promptlab.data.fields import plain
from promptlab.data.files import table_in, tables_in, whole
from promptlab.data.folder import splits_in
from promptlab.data.references import checked, referenced
from promptlab.data.steps import prepared, read_value
from promptlab.data.tables import Table, table_of
from promptlab.errors import DataError, did_you_mean
from promptlab.language.example import Example, Value
from promptlab.language.target import part_of
from promptlab.language.task import Task

EMBEDDED = Path(__file__).parents[1] / "assets" / "tasks"
_HIDDEN = "-1"  # what GLUE's test sets write where a label is kept secret


def read_examples(
    source: Any,
    task: Task,
    columns: Mapping[str, str] | None = None,
    labelled: bool | None = None,
    where: str = "",
) -> list[Example]:
    """Reads rows as examples of a task.

    Args:
        source: a path (.jsonl .csv .tsv .parquet .json .xml .txt, each also .gz), a tuple of paths of XML files, a
            Dataset, a DataFrame, or a list of dicts, of tuples (a label may come last), of texts (tasks of one input)
            or of Examples.
        task: whose inputs and labels are looked for; other columns are ignored. Its ``prepare`` step sees the rows
            as they come; Examples are taken as prepared.
        columns: column by input name, or by ``label`` and ``group``.
        labelled: True where every row needs a label, False where labels are left unread, None to take what is there.
        where: what messages call a source that isn't a file.

    Raises:
        DataError: a source that cannot be read, a column that is missing, a label that is missing or unknown, or a
            value that is no text; names the file, the row and the field.
    """
    if isinstance(source, str | Path):
        table = table_in(Path(source))
    elif isinstance(source, tuple) and source and all(isinstance(path, Path) for path in source):
        table = tables_in(source)
    elif isinstance(source, Sequence) and source and all(isinstance(row, Example) for row in source):
        return _checked(source, task, labelled, where or "list")
    else:
        table = table_of(source, where)
    table = prepared(task.prepare, table)
    match = match_columns(table, task, columns or {}, labelled)
    texts = {name: _texts(table, task, column, name == task.candidates) for name, column in match.inputs.items()}
    groups, parts = _groups(table, match.group), _parts(table, match.part)
    bare = [
        Example({name: texts[name][row] for name in texts}, group=groups[row], part=parts[row])
        for row in range(table.size)
    ]
    if task.generates:
        return referenced(bare, table, match.label, bool(labelled))
    labels = _labels(table, task, match.label, bool(labelled))
    made = [
        replace(row, label=right[0], answers=right[1:] and right) if right else row
        for row, right in zip(bare, labels, strict=True)
    ]
    return answerable(made, task, table.place)


def _checked(rows: Sequence[Example], task: Task, labelled: bool | None, name: str) -> list[Example]:
    found = []
    for at, row in enumerate(rows):
        lacking = next((field for field in task.inputs if field not in row.fields), None)
        if lacking is not None:
            raise DataError(f"{name}[{at}] has no field '{lacking}'. Fields found: {', '.join(row.fields) or 'none'}.")
        if task.generates:
            found.append(row.unlabelled() if labelled is False else checked(row, f"{name}[{at}]", bool(labelled)))
            continue
        label = None if labelled is False else _label(row.label, task, f"{name}[{at}]", bool(labelled))
        answers = () if label is None else tuple(answer.strip() for answer in row.answers)  # as candidates are read
        same = (label, answers) == (row.label, row.answers)
        found.append(row if same else replace(row, label=label, answers=answers))
    return answerable(found, task, lambda row: f"{name}[{row}]")


# values


def _texts(table: Table, task: Task, column: str, listed: bool = False) -> list[Value]:
    read, found = _candidates if listed else _value, []
    for row, value in enumerate(table.fetch(column)):
        try:
            value = value if listed else read_value(task.prepare, plain(value))
        except DataError as error:
            raise DataError(f"{table.place(row)}: '{column}': {error}") from None
        found.append(read(value, table.place(row), column))
    return found


def _candidates(value: Any, place: str, column: str) -> Value:
    value = plain(value)
    if not isinstance(value, list | tuple):
        found = "no value for" if value is None else f"a {type(value).__name__} as"
        raise DataError(f"{place}: {found} '{column}'. Write a list of candidate answers.")
    return _value(value, place, column)


def _value(value: Any, place: str, column: str) -> Value:
    value = plain(value)
    if isinstance(value, str):
        return whole(value, f"{place}: '{column}'")
    if value is None:
        raise DataError(f"{place}: no value for '{column}'. Write a text; an empty one will do.")
    if isinstance(value, bool | int | float):
        return str(value)
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return tuple(whole(item, f"{place}: '{column}'") for item in value)
    raise DataError(f"{place}: '{column}' is a {type(value).__name__}. Write a text, or a list of texts.")


def _groups(table: Table, column: str | None) -> list[str | None]:
    if column is None:
        return [None] * table.size
    return [None if value is None else str(value) for value in map(plain, table.fetch(column))]


def _parts(table: Table, column: str | None) -> list[str | None]:
    if column is None:
        return [None] * table.size
    return [part_of(value, column) for value in map(plain, table.fetch(column))]


# labels


def _labels(table: Table, task: Task, column: str | None, needed: bool) -> list[tuple[str, ...]]:
    """The right answers of each row: one, none where it is not known; perhaps several where rows bring candidates."""
    if column is None:
        return [()] * table.size
    names, found = _class_names(table, task, column), []
    told = f": '{column}'" if task.range and column != "label" else ""  # a file may hold several numbers
    known: dict[tuple[type, str], str] = {}
    for row, value in enumerate(map(plain, table.fetch(column))):
        several = value if isinstance(value, list | tuple) and not task.fixed else [value]
        right = []
        for each in several or [None]:
            each = names.get(each, each) if names else each
            key = (type(each), str(each))
            label = known.get(key) or _label(each, task, f"{table.place(row)}{told}", needed)
            if label is not None:
                known[key] = label
                right.append(label)
        found.append(tuple(dict.fromkeys(right)))
    return found


def _class_names(table: Table, task: Task, column: str) -> dict[Any, str]:
    # a Dataset says what its ids are called; where the task knows those names, its order of ids need not agree
    names, known = table.classes.get(column, ()), {value.casefold() for value in task.values}
    if not all(name.casefold() in known for name in names):
        return {}
    return {at: task.label_of(name) for at, name in enumerate(names)}


def _label(value: Any, task: Task, place: str, needed: bool) -> str | None:
    if isinstance(value, list | tuple | dict):
        raise DataError(f"{place}: several labels in one row ({value}) are not supported. Write one label a row.")
    text = "" if value is None else str(value).strip()
    if not text or (text == _HIDDEN and _HIDDEN not in task.values and task.range is None):
        if needed:
            choice = f"one of {', '.join(task.labels)}" if task.labels else "one"
            choice = f"a number from {task.range}" if task.range else choice
            raise DataError(f"{place}: no label, and labels are needed here. Write {choice}.")
        return None
    try:
        return task.label_of(value)
    except DataError as error:
        raise DataError(f"{place}: {error}") from None


# splits


@dataclass(frozen=True)
class Splits:
    """All rows of a task; ``unlabeled`` and ``dev`` are None where there are none of their own."""

    train: list[Example]
    test: list[Example]
    unlabeled: list[Example] | None = None
    dev: list[Example] | None = None


def read_splits(
    task: Task,
    folder: str | Path | None = None,
    train: Any = None,
    unlabeled: Any = None,
    test: Any = None,
    columns: Mapping[str, str] | None = None,
) -> Splits:
    """All rows of a task.

    Args:
        task: what is asked.
        folder: holds ``<task>/{train,test,unlabeled,dev}.{jsonl,csv,tsv,parquet}``, or files under their published
            names (``folder.py``); a split that isn't there is empty.
        train: labelled rows, in place of the folder's; any source that ``read_examples`` takes, as the next two.
        unlabeled: rows whose labels, if any, are left unread.
        test: labelled rows.
        columns: column by input name, for all of them.

    Without a folder, ``train`` and ``test`` the rows come from the task's data set: embedded in the package where the
    task says ``builtin``, else on the hub.

    Raises:
        DataError: as ``read_examples``; or there is neither a source nor a data set.
    """
    given = {"train": train, "test": test, "unlabeled": unlabeled}
    sources: dict[str, Any] = (splits_in(Path(folder), task) if folder is not None else {}) | {
        split: source for split, source in given.items() if source is not None
    }

    def read(split: str) -> list[Example] | None:
        if split not in sources:
            return None
        return read_examples(sources[split], task, columns, labelled=split != "unlabeled", where=split)

    if folder is None and train is None and test is None and "builtin" in (task.dataset or {}):
        embedded = read_embedded(task, columns)
        return embedded if unlabeled is None else replace(embedded, unlabeled=read("unlabeled"))
    if folder is None and train is None and test is None:
        hub = _hub_splits(task, columns)
        return hub if unlabeled is None else replace(hub, unlabeled=read("unlabeled"))
    return Splits(read("train") or [], read("test") or [], read("unlabeled"), read("dev"))


def read_embedded(task: Task, columns: Mapping[str, str] | None = None) -> Splits:
    """The rows that the package brings along for a task whose ``dataset`` says ``builtin: NAME``.

    Raises:
        DataError: the package has no rows of that name.
    """
    name = str((task.dataset or {}).get("builtin"))
    there = sorted(path.name for path in EMBEDDED.iterdir() if path.is_dir()) if EMBEDDED.is_dir() else []
    if name not in there:
        raise DataError(f"builtin: {name}: no such rows.{did_you_mean(name, there)} Known: {', '.join(there)}.")
    home = EMBEDDED / name

    def read(split: str) -> list[Example]:
        return read_examples(home / f"{split}.jsonl", task, columns, labelled=split != "unlabeled")

    return Splits(read("train"), read("test"), read("unlabeled"))


def _hub_splits(task: Task, columns: Mapping[str, str] | None) -> Splits:
    named = task.dataset or {}

    def read(split: str) -> list[Example] | None:
        return read_hub(task, split, columns, labelled=split != "unlabeled") if split in named else None

    train, test = (read_hub(task, split, columns, labelled=True) for split in ("train", "test"))
    return Splits(train, test, read("unlabeled"), read("dev"))


def read_hub(
    task: Task, split: str, columns: Mapping[str, str] | None = None, labelled: bool | None = None
) -> list[Example]:
    """One split of the task's data set on the hub (or in the cache that the hub's library keeps).

    Args:
        task: its ``dataset`` says where: ``{path, name, revision, train, test, unlabeled, dev}``.
        split: ``train``, ``test``, ``unlabeled`` or ``dev``; the task may say what it is called there.
        columns: as in ``read_examples``.
        labelled: as in ``read_examples``.

    Raises:
        DataError: the task names no data set, or it cannot be had.
    """
    where = task.dataset or {}
    if "path" not in where:
        raise DataError(
            f"'{task.name}' names no data set on the hub. Write --data DIR, or --train FILE and --test FILE."
        )
    from datasets import load_dataset

    name, there = where.get("name"), where.get(split, split)
    called = f"{where['path']}{f' ({name})' if name else ''}, split {there}"
    try:
        data = load_dataset(where["path"], name, split=there, revision=where.get("revision"))
    except Exception as error:  # that library raises what its many back ends raise
        reason = " ".join(str(error).split())
        raise DataError(
            f"{called}: the data set cannot be had: {reason}. Write --data DIR, or --train and --test."
        ) from error
    return read_examples(data, task, columns, labelled, where=called)
