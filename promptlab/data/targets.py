"""Labels as scikit-learn hands them over (``y``), and the values in which answers are given back.

    labels_of    y -> a label of the task for each row, and the value each label was written as
    classes_of   those values for all labels, sorted

Sorted, because scikit-learn's metrics (log loss, ROC AUC) take that order for granted and are silently wrong otherwise.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from promptlab.errors import DataError
from promptlab.language.task import Task


@dataclass(frozen=True)
class Targets:
    """Labels of rows.

    Args:
        labels: one a row.
        written: the value that each label was written as, where it was always the same.
    """

    labels: list[str]
    written: Mapping[str, Any]


def labels_of(y: Any, task: Task, hint: str = "") -> Targets:
    """Reads a label a row.

    Args:
        y: a list, an array, a Series: whatever the task takes for its labels (names, ids, values of its mapping).
        task: whose labels.
        hint: what to write where a value stands for no label.

    Raises:
        DataError: a value that stands for no label, with its row; or something that is no list of values.
    """
    values = _listed(y)
    labels = [_label(value, task, f"y[{row}]", hint) for row, value in enumerate(values)]
    written: dict[str, Any] = {}
    for label, value in zip(labels, values, strict=True):
        first = written.setdefault(label, value)
        if first != value or type(first) is not type(value):  # written in several ways: by its name, then
            written[label] = label
    return Targets(labels, written)


def classes_of(task: Task, written: Mapping[str, Any]) -> tuple[np.ndarray, list[int]]:
    """Values of all labels, sorted, ``(labels,)``; and for each its label's place in the task.

    A label that no row has is named, or numbered where the others are numbers. A task of numbers has no such values,
    and one place.
    """
    if task.range is not None:
        return np.zeros(0), [0]
    values = [written.get(label, _unseen(label, at, written)) for at, label in enumerate(task.labels)]
    if len({str(value) for value in values}) < len(values):
        values = list(task.labels)
    kinds = {type(value) for value in values}
    order = sorted(range(len(values)), key=lambda at: str(values[at]) if len(kinds) > 1 else values[at])
    array = np.empty(len(values), dtype=object) if len(kinds) > 1 else np.array([values[at] for at in order])
    if len(kinds) > 1:
        array[:] = [values[at] for at in order]
    return array, order


def _unseen(label: str, at: int, written: Mapping[str, Any]) -> Any:
    kinds = {type(value) for value in written.values()}
    if len(kinds) != 1 or not kinds <= {int, float}:
        return label
    (kind,) = kinds
    try:
        return kind(label)
    except ValueError:
        return kind(at)


def _listed(y: Any) -> list[Any]:
    if isinstance(y, str | bytes | Mapping) or not isinstance(y, Iterable):
        raise DataError(f"y is a {type(y).__name__}. Write a list with a label a row.")
    shape = getattr(y, "shape", None)
    if shape is not None and len(shape) != 1:
        raise DataError(f"y has the shape {tuple(shape)}. Write one label a row: a list, or one column.")
    values = list(y.tolist() if hasattr(y, "tolist") else y)
    return [value.item() if hasattr(value, "item") else value for value in values]


def _label(value: Any, task: Task, place: str, hint: str) -> str:
    if _missing(value):
        choice = f"a number from {task.range}" if task.range else f"one of {', '.join(task.labels)}"
        raise DataError(f"{place}: no label. Write {choice}.")
    try:
        return task.label_of(value)
    except DataError as error:
        raise DataError(f"{place}: {error}{hint}") from None


def _missing(value: Any) -> bool:
    if value is None or (isinstance(value, str) and not value.strip()):
        return True
    try:
        return bool(value != value)
    except TypeError:  # pandas' NA is neither
        return True
