"""PET: many patterns teach one classifier (Schick & Schütze 2021, arXiv:2001.07676, section 3).

    for each pattern p and repetition i:  train a member on the k labelled rows through p
    weigh it by its accuracy on those rows before training   (or equally)
    label the unlabelled rows:  q = softmax(weighted mean of the members' scores / T),  T = 2
    train a plain classifier (no pattern) on q:  T^2 KL(q || p_T)

Without unlabelled rows there is nothing to teach the student with: the ensemble answers, and the row says so.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import numpy as np

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.encode import Encoder
from promptlab.backbone.heads import default_pool
from promptlab.data.fewshot import draw
from promptlab.errors import SettingError, did_you_mean
from promptlab.language.example import Example
from promptlab.language.task import PVP
from promptlab.methods.members import accuracy, cloze_member, defaults, gold, grouped, head_member
from promptlab.methods.method import Job, Predictor, probabilities
from promptlab.methods.patterns import usable
from promptlab.methods.predict import Ensemble, Model, Remembered, merge
from promptlab.training.loop import Trained, train
from promptlab.training.member import Member, Recipe
from promptlab.tuning.tuning import Tuning

PRESETS: dict[str, dict[str, Any]] = {
    "ours": {
        "repetitions": 3, "weights": "uniform", "steps": None, "batch": 8, "mlm": 0.0, "mlm_batch": 8, "warmup": 0.1,
        "student_steps": 120, "student_batch": 16, "student_repetitions": 1, "temperature": 2.0, "pool": 600,
        "lr": None,
    },
    # arXiv:2001.07676: 4 labelled and 12 unlabelled rows a step, alpha = 1e-4, 10,000 unlabelled rows a label
    "2020": {
        "repetitions": 3, "weights": "accuracy", "steps": 1000, "batch": 4, "mlm": 1e-4, "mlm_batch": 12, "warmup": 0.0,
        "student_steps": 5000, "student_batch": 16, "student_repetitions": 3, "temperature": 2.0, "pool": 100_000,
        "lr": 1e-5,
    },
    # arXiv:2009.07118: no auxiliary loss, up to 20,000 unlabelled rows
    "superglue": {
        "repetitions": 3, "weights": "accuracy", "steps": 250, "batch": 16, "mlm": 0.0, "mlm_batch": 0, "warmup": 0.0,
        "student_steps": 5000, "student_batch": 16, "student_repetitions": 1, "temperature": 2.0, "pool": 20_000,
        "lr": 1e-5,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Pet:
    """Patterns x repetitions members teach a student. Settings left out come from the preset.

    Args:
        preset: ``ours``, or a paper's settings: ``2020``, ``superglue``.
        patterns: ``all``, or names joined by ``+``.
        repetitions: members a pattern.
        weights: ``uniform``, or ``accuracy`` on the labelled rows before training.
        steps: updates of a member; None follows the number of labelled rows.
        batch: labelled rows a step.
        mlm: weight a of the auxiliary masked-LM loss; 0 leaves it out.
        mlm_batch: unlabelled rows a step for it.
        temperature: T of the soft labels.
        pool: unlabelled rows that are labelled, drawn by the seed.
        student: train a student; false lets the ensemble answer.
        student_steps: its updates.
        student_batch: its rows a step.
        student_repetitions: how many students answer together.
        head_lr: step size of the student's new head.
        warmup: share of the steps with a rising learning rate.
        lr: step size of members and students; None is the tuning's.
        budget: padded tokens of a stack's step; None takes the device's.
    """

    needs_labels: ClassVar[bool] = True
    needs_backbone: ClassVar[bool] = True
    learns: ClassVar[bool] = True
    preset: str = "ours"
    patterns: str = "all"
    repetitions: int | None = None
    weights: str | None = None
    steps: int | None = None
    batch: int | None = None
    mlm: float | None = None
    mlm_batch: int | None = None
    temperature: float | None = None
    pool: int | None = None
    student: bool = True
    student_steps: int | None = None
    student_batch: int | None = None
    student_repetitions: int | None = None
    head_lr: float | None = 5e-3
    warmup: float | None = None
    lr: float | None = None
    budget: int | None = None

    def settled(self) -> "Pet":
        """Every setting that was left out, from the preset.

        Raises:
            SettingError: unknown preset or weights, or numbers that cannot be.
        """
        if self.preset not in PRESETS:
            raise SettingError(
                f"pet: no preset '{self.preset}'.{did_you_mean(self.preset, PRESETS)} Known: {', '.join(PRESETS)}."
            )
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        found = replace(self, **{name: value for name, value in PRESETS[self.preset].items() if own[name] is None})
        if found.weights not in ("uniform", "accuracy"):
            raise SettingError(f"pet: weights={found.weights}. Write uniform or accuracy.")
        if min(found.repetitions or 0, found.student_repetitions or 0) < 1:
            raise SettingError("pet: repetitions and student_repetitions are at least 1.")
        return found

    def fit(self, backbone: Backbone, tuning: Tuning, jobs: Iterable[Job]) -> Iterator[tuple[Job, Predictor]]:
        """Trains the members of all jobs, then all their students; in turn where the tuning changes the backbone."""
        settled, encoder = self.settled(), Encoder(backbone)
        for alike in grouped(jobs):
            for together in [alike] if tuning.stackable else [[job] for job in alike]:
                yield from _Fit(settled, backbone, tuning, encoder).run(together)


@dataclass
class _Fit:
    """One call of ``Pet.fit``: what its steps share."""

    pet: Any  # settled: no setting is None but ``steps`` and ``lr``
    backbone: Backbone
    tuning: Tuning
    encoder: Encoder

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Predictor]]:
        pvps, notes = usable(jobs[0].task, self.backbone, self.pet.patterns)
        members = [
            self._rated(cloze_member(job, pvp, f"pet/{pvp.name}/{repetition}"))
            for job in jobs for pvp in pvps for repetition in range(self.pet.repetitions)
        ]  # fmt: skip
        trained = train(
            self.backbone, self.tuning, members, self._member_recipe(jobs[0]), self.encoder, self._label(jobs)
        )
        ensembles = [self._ensemble(job, pvps, trained, list(notes)) for job in jobs]
        both = list(zip(jobs, ensembles, strict=True))
        yield from ((job, one.answer) for job, one in both if one.answer is not None)
        taught = [(job, one) for job, one in both if one.answer is None]
        if taught:
            yield from self._students(taught)

    def _ensemble(self, job: Job, pvps: Sequence[PVP], trained: Iterator[Trained], notes: list[str]) -> "_Taught":
        pool, weights = self._pool(job), self._weights(job, pvps)
        teach, soft, models = self.pet.student and bool(pool), [], []
        for _, done in zip(weights, trained, strict=False):
            model = Model(job.task, self.backbone, self.encoder, done.member.pvp, self.tuning, done.state,
                          facts=dict(done.facts))  # fmt: skip
            if teach:
                soft.append(model.scores(pool))
            else:
                models.append(self._lasting(model, job))
            notes += done.notes
        facts = {"stack": done.facts["stack"], "examples_seen": done.facts["seen"] * len(weights), "notes": notes,
                 "weights": weights.tolist()}  # fmt: skip
        if teach:
            return _Taught(pool, probabilities(merge(soft, weights) / self.pet.temperature), facts, None)
        if self.pet.student:
            notes.append("no unlabelled rows: the ensemble answers")
        return _Taught(pool, np.zeros((0, 0)), facts, Ensemble(models, weights, facts))

    def _lasting(self, model: Model, job: Job) -> Predictor:
        # whole weights of every member are too much to hold: where the queries are known, their scores will do
        if self.tuning.stackable or not job.queries:
            return model.keep()
        return Remembered(job.task, job.queries, model.scores(job.queries), model.facts)

    def _students(self, taught: Sequence[tuple[Job, "_Taught"]]) -> Iterator[tuple[Job, Predictor]]:
        pool = default_pool(self.backbone)
        recipe = Recipe(
            steps=self.pet.student_steps, batch=self.pet.student_batch, warmup=self.pet.warmup,
            temperature=self.pet.temperature, head_lr=self.pet.head_lr, pool=pool, budget=self.pet.budget,
        )  # fmt: skip
        members = [
            replace(self._rated(head_member(job, f"pet/student/{repetition}")), examples=one.pool, targets=one.soft)
            for job, one in taught for repetition in range(self.pet.student_repetitions)
        ]  # fmt: skip
        trained = train(self.backbone, self.tuning, members, recipe, self.encoder, f"student {taught[0][0].task.name}")
        for job, one in taught:
            students, notes = [], list(one.facts["notes"])
            for _, done in zip(range(self.pet.student_repetitions), trained, strict=False):
                model = Model(job.task, self.backbone, self.encoder, None, self.tuning, done.state, pool=pool)
                students.append(model if self.pet.student_repetitions == 1 else self._lasting(model, job))
                notes += done.notes
            seen = one.facts["examples_seen"] + recipe.steps * recipe.batch * len(students)
            facts = {**one.facts, "examples_seen": seen, "pool": len(one.pool), "notes": notes}
            yield job, Ensemble(students, np.ones(len(students)), facts)

    def _pool(self, job: Job) -> Sequence[Example]:
        order = draw(job.unlabelled, f"total:{min(self.pet.pool, len(job.unlabelled))}", job.seed)
        return [job.unlabelled[row] for row in sorted(order)]

    def _weights(self, job: Job, pvps: Sequence[PVP]) -> np.ndarray:
        if self.pet.weights == "uniform":
            each = [1.0 for _ in pvps]
        else:
            plain = [Model(job.task, self.backbone, self.encoder, pvp) for pvp in pvps]
            each = [accuracy(model.scores(job.labelled), gold(job)) for model in plain]
        return np.repeat(each if any(each) else [1.0 for _ in pvps], self.pet.repetitions)

    def _member_recipe(self, job: Job) -> Recipe:
        pet = self.pet
        return Recipe(
            steps=pet.steps or defaults(job).steps, batch=pet.batch, warmup=pet.warmup, mlm=pet.mlm,
            mlm_batch=pet.mlm_batch, budget=pet.budget,
        )  # fmt: skip

    def _rated(self, member: Member) -> Member:
        return member if self.pet.lr is None or member.lr is not None else replace(member, lr=self.pet.lr)

    def _label(self, jobs: Sequence[Job]) -> str:
        return f"pet {jobs[0].task.name}"


@dataclass(frozen=True)
class _Taught:
    """What one job's members say: soft labels of the pool ``(rows, labels)``, or the ensemble as the answer."""

    pool: Sequence[Example]
    soft: np.ndarray
    facts: dict[str, Any]
    answer: Any
