"""Runs what is missing: each cell once through its method, each run to a row.

    a stack          its rows are written together, when the last of them is scored
    anything else    a row is written as soon as it is scored

What one cell cannot do is told and the others go on; what is finished stays.
"""

import logging
import math
import platform
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from promptlab.errors import PromptlabError, SettingError
from promptlab.lab.cells import Cell, Run
from promptlab.lab.outcome import gold, outcome, text_outcome, width
from promptlab.lab.store import Finished, Row, Store
from promptlab.lab.written import Written
from promptlab.methods.method import Job
from promptlab.progress import track
from promptlab.training.curves import tell, under

log = logging.getLogger("promptlab")

_PACKAGES = ("promptlab", "torch", "transformers", "datasets", "scikit-learn", "numpy", "safetensors")


@dataclass(frozen=True)
class Scored:
    """A run as its method left it.

    Args:
        run: which.
        answers: scores of the test rows, ``(rows, labels)``, minus infinity where a row has fewer candidates than
            others; or the texts written for them.
        facts: what the predictor says of itself.
        fit_seconds: from the call to the predictor; of a stack, its share.
        predict_seconds: scoring the test rows, or writing for them.
        peak_memory_bytes: of the stack; None where the system cannot say.
    """

    run: Run
    answers: np.ndarray | list[str]
    facts: Mapping[str, Any]
    fit_seconds: float
    predict_seconds: float
    peak_memory_bytes: int | None = None


def run_cells(cells: Sequence[Cell], store: Store, backbone: Callable[[], Any]) -> dict[str, str]:
    """Runs cells and stores their rows.

    Args:
        cells: only runs that are missing.
        store: gets the rows.
        backbone: called once, when the first cell needs it.

    Returns:
        What could not be done, by cell.

    Raises:
        BackboneError: the backbone cannot be loaded.
        OutputError: a row cannot be written.
    """
    failures: dict[str, str] = {}
    with track("compare", total=sum(len(cell.runs) for cell in cells)) as advance:
        for cell in cells:
            model = backbone() if cell.contender.method.needs_backbone else None
            with under(str(cell)), track(str(cell), total=len(cell.runs)) as inner:
                try:
                    for finished in _rows(cell, model, store):
                        store.write(finished)
                        _tell(finished)
                        inner(len(finished))
                except PromptlabError as error:
                    failures[str(cell)] = str(error)
                    log.warning("%s: %s", cell, error)
            advance(len(cell.runs))
    return failures


def _tell(finished: Sequence[Finished]) -> None:
    """Results for the tracker in use: a point a seed."""
    for one in finished:
        named = {name: one.row[name] for name in ("seconds", "peak_memory_bytes", "stored_parameters")}
        tell(one.row["seed"], {f"result/{name}": value for name, value in {**one.row["metrics"], **named}.items()})


def _rows(cell: Cell, model: Any, store: Store) -> Iterator[list[Finished]]:
    """Finished runs, in groups that are to be written together."""
    if not cell.contender.together:
        for scored in _scored(cell, model, store):
            yield [_finish(scored, model, [scored.run.key])]
        return
    done = list(_scored(cell, model, store))
    keys = [one.run.key for one in done]
    yield [_finish(one, model, keys) for one in _shared(done)]


def _scored(cell: Cell, model: Any, store: Store) -> Iterator[Scored]:
    from promptlab.backbone.device import peak_memory_bytes, reset_peak

    runs = {id(job): (job, run) for run in cell.runs for job in [_job(run)]}
    jobs = [job for job, _ in runs.values()]
    reset_peak()
    began = time.perf_counter()
    for job, predictor in cell.contender.method.fit(model, cell.contender.tuning, jobs):
        fitted = time.perf_counter()
        _, run = runs.pop(id(job))
        answers, notes = (
            _texts(predictor, job, run, store) if run.task.generates else (_scores(predictor, job, run), [])
        )
        scored = time.perf_counter()
        facts = {**predictor.facts, "notes": [*_list(predictor.facts.get("notes")), *notes]}
        yield Scored(run, answers, facts, fitted - began, scored - fitted, peak_memory_bytes())
        if not cell.contender.together:
            reset_peak()
        began = time.perf_counter()
    if runs:
        raise SettingError(f"{cell.contender.text} answered {len(jobs) - len(runs)} of {len(jobs)} jobs.")


def _job(run: Run) -> Job:
    queries = [example.unlabelled() for example in run.sample.test]
    return Job(run.task, run.sample.train, run.sample.unlabeled, queries=queries, seed=run.seed)


def _answers(predictor: Any, job: Job, run: Run, store: Store) -> tuple[np.ndarray | list[str], list[str]]:
    return _texts(predictor, job, run, store) if run.task.generates else (_scores(predictor, job, run), [])


def _texts(predictor: Any, job: Job, run: Run, store: Store) -> tuple[list[str], list[str]]:
    """A text a query, those taken up that an earlier process wrote; and what there is to say of it."""
    rows = len(job.queries)
    part = store.part(run.key, {"run": run.key, "rows": rows, "versions": versions(), "git": git_hash()}, rows)
    before = len(part.done)
    texts = [part.done[row] for row in range(rows)] if before == rows else None
    if texts is None:
        texts = list(predictor.texts(job.queries, part.told, dict(part.done)))
    if len(texts) != rows:
        raise SettingError(f"{run.contender.text} wrote {len(texts)} texts for {rows} rows.")
    notes = [f"{before} of {rows} texts are of an earlier process, and their time is not counted"] if before else []
    return texts, notes


def _scores(predictor: Any, job: Job, run: Run) -> np.ndarray:
    scores = np.asarray(predictor.scores(job.queries), dtype=np.float64)
    wanted = (len(run.sample.test), width(run.task, run.sample.test))
    if scores.shape != wanted:
        raise SettingError(f"{run.contender.text} gave scores {scores.shape} where {wanted} (rows, labels) are due.")
    return scores


def _shared(done: Sequence[Scored]) -> list[Scored]:
    """A stack's time is its members' in equal parts; its memory is everybody's."""
    fit = sum(one.fit_seconds for one in done) / len(done)
    predict = sum(one.predict_seconds for one in done) / len(done)
    peak = max((one.peak_memory_bytes or 0 for one in done), default=0) or None
    return [replace(one, fit_seconds=fit, predict_seconds=predict, peak_memory_bytes=peak) for one in done]


def _finish(scored: Scored, model: Any, together: Sequence[str]) -> Finished:
    task, test = scored.run.task, scored.run.sample.test
    row = {**_what(scored.run), **_outcome(scored), **_circumstances(scored, model), "together": list(together)}
    if isinstance(scored.answers, list):
        return Finished(plain({**row, "texts": len(scored.answers)}), written=Written.of(test, scored.answers))
    return Finished(plain(row), scored.answers, gold(task, test))


def _what(run: Run) -> Row:
    contender, sample = run.contender, run.sample
    return {
        "run": run.key,
        "system": contender.text,
        "task": run.task.name,
        "method": contender.method_name,
        "tuning": contender.tuning_name,
        "settings": contender.settings,
        "backbone": run.model and run.model.name,
        "shots": run.shots,
        "seed": run.seed,
        "limit": run.limit,
        "labels": run.task.labels,
        **({"range": [run.task.range.low, run.task.range.high]} if run.task.range else {}),
        "labelled_rows": len(sample.train),
        "unlabelled_rows": len(sample.unlabeled),
        "test_rows": len(sample.test),
    }


def _outcome(scored: Scored) -> Row:
    task, test, answers = scored.run.task, scored.run.sample.test, scored.answers
    found = text_outcome(task, test, answers) if isinstance(answers, list) else outcome(task, test, answers)
    notes = [*_list(scored.facts.get("notes")), *_sample_notes(scored.run), *found.notes]
    first = found.metrics[task.metrics[0]]
    return {"metric": task.metrics[0], "score": first, "metrics": found.metrics, "notes": notes}


def _sample_notes(run: Run) -> list[str]:
    unread = not run.sample.unlabeled or not run.sample.pool_from_train
    return [*run.sample.notes, *([] if unread else ["unlabelled rows: the train rows that were not drawn"])]


def _circumstances(scored: Scored, model: Any) -> Row:
    facts = dict(scored.facts)
    return {
        "stored_parameters": facts.pop("stored_parameters", 0),
        "head_parameters": facts.pop("head_parameters", 0),
        "examples_seen": facts.pop("examples_seen", None),
        "seconds": scored.fit_seconds + scored.predict_seconds,
        "fit_seconds": scored.fit_seconds,
        "predict_seconds": scored.predict_seconds,
        "peak_memory_bytes": scored.peak_memory_bytes,
        "stack": facts.pop("stack", None),
        "facts": {name: value for name, value in facts.items() if name != "notes"},
        "device": str(model.device) if model is not None else None,
        "dtype": scored.run.model and scored.run.model.dtype,
        "data": scored.run.sample.fingerprint,
        "task_digest": scored.run.task.digest,
        "backbone_fingerprint": scored.run.model and scored.run.model.fingerprint,
        "results_version": scored.run.identity["results_version"],
        "versions": versions(),
        "git": git_hash(),
    }


def _list(notes: Any) -> list[str]:
    return [notes] if isinstance(notes, str) else list(notes or ())


def plain(value: Any) -> Any:
    """The value as JSON can hold it: NumPy and tuples unpacked, what is no finite number None."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple | set):
        return [plain(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@cache
def git_hash() -> str | None:
    """The commit of the checkout that runs, with ``+`` where it was changed; None where it is no checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return commit + ("+" if _git(root, "status", "--porcelain", "--", "promptlab", "patterns") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()
