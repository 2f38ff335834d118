"""``ls``, ``show``, ``check``: what there is, what the model reads, what is wrong with a pattern file."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from promptlab.cli import options
from promptlab.cli.grid import ls_cells
from promptlab.cli.output import out, out_columns, out_json, out_line
from promptlab.errors import Fault, PatternError, SettingError, did_you_mean
from promptlab.registry import BACKBONES, CALIBRATIONS, METHODS, TUNINGS, Entry

if TYPE_CHECKING:  # imported when asked for, so that --help is quick
    from promptlab.language.example import Example
    from promptlab.language.task import Task

POOL = 500  # rows that calibration=batch averages over
KINDS = ("tasks", "methods", "tunings", "calibrations", "metrics", "backbones", "recipes")
CELLS = "cells"

LS = options.examples("promptlab ls", "promptlab ls methods --json", "promptlab ls cells")
SHOW = options.examples(
    'promptlab show reviews --text "A gorgeous, witty film."',
    'promptlab show reviews --text "Meh." --patterns all+letters --calibration contextual --json',
    'promptlab show mnli --field premise="It rains." --field hypothesis="It is wet." --backbone FOLDER',
)
CHECK = options.examples(
    "promptlab check patterns/mine.yaml",
    "promptlab check reviews --backbone mini",
    "promptlab check mr mnli --backbone FOLDER --data DIR --patterns all+letters --json",
)


def ls(
    kind: Annotated[
        str | None,
        typer.Argument(metavar="|".join((*KINDS, CELLS)), help="By default all but the cells."),
    ] = None,
    json: options.Json = False,
) -> None:
    """List tasks, methods, tunings, metrics of texts, recipes and so on, or the cells that methods and tunings make."""
    known = (*KINDS, CELLS)
    if kind is not None and kind not in known:
        raise SettingError(f"no list '{kind}'.{did_you_mean(kind, known)} Known: {', '.join(known)}.")
    if kind == CELLS:
        ls_cells(json)
        return
    listed = {each: list(_entries(each)) for each in KINDS if kind in (None, each)}
    if json:
        out_json([entry for entries in listed.values() for entry in entries])
        return
    for each, entries in listed.items():
        heads = [each.removesuffix("s"), *[key for key in entries[0] if key not in ("kind", "name")]]
        rows = [[entry["name"], *(_cell(entry[head]) for head in heads[1:])] for entry in entries]
        out_columns(heads, rows)
        if kind is None and each != KINDS[-1]:
            out("")


def _entries(kind: str) -> Iterator[dict[str, Any]]:
    if kind == "tasks":
        from promptlab.language.library import load_task, task_names

        for task in map(load_task, task_names()):
            labels, patterns = _labels(task), len(task.pvps)
            yield {"kind": "task", "name": task.name, "labels": labels, "patterns": patterns,
                   "metrics": list(task.metrics), "about": task.about}  # fmt: skip
        return
    if kind == "metrics":
        from promptlab.metrics.named import TEXT_METRICS

        yield from ({"kind": "metric", "name": name, "about": one.about, "paper": one.paper}
                    for name, one in TEXT_METRICS.items())  # fmt: skip
        return
    if kind == "recipes":
        from promptlab.lab.recipe import about, load_recipe, recipe_names

        yield from (dict(about(load_recipe(name))) for name in recipe_names())
        return
    if kind == "backbones":
        yield from ({"kind": "backbone", "name": name, "about": about} for name, about in BACKBONES)
        return
    listed: dict[str, Iterable[Entry]] = {"methods": METHODS, "tunings": TUNINGS, "calibrations": CALIBRATIONS}
    for entry in listed[kind]:
        yield _registered(kind.removesuffix("s"), entry)


def _labels(task: "Task") -> int:
    """How many a row can be answered with; 0 where that is a row's own, or a number."""
    return len(task.labels) if task.range is None else 0


def _registered(kind: str, entry: Entry) -> dict[str, Any]:
    papers = [f"arXiv:{number.strip()}" for number in entry.paper.split(",") if number.strip()]
    return {"kind": kind, "name": entry.name, "about": entry.about, "papers": papers}


def _cell(value: Any) -> str:
    return " ".join(value) if isinstance(value, list) else str(value)


def show(
    task: options.TaskName,
    text: Annotated[str | None, typer.Option(help="The text, for a task of one input.")] = None,
    field: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=TEXT", help="An input; once for each, and once for each item of a list."),
    ] = None,
    patterns: options.Patterns = "all",
    backbone: options.Standing = None,
    calibration: Annotated[
        str,
        typer.Option(
            help="none, contextual, pmi or batch: probabilities before and after.", rich_help_panel=options.MODEL
        ),
    ] = "none",
    data: options.Data = None,
    unlabeled: options.Unlabeled = None,
    json: options.Json = False,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
) -> None:
    """Show what the model reads and why it answers so: patterns filled in, guesses, label words, where it was cut."""
    from promptlab.language.library import load_task
    from promptlab.methods.screen import rows_lines

    asked = load_task(task)
    example = example_of(asked, text, field or [])
    backbone = options.backbone_for(backbone, asked.generates)
    if backbone == "none":
        shown = [{"pattern": pvp.name, "text": pvp.pattern.fill(example)} for pvp in asked.select(patterns)]
    elif asked.generates:
        shown = _unwritten(asked, example, patterns, calibration, backbone, device, dtype)
    else:
        from promptlab.backbone.backbone import load_backbone
        from promptlab.methods.shown import show_untrained

        pool = _pool(asked, data, unlabeled) if calibration == "batch" else ()
        model = load_backbone(backbone, device, dtype)
        found = show_untrained(asked, model, [example], 5, patterns, calibration, pool).to_dict()
        shown = found["texts"][0]["patterns"]
    if json:
        out_json(shown)
        return
    for line in rows_lines(shown, whole=True):
        out_line(*line)


def _unwritten(
    task: "Task", example: "Example", patterns: str, calibration: str, backbone: str, device: str, dtype: str
) -> list[dict[str, Any]]:
    """What the plain model writes after each pattern."""
    from promptlab.backbone.backbone import load_backbone
    from promptlab.methods.wrote import show_unwritten

    if calibration != "none":
        raise SettingError(f"--calibration {calibration}: '{task.name}' asks for a text, which has no label scores.")
    found = show_unwritten(task, load_backbone(backbone, device, dtype), [example], patterns)
    return list(found)


def _pool(task: "Task", data: Path | None, unlabeled: Path | None) -> Sequence["Example"]:
    """The rows that ``calibration=batch`` averages over, drawn as the methods draw them."""
    from promptlab.data.sources import read_examples, read_splits
    from promptlab.methods.members import pool_of
    from promptlab.methods.method import Job

    if unlabeled is not None:
        rows = read_examples(unlabeled, task, labelled=False)
    elif data is None and "builtin" not in (task.dataset or {}):
        return ()
    else:
        splits = read_splits(task, data)
        rows = splits.unlabeled or [row.unlabelled() for row in splits.train]
    return pool_of(Job(task, (), rows), POOL)


def example_of(task: "Task", text: str | None, fields: list[str]) -> "Example":
    """The example that ``--text`` or ``--field`` gives; the items of a list field are given one by one.

    Raises:
        SettingError: an input without text, a field that is no input, or ``--text`` for several inputs.
    """
    from promptlab.language.example import Example

    inputs = list(task.inputs)
    wanted = " ".join(f"--field {name}=..." for name in inputs)
    if text is not None and len(inputs) != 1:
        raise SettingError(f"'{task.name}' reads {', '.join(inputs)}, so one --text is too little. Write {wanted}.")
    pairs = [options.pair(field, "--field") for field in fields] + ([(inputs[0], text)] if text is not None else [])
    given: dict[str, str | tuple[str, ...]] = dict(pairs)
    if task.candidates in given:
        given[task.candidates] = tuple(value for name, value in pairs if name == task.candidates)
    for name in given:
        if name not in inputs:
            raise SettingError(
                f"--field {name}: no input of '{task.name}'.{did_you_mean(name, inputs)} Write {wanted}."
            )
    lacking = [name for name in inputs if name not in given]
    if lacking:
        write = "--text ..." if len(inputs) == 1 else wanted
        raise SettingError(f"'{task.name}' needs a text for {', '.join(lacking)}. Write {write}.")
    return Example({name: as_read(task, given[name]) for name in inputs})


def as_read(task: "Task", value: str | tuple[str, ...]) -> str | tuple[str, ...]:
    """An input's value as the task's step reads it (``prepare: linearise``)."""
    from promptlab.data.steps import read_value

    return read_value(task.prepare, value) if isinstance(value, str) else value


def check(
    files: Annotated[list[str], typer.Argument(metavar="FILE...|TASK...", help="Pattern files, or names of tasks.")],
    backbone: Annotated[
        str | None,
        typer.Option("--backbone", "-b", help="A language model to read them with.", rich_help_panel=options.MODEL),
    ] = None,
    patterns: options.Patterns = "all",
    data: options.Data = None,
    json: options.Json = False,
    device: options.Device = "auto",
) -> None:
    """Check pattern files: faults; with a backbone how label words split, which begin alike, and what is cut off.

    Rows are those of --data, or the task's own where the package has them.
    """
    tasks, faults = _read_all(files)
    if faults:
        raise PatternError(faults)
    heads: Sequence[str] = ("file", "task", "labels", "patterns", "mask last")
    found, cells = [_summary(name, task) for name, task in tasks.items()], _values
    if backbone is not None:
        from promptlab.backbone.backbone import load_backbone
        from promptlab.cli.reading import HEADS, cells, examined

        model, heads = load_backbone(backbone, device, allow_new_head=True), HEADS
        found = [row for name, task in tasks.items() for row in examined(name, task, model, data, patterns)]
    if json:
        out_json(found)
    else:
        out_columns(heads, [cells(row) for row in found])


def _read_all(files: list[str]) -> tuple[dict[str, "Task"], list[Fault]]:
    from promptlab.language.library import load_task, task_names

    tasks: dict[str, Task] = {}
    faults: list[Fault] = []
    shipped = task_names()
    for name in files:
        try:
            tasks[name] = load_task(Path(name) if name not in shipped and Path(name).is_file() else name)
        except PatternError as error:
            faults += error.faults
    return tasks, faults


def _summary(name: str, task: "Task") -> dict[str, Any]:
    last = sum(pvp.pattern.mask_last for pvp in task.pvps)
    return {"file": name, "task": task.name, "labels": _labels(task), "patterns": len(task.pvps), "mask_last": last}


def _values(row: dict[str, Any]) -> list[str]:
    return [_cell(value) for value in row.values()]
