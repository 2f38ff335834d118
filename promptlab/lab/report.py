"""One self-contained HTML page: the tables, and a dot a seed. Inline SVG, no JavaScript, nothing fetched."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from math import ceil, floor

from promptlab.lab.summary import Summary
from promptlab.lab.tables import Table, is_share, metric_head

_WIDTH, _LEFT, _RIGHT, _LINE = 720, 230, 30, 26
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #6e7781; --line: #d0d7de; --dot: #0969da; --mean: #cf222e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --soft: #8d96a0; --line: #30363d; --dot: #58a6ff; --mean: #ff7b72; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: .5rem 0 2rem; display: block; max-width: 100%; overflow-x: auto; }
caption { text-align: left; color: var(--soft); padding-bottom: .4rem; }
th, td { padding: .25rem .75rem; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap; }
td:last-child { white-space: normal; } th.n, td.n { text-align: right; font-variant-numeric: tabular-nums; }
svg { max-width: 100%; height: auto; margin-bottom: 2rem; }
svg text { fill: var(--ink); font: 13px system-ui, sans-serif; }
svg .soft { fill: var(--soft); } svg line { stroke: var(--line); } svg .mean { stroke: var(--mean); stroke-width: 2; }
svg circle { fill: var(--dot); fill-opacity: .65; }
"""


_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>promptlab</title>
<style>{style}</style></head>
<body><h1>promptlab</h1>
{body}</body>
</html>
"""


def page(found: Sequence[Summary], tables: Sequence[Table], failures: Mapping[str, str]) -> str:
    """The page.

    Args:
        found: one summary a task, system and number of shots.
        tables: shown first, as they are.
        failures: what could not be done.
    """
    keys = dict.fromkeys((one.task, one.shots) for one in found)
    groups = [[one for one in found if (one.task, one.shots) == key] for key in keys]
    failed = "".join(f"<li><b>{escape(what)}</b>: {escape(why)}</li>" for what, why in failures.items())
    parts = [
        *(_table(table) for table in tables),
        "<h2>A dot a seed</h2><p>The stroke is their mean.</p>",
        *(_strip(group) for group in groups),
        f"<h2>Not done</h2><ul>{failed}</ul>" if failed else "",
    ]
    return _PAGE.format(style=_STYLE, body="".join(parts))


def _table(table: Table) -> str:
    kinds = [' class="n"' if table.right(column) else "" for column in range(len(table.heads))]
    heads = "".join(f"<th{kind}>{escape(head)}</th>" for head, kind in zip(table.heads, kinds, strict=True))
    rows = []
    for r, row in enumerate(table.rows):
        cells = [f"<b>{escape(text)}</b>" if (r, c) in table.bold else escape(text) for c, text in enumerate(row)]
        rows.append("".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(cells, kinds, strict=True)))
    body = "".join(f"<tr>{row}</tr>\n" for row in rows)
    return f"<table><caption>{escape(table.caption)}</caption><tr>{heads}</tr>\n{body}</table>\n"


def _strip(group: Sequence[Summary]) -> str:
    """Systems below each other, their seeds along one axis."""
    values = [value for one in group for value in one.values]
    if not values:
        return ""
    share = is_share(group[0].metric)
    low, high, step = _axis(values)
    height = _LINE * (len(group) + 2)

    def x(value: float) -> float:
        return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * (value - low) / (high - low), 1)

    ticks = [low + step * i for i in range(round((high - low) / step) + 1)]
    grid = "".join(
        f'<line x1="{x(tick)}" x2="{x(tick)}" y1="{_LINE}" y2="{height - _LINE}"/>'
        f'<text class="soft" x="{x(tick)}" y="{height - 8}" text-anchor="middle">{_figure(tick, share, 0)}</text>'
        for tick in ticks
    )
    lines = "".join(_line(one, round((at + 1.6) * _LINE), x) for at, one in enumerate(group))
    metric = metric_head(group[0].metric) + (" in %" if share else "")
    title = escape(f"{group[0].task}, k={group[0].shots}, {metric}")
    box = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" role="img" aria-label="{title}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {box}><text x="0" y="16">{title}</text>{grid}{lines}</svg>\n'


def _line(one: Summary, y: float, x: Callable[[float], float]) -> str:
    name = escape(one.system if len(one.system) <= 32 else one.system[:31] + "…")
    label = f'<text x="{_LEFT - 12}" y="{y + 4}" text-anchor="end">{name}<title>{escape(one.system)}</title></text>'
    share = is_share(one.metric)
    scored = [(row["seed"], row["score"]) for row in one.rows if row["score"] is not None]
    dots = [
        f'<circle cx="{x(score)}" cy="{y}" r="5"><title>seed {seed}: {_figure(score, share, 1)}</title></circle>'
        for seed, score in scored
    ]
    if one.mean is None:
        return label
    stroke = f'<line class="mean" x1="{x(one.mean)}" x2="{x(one.mean)}" y1="{y - 9}" y2="{y + 9}"/>'
    return label + stroke + "".join(dots)


def _figure(value: float, share: bool, places: int) -> str:
    return f"{100 * value:.{places}f}" if share else f"{value:.2f}"


def _axis(values: Sequence[float]) -> tuple[float, float, float]:
    """From, to and step of an axis that holds all values, in few round steps."""
    spread = max(values) - min(values)
    step = next((step for step in _STEPS if spread / step <= 8), _STEPS[-1])
    low, high = step * floor(min(values) / step + 1e-9), step * ceil(max(values) / step - 1e-9)
    return low, max(high, low + step), step
