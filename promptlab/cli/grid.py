"""``ls cells``: the grid of tunings x methods, what papers call its cells, and why some of them cannot be."""

from collections.abc import Iterator, Sequence
from typing import Any

from promptlab.cli.output import out, out_columns, out_json
from promptlab.registry import HEADS, KINDS, METHODS, TUNINGS, Cell, cells, refusal


def ls_cells(json: bool) -> None:
    """Writes the grid; as JSON every cell, with what answers and the kind of backbone."""
    if json:
        out_json([_described(cell) for cell in cells()])
        return
    learning = [method.name for method in METHODS if method.trait("learns", False)]
    out_columns(["tuning", *learning], list(_rows(learning)))
    out("")
    out_columns(["refused", "why"], list(_reasons()))


def _described(cell: Cell) -> dict[str, Any]:
    return {
        "kind": "cell", "system": cell.system, "method": cell.method, "tuning": cell.tuning, "head": cell.head,
        "backbone": cell.kind, "valid": not cell.refused, "refused": cell.refused or None, "name": cell.name or None,
        "papers": [f"arXiv:{number}" for number in cell.papers],
    }  # fmt: skip


def _rows(methods: Sequence[str]) -> Iterator[list[str]]:
    """A row a tuning, a text a method: what a paper calls the cell, or whether there is one."""
    said: dict[tuple[str, str | None], str] = {}
    for cell in cells():
        key = cell.method, cell.tuning
        said[key] = max(said.get(key, "-"), _text(cell), key=len)
    for tuning in TUNINGS:
        yield [tuning.name, *(said[method, tuning.name] for method in methods)]


def _text(cell: Cell) -> str:
    if cell.refused:
        return "-"
    return " ".join([cell.name, *cell.papers]) if cell.name else "yes"


def _reasons() -> Iterator[list[str]]:
    """What is refused, and why: tunings of a method, what it cannot answer with, kinds of backbone."""
    tunings = [tuning.name for tuning in TUNINGS]
    for method in METHODS:
        refused = {name: reason for name in tunings if (reason := refusal(method.name, name))}
        if len(refused) == len(tunings):
            yield [f"{method.name}+...", refused[tunings[0]]]
        else:
            yield from ([f"{method.name}+{name}", reason] for name, reason in refused.items())
    for method in METHODS:
        for head in HEADS:
            if reason := refusal(method.name, None, head):
                yield [f"{method.name} with a {head}", reason]
    learning = next(method.name for method in METHODS if method.trait("learns", False))
    for kind in KINDS:
        here = {name: refusal(learning, name, kind=kind) for name in tunings if not refusal(learning, name)}
        yield from ([f"{name} on {kind}", reason] for name, reason in here.items() if reason)
