"""``compare``: methods side by side on the same samples, in one table."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from promptlab.cli import options
from promptlab.cli.output import draw, note, out, progress
from promptlab.errors import PromptlabError
from promptlab.progress import use

if TYPE_CHECKING:
    from promptlab.lab.results import Results

METHODS = "majority,tfidf,probe,zero-shot,finetune,prompt+lora,pet+lora:repetitions=1"
WRITING = "zero-shot,in-context,finetune+prefix,finetune+lora"
COMPARE = options.examples(
    "promptlab compare reviews",
    "promptlab compare reviews topics -m prompt+lora:r=4|8,pet+lora:repetitions=1 -k 8,16 --html report.html",
    "promptlab compare mr -m majority,tfidf,zero-shot,pet -k 16 --seeds 5 --data DIR --backbone roberta-base",
    "promptlab compare restaurants -m in-context,finetune+prefix:n=5,finetune+lora --limit 20 --seeds 1",
    "promptlab compare mine.yaml --train 32.csv --unlabeled pool.txt --test test.csv -m tfidf,pet --json",
)


def compare(
    tasks: Annotated[list[str], typer.Argument(metavar="TASK...", help="Names of tasks, or paths of pattern files.")],
    methods: Annotated[
        list[str] | None,
        typer.Option(
            "--methods",
            "-m",
            help="method, method+tuning, settings as name:key=value; a list by commas.",
            show_default=f"{METHODS}; where a text is asked for {WRITING}",
        ),
    ] = None,
    shots: Annotated[
        str | None,
        typer.Option(
            "--shots",
            "-k",
            help="Labelled rows a class (a list by commas), total:32, or all.",
            rich_help_panel=options.DATA,
            show_default=options.SHOTS,
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Runs of each, with seeds 0, 1, ...", rich_help_panel=options.DATA)] = 3,
    backbone: options.Standing = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    allow_new_head: options.NewHead = False,
    data: options.Data = None,
    train: options.Train = None,
    unlabeled: options.Unlabeled = None,
    test: options.Test = None,
    columns: options.Columns = None,
    limit: options.Limit = None,
    split_seed: options.SplitSeed = None,
    to: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="Folder of finished runs; what is there is not run again.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = Path("runs"),
    html: Annotated[
        Path | None, typer.Option(help="Write a page with tables and plots.", rich_help_panel=options.OUTPUT)
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            help="Hold every system against this one.", rich_help_panel=options.OUTPUT, show_default="the best baseline"
        ),
    ] = None,
    track: options.Track = None,
    json: options.Json = False,
) -> None:
    """Run several methods on the same few-shot samples and print one table."""
    from promptlab.lab.plan import Plan
    from promptlab.language.library import load_task
    from promptlab.training.curves import tracking

    writes = all(load_task(task).generates for task in tasks)
    plan = Plan(
        tasks, methods or (WRITING if writes else METHODS), options.shots_for(shots, writes, train), seeds,
        options.backbone_for(backbone, writes), data, train, unlabeled, test,
        options.pairs(columns, "--columns"), limit, split_seed, device, dtype, allow_new_head,
    )  # fmt: skip
    with use(progress()), tracking(track):
        results = plan.run(to)
    _show(results, against, json)
    if html is not None:
        note(f"report: {results.report(html, against)}")
    if results.failures:
        raise PromptlabError("\n".join(f"{what}: {why}" for what, why in results.failures.items()))


def _show(results: "Results", against: str | None, json: bool) -> None:
    import sys

    if json:
        sys.stdout.write(results.to_json_lines())
    elif not sys.stdout.isatty():
        out(results.to_markdown(against))
    else:
        for table in results.tables(against):
            right = [column for column in range(len(table.heads)) if table.right(column)]
            draw(table.heads, table.rows, table.caption, right, table.bold)
