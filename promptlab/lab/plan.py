"""A plan: every task with every system, number of shots and seed, under one backbone.

    Plan(["mr"], "majority,pet+lora", shots=[8, 32], seeds=3, backbone=..., data=...).run("runs") -> Results

Everything that can be seen to be wrong is refused before the first run. The same plan again computes what is missing.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from promptlab.data.fewshot import Sample, read_shots, sample
from promptlab.data.sources import Splits, read_splits
from promptlab.errors import DataError, SettingError, did_you_mean
from promptlab.lab.cells import Cell, Contender, Model, Run
from promptlab.lab.results import Results
from promptlab.lab.run import run_cells
from promptlab.lab.store import Folder, Memory, Store
from promptlab.language.library import load_task
from promptlab.language.task import Task
from promptlab.spec import parse_systems


@dataclass(frozen=True)
class Plan:
    """What to compare, and on what.

    Args:
        tasks: names, paths of pattern files, or tasks.
        systems: ``"majority,pet+lora:r=8"``, or a list of such texts.
        shots: labelled rows a class, ``"total:32"`` or ``"all"``; one or several. 0 runs what needs no labels, once.
        seeds: how many (0, 1, ...), or which.
        backbone: ``mini``, ``smollm2``, a folder, a .gguf file or a hub name; None where nothing needs one.
        data: a folder that holds ``<task>/train.jsonl`` and the like; the hub where neither it nor files are given.
        train: a file of labelled rows, for a single task; so are the next two.
        unlabeled: a file of rows without labels.
        test: a file of labelled rows to be tested on.
        columns: column of the data by input name.
        limit: at most so many test rows, the same for all seeds.
        split_seed: draws the same sample for every seed, so that only training differs.
        device: ``auto``, ``cpu``, ``cuda``.
        dtype: ``auto`` (bfloat16 on CUDA, else float32), ``float32``, ``bfloat16``.
        allow_new_head: lets a backbone without language-model head start from a random one.
    """

    tasks: Sequence[str | Path | Task]
    systems: str | Sequence[str]
    shots: int | str | Sequence[int | str] = 16
    seeds: int | Sequence[int] = 1
    backbone: str | None = "mini"
    data: str | Path | None = None
    train: str | Path | None = None
    unlabeled: str | Path | None = None
    test: str | Path | None = None
    columns: Mapping[str, str] | None = None
    limit: int | None = None
    split_seed: int | None = None
    device: str = "auto"
    dtype: str = "auto"
    allow_new_head: bool = False

    def run(self, out: str | Path | None = None) -> Results:
        """Computes what is missing, and returns all of the plan's rows.

        Args:
            out: where rows are kept; only in memory where it is left out.

        Raises:
            PromptlabError: anything that the plan gets wrong. What only one system cannot do on one task is told in
                ``Results.failures``, and the others go on.
        """
        store: Store = Memory()
        if out is not None:
            store = Folder(Path(out))
            store.prepare()
        cells = self.cells()
        done = store.rows(run.key for cell in cells for run in cell.runs)
        failures = run_cells(list(_missing(cells, done)), store, cache(self._load))
        kept = store.rows(run.key for cell in cells for run in cell.runs)
        runs = [run for cell in cells for run in cell.runs if run.key in kept]
        return Results([{**kept[run.key], "system": run.contender.text} for run in runs], store, failures)

    def cells(self) -> list[Cell]:
        """Every run of the plan, grouped by task, shots and system.

        Raises:
            PromptlabError: an unknown name, a setting that cannot be, data that cannot be read or are too few.
        """
        contenders = [Contender.of(system) for system in parse_systems(_listed(self.systems))]
        tasks, shots, seeds = self._tasks(), self._shots(), self._seeds()
        able = {each: [one for one in contenders if not one.method.needs_labels or _some(each)] for each in shots}
        if not contenders or not any(able.values()):
            named = ", ".join(one.text for one in contenders) or "nothing"
            raise SettingError(f"nothing to run: {named} learns from labels, and k=0 gives none. Write -k 16, say.")
        _refuse_writing(tasks, contenders)
        model = self._model(contenders)
        samples = {task.name: self._samples(task, shots, seeds) for task in tasks}
        return [
            Cell(tuple(self._runs(task, one, each, seeds, samples[task.name], model)))
            for task in tasks
            for each in shots
            for written in able[each]
            for one in written.opened(task)
        ]

    def _runs(
        self,
        task: Task,
        contender: Contender,
        shots: int | str,
        seeds: Sequence[int],
        samples: Callable[[int | str, int], Sample],
        model: Model | None,
    ) -> Iterator[Run]:
        own = model if contender.method.needs_backbone else None
        for seed in seeds if _some(shots) else seeds[:1]:
            yield Run(task, contender, shots, seed, samples(shots, seed), own, self.limit)

    def _tasks(self) -> list[Task]:
        listed = [self.tasks] if isinstance(self.tasks, str | Path | Task) else self.tasks
        tasks = [one if isinstance(one, Task) else load_task(one) for one in listed]
        by_name = {task.name: task for task in tasks}
        if not by_name:
            raise SettingError("no task. Write the name of one (promptlab ls tasks) or the path of a pattern file.")
        twice = [task.name for task in tasks if by_name[task.name].digest != task.digest]
        if twice:
            raise SettingError(f"two different tasks are called '{twice[0]}'. Rename one: its rows would mix.")
        if len(by_name) > 1 and any((self.train, self.unlabeled, self.test)):
            raise SettingError("files of one's own belong to one task. Write one task, or --data DIR for several.")
        for name in self.columns or {}:
            known = {"label", "group"}.union(*(task.inputs for task in tasks))
            if name not in known:
                raise SettingError(f"columns: no task here has an input '{name}'.{did_you_mean(name, known)}")
        return list(by_name.values())

    def _shots(self) -> list[int | str]:
        listed = [self.shots] if isinstance(self.shots, int | str) else self.shots
        texts = [text for each in listed for text in str(each).split(",") if text.strip()]
        return list(dict.fromkeys(_canonical(text) for text in texts))

    def _seeds(self) -> list[int]:
        if isinstance(self.seeds, int) and self.seeds < 1:
            raise SettingError(f"seeds: {self.seeds} runs cannot be. Write 1 or more.")
        return list(range(self.seeds)) if isinstance(self.seeds, int) else list(dict.fromkeys(self.seeds))

    def _model(self, contenders: Iterable[Contender]) -> Model | None:
        needy = [one.text for one in contenders if one.method.needs_backbone]
        if not needy:
            return None
        if self.backbone is None:
            raise SettingError(f"{needy[0]} needs a language model. Write --backbone mini, a folder or a hub name.")
        return identify(self.backbone, self.device, self.dtype)

    def _load(self) -> Any:
        from promptlab.backbone.backbone import load_backbone

        return load_backbone(self.backbone or "", self.device, self.dtype, allow_new_head=self.allow_new_head)

    def _samples(
        self, task: Task, shots: Sequence[int | str], seeds: Sequence[int]
    ) -> Callable[[int | str, int], Sample]:
        splits = self._splits(task)

        @cache
        def drawn(each: int | str, seed: int) -> Sample:
            return sample(task, splits, each, seed, self.limit)

        def of(each: int | str, seed: int) -> Sample:
            return drawn(each, seed if self.split_seed is None else self.split_seed)

        for each in shots:
            for seed in seeds if _some(each) else seeds[:1]:
                of(each, seed)
        return of

    def _splits(self, task: Task) -> Splits:
        columns = {name: column for name, column in (self.columns or {}).items() if name in _known(task)}
        splits = read_splits(task, self.data, self.train, self.unlabeled, self.test, columns)
        if not splits.test:
            raise DataError(f"{task.name}: no test rows. Write --test FILE, or put test.jsonl into the data.")
        return splits


def _refuse_writing(tasks: Sequence[Task], contenders: Sequence[Contender]) -> None:
    writing = [task.name for task in tasks if task.generates]
    unable = [one.text for one in contenders if not getattr(one.method, "writes", False)]
    if writing and unable:
        raise SettingError(
            f"{writing[0]} asks for a text, and {', '.join(unable)} cannot write one. Write finetune with a tuning, "
            "in-context or zero-shot."
        )


def identify(name: str, device: str, dtype: str) -> Model:
    """What of a backbone goes into a run's hash, read from its files without loading the weights.

    Raises:
        BackboneError: it is not there.
        SettingError: no such device or number format.
    """
    from promptlab.backbone.catalog import locate
    from promptlab.backbone.device import pick_device, pick_dtype
    from promptlab.backbone.files import fingerprint

    number = str(pick_dtype(dtype, pick_device(device))).removeprefix("torch.")
    return Model(name, fingerprint(locate(name)), number)


def _missing(cells: Iterable[Cell], done: Mapping[str, Any]) -> Iterator[Cell]:
    for cell in cells:
        runs = tuple(run for run in cell.runs if run.key not in done)
        if runs:
            yield Cell(runs)


def _canonical(text: str) -> int | str:
    number, total = read_shots(text)
    return text.strip() if total or number is None else number


def _some(shots: int | str) -> bool:
    return read_shots(shots)[0] != 0


def _listed(systems: str | Sequence[str]) -> str | list[str]:
    return systems if isinstance(systems, str) else list(systems)


def _known(task: Task) -> set[str]:
    return {*task.inputs, "label", "group"}
