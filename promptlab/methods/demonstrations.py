"""Which labelled rows are shown as demonstrations, and in what order (Brown et al. 2020; Gao et al. 2021, 2012.15723).

    every labelled row gets the ticket  sha256("key:row")           no random generator, whose streams change
    k a class    the k smallest tickets of each class, the classes by turns
    total:N      the first N of those turns; which class begins, the tickets say
    on the page  by a second ticket, so that no class always stands last

A row with per-row candidates has no class: then N, or k, rows are drawn of all.
"""

import hashlib
from collections.abc import Sequence
from itertools import chain, zip_longest

from promptlab.data.fewshot import read_shots
from promptlab.errors import SettingError
from promptlab.language.example import Example


def drawn(rows: Sequence[Example], shots: int | str, key: str, classes: Sequence[str] = ()) -> list[int]:
    """Numbers of the rows to show, the most wanted first; fewer than asked where there are fewer.

    Args:
        rows: labelled.
        shots: ``4`` rows a class, ``total:1``, or ``all``.
        key: another key, another draw.
        classes: the labels; empty where rows bring their own.

    Raises:
        SettingError: ``shots`` cannot be, or is zero.
    """
    number, total = number_of(shots)
    order = sorted(range(len(rows)), key=lambda row: ticket(key, str(row)))
    return by_turns(order, rows, number, total, sorted(classes, key=lambda label: ticket(key, f"class {label}")))


def number_of(shots: int | str) -> tuple[int | None, bool]:
    """How many, and whether in all; None for ``all``.

    Raises:
        SettingError: ``shots`` cannot be, or is zero.
    """
    try:
        number, total = read_shots(shots)
    except SettingError:
        raise SettingError(f"demonstrations={shots} cannot be read. Write 4 (rows a class), total:1 or all.") from None
    if number == 0:
        raise SettingError(f"demonstrations={shots}: nothing would be shown. Write 1 or more, or the method zero-shot.")
    return number, total


def by_turns(
    order: Sequence[int], rows: Sequence[Example], number: int | None, total: bool, classes: Sequence[str]
) -> list[int]:
    """The first rows of each class in ``order``, the classes by turns.

    Args:
        order: row numbers, the most wanted first.
        rows: all labelled rows.
        number: a class, or in all where ``total``; None takes every row.
        total: what ``number`` counts.
        classes: in the order they take turns; empty where rows bring their own candidates.
    """
    if not classes:
        return list(order)[:number]
    lists = [[row for row in order if rows[row].label == label] for label in classes]
    kept = lists if total else [listed[:number] for listed in lists]
    turns = [row for row in chain.from_iterable(zip_longest(*kept)) if row is not None]
    return turns[:number] if total else turns


def asked_for(shots: int | str, rows: int, classes: int) -> int:
    """How many demonstrations ``shots`` means."""
    number, total = number_of(shots)
    return rows if number is None else number if total else number * max(1, classes)


def paged(count: int, key: str) -> list[int]:
    """Order on the page of ``count`` demonstrations."""
    return sorted(range(count), key=lambda at: ticket(key, f"place {at}"))


def ticket(key: str, what: str) -> bytes:
    """What decides instead of chance."""
    return hashlib.sha256(f"{key}:{what}".encode()).digest()
