"""Which column of a table is which input of a task, and which holds the label.

    an input's column   --columns · the input's name · the column the task names · ``dataset: columns:`` ·
                        text_a, text_b for the first two inputs · text, sentence where there is one input
    the label's column  --columns · label · ``dataset: columns: label``
    the references'     --columns target=... · those of ``references.py`` · ``dataset: columns: target``

The first that the table has is taken; all others of the table are ignored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from promptlab.data.references import COLUMNS
from promptlab.data.tables import Table
from promptlab.errors import DataError, did_you_mean
from promptlab.language.task import Task


@dataclass(frozen=True)
class Match:
    """Column by input; the label's (or the references'), the group's and the part's are None where there is none."""

    inputs: Mapping[str, str]
    label: str | None = None
    group: str | None = None
    part: str | None = None


def match_columns(table: Table, task: Task, columns: Mapping[str, str], labelled: bool | None) -> Match:
    """Finds the columns of a table.

    Args:
        table: what was read.
        task: whose inputs are looked for.
        columns: what the user said: column by input name, or by ``group`` and ``label`` (by ``target``, of texts).
        labelled: True where labels are needed, False where they are left unread, None to take them if they are there.

    Raises:
        DataError: a column that is missing, with the columns found and what to write.
    """
    known = [*task.inputs, _answer(task), "group"]
    for name in columns:
        if name not in known:
            near = did_you_mean(name, known)
            raise DataError(f"--columns {name}=...: '{task.name}' has no such input.{near} Known: {', '.join(known)}.")
    match = _by_name(table, task, columns) if table.named else _by_position(table, task)
    if labelled is False:
        return replace(match, label=None)
    if match.label is None and table.size and (labelled or _answer(task) in columns):
        raise DataError(_without_labels(table, task, columns.get(_answer(task))))
    return match


def _answer(task: Task) -> str:
    """What users call the column of right answers."""
    return "target" if task.generates else "label"


def _without_labels(table: Table, task: Task, wanted: str | None) -> str:
    answer, answers = _answer(task), "references" if task.generates else "labels"
    if not table.named:
        row = ", ".join(task.inputs)
        return f"{table.name}: rows without {answers}, and {answers} are needed here. Write ({row}, {answer})."
    tried = f"column of references (looked for {', '.join(COLUMNS)})" if task.generates else "label column"
    lacking = f"column '{wanted}'" if wanted else tried
    return (
        f"{table.name} has no {lacking}, and {answers} are needed here. "
        f"Columns found: {', '.join(table.columns)}. Write --columns {answer}=COLUMN, or give rows with {answers}."
    )


def _by_position(table: Table, task: Task) -> Match:
    width, names = len(table.columns), list(task.inputs)
    if table.size and width not in (len(names), len(names) + 1):
        row, fields = ", ".join(names), "1 field" if width == 1 else f"{width} fields"
        reads = f"'{task.name}' reads ({row}) or ({row}, {_answer(task)})"
        raise DataError(f"{table.name}: rows of {fields}; {reads}. Write these.")
    label = str(len(names)) if width > len(names) else None
    return Match({name: str(at) for at, name in enumerate(names)}, label)


def _by_name(table: Table, task: Task, columns: Mapping[str, str]) -> Match:
    looked = {name: _candidates(task, name, columns) for name in task.inputs}
    found = {name: next((one for one in tried if one in table.columns), None) for name, tried in looked.items()}
    inputs = {name: column for name, column in found.items() if column is not None}
    if len(inputs) < len(found) and table.size:
        raise DataError(_missing(table, {name: looked[name] for name in found if name not in inputs}, inputs))
    answer = _answer(task)
    usual = [*(COLUMNS if task.generates else ("label",)), _renamed(task).get(answer)]
    label = _first(table, [columns[answer]] if answer in columns else usual)
    return Match(inputs, label, _first(table, [columns.get("group", task.group)]), _first(table, [task.parts]))


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
