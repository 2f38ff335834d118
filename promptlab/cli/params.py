"""``params``: how many weights each tuning learns and keeps."""

from typing import TYPE_CHECKING, Annotated

import typer

from promptlab.cli import options
from promptlab.cli.output import note, out_columns, out_json
from promptlab.errors import PromptlabError
from promptlab.registry import TUNINGS

if TYPE_CHECKING:
    from promptlab.methods.params import Counts

PARAMS = options.examples(
    "promptlab params FacebookAI/roberta-large -t lora:r=8 -t bitfit",
    "promptlab params FOLDER -t lora:r=4|8|16 --head cloze",
    "promptlab params mini --json",
)


def params(
    backbone: Annotated[
        str,
        typer.Argument(metavar="BACKBONE", help="A folder with config.json, that file, mini, smollm2, or a hub name."),
    ],
    tuning: Annotated[
        list[str] | None,
        typer.Option("--tuning", "-t", metavar="NAME:KEY=VALUE", help="Again for each; else all."),
    ] = None,
    head: Annotated[str, typer.Option(help="classification (a new head) or cloze (the language model's).")] = (
        "classification"
    ),
    labels: Annotated[int, typer.Option(help="How many the classification head tells apart.")] = 2,
    json: options.Json = False,
) -> None:
    """Count the weights that each tuning learns and keeps, exactly, from a backbone's config.json alone."""
    from promptlab.backbone.blank import blank_backbone
    from promptlab.methods.params import params_report

    blank = blank_backbone(backbone)
    counts = params_report(blank, tuning or ["full"], head, labels)
    for name in [] if tuning else [entry.name for entry in TUNINGS if entry.name != "full"]:
        try:
            counts += params_report(blank, [name], head, labels)
        except PromptlabError as error:
            note(f"{name} is left out: {error}")
    if json:
        out_json([one.to_dict() for one in counts])
        return
    heads = ("tuning", "stored", "share", "training", "head", "backbone")
    rows = [(one.tuning, *_cells(one)) for one in counts]
    out_columns(heads, rows, right=range(1, len(heads)))


def _cells(one: "Counts") -> tuple[str, ...]:
    numbers = [f"{number:,}" for number in (one.stored, one.training, one.head, one.backbone_parameters)]
    return (numbers[0], f"{100 * one.share:.3g} %", *numbers[1:])
