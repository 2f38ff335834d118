"""iPET: generations of ensembles label rows for each other (Schick & Schütze 2021, arXiv:2001.07676, section 3.4).

    generation 0:  PET's ensemble on the labelled rows                  (no labelled rows: the untrained patterns)
    generation j = 1 .. k:  for each member
        a quarter of the other members of generation j - 1, drawn anew, label the pool together
        draw rows they are sure of, until the set is d = 5 times as large; labels keep their proportions
        train the member, from the start, on the labelled and the drawn rows
    the last ensemble teaches a student, as in PET; nothing is drawn after it

How many rows and which: generations.py; never more than a member's steps take, so short members draw less than
the paper's 1000 steps do. A pool that runs short ends the draw, and the row says so.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.encode import Encoder
from promptlab.errors import DataError, SettingError
from promptlab.language.example import Example
from promptlab.methods import presets
from promptlab.methods.ensemble import Trainer
from promptlab.methods.generations import SUREST, draw_rows, generations_after, random_numbers, voters, wanted, within
from promptlab.methods.members import pool_of
from promptlab.methods.method import Job, Predictor, probabilities
from promptlab.methods.patterns import left_out, usable
from promptlab.methods.pet import Pet
from promptlab.methods.predict import merge
from promptlab.methods.teach import answers, question
from promptlab.training.loop import Trained
from promptlab.tuning.tuning import Tuning

_TEACHING = presets.PET["ours"]["pool"]
_ROOM = 2  # rows of the pool for each that a generation draws
_UNTRAINED_ROOM = 300  # rows of the pool a label, for patterns that have learnt nothing yet


@dataclass(frozen=True)
class Ipet(Pet):
    """PET in generations, also from no labelled rows at all. It takes PET's settings and these.

    Args:
        generations: how many follow the first; None is the paper's ceil(log_5(1000 / labelled rows)). 0 is PET.
        pool: unlabelled rows that are scored, drawn by the seed; None is PET's number for the student, and twice what
            a generation draws where that is more.
    """

    needs_labels: ClassVar[bool] = False
    generations: int | None = None

    def settled(self) -> "Ipet":
        """Every setting that was left out, from the preset.

        Raises:
            SettingError: unknown preset, weights, calibration or decoding, or numbers that cannot be.
        """
        found = presets.settle(self, "ipet", presets.IPET)
        if found.generations is not None and found.generations < 0:
            raise SettingError(f"ipet: generations={found.generations} cannot be. Write 0 (PET) or more.")
        return found

    def fit(self, backbone: Backbone, tuning: Tuning, jobs: Iterable[Job]) -> Iterator[tuple[Job, Predictor]]:
        """Trains each generation of all jobs, then all students; in turn where the tuning changes the backbone."""
        trainer = Trainer(self.settled(), backbone, tuning, Encoder(backbone))
        for together in trainer.stacks(jobs):
            yield from _Run(trainer, together).answers()


@dataclass
class _Line:
    """One job through the generations.

    Args:
        job: whose.
        weights: one a member, ``(members,)``.
        notes: what its results row will say.
        sets: each member's training rows; None in generation 0.
        scored: rows that each generation has scored.
        drawn: rows of each label drawn for each generation; of the member that got fewest.
        seen: rows seen in training.
    """

    job: Job
    weights: np.ndarray
    notes: list[str]
    sets: list[list[Example]] | None = None
    scored: list[int] = field(default_factory=list)
    drawn: list[dict[str, int]] = field(default_factory=list)
    seen: int = 0


class _Run:
    """Jobs that are trained together."""

    def __init__(self, trainer: Trainer, jobs: Sequence[Job]):
        self.trainer, self.own, self.first = trainer, trainer.settings, jobs[0]
        self.pvps, notes = usable(self.first.task, trainer.backbone, self.own.patterns)
        notes = [*notes, *left_out(self.pvps, trainer.backbone, trainer.tuning)]
        self.count, why = _count(self.own, jobs, len(self.pvps))
        self.lines = [_Line(job, trainer.weights(job, self.pvps), [*notes, *why]) for job in jobs]

    def answers(self) -> Iterator[tuple[Job, Predictor]]:
        """Every generation but the last labels rows for the next; the last one teaches."""
        for generation in range(self.count):
            trained = self._trained(generation) if generation or self.first.labelled else None
            for line in self.lines:
                self._grow(line, generation + 1, trained)
        trained = self._trained(self.count)
        taught = []
        for line in self.lines:
            pool = pool_of(line.job, _TEACHING if self.own.pool is None else self.own.pool)
            one = question(self.trainer, line.job, trained, line.weights, pool, line.notes, line.seen)
            scored = [*line.scored, *([len(pool)] if one.answer is None else [])]
            one.facts.update(generations=self.count, drawn=line.drawn, scored=scored)
            taught.append(one)
        yield from answers(self.trainer, taught)

    def _trained(self, generation: int) -> Iterator[Trained]:
        stem = f"ipet/{generation}" if generation else "pet"
        members = [one for line in self.lines for one in self.trainer.members(line.job, self.pvps, stem, line.sets)]
        label = f"ipet {self.first.task.name} {generation + 1}/{self.count + 1}"
        return self.trainer.train(members, self.first, label)

    def _grow(self, line: _Line, generation: int, trained: Iterator[Trained] | None) -> None:
        """Draws every member's training rows for a generation."""
        due = self._due(line, generation)
        pool = self._pool(line.job, due, untrained=trained is None)
        scores, weights = self._said(line, pool, trained)
        line.sets = []
        fewest = due
        for member in range(len(line.weights)):
            pvp, repetition = divmod(member, self.own.repetitions)
            random = random_numbers(f"{line.job.task.name}/ipet/{generation}/{self.pvps[pvp].name}/{repetition}/"
                                    f"draw/seed{line.job.seed}")  # fmt: skip
            # untrained, a pattern's repetitions are one model, so they are no *others* to each other
            own = pvp if trained is None else member
            chosen = voters(own, len(scores), random)
            merged = _merged([scores[one] for one in chosen], weights[chosen])
            rows, drawn = self._drawn(line.job, pool, merged, due, random, trained is None)
            line.sets.append([*line.job.labelled, *rows])
            fewest = np.minimum(fewest, drawn)
        self._note(line, generation, due, fewest, len(pool))

    def _due(self, line: _Line, generation: int) -> np.ndarray:
        task, labelled = line.job.task, line.job.labelled
        most = self.trainer.rows_taken(self.first) - len(labelled)
        if not task.fixed:  # candidates are no classes, so all rows are of one kind
            return within(wanted(np.array([len(labelled)]), generation), most)
        had = Counter(task.gold(row) for row in labelled)
        return within(wanted(np.array([had[label] for label in range(len(task.labels))]), generation), most)

    def _pool(self, job: Job, due: np.ndarray, untrained: bool) -> list[Example]:
        """Rows to draw from: capped, and none that is a labelled row or another's double."""
        size = self.own.pool
        if size is None:
            size = max(_TEACHING, _ROOM * int(due.sum()), _UNTRAINED_ROOM * len(due) * untrained)
        taken = {_content(row) for row in job.labelled}
        rows = {_content(row): row for row in pool_of(job, size)}
        return [row for content, row in rows.items() if content not in taken]

    def _said(
        self, line: _Line, pool: Sequence[Example], trained: Iterator[Trained] | None
    ) -> tuple[list[np.ndarray], np.ndarray]:
        """Every voter's scores of the pool, and its weight; once a generation."""
        job, trainer = line.job, self.trainer
        if trained is None:
            plain = [trainer.untrained(job, pvp) for pvp in self.pvps]
            return [trainer.scores(job, model, pool) for model in plain], np.ones(len(plain))
        scores = []
        for _, done in zip(line.weights, trained, strict=False):
            scores.append(trainer.scores(job, trainer.model(job, done), pool))
            line.notes += done.notes
            line.seen += done.facts["seen"]
        return scores, line.weights

    def _drawn(
        self, job: Job, pool: Sequence[Example], merged: np.ndarray, due: np.ndarray,
        random: np.random.Generator, untrained: bool,
    ) -> tuple[list[Example], np.ndarray]:  # fmt: skip
        """Rows with the labels that the voters give them, and how many of each label."""
        sure = probabilities(merged)
        kinds = sure if job.task.fixed else sure.max(1, keepdims=True)
        at, labels = draw_rows(kinds, due, random, SUREST if untrained else None)
        said = labels if job.task.fixed else merged[at].argmax(1).tolist()
        rows = [
            replace(pool[one], label=job.task.choices(pool[one])[x], answers=())
            for one, x in zip(at, said, strict=True)
        ]
        return rows, np.bincount(labels, minlength=len(due))

    def _note(self, line: _Line, generation: int, due: np.ndarray, fewest: np.ndarray, pool: int) -> None:
        names = line.job.task.labels if line.job.task.fixed else ("rows",)
        line.scored.append(pool)
        line.drawn.append(dict(zip(names, fewest.tolist(), strict=True)))
        short = [
            f"{got} of {asked} '{name}'" for name, got, asked in zip(names, fewest, due, strict=True) if got < asked
        ]
        if short:
            line.notes.append(
                f"generation {generation}: the pool ran short, at least {', '.join(short)} rows were drawn"
            )


def _count(own: Any, jobs: Sequence[Job], patterns: int) -> tuple[int, list[str]]:
    """Generations after the first, and what a row must say of it; all jobs have as many labelled rows.

    Raises:
        DataError: neither labelled nor unlabelled rows.
        SettingError: nobody could label rows for a member.
    """
    name, labelled = jobs[0].task.name, len(jobs[0].labelled)
    count = generations_after(labelled) if own.generations is None else own.generations
    if not labelled and not count:
        raise SettingError(
            f"{name}: generations=0 is PET, which learns from labelled rows. Write generations=1 or -k 1."
        )
    if count and (patterns * own.repetitions == 1 or (not labelled and patterns == 1)):
        reason = (
            "has no others to label rows for it" if labelled else "knows no label, and its repetitions are all alike"
        )
        raise SettingError(
            f"ipet on {name}: a member of one pattern {reason}. Write patterns=all"
            + (" or repetitions=2." if labelled else ", or give labelled rows (-k 1).")
        )
    if count and not all(job.unlabelled for job in jobs):
        if not labelled:
            raise DataError(f"{name}: ipet has neither labelled nor unlabelled rows. Give -k 1 or --unlabeled FILE.")
        return 0, ["no unlabelled rows: no generations"]
    return count, []


def _merged(scores: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    return merge(scores, weights if weights.any() else np.ones(len(weights)))


def _content(row: Example) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(row.fields.items()))
