"""Which column of a table is which input of a task, and which holds the label.

    an input's column   --columns · the input's name · the column the task names · ``dataset: columns:`` ·
                        text_a, text_b for the first two inputs · text, sentence where there is one input
    the label's column  --columns · label · ``dataset: columns: label``

The first that the table has is taken; all others of the table are ignored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from promptlab.data.tables import Table
from promptlab.errors import DataError, did_you_mean
from promptlab.language.task import Task


@dataclass(frozen=True)
class Match:
    """Column by input; the label's and the group's are None where the table has none."""

    inputs: Mapping[str, str]
    label: str | None = None
    group: str | None = None


def match_columns(table: Table, task: Task, columns: Mapping[str, str], labelled: bool | None) -> Match:
    """Finds the columns of a table.

    Args:
        table: what was read.
        task: whose inputs are looked for.
        columns: what the user said: column by input name, or by ``label`` and ``group``.
        labelled: True where labels are needed, False where they are left unread, None to take them if they are there.

    Raises:
        DataError: a column that is missing, with the columns found and what to write.
    """
    known = [*task.inputs, "label", "group"]
    for name in columns:
        if name not in known:
            near = did_you_mean(name, known)
            raise DataError(f"--columns {name}=...: '{task.name}' has no such input.{near} Known: {', '.join(known)}.")
    match = _by_name(table, task, columns) if table.named else _by_position(table, task)
    if labelled is False:
        return Match(match.inputs, None, match.group)
    if match.label is None and table.size and (labelled or "label" in columns):
        raise DataError(_without_labels(table, task, columns.get("label")))
    return match


def _without_labels(table: Table, task: Task, wanted: str | None) -> str:
    if not table.named:
        return (
            f"{table.name}: rows without labels, and labels are needed here. Write ({', '.join(task.inputs)}, label)."
        )
    lacking = f"column '{wanted}'" if wanted else "label column"
    return (
        f"{table.name} has no {lacking}, and labels are needed here. "
        f"Columns found: {', '.join(table.columns)}. Write --columns label=COLUMN, or give rows with labels."
    )


def _by_position(table: Table, task: Task) -> Match:
    width, names = len(table.columns), list(task.inputs)
    if table.size and width not in (len(names), len(names) + 1):
        row, fields = ", ".join(names), "1 field" if width == 1 else f"{width} fields"
        raise DataError(f"{table.name}: rows of {fields}; '{task.name}' reads ({row}) or ({row}, label). Write these.")
    label = str(len(names)) if width > len(names) else None
    return Match({name: str(at) for at, name in enumerate(names)}, label)


def _by_name(table: Table, task: Task, columns: Mapping[str, str]) -> Match:
    looked = {name: _candidates(task, name, columns) for name in task.inputs}
    found = {name: next((one for one in tried if one in table.columns), None) for name, tried in looked.items()}
    inputs = {name: column for name, column in found.items() if column is not None}
    if len(inputs) < len(found) and table.size:
        raise DataError(_missing(table, {name: looked[name] for name in found if name not in inputs}, inputs))
    label = _first(table, [columns["label"]] if "label" in columns else ["label", _renamed(task).get("label")])
    return Match(inputs, label, _first(table, [columns.get("group", task.group)]))


def _candidates(task: Task, name: str, columns: Mapping[str, str]) -> list[str]:
    if name in columns:
        return [columns[name]]
    at, hub = list(task.inputs).index(name), _renamed(task).get(name)
    tried = [name, task.inputs[name], *([hub] if hub else []), *("text_a", "text_b")[at : at + 1]]
    if len(task.inputs) == 1:
        tried += ["text", "sentence"]
    return list(dict.fromkeys(tried))


def _renamed(task: Task) -> Mapping[str, str]:
    columns = (task.dataset or {}).get("columns")
    return columns if isinstance(columns, Mapping) else {}


def _first(table: Table, tried: Sequence[str | None]) -> str | None:
    return next((column for column in tried if column in table.columns), None)


def _missing(table: Table, looked: Mapping[str, Sequence[str]], inputs: Mapping[str, str]) -> str:
    free = [column for column in table.columns if column not in inputs.values() and column != "label"]
    guesses = dict(zip(looked, [*free, *["COLUMN"] * len(looked)], strict=False))
    lacking = "; ".join(f"no column for input '{name}' (looked for {', '.join(looked[name])})" for name in looked)
    write = ",".join(f"{name}={column}" for name, column in guesses.items())
    return (
        f"{table.name}: {lacking}. Columns found: {', '.join(table.columns) or 'none'}. "
        f"Write --columns {write} (in Python columns={guesses}), if these are the ones."
    )
