"""The texts that are right for a row of a task that asks for one: its references.

    a list          targets, references (texts), annotations (DART: objects with a ``text``): all of a row's
    a text          target, reference, ref (E2E), summary (XSum): one of a row's; rows of equal inputs that follow each
                    other are one input with several references, as the E2E challenge's script reads its files

White space around a reference goes; the order is kept, and so are references that are given twice, for metrics count
them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from promptlab.data.fields import plain
from promptlab.data.files import whole
from promptlab.data.tables import Table
from promptlab.errors import DataError
from promptlab.language.example import Example

COLUMNS = ("targets", "references", "target", "reference", "ref", "summary", "annotations")


def referenced(examples: Sequence[Example], table: Table, column: str | None, needed: bool) -> list[Example]:
    """The examples with their references, those of one input put together.

    Args:
        examples: a row each, without references.
        table: the rows.
        column: holds the references; None: there are none.
        needed: whether every row needs one.

    Raises:
        DataError: a reference that is missing though needed, is empty, or is no text; names the row.
    """
    if column is None:
        return list(examples)
    values = [plain(value) for value in table.fetch(column)]
    found = [_texts(value, table.place(row), column, needed) for row, value in enumerate(values)]
    filled = [with_references(example, texts) for example, texts in zip(examples, found, strict=True)]
    return _together(filled) if all(value is None or isinstance(value, str) for value in values) else filled


def with_references(example: Example, texts: Sequence[str]) -> Example:
    """The example with these right answers."""
    return replace(example, label=texts[0] if texts else None, answers=tuple(texts[1:] and texts))


def checked(example: Example, place: str, needed: bool) -> Example:
    """The example, its references seen to be texts.

    Raises:
        DataError: as ``referenced``.
    """
    return with_references(example, _texts(list(example.right), place, "label", needed))


def _texts(value: Any, place: str, column: str, needed: bool) -> list[str]:
    if isinstance(value, Mapping):  # the hub's way of writing a list of objects
        value = value.get("text")
    listed = list(value) if isinstance(value, list | tuple) else [value]
    lone = not isinstance(value, list | tuple)
    if not listed or (lone and (value is None or (value == "" and not needed))):
        if needed:
            raise DataError(f"{place}: no reference in '{column}', and references are needed here. Write one.")
        return []
    return [_text(each, place, column if lone else f"{column}[{at}]") for at, each in enumerate(listed)]


def _text(value: Any, place: str, where: str) -> str:
    value = value.get("text") if isinstance(value, Mapping) else value
    if not isinstance(value, str):
        raise DataError(f"{place}: '{where}' is a {type(value).__name__}, not a reference. Write a text.")
    if not value.strip():
        raise DataError(f"{place}: '{where}' is an empty reference. Write its text, or take it out.")
    return whole(value.strip(), f"{place}: '{where}'")


def _together(rows: Sequence[Example]) -> list[Example]:
    def source(row: Example) -> Example:
        return replace(row, label=None, answers=()) if row.right else row

    found: list[Example] = []
    for bare, same in groupby(rows, source):
        each = list(same)
        known = [text for row in each for text in row.right]
        found += [with_references(bare, known)] if known else each
    return found
