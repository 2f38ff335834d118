"""``fit`` and ``predict``: a classifier, or a generator of texts, learnt, saved, and asked."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from promptlab.cli import options
from promptlab.cli.look import as_read, example_of
from promptlab.cli.output import note, out, out_json, progress
from promptlab.errors import DataError, OutputError, SettingError
from promptlab.folders import place_of
from promptlab.progress import use
from promptlab.spec import System, parse_systems, settled

if TYPE_CHECKING:
    from promptlab.data.fewshot import Sample
    from promptlab.language.example import Example
    from promptlab.language.task import Task

FIT = options.examples(
    "promptlab fit reviews -m pet+lora -k 16 --out reviews-pet",
    "promptlab fit restaurants -m finetune+lora --out restaurants-lora",
    "promptlab fit mine.yaml -m prompt --train 32.csv --unlabeled pool.txt --backbone roberta-base --out mine",
)
PREDICT = options.examples(
    "cat reviews.txt | promptlab predict reviews-pet",
    "promptlab predict restaurants-lora --field source='name[The Eagle], kind[pub], area[riverside]'",
    "promptlab predict mnli-pet pairs.csv --columns premise=first --json",
)


def fit(
    task: options.TaskName,
    to: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="Folder to save it in: a new one, or a saved model to replace.",
            rich_help_panel=options.OUTPUT,
        ),
    ],
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            "-m",
            help="method or method+tuning.",
            rich_help_panel=options.MODEL,
            show_default="pet; finetune+lora where a text is asked for",
        ),
    ] = None,
    shots: Annotated[
        str | None,
        typer.Option(
            "--shots",
            "-k",
            help="Labelled rows a class, total:32, or all.",
            rich_help_panel=options.DATA,
            show_default=options.SHOTS,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the draw and of the training.", rich_help_panel=options.DATA)] = 0,
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
    track: options.Track = None,
    json: options.Json = False,
) -> None:
    """Learn a classifier, or a generator of texts, from a few examples and save it."""
    from promptlab.language.library import load_task

    asked = load_task(task)
    method = method or ("finetune+lora" if asked.generates else "pet")
    system = _system(method, asked)
    with _new_folder(to):
        drawn = _drawn(asked, options.shots_for(shots, asked.generates, train), seed, limit, data, train, unlabeled,
                       test, columns)  # fmt: skip
        from promptlab.training.curves import tell, tracking, under

        model = _estimator(asked)(
            asked, method=str(system.method), tuning=system.tuning and str(system.tuning), random_state=seed,
            backbone=options.backbone_for(backbone, asked.generates), device=device, dtype=dtype,
            allow_new_head=allow_new_head,
        )  # fmt: skip
        with use(progress()), tracking(track), under(f"{asked.name} {method}"):
            _fit(model, asked, drawn)
            metrics, notes = _metrics(asked, model, drawn.test)
            tell(seed, {f"result/{name}": value for name, value in metrics.items()})
        had = {name: value for name, value in metrics.items() if value is not None}
        model.save_pretrained(to, metrics=had or None)
    for line in notes:
        note(line)
    if json:
        sizes = {"labelled_rows": len(drawn.train), "unlabelled_rows": len(drawn.unlabeled)}
        sizes["test_rows"] = len(drawn.test)
        out_json({"task": asked.name, "system": method, "seed": seed, "out": str(to), **sizes, "metrics": metrics})
        return
    out(f"{method} learnt {asked.name} from {len(drawn.train)} rows and is saved in {to}{_tested(metrics, drawn.test)}")


def _tested(metrics: Mapping[str, float | None], test: Sequence["Example"]) -> str:
    from promptlab.lab.tables import metric_cell

    score = ", ".join(f"{name} {metric_cell(name, value)}" for name, value in metrics.items())
    return f"; on {len(test)} test rows: {score}" if metrics else ""


def _estimator(task: "Task") -> Any:
    if task.generates:
        from promptlab.generator import PromptGenerator

        return PromptGenerator
    from promptlab.classifier import PromptClassifier

    return PromptClassifier


def _fit(model: Any, task: "Task", drawn: "Sample") -> None:
    if task.generates:
        model.fit(drawn.train or None)
    else:
        model.fit(drawn.train, unlabeled=drawn.unlabeled)


def _system(text: str, task: "Task") -> System:
    """The one system of the text, seen to be possible before anything is read or loaded."""
    systems = parse_systems(text)
    if len(systems) != 1:
        raise SettingError(f"fit learns one system, and '{text}' is {len(systems)}. Use promptlab compare for several.")
    from promptlab.lab.cells import Contender

    method = Contender.of(systems[0]).method
    if task.generates and not getattr(method, "writes", False):
        raise SettingError(
            f"{task.name} asks for a text, and {text} cannot write one. Write finetune with a tuning, in-context or "
            "zero-shot."
        )
    return settled(systems[0])


@contextmanager
def _new_folder(to: Path) -> Iterator[None]:
    """Makes the folder before anything is computed, and takes it away again where nothing came of it."""
    from promptlab.backbone.identity import ABOUT

    place_of(to, ABOUT)
    try:
        to.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{to} cannot be written: {error.strerror or error}. Write another --out.") from error
    try:
        yield
    finally:
        with suppress(OSError):
            to.rmdir()  # succeeds only where it is empty


def _drawn(
    task: "Task",
    shots: str,
    seed: int,
    limit: int | None,
    data: Path | None,
    train: Path | None,
    unlabeled: Path | None,
    test: Path | None,
    columns: str | None,
) -> "Sample":
    from promptlab.data.fewshot import sample
    from promptlab.data.sources import read_splits

    splits = read_splits(task, data, train, unlabeled, test, options.pairs(columns, "--columns"))
    return sample(task, splits, shots, seed, limit)


def _metrics(task: "Task", model: Any, test: Sequence["Example"]) -> tuple[dict[str, float | None], list[str]]:
    """The task's metrics on test rows, and what there is to say of them."""
    if not test:
        return {}, []
    if task.generates:
        from promptlab.lab.outcome import text_outcome

        found = text_outcome(task, test, list(model.predict([example.unlabelled() for example in test])))
        return found.metrics, found.notes
    return _label_metrics(task, model, test), []


def _label_metrics(task: "Task", classifier: Any, test: Sequence["Example"]) -> dict[str, float | None]:
    from promptlab.metrics.classify import compute

    gold, said = [str(example.label) for example in test], list(classifier.predict(test))
    if task.range is not None:
        from promptlab.metrics.correlation import told

        return {name: told(name, gold, said) for name in task.metrics}
    groups, answers = [example.group for example in test], [example.right for example in test]
    return {
        name: compute(name, gold, said, task.labels, groups=groups, answers=None if task.fixed else answers)
        for name in task.metrics
        if name != "ece"
    }


def predict(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What fit, or save_pretrained, made.")],
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="txt, csv, tsv, jsonl, parquet; else a text a line from stdin."),
    ] = None,
    field: Annotated[
        list[str] | None, typer.Option(metavar="NAME=TEXT", help="One example's input; once for each of them.")
    ] = None,
    columns: options.Columns = None,
    backbone: Annotated[
        str | None,
        typer.Option("--backbone", "-b", help="Where its language model is now.", rich_help_panel=options.MODEL),
    ] = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    json: options.Json = False,
) -> None:
    """Answer for texts with a saved model: a label, a number, or a text, a line."""
    if not folder.is_dir():
        raise OutputError(f"no folder {folder}. Write the one that promptlab fit --out made.")
    from promptlab.hub import saved_task

    classifier = _estimator(saved_task(folder)).from_pretrained(folder, backbone, device=device, dtype=dtype)
    rows = _rows(classifier.task_, file, field or [], options.pairs(columns, "--columns"))
    if not rows:
        return
    if classifier.task_.generates:
        with use(progress()):
            texts = classifier.predict(rows)
        for text in texts:
            out_json({"text": text}) if json else out(" ".join(text.split()))
        return
    if classifier.task_.range is not None:
        with use(progress()):
            found = classifier.predict(rows)
        for number in map(float, found):
            out_json({"label": number}) if json else out(f"{number:.3f}")
        return
    with use(progress()):
        shares = classifier.predict_proba(rows)
    labels = [str(label) for label in classifier.classes_]
    for row in shares:
        said = labels[int(row.argmax())]
        if json:
            out_json({"label": said, "probabilities": dict(zip(labels, map(float, row), strict=True))})
        else:
            out(said)


def _rows(task: "Task", file: Path | None, fields: list[str], columns: dict[str, str]) -> list["Example"]:
    if fields:
        return [example_of(task, None, fields)]
    if file is None and sys.stdin.isatty():
        note("A text a line, then Ctrl-D:")
    if file is None or str(file) == "-":
        return _lines(task, sys.stdin.buffer.read())
    from promptlab.data.sources import read_examples

    return read_examples(file, task, columns, labelled=False)


def _lines(task: "Task", content: bytes) -> list["Example"]:
    from promptlab.language.example import Example

    inputs = list(task.inputs)
    if len(inputs) != 1:
        wanted = " ".join(f"--field {name}=..." for name in inputs)
        raise DataError(
            f"'{task.name}' reads {', '.join(inputs)}, not one text a line. Write {wanted}, or a csv or jsonl."
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"stdin: byte 0x{content[error.start]:02x} is not UTF-8 text. Pipe UTF-8.") from None
    lines = text.split("\n")[: -1 if text.endswith("\n") else None]  # a line in, an answer out: blank ones too
    texts = [line.removesuffix("\r") for line in (lines if text else [])]
    return [Example({inputs[0]: as_read(task, each)}) for each in texts]
