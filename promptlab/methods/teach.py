"""An ensemble teaches a student (Schick & Schütze 2021, arXiv:2001.07676, section 3.3).

    label the unlabelled rows:  q = softmax(weighted mean of the members' scores / T),  T = 2
    train a plain classifier (no pattern) on q:  T^2 KL(q || p_T)

Where there is nothing to teach with, or rows bring their own label words, the ensemble answers and the row says so.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from promptlab.backbone.heads import default_pool
from promptlab.language.example import Example
from promptlab.methods.ensemble import Trainer
from promptlab.methods.members import head_member
from promptlab.methods.method import Job, Predictor, probabilities
from promptlab.methods.predict import Ensemble, Model, merge
from promptlab.training.loop import Trained, train
from promptlab.training.member import Recipe


@dataclass(frozen=True)
class Taught:
    """What one job's members say.

    Args:
        job: whose.
        pool: rows for the student.
        soft: their soft labels, ``(rows, labels)``.
        facts: for the results row.
        answer: the ensemble, where no student is trained.
    """

    job: Job
    pool: Sequence[Example]
    soft: np.ndarray
    facts: dict[str, Any]
    answer: Ensemble | None


def why_no_student(trainer: Trainer, job: Job, pool: Sequence[Example]) -> str:
    """Why the ensemble answers itself; empty where a student is taught or none is wanted."""
    if not trainer.settings.student:
        return ""
    if job.task.per_example:
        return "rows with label words of their own: no student, the ensemble answers"
    return "" if pool else "no unlabelled rows: the ensemble answers"


def question(
    trainer: Trainer, job: Job, trained: Iterator[Trained], weights: np.ndarray, pool: Sequence[Example],
    notes: Sequence[str] = (), seen: int = 0,
) -> Taught:  # fmt: skip
    """Takes a job's members as they are trained: their soft labels of the pool, or themselves.

    Args:
        trainer: of the members.
        job: whose.
        trained: next are this job's members, one for every weight.
        weights: ``(members,)``.
        pool: rows for the student.
        notes: what the results row says already.
        seen: rows seen in training before.
    """
    reason, said = why_no_student(trainer, job, pool), list(notes)
    teach = trainer.settings.student and not reason
    scores: list[np.ndarray] = []
    models: list[Predictor] = []
    for _, done in zip(weights, trained, strict=False):
        model = trainer.model(job, done)
        if teach:
            scores.append(trainer.scores(job, model, pool))
        else:
            models.append(trainer.answering(job, model))
        said += done.notes
    facts = {"stack": done.facts["stack"], "examples_seen": seen + done.facts["seen"] * len(weights),
             "notes": list(dict.fromkeys([*said, *[reason] * bool(reason)])), "weights": weights.tolist(),
             "calibration": trainer.settings.calibration}  # fmt: skip
    if teach:
        return Taught(job, pool, probabilities(merge(scores, weights) / trainer.settings.temperature), facts, None)
    return Taught(job, pool, np.zeros((0, 0)), facts, Ensemble(models, weights, facts))


def answers(trainer: Trainer, taught: Sequence[Taught]) -> Iterator[tuple[Job, Predictor]]:
    """The ensembles that answer themselves, then the students of all others."""
    yield from ((one.job, one.answer) for one in taught if one.answer is not None)
    rest = [one for one in taught if one.answer is None]
    if rest:
        yield from _students(trainer, rest)


def _students(trainer: Trainer, taught: Sequence[Taught]) -> Iterator[tuple[Job, Predictor]]:
    own, pool = trainer.settings, default_pool(trainer.backbone)
    recipe = Recipe(
        steps=own.student_steps, batch=own.student_batch, warmup=own.warmup, temperature=own.temperature,
        head_lr=own.head_lr, pool=pool, budget=own.budget,
    )  # fmt: skip
    members = [
        trainer.rated(replace(_unread(one, repetition), examples=one.pool, targets=one.soft))
        for one in taught for repetition in range(own.student_repetitions)
    ]  # fmt: skip
    label = f"student {taught[0].job.task.name}"
    trained = train(trainer.backbone, trainer.tuning, members, recipe, trainer.encoder, label)
    for one in taught:
        students, notes = list[Predictor](), list(one.facts["notes"])
        for _, done in zip(range(own.student_repetitions), trained, strict=False):
            model = Model(one.job.task, trainer.backbone, trainer.encoder, None, trainer.tuning, done.state, pool=pool)
            students.append(model if own.student_repetitions == 1 else trainer.lasting(one.job, model))
            notes += done.notes
        seen = one.facts["examples_seen"] + recipe.steps * recipe.batch * len(students)
        facts = {**one.facts, "examples_seen": seen, "pool": len(one.pool), "notes": notes}
        yield one.job, Ensemble(students, np.ones(len(students)), facts)


def _unread(one: Taught, repetition: int) -> Any:
    # the student learns from the pool alone, so that there need not be a labelled row
    first = replace(one.pool[0], label=one.job.task.labels[0])
    return head_member(replace(one.job, labelled=[first]), f"pet/student/{repetition}")
