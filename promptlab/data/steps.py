"""Named steps that a task file may ask for with ``prepare: NAME``.

    rows      right after a source is read, before its columns are matched: one row in, any number of rows out
    lesson    after the shots are drawn: what the drawn rows teach; never on rows that are asked
    reads     whenever an input's value is read, wherever it comes from

So shots are counted as they were labelled, and rows to be tested on are neither doubled nor dropped.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from promptlab.data import copa, multirc, record, wsc
from promptlab.data.linearise import linearised
from promptlab.data.tables import Table, by_name, rows_of
from promptlab.errors import DataError, did_you_mean
from promptlab.language.example import Example
from promptlab.language.task import Task

Change = Callable[[Mapping[str, Any]], Iterable[Mapping[str, Any]]]
Lesson = Callable[[Example, Task], Iterable[Example]]


@dataclass(frozen=True)
class Step:
    """A step.

    Args:
        about: one line that says what it does.
        rows: from a row as published to the rows to read, each with the task's columns; left as it is where None.
        lesson: from a drawn row to the rows to learn from; the row itself where None.
        reads: from an input's value as published to its text; the value itself where None.
    """

    about: str
    rows: Change | None = None
    lesson: Lesson | None = None
    reads: Callable[[Any], str] | None = None


STEPS: dict[str, Step] = {
    "copa-mirror": Step("cause or effect as a linking word; shots once more, choices swapped", copa.linked, copa.both),
    "linearise": Step("a meaning representation or triples as one line", reads=linearised),
    "multirc": Step("a row for each answer, by the number of its question", multirc.unfolded),
    "record": Step("a query around its gap, with the passage's entities as candidates", record.asked, record.taught),
    "wsc": Step("the pronoun marked, the text's noun phrases as candidates", wsc.asked, wsc.taught),
}


def prepared(name: str | None, table: Table) -> Table:
    """A table after the step's ``rows``; unchanged where there is nothing to do, or where columns have no names.

    Raises:
        DataError: no such step (suggests the nearest and lists all), or a row the step cannot use, with its place.
    """
    change = _step(name).rows if name is not None else None
    if change is None or not table.named:
        return table
    rows, origin = [], []
    for at, row in enumerate(rows_of(table)):
        try:
            made = list(change(row))
        except DataError as error:
            raise DataError(f"{table.place(at)}: {error}") from None
        rows += made
        origin += [at] * len(made)
    return by_name(table.name, rows, lambda row: table.place(origin[row]), table.classes)


def read_value(name: str | None, value: Any) -> Any:
    """An input's value after the step's ``reads``.

    Raises:
        DataError: no such step, or a value that it cannot use.
    """
    reads = _step(name).reads if name is not None else None
    return value if reads is None or value is None else reads(value)


def taught(task: Task, shots: Sequence[Example]) -> list[Example]:
    """What drawn rows teach: the rows after the step's ``lesson``, in their order.

    Rows that were taught already stay as they are: what a lesson adds is left out where it is among the shots.

    Raises:
        DataError: no such step, or none of the rows teaches anything.
    """
    lesson = _step(task.prepare).lesson if task.prepare is not None else None
    if lesson is None:
        return list(shots)
    known = {_key(shot) for shot in shots}
    rows = [row for shot in shots for row in lesson(shot, task) if row == shot or _key(row) not in known]
    if shots and not rows:
        about = _step(task.prepare).about
        raise DataError(
            f"prepare: {task.prepare} ({about}): none of the {len(shots)} rows drawn teaches anything. Write -k all."
        )
    return rows


def _key(row: Example) -> tuple[object, ...]:
    return (*sorted(row.fields.items()), row.label, row.group, row.answers)


def _step(name: str | None) -> Step:
    if name not in STEPS:
        raise DataError(f"prepare: no step '{name}'.{did_you_mean(str(name), STEPS)} Known: {', '.join(STEPS)}.")
    return STEPS[name]
