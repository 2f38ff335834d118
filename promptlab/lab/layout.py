"""Which table a plan's summaries make: systems down, tasks or shots across, and what each system cost."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from promptlab.lab.summary import BASELINES, Difference, Summary
from promptlab.lab.tables import Table, cell_text, memory_text, number_text, seconds_text

T = TypeVar("T")
_Column = tuple[str, int | str]  # task, shots


def score_tables(found: Sequence[Summary]) -> list[Table]:
    """One table where tasks or shots can stand across, else a table a task."""
    tasks = _unique(one.task for one in found)
    if len(tasks) == 1 or len(_unique(one.shots for one in found)) == 1:
        return [_scores(found)] if found else []
    return [_scores([one for one in found if one.task == task]) for task in tasks]


def difference_table(compared: Sequence[Difference], found: Sequence[Summary], against: str | None) -> Table:
    """``better by 2.1 [0.4, 3.8]`` for each system, task and number of shots; bold where 0 is left out."""
    columns: dict[str, list[str]] = {"system": [one.system for one in compared]}
    if len(_unique(one.task for one in found)) > 1:
        columns["task"] = [one.task for one in compared]
    if len(_unique(one.shots for one in found)) > 1:
        columns["k"] = [str(one.shots) for one in compared]
    numeric = {one.task for one in found if one.rows[0].get("range")}
    kinds = {one.task in numeric for one in compared}
    points = {False: "accuracy", True: "nearness (100 less the mean error in % of the range)"}
    measured = " or, of numbers, of ".join(points[kind] for kind in sorted(kinds))
    head = "accuracy" if kinds == {False} else "nearness" if kinds == {True} else "difference"
    columns |= {"against": [one.against for one in compared], head: [str(one) for one in compared]}
    rival = against or f"the best baseline ({', '.join(BASELINES)})"
    caption = f"against {rival}, in points of {measured}; 95 % interval over test rows and seeds"
    bold = frozenset((at, len(columns) - 1) for at, one in enumerate(compared) if one.sure)
    return Table(caption, list(columns), list(zip(*columns.values(), strict=True)), bold)


def _scores(found: Sequence[Summary]) -> Table:
    columns, names = _unique(map(_column, found)), _unique(_name(one, found) for one in found)
    by_place = {(_name(one, found), _column(one)): one for one in found}
    best = {column: max(one.mean or 0.0 for one in found if _column(one) == column) for column in columns}
    rows, bold = [], set()
    for r, name in enumerate(names):
        row = [by_place.get((name, column)) for column in columns]
        bold |= {(r, c) for c, one in enumerate(row, 1) if one and one.mean == best[columns[c - 1]]}
        texts = [cell_text(one.mean, one.sd) if one else "" for one in row]
        rows.append([name, *texts, *costs(list(filter(None, row))).values()])
    return Table(_caption(found), ["system", *_heads(found, columns), *costs(found)], rows, frozenset(bold))


def costs(own: Sequence[Summary]) -> dict[str, str]:
    """What a system cost, by the head of the column."""
    seconds = sum(one.seconds for one in own) / len(own)
    peak = max(one.peak or 0 for one in own) or None
    return {
        "weights learnt": number_text(max(one.learnt for one in own)),
        "seconds": seconds_text(seconds),
        "peak memory": memory_text(peak),
    }


def _heads(found: Sequence[Summary], columns: Sequence[_Column]) -> list[str]:
    metrics = {_column(one): one.metric for one in found}
    heads = [f"k={shots}" for _, shots in columns]
    if len(_unique(shots for _, shots in columns)) == 1:
        heads = [task for task, _ in columns]
    if len(set(metrics.values())) == 1:
        return heads
    return [f"{head} ({metrics[column]})" for head, column in zip(heads, columns, strict=True)]


def _caption(found: Sequence[Summary]) -> str:
    seeds = max(len(one.rows) for one in found)
    over = f", mean ± sd over {seeds} seeds" if seeds > 1 else ""
    metric = _only(one.metric for one in found) or "score"
    shots, tested = _only(f"k={one.shots}" for one in found), _only(str(one.rows[0]["test_rows"]) for one in found)
    backbones = _unique(Path(one.rows[0]["backbone"]).name for one in found if one.rows[0]["backbone"])
    task = _only(one.task for one in found)
    tests = f"{tested} test rows" if tested else ""
    return " · ".join(filter(None, [task, *backbones, shots, f"{metric} in %{over}", tests]))


def _name(one: Summary, found: Sequence[Summary]) -> str:
    named = _unique(Path(other.rows[0]["backbone"]).name for other in found if other.rows[0]["backbone"])
    backbone = one.rows[0]["backbone"]
    return f"{one.system} ({Path(backbone).name})" if len(named) > 1 and backbone else one.system


def _column(one: Summary) -> _Column:
    return one.task, one.shots


def _only(items: Iterable[str]) -> str:
    """What all items are; empty where they differ."""
    found = _unique(items)
    return found[0] if len(found) == 1 else ""


def _unique(items: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(items))
