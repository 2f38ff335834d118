"""``score``: any system's texts against the right ones, with the numbers that the official scripts print."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from promptlab.cli import options
from promptlab.cli.output import note, out_columns, out_json
from promptlab.errors import SettingError

if TYPE_CHECKING:  # imported when asked for, so that --help is quick
    from promptlab.metrics.texts import Scored

E2E = "bleu,nist,meteor,rouge_l,cider"

SCORE = options.examples(
    "promptlab score outputs.txt references.txt",
    "promptlab score outputs.txt testset_w_refs.csv --bootstrap 1000 --json",
    "promptlab score outputs.txt reference0.txt reference1.txt --metrics webnlg_bleu,webnlg_meteor,ter,chrf",
)


def score(
    hypotheses: Annotated[
        Path, typer.Argument(metavar="HYPOTHESES", help="A .txt, a line an input; or .jsonl, .csv, .tsv with text.")
    ],
    references: Annotated[
        list[Path],
        typer.Argument(
            metavar="REFERENCES...",
            help="E2E's .csv (mr, ref), a .txt with a blank line between inputs, a .jsonl with targets; or several "
            ".txt, the first reference of each input, the second, ...",
        ),
    ],
    metrics: Annotated[
        str,
        typer.Option(
            metavar="NAME,NAME",
            help="bleu nist meteor rouge_l cider (E2E), webnlg_bleu webnlg_meteor ter chrf, rouge1 rouge2 rougeL.",
        ),
    ] = E2E,
    bootstrap: Annotated[int, typer.Option(metavar="N", help="95 % intervals from N draws of the inputs.")] = 0,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    webnlg_legacy: Annotated[
        bool, typer.Option("--webnlg-legacy", help="webnlg_bleu counts missing references as empty, as its script.")
    ] = False,
    words: Annotated[
        str, typer.Option(metavar="java|own", help="Who cuts the words of rouge_l and cider; java wherever Java is.")
    ] = "",
    json: options.Json = False,
) -> None:
    """Score texts: BLEU, NIST, METEOR, ROUGE-L, CIDEr and others, as the official scripts have them."""
    if bootstrap < 0:
        raise SettingError(f"--bootstrap {bootstrap}: draws are counted. Write --bootstrap 1000, or leave it out.")
    names = [name.strip() for name in metrics.split(",") if name.strip()]
    if not names:
        raise SettingError(f"--metrics {metrics!r} names none. Write --metrics {E2E}.")
    from promptlab.data.outputs import read_outputs
    from promptlab.metrics.texts import measure

    read = read_outputs(hypotheses, references)
    found = measure(
        read.hypotheses,
        read.references,
        names,
        webnlg_legacy=webnlg_legacy,
        draws=bootstrap,
        seed=seed,
        words=words,
    )
    if json:
        out_json({"inputs": len(read.hypotheses), "metrics": {name: _entry(one) for name, one in found.items()}})
        return
    _table(found, len(read.hypotheses), sum(map(len, read.references)), bootstrap)


def _entry(one: "Scored") -> dict[str, Any]:
    interval = None if one.low is None else [one.low, one.high]
    return {"value": one.value, "interval": interval, "note": one.note}


def _table(found: "Mapping[str, Scored]", inputs: int, references: int, draws: int) -> None:
    heads = ["metric", "score", *(["95 %"] if draws else []), "note"]
    rows = []
    for name, one in found.items():
        value = "missing" if one.value is None else f"{one.value:.4f}"
        interval = "" if one.low is None or one.high is None else f"{one.low:.4f} to {one.high:.4f}"
        rows.append([name, value, *([interval] if draws else []), one.note])
    out_columns(heads, rows, right=(1,))
    note(f"{inputs} inputs, {references} references" + (f", {draws} draws of the inputs" if draws else ""))
