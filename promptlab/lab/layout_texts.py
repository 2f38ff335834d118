"""The tables of runs that write: a metric a column, and what each system wrote for the same few rows.

    scores    systems down (and k, where there are several); of the first metric its parts too (seen, unseen)
    outputs   an input, what is right for it, then a line a system, of its first seed

All but NIST and CIDEr stand in per cent. The best of a column is bold: of TER the smallest.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from promptlab.errors import OutputError
from promptlab.lab.layout import costs
from promptlab.lab.store import Row, Store
from promptlab.lab.summary import Summary
from promptlab.lab.tables import Table, metric_cell, metric_head
from promptlab.lab.written import Seen, Written

_FALLS = ("ter",)  # metrics of which less is better
_SHARED = ("task", "shots", "limit", "test_rows")


def text_tables(found: Sequence[Summary], store: Store) -> list[Table]:
    """Scores, then outputs, a pair a task."""
    tasks = dict.fromkeys(one.task for one in found)
    groups = [[one for one in found if one.task == task] for task in tasks]
    return [table for group in groups for table in (_scores(group), *_outputs(group, store))]


def _scores(found: Sequence[Summary]) -> Table:
    names, several = _columns(found), len({one.shots for one in found}) > 1
    means = [[one.over(name) for name in names] for one in found]
    best = _best(found, names)
    rows, bold = [], set()
    for r, (one, cells) in enumerate(zip(found, means, strict=True)):
        fore = [_name(one, found), *([str(one.shots)] if several else [])]
        texts = [metric_cell(name, *cell) for name, cell in zip(names, cells, strict=True)]
        bold |= {(r, len(fore) + c) for c, (name, cell) in enumerate(zip(names, cells, strict=True))
                 if cell[0] is not None and cell[0] == best[one.shots, name]}  # fmt: skip
        rows.append([*fore, *texts, *costs([one]).values()])
    heads = ["system", *(["k"] if several else []), *map(metric_head, names), *costs(found[:1])]
    return Table(_caption(found), heads, rows, frozenset(bold) if len(found) > 1 else frozenset())


def _columns(found: Sequence[Summary]) -> list[str]:
    """Every metric over all rows, and the first one's parts."""
    known = dict.fromkeys(name for one in found for row in one.rows for name in row["metrics"])
    first = found[0].metric
    return [name for name in known if "/" not in name or name.startswith(f"{first}/")]


def _best(found: Sequence[Summary], names: Sequence[str]) -> dict[tuple[int | str, str], float | None]:
    best: dict[tuple[int | str, str], float | None] = {}
    for name in names:
        pick = min if name.partition("/")[0] in _FALLS else max
        for shots in {one.shots for one in found}:
            means = [one.over(name)[0] for one in found if one.shots == shots]
            best[shots, name] = pick((mean for mean in means if mean is not None), default=None)
    return best


def _caption(found: Sequence[Summary]) -> str:
    row = found[0].rows[0]
    same = {name: row[name] for name in _SHARED if len({str(one.rows[0].get(name)) for one in found}) == 1}
    seeds = max(len(one.rows) for one in found)
    whole = [metric_head(name) for name in row["metrics"] if name in ("nist", "cider")]
    points = "in %" + (f", {' and '.join(whole)} as they are" if whole else "")
    backbones = dict.fromkeys(_backbone(one) for one in found)
    return " · ".join(filter(None, [
        found[0].task,
        *backbones,
        f"k={same['shots']}" if "shots" in same else "",
        points + (f", mean ± sd over {seeds} seeds" if seeds > 1 else ""),
        f"{same['test_rows']} test rows" if "test_rows" in same else "",
    ]))  # fmt: skip


def _outputs(found: Sequence[Summary], store: Store) -> Iterator[Table]:
    """One table a set of test rows; none where nothing can be read."""
    groups: dict[tuple[str, str], list[tuple[Summary, Written]]] = {}
    for one in found:
        written = _read(store, one.rows[0])
        if written is not None and written.shown:
            groups.setdefault((written.sources, written.references), []).append((one, written))
    for group in groups.values():
        several = len({one.shots for one, _ in group}) > 1
        rows: list[list[str]] = []
        for seen in group[0][1].shown:
            rows += [["input", seen.source], ["reference", _reference(seen)]]
            for one, written in group:
                name = _name(one, found) + (f" k={one.shots}" if several else "")
                rows.append([name, written.hypotheses[seen.row].strip() or "(nothing)"])
        bold = frozenset((r, c) for r, row in enumerate(rows) if row[0] == "input" for c in (0, 1))
        yield Table(f"{found[0].task}: what each system wrote (its first seed)", ["", "text"], rows, bold)


def _reference(seen: Seen) -> str:
    more = len(seen.references) - 1
    first = seen.references[0] if seen.references else "–"
    return first + (f" (and {more} more)" if more > 0 else "")


def _read(store: Store, row: Row) -> Written | None:
    try:
        return store.written(row["run"])
    except OutputError:  # a table is no reason to fail: its numbers stand in the rows
        return None


def _name(one: Summary, found: Sequence[Summary]) -> str:
    backbones = dict.fromkeys(_backbone(other) for other in found)
    return f"{one.system} ({_backbone(one)})" if len(backbones) > 1 else one.system


def _backbone(one: Summary) -> str:
    return Path(str(one.rows[0]["backbone"])).name if one.rows[0]["backbone"] else ""
