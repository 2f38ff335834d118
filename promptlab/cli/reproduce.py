"""``reproduce``: a paper's table, its numbers beside ours."""

from pathlib import Path
from typing import Annotated

import typer

from promptlab.cli import options
from promptlab.cli.output import draw, out, progress
from promptlab.errors import PromptlabError
from promptlab.progress import use

REPRODUCE = options.examples(
    "promptlab ls recipes",
    "promptlab reproduce first-steps",
    "promptlab reproduce gpt2-medium-e2e --scale small --data DIR",
)


def reproduce(
    name: Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe's name, or the path of its file.")],
    scale: Annotated[str, typer.Option(help="full is the paper's; small is shortened, and no reproduction.")] = "full",
    data: options.Data = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    to: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="Folder of finished runs; what is there is not run again.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = Path("runs"),
    json: options.Json = False,
) -> None:
    """Run a paper's table: its numbers beside ours, the command, and what differs."""
    import sys

    from promptlab.lab.recipe import load_recipe
    from promptlab.lab.reproduce import reproduce as run

    with use(progress()):
        made = run(load_recipe(name), scale, to, data, device=device, dtype=dtype)
    if json:
        sys.stdout.write(made.to_json_lines())
    elif not sys.stdout.isatty():
        sys.stdout.write(made.to_text())
    else:
        table = made.table()
        draw(table.heads, table.rows, table.caption, [at for at in range(len(table.heads)) if table.right(at)])
        for line in made.lines():
            out(line)
    if made.results.failures:
        raise PromptlabError("\n".join(f"{what}: {why}" for what, why in made.results.failures.items()))
