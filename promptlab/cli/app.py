"""``promptlab``: the commands, and how errors end them."""

import sys
from typing import Annotated

import typer

from promptlab import __version__
from promptlab.cli import adapt, compare, learn, look, params, reproduce
from promptlab.cli.options import examples
from promptlab.errors import PromptlabError

_FOOT = examples(
    'promptlab show reviews --text "A gorgeous, witty film."',
    "promptlab compare reviews",
    "promptlab COMMAND -h",
)

app = typer.Typer(
    name="promptlab",
    help="Prompt-based few-shot learning, side by side.",
    epilog=_FOOT,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("ls", rich_help_panel="Look", epilog=look.LS)(look.ls)
app.command("show", rich_help_panel="Look", epilog=look.SHOW, no_args_is_help=True)(look.show)
app.command("check", rich_help_panel="Look", epilog=look.CHECK, no_args_is_help=True)(look.check)
app.command("params", rich_help_panel="Look", epilog=params.PARAMS, no_args_is_help=True)(params.params)
app.command("fit", rich_help_panel="Learn", epilog=learn.FIT, no_args_is_help=True)(learn.fit)
app.command("predict", rich_help_panel="Learn", epilog=learn.PREDICT, no_args_is_help=True)(learn.predict)
app.command("adapt", rich_help_panel="Learn", epilog=adapt.ADAPT, no_args_is_help=True)(adapt.adapt)
app.command("compare", rich_help_panel="Learn", epilog=compare.COMPARE, no_args_is_help=True)(compare.compare)
app.command("reproduce", rich_help_panel="Learn", epilog=reproduce.REPRODUCE, no_args_is_help=True)(reproduce.reproduce)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"promptlab {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Say the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Prompt-based few-shot learning, side by side."""


def main(args: list[str] | None = None) -> None:
    """Runs a command; what the user got wrong ends in one message and exit code 2."""
    try:
        app(args=args, prog_name="promptlab")
    except PromptlabError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
