"""Results go to stdout, everything else to stderr. A table is drawn on a terminal, and plain text elsewhere."""

import json
import sys
from collections.abc import Sequence
from typing import Any

import typer

from promptlab.progress import Reporter


def out(text: str) -> None:
    """A line of results."""
    typer.echo(text)


def note(text: str) -> None:
    """A line for the reader, not for the next program."""
    typer.echo(text, err=True)


def out_line(*parts: tuple[str, str]) -> None:
    """A line of results of (text, style) parts; the styles show on a terminal alone."""
    if not sys.stdout.isatty():
        out("".join(text for text, _ in parts))
        return
    from rich.console import Console
    from rich.text import Text

    Console().print(Text.assemble(*parts), soft_wrap=True)


def out_json(value: Any) -> None:
    """One JSON value, a line."""
    out(json.dumps(value, ensure_ascii=False, allow_nan=False))


def out_columns(
    heads: Sequence[str], rows: Sequence[Sequence[str]], title: str = "", right: Sequence[int] = ()
) -> None:
    """Rows under heads: drawn on a terminal; aligned by spaces elsewhere, nothing cut. Numbers stand ``right``."""
    if sys.stdout.isatty():
        draw(heads, rows, title, right)
        return
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    for row in [heads, *rows]:
        cells = zip(row, widths, range(len(row)), strict=True)
        out("  ".join(text.rjust(width) if at in right else text.ljust(width) for text, width, at in cells).rstrip())


def draw(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    title: str = "",
    right: Sequence[int] = (),
    bold: frozenset[tuple[int, int]] = frozenset(),
) -> None:
    """A table on the terminal.

    Args:
        heads: of the columns.
        rows: texts, as many in each.
        title: above it.
        right: columns that stand to the right.
        bold: (row, column) of cells that stand out.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title) if title else None, title_justify="left", box=SIMPLE_HEAD)
    for at, head in enumerate(heads):
        table.add_column(Text(head), justify="right" if at in right else "left", overflow="fold")
    for r, row in enumerate(rows):
        table.add_row(*(Text(text, style="bold" if (r, c) in bold else "") for c, text in enumerate(row)))
    Console().print(table)


def progress() -> Reporter:
    """Bars on a terminal, lines elsewhere; on stderr."""
    from promptlab.training.trackers import reporter

    return reporter(sys.stderr)
