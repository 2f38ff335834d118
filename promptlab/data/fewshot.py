"""A few rows drawn by seed: the same rows on every machine, system and Python.

    every row gets the ticket  sha256("seed:row")          no random generator, whose streams change with versions
    k a class    the k smallest tickets of each class      so 8 shots are among the 16 shots of the same seed
    total:N      the N smallest tickets of all
    all          every row

Rows that share a group are drawn together; they are counted by group, and only ``total:N`` and ``all`` draw them.
Where a text is asked for there are no classes: k means ``total:k``, inputs with all their references.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from promptlab.data.sources import Splits, read_splits
from promptlab.data.steps import taught
from promptlab.errors import DataError, SettingError
from promptlab.language.example import Example
from promptlab.language.task import Task

_GIVE = "Give --train FILE, or train rows in --data DIR."


@dataclass(frozen=True)
class Sample:
    """What a run learns from and is tested on.

    Args:
        train: what the shots teach: the rows drawn, after the ``lesson`` of the task's step (``steps.py``).
        unlabeled: rows without labels.
        test: labelled rows.
        pool_from_train: whether ``unlabeled`` are the train rows that were not drawn.
        fingerprint: of all three; part of a run's identity.
        notes: what the lesson did, where it did anything.
    """

    train: list[Example]
    unlabeled: list[Example]
    test: list[Example]
    pool_from_train: bool
    fingerprint: str
    notes: tuple[str, ...] = ()


def sample_shots(
    task: Task, shots: int | str = 16, seed: int = 0, data: str | Path | None = None, limit: int | None = None
) -> tuple[list[Example], list[Example], list[Example]]:
    """Reads a task's rows and draws a few labelled ones.

    Args:
        task: what is asked.
        shots: labelled rows a class, or ``total:32``, or ``all``.
        seed: of the draw.
        data: a folder that holds ``<task>/train.jsonl`` and the like; the hub where it is left out.
        limit: at most so many test rows, in the proportions of the labels.

    Returns:
        The shots, the unlabelled rows, the test rows.

    Raises:
        DataError: the rows cannot be read, or a class has fewer rows than asked for.
        SettingError: ``shots`` or ``limit`` cannot be.
    """
    drawn = sample(task, read_splits(task, data), shots, seed, limit)
    return drawn.train, drawn.unlabeled, drawn.test


def sample(task: Task, splits: Splits, shots: int | str, seed: int, limit: int | None = None) -> Sample:
    """Draws the shots, and makes the pool of unlabelled rows: the file's, else the train rows that were not drawn.

    Args:
        task: its labels are the classes.
        splits: all rows; train rows without a label are no shots, but belong to the pool.
        shots: labelled rows a class (inputs in all, where a text is asked for), or ``total:32``, or ``all``.
        seed: of the draw of the shots alone.
        limit: at most so many test rows; the same ones for every seed.

    Raises:
        DataError: a class has fewer rows than asked for.
        SettingError: ``shots`` or ``limit`` cannot be.
    """
    classes = task.labels if task.range is None else ()
    number, total = read_shots(shots)
    if number and not total and task.generates:
        shots, total = f"total:{number}", True
    if number and not total and not classes:
        raise DataError(f"{shots} shots a class, but '{task.name}' has no classes. Write -k total:{number} or -k all.")
    able = [row for row, example in enumerate(splits.train) if example.label is not None]
    chosen = [able[at] for at in draw([splits.train[row] for row in able], shots, seed, classes)]
    drawn_rows = [splits.train[row] for row in chosen]
    train = taught(task, drawn_rows)
    pool, drawn = splits.unlabeled, set(chosen)
    if pool is None:
        pool = [example.unlabelled() for row, example in enumerate(splits.train) if row not in drawn]
    test = limited(splits.test, limit, stratified=task.range is None and not task.generates)
    changed = f"prepare: {task.prepare}: {len(drawn_rows)} rows drawn, {len(train)} to learn from"
    notes = (changed,) if train != drawn_rows else ()
    return Sample(train, pool, test, splits.unlabeled is None, fingerprint(train, pool, test), notes)


def draw(rows: Sequence[Example], shots: int | str, seed: int, labels: Sequence[str] = ()) -> list[int]:
    """Indices of the rows drawn.

    Args:
        rows: what is drawn from; rows without a label belong to no class, but count in ``total:32`` and ``all``, so
            that a pool is drawn like shots.
        shots: ``16`` rows a class (the classes by turns), ``total:32``, or ``all`` (in the order of the rows).
        seed: another seed, other rows.
        labels: the classes, in the order they take turns; the labels found, sorted, where it is left out.

    Raises:
        DataError: too few rows, with the size of each class.
        SettingError: ``shots`` is none of these.
    """
    number, total = read_shots(shots)
    if number is None:
        return list(range(len(rows)))
    if number == 0:
        return []
    return _draw_total(rows, number, seed) if total else _draw_by_class(rows, number, seed, labels)


def read_shots(shots: int | str) -> tuple[int | None, bool]:
    """``16`` as (16, False), ``total:32`` as (32, True), ``all`` as (None, True).

    Raises:
        SettingError: none of these.
    """
    text = str(shots).strip()
    number = text.removeprefix("total:")
    if text == "all":
        return None, True
    if not (number.isascii() and number.isdigit()):
        raise SettingError(f"shots: '{text}' cannot be read. Write 16 (rows a class), total:32 or all.")
    return int(number), number != text


def _draw_total(rows: Sequence[Example], number: int, seed: int) -> list[int]:
    units = _units(rows)
    if number > len(units):
        what = "groups of rows" if len(units) < len(rows) else "rows"
        write = f"Write total:{len(units)} or all." if units else _GIVE
        raise DataError(f"total:{number} shots, but there are {len(units)} {what}. {write}")
    return list(chain.from_iterable(sorted(units, key=lambda unit: _ticket(seed, unit[0]))[:number]))


def _draw_by_class(rows: Sequence[Example], number: int, seed: int, labels: Sequence[str]) -> list[int]:
    able = [row for row, example in enumerate(rows) if example.label is not None]
    if not able:
        raise DataError(f"{number} shots a class, but there are no labelled rows. {_GIVE}")
    if any(rows[row].group is not None for row in able):
        raise DataError(
            f"{number} shots a class, but these rows are drawn in groups. Write total:{number} (groups) or all."
        )
    by_class: dict[str, list[int]] = {label: [] for label in labels}
    for row in sorted(able, key=lambda row: _ticket(seed, row)):
        by_class.setdefault(str(rows[row].label), []).append(row)
    ordered = [by_class[label] for label in labels or sorted(by_class)]
    if any(len(members) < number for members in ordered):
        raise DataError(_too_few(number, by_class))
    return list(chain.from_iterable(zip(*(members[:number] for members in ordered), strict=True)))


def _too_few(number: int, by_class: dict[str, list[int]]) -> str:
    short = [f"'{label}' has {len(members)}" for label, members in by_class.items() if len(members) < number]
    sizes = ", ".join(f"{label} {len(members)}" for label, members in by_class.items())
    most = min(map(len, by_class.values()))
    fewer = f"-k {most}" if most else "rows of that class"
    return f"{number} shots a class, but {', '.join(short)} (rows: {sizes}). Write {fewer}, -k total:N or -k all."


def limited(rows: Sequence[Example], limit: int | None, stratified: bool = True) -> list[Example]:
    """At most ``limit`` rows in their order, every label in its proportion; always the same ones.

    Numbers and texts have no proportions (``stratified=False``): they would go by what rounding leaves over. Parts of
    the rows have, where there are any.

    Groups stay whole, so that fewer rows may come out, and labels are then not looked at.

    Raises:
        SettingError: ``limit`` is not positive.
    """
    if limit is not None and limit < 1:
        raise SettingError(f"limit: {limit} rows cannot be. Write 1 or more.")
    if limit is None or limit >= len(rows):
        return list(rows)
    if any(row.group is not None for row in rows):
        return [rows[row] for row in sorted(_whole_groups(rows, limit))]
    by_class: dict[str, list[int]] = {}
    for row in sorted(range(len(rows)), key=lambda row: _ticket("limit", row)):
        by_class.setdefault(str(rows[row].label if stratified else rows[row].part), []).append(row)
    shares = _shares({label: len(members) for label, members in by_class.items()}, limit)
    kept = [row for label, members in by_class.items() for row in members[: shares[label]]]
    return [rows[row] for row in sorted(kept)]


def _shares(sizes: dict[str, int], limit: int) -> dict[str, int]:
    # what rounding down leaves over goes to the largest remainders; in whole numbers, which every machine divides alike
    whole = sum(sizes.values())
    shares = {label: limit * size // whole for label, size in sizes.items()}
    by_remainder = sorted(sizes, key=lambda label: (-(limit * sizes[label] % whole), label))
    for label in by_remainder[: limit - sum(shares.values())]:
        shares[label] += 1
    return shares


def _whole_groups(rows: Sequence[Example], limit: int) -> list[int]:
    kept: list[int] = []
    for unit in sorted(_units(rows), key=lambda unit: _ticket("limit", unit[0])):
        if len(kept) + len(unit) <= limit:
            kept += unit
    return kept


def _units(rows: Sequence[Example]) -> list[list[int]]:
    """Rows by group, a row without one by itself."""
    units: dict[str | int, list[int]] = {}
    for row, example in enumerate(rows):
        units.setdefault(row if example.group is None else example.group, []).append(row)
    return list(units.values())


def _ticket(seed: int | str, row: int) -> bytes:
    return hashlib.sha256(f"{seed}:{row}".encode()).digest()


def fingerprint(*parts: Sequence[Example]) -> str:
    """Sixteen hex digits that change with any field, label, group, order or border of the parts."""
    digest = hashlib.sha256()
    for part in parts:
        for row in part:
            more = [each for each in (row.answers, row.part) if each]  # as they were before there were such things
            content = [sorted(row.fields.items()), row.label, row.group, *more]
            digest.update(json.dumps(content, separators=(",", ":")).encode() + b"\n")
        digest.update(b"\x00")
    return digest.hexdigest()[:16]
