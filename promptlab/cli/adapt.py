"""``adapt``: a backbone brought closer to one's own text."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from promptlab.cli import options
from promptlab.cli.output import note, out, out_json, progress
from promptlab.progress import use

ADAPT = options.examples(
    "promptlab adapt reviews.txt --backbone mini --minutes 30 --out mine",
    "promptlab adapt pool.jsonl --column body -t lora:r=64,targets=all --tokens 2M --difference --out mine",
)
_TEXT = "Text"


def adapt(
    texts: Annotated[
        list[Path], typer.Argument(metavar="TEXT...", help="txt (a paragraph a line), jsonl, csv, parquet; also .gz.")
    ],
    to: Annotated[
        Path,
        typer.Option("--out", "-o", help="A new folder; an unfinished one goes on.", rich_help_panel=options.OUTPUT),
    ],
    backbone: options.Backbone = "mini",
    tuning: Annotated[
        str, typer.Option("--tuning", "-t", help="full or lora:r=64,targets=all.", rich_help_panel=options.MODEL)
    ] = "full",
    minutes: Annotated[float | None, typer.Option(help="Train so long.", rich_help_panel=_TEXT)] = None,
    tokens: Annotated[
        str | None,
        typer.Option(help="Or until so many tokens are read: 20M.", rich_help_panel=_TEXT, show_default="one pass"),
    ] = None,
    column: Annotated[str | None, typer.Option(help="Which column holds the text.", rich_help_panel=_TEXT)] = None,
    length: Annotated[int, typer.Option(help="Most tokens of a row.", rich_help_panel=_TEXT)] = 128,
    batch: Annotated[int, typer.Option(help="Tokens a step.", rich_help_panel=_TEXT)] = 8192,
    mask_rate: Annotated[float, typer.Option(help="Share of tokens that are masked.", rich_help_panel=_TEXT)] = 0.15,
    seed: Annotated[int, typer.Option(help="Of the order and of the masks.", rich_help_panel=_TEXT)] = 0,
    every: Annotated[float, typer.Option(help="Seconds from checkpoint to checkpoint.", rich_help_panel=_TEXT)] = 300,
    new_head: Annotated[
        bool, typer.Option("--new-head", help="Grow an LM head where there is none.", rich_help_panel=options.MODEL)
    ] = False,
    difference: Annotated[
        bool, typer.Option("--difference", help="Keep only what has changed.", rich_help_panel=options.OUTPUT)
    ] = False,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    json: options.Json = False,
) -> None:
    """Train a language model further on your own text."""
    from promptlab.training.adapt import Settings
    from promptlab.training.adapt import adapt as train

    how = Settings(tuning, tokens, minutes, length, batch, mask_rate, seed=seed, every=every)
    with use(progress()):
        about = train(
            texts, backbone, to, how,
            column=column, difference=difference, new_head=new_head, device=device, dtype=dtype, report=_say,
        )  # fmt: skip
    if json:
        out_json(about)
        return
    first, last = about["curve"][0], about["curve"][-1]
    out(
        f"{to} read {about['tokens']:,} tokens; on text held out its loss went from {first['loss']:.3f} to "
        f"{last['loss']:.3f}, its accuracy from {100 * first['accuracy']:.1f} to {100 * last['accuracy']:.1f}"
    )


def _say(point: Mapping[str, float]) -> None:
    note(
        f"{point['tokens']:>12,.0f} tokens  {point['seconds'] / 60:6.1f} min  held out: "
        f"loss {point['loss']:.3f}  accuracy {100 * point['accuracy']:.1f}"
    )
