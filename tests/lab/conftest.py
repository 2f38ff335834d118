"""A small task, small files, and small methods, so that the lab is tested without a language model."""

import json
from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from promptlab.errors import TrainingError
from promptlab.lab import plan as plan_module
from promptlab.lab.cells import Model
from promptlab.language.task import Task
from promptlab.registry import METHODS, TUNINGS, Entry

CALLS = []


class Killed(BaseException):
    """What a kill looks like from the inside: nothing catches it."""


@dataclass
class Guess:
    task: Task
    seed: int
    good: bool
    facts: dict

    def scores(self, examples):
        right = np.array([[("bad" in one.text("text")), ("good" in one.text("text"))] for one in examples], float)
        noise = np.random.default_rng(self.seed).normal(size=right.shape)
        return (4.0 if self.good else 0.5) * right + noise


@dataclass(frozen=True)
class Careful:
    """Learns, in a stack or one by one as the tuning says."""

    steps: int = 5
    dies_at: int | None = None
    fails: bool = False
    needs_labels: ClassVar[bool] = True
    needs_backbone: ClassVar[bool] = True
    learns: ClassVar[bool] = True

    def fit(self, backbone, tuning, jobs):
        jobs = list(jobs)
        CALLS.append(("careful", tuning.name, [job.seed for job in jobs]))
        if self.fails:
            raise TrainingError("every member became non-finite.")
        for job in jobs:
            if job.seed == self.dies_at:
                raise Killed
            facts = {"stored_parameters": 96, "head_parameters": 4, "examples_seen": 80, "mass": np.float32(0.5)}
            yield job, Guess(job.task, job.seed, True, {**facts, "notes": ["careful"], "stack": [j.seed for j in jobs]})


@dataclass(frozen=True)
class Coin:
    """Needs no labels and no backbone."""

    needs_labels: ClassVar[bool] = False
    needs_backbone: ClassVar[bool] = False
    learns: ClassVar[bool] = False

    def fit(self, backbone, tuning, jobs):
        for job in jobs:
            CALLS.append(("coin", tuning, [job.seed]))
            yield job, Guess(job.task, job.seed, False, {})


@dataclass(frozen=True)
class Base:
    """A baseline: learns from labels without a tuning."""

    needs_labels: ClassVar[bool] = True
    needs_backbone: ClassVar[bool] = False
    learns: ClassVar[bool] = False

    def fit(self, backbone, tuning, jobs):
        for job in reversed(list(jobs)):  # any order will do
            CALLS.append(("base", tuning, [job.seed]))
            yield job, Guess(job.task, 100 + job.seed, False, {})


@dataclass(frozen=True)
class Stacked:
    r: int = 8
    name: ClassVar[str] = "stacked"
    stackable: ClassVar[bool] = True


@dataclass(frozen=True)
class InTurn:
    lr: float | None = None
    name: ClassVar[str] = "full"
    stackable: ClassVar[bool] = False


@pytest.fixture(autouse=True)
def small_house(monkeypatch):
    """Four methods and two tunings in place of the real ones, and a backbone that is only a name."""
    CALLS.clear()
    here = {"careful": Careful, "coin": Coin, "tfidf": Base}
    methods = {name: _Here(name, "", "a fake", thing=thing) for name, thing in here.items()}
    tunings = {
        name: _Here(name, "", "a fake", thing=thing) for name, thing in {"full": InTurn, "lora": Stacked}.items()
    }
    monkeypatch.setattr(METHODS, "entries", methods)
    monkeypatch.setattr(TUNINGS, "entries", tunings)
    monkeypatch.setattr(plan_module, "identify", lambda name, device, dtype: Model(name, f"print of {name}", "float32"))
    loads = []
    monkeypatch.setattr(plan_module.Plan, "_load", lambda plan: loads.append(plan.backbone) or _Loaded())
    return loads


@dataclass(frozen=True)
class _Here(Entry):
    thing: type = object

    def load(self):
        return self.thing


class _Loaded:
    device = "cpu"


@pytest.fixture
def calls():
    return CALLS


@pytest.fixture
def fakes():
    return SimpleNamespace(Guess=Guess, Careful=Careful, Base=Base, Coin=Coin, Killed=Killed)


@pytest.fixture
def task():
    return Task.from_parts(["{text} It was {mask}."], {"negative": "terrible", "positive": "great"}, name="films")


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data" / "films"
    folder.mkdir(parents=True)
    for split, size in (("train", 24), ("test", 40)):
        rows = [
            {
                "text": f"a {'good' if i % 2 else 'bad'} film {i} of {split}",
                "label": "positive" if i % 2 else "negative",
            }
            for i in range(size)
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    return tmp_path / "data"


@pytest.fixture
def make_plan(task, data):
    def make(systems="careful+lora", **changes):
        return plan_module.Plan(
            **{"tasks": [task], "backbone": "tiny", "data": data, "shots": 2, **changes, "systems": systems}
        )

    return make
