"""What a plan is made of: systems, runs and cells, and what makes a run the run it is.

    contender   a method with its tuning, every setting in place
    run         one contender on one sample of one task, with one seed
    cell        the runs that differ in seed alone: a method gets them together, so that it may stack them

A run is named by the hash of all that could change its numbers.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass, replace
from functools import cached_property
from typing import Any

from promptlab.data.fewshot import Sample
from promptlab.errors import SettingError
from promptlab.language.task import Task
from promptlab.registry import METHODS, TUNINGS, refusal
from promptlab.spec import Spec, System, settled

RESULTS_VERSION = 4
"""Part of every run's hash: bump it where the same settings give other numbers than before."""


@dataclass(frozen=True)
class Contender:
    """A system ready to run.

    Args:
        text: the system as it was written.
        method: the method's object.
        tuning: the tuning's object; None where nothing learns.
        method_name: bare.
        tuning_name: bare; None where nothing learns.
    """

    text: str
    method: Any
    tuning: Any
    method_name: str
    tuning_name: str | None

    @classmethod
    def of(cls, system: System) -> "Contender":
        """Builds method and tuning.

        Raises:
            SettingError: an unknown name or setting, or a tuning for a method that learns nothing.
        """
        text = str(system)
        system = settled(system)
        method = METHODS.build(system.method.name, system.method.settings)
        reason = refusal(system.method.name, system.tuning.name if system.tuning else None)
        if reason:
            raise SettingError(f"{system}: {reason}. Write {system.method}.")
        if not method.learns:
            return cls(text, method, None, system.method.name, None)
        tuning = system.tuning or Spec("full")
        built = TUNINGS.build(tuning.name, tuning.settings)
        return cls(text, method, built, system.method.name, tuning.name)

    def opened(self, task: Task) -> list["Contender"]:
        """One contender a pattern of the task under ``patterns=each``; else this one."""
        if getattr(self.method, "patterns", None) != "each":
            return [self]
        names = [pvp.name for pvp in task.pvps]
        texts = [self.text.replace("patterns=each", f"patterns={name}") for name in names]
        methods = [replace(self.method, patterns=name) for name in names]
        return [replace(self, text=text, method=method) for text, method in zip(texts, methods, strict=True)]

    @property
    def together(self) -> bool:
        """Whether the runs of a cell are trained in one stack, and so stand or fall together."""
        return bool(getattr(self.tuning, "stackable", False))

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Every setting, those left out included: ``{"method": {...}, "tuning": {...} | None}``."""
        return {"method": settings_of(self.method), "tuning": settings_of(self.tuning) if self.tuning else None}


def settings_of(thing: Any) -> dict[str, Any]:
    """Fields of a method or tuning; of one with presets, as the preset settles them."""
    settled = thing.settled() if hasattr(thing, "settled") else thing
    return asdict(settled) if is_dataclass(settled) and not isinstance(settled, type) else {}


@dataclass(frozen=True)
class Model:
    """What of the backbone makes a run the run it is."""

    name: str
    fingerprint: str
    dtype: str


@dataclass(frozen=True)
class Run:
    """One system, one task, one sample, one seed.

    Args:
        task: what is asked.
        contender: the system.
        shots: labelled rows a class, ``total:32`` or ``all``.
        seed: of the training, and of the sample unless that has its own.
        sample: what it learns from and is tested on.
        model: the backbone's identity; None where the method needs none.
        limit: cap of test rows, as written.
    """

    task: Task
    contender: Contender
    shots: int | str
    seed: int
    sample: Sample
    model: Model | None
    limit: int | None = None

    @cached_property
    def identity(self) -> dict[str, Any]:
        """All that could change the run's numbers."""
        return {
            "results_version": RESULTS_VERSION,
            "task": self.task.name,
            "task_digest": self.task.digest,
            "data": self.sample.fingerprint,
            "method": self.contender.method_name,
            "tuning": self.contender.tuning_name,
            "settings": self.contender.settings,
            "backbone": self.model and self.model.fingerprint,
            "dtype": self.model and self.model.dtype,
            "shots": self.shots,
            "seed": self.seed,
            "limit": self.limit,
        }

    @cached_property
    def key(self) -> str:
        """Twenty hex digits that name the run and its folder."""
        return digest(self.identity)


def digest(content: Mapping[str, Any]) -> str:
    """Twenty hex digits of a JSON object, whatever the order of its keys."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


@dataclass(frozen=True)
class Cell:
    """Runs that differ in seed alone."""

    runs: tuple[Run, ...]

    @property
    def task(self) -> Task:
        """The runs' task."""
        return self.runs[0].task

    @property
    def contender(self) -> Contender:
        """The runs' system."""
        return self.runs[0].contender

    @property
    def shots(self) -> int | str:
        """The runs' shots."""
        return self.runs[0].shots

    def __str__(self) -> str:
        return f"{self.task.name} {self.contender.text} k={self.shots}"
