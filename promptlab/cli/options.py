"""Options that several commands share, and how their texts are read."""

from pathlib import Path
from typing import Annotated

import typer

from promptlab.errors import SettingError

MODEL, DATA, OUTPUT = "Model", "Data", "Output"

TaskName = Annotated[str, typer.Argument(metavar="TASK", help="A task's name, or the path of a pattern file.")]
Backbone = Annotated[
    str,
    typer.Option(
        "--backbone",
        "-b",
        help="mini (masked), smollm2 (causal), a folder, a .gguf file or a hub name.",
        rich_help_panel=MODEL,
    ),
]
Standing = Annotated[
    str | None,
    typer.Option(
        "--backbone",
        "-b",
        help="mini (masked), smollm2 (causal), a folder, a .gguf file or a hub name.",
        rich_help_panel=MODEL,
        show_default="mini; smollm2 where a text is asked for",
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.", rich_help_panel=MODEL)]
Dtype = Annotated[
    str, typer.Option(help="auto (bfloat16 on CUDA, else float32), float32, bfloat16.", rich_help_panel=MODEL)
]
NewHead = Annotated[
    bool,
    typer.Option(
        "--allow-new-head", help="Let a model without LM head start from a random one.", rich_help_panel=MODEL
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(help="Folder with TASK/train.jsonl, test.jsonl, unlabeled.jsonl.", rich_help_panel=DATA),
]
Patterns = Annotated[
    str,
    typer.Option(metavar="NAME+NAME", help="all, first, or names; letters and modernbert-letters are every task's."),
]
SHOTS = "16; 50 rows in all where a text is asked for; all with --train"
Train = Annotated[Path | None, typer.Option(help="File of labelled rows of your own.", rich_help_panel=DATA)]
Unlabeled = Annotated[Path | None, typer.Option(help="File of rows without labels.", rich_help_panel=DATA)]
Test = Annotated[Path | None, typer.Option(help="File of labelled rows to be tested on.", rich_help_panel=DATA)]
Columns = Annotated[
    str | None, typer.Option(help="Which column is which input: premise=text_a,label=y.", rich_help_panel=DATA)
]
Limit = Annotated[
    int | None, typer.Option(help="At most so many test rows, the same ones for all seeds.", rich_help_panel=DATA)
]
SplitSeed = Annotated[
    int | None,
    typer.Option(help="Draw the rows with this seed, and vary only the training.", rich_help_panel=DATA),
]
Track = Annotated[
    str | None,
    typer.Option(
        metavar="TRACKER",
        help="Curves of the training for tensorboard:DIR, wandb:PROJECT or trackio:PROJECT.",
        rich_help_panel=OUTPUT,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Clean JSON on stdout.", rich_help_panel=OUTPUT)]


def backbone_for(given: str | None, writes: bool) -> str:
    """The backbone that was named, else the usual one of the kind that is needed."""
    return given or ("smollm2" if writes else "mini")


def shots_for(given: str | None, writes: bool, train: Path | None) -> str:
    """The shots that were asked for, else the usual number."""
    return given or ("all" if train else "50" if writes else "16")


def examples(*lines: str) -> str:
    """The foot of a command's help."""
    return "[bold]Examples[/bold]\n\n" + "\n\n".join(f"  {line}".replace("[", r"\[") for line in lines)


def pairs(text: str | None, option: str) -> dict[str, str]:
    """``premise=text_a,label=y`` as a mapping.

    Raises:
        SettingError: a piece that is no ``name=value``.
    """
    return dict(pair(piece, option) for piece in (text or "").split(",") if piece.strip())


def pair(text: str, option: str) -> tuple[str, str]:
    """``name=value`` in two.

    Raises:
        SettingError: it is not of that form.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise SettingError(f"{option} {text}: cannot be read. Write {option} name=value.")
    return name.strip(), value
