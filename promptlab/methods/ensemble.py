"""A PET ensemble: a member for every pattern and repetition, and what they say (Schick & Schütze, 2001.07676, 3.2).

    member (p, i)    learns its rows through pattern p, from its own random streams
    weight w(p)      1, or the pattern's accuracy on the labelled rows before training
    scores           of every member over unlabelled rows, its bias taken off (calibration)

The members of all jobs train side by side where the tuning allows; else a member's scores are taken while it lives.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.encode import Encoder
from promptlab.language.example import Example
from promptlab.language.task import PVP
from promptlab.methods.calibrate import bias, check_calibration
from promptlab.methods.members import accuracy, cloze_member, defaults, gold, grouped, pool_of
from promptlab.methods.method import Job, Predictor
from promptlab.methods.predict import Model, Remembered
from promptlab.training.loop import Trained, train
from promptlab.training.member import Member, Recipe
from promptlab.tuning.tuning import Tuning


@dataclass(frozen=True)
class Trainer:
    """What the steps of one call of ``fit`` share.

    Args:
        settings: a settled Pet or Ipet: no setting is None but ``steps``, ``lr``, ``budget`` and iPET's ``pool``.
        backbone: masked or causal.
        tuning: which weights learn.
        encoder: shared, so that texts are tokenised once.
    """

    settings: Any
    backbone: Backbone
    tuning: Tuning
    encoder: Encoder

    def stacks(self, jobs: Iterable[Job]) -> Iterator[list[Job]]:
        """Jobs that are handled together; one by one where the tuning changes the backbone.

        Raises:
            SettingError, DataError: a job that cannot be calibrated as the settings say.
        """
        for alike in grouped(jobs):
            for job in alike:
                check_calibration(self.settings.calibration, job)
            yield from [alike] if self.tuning.stackable else [[job] for job in alike]

    def members(
        self, job: Job, pvps: Sequence[PVP], stem: str, sets: Sequence[Sequence[Example]] | None = None
    ) -> list[Member]:
        """The members of one job, pattern by pattern.

        Args:
            job: whose seed and rates they take.
            pvps: a pattern each.
            stem: begins their keys.
            sets: training rows of each; the job's labelled rows where left out.
        """
        names = [(pvp, repetition) for pvp in pvps for repetition in range(self.settings.repetitions)]
        each = sets or [job.labelled] * len(names)
        return [
            self.rated(cloze_member(replace(job, labelled=rows), pvp, f"{stem}/{pvp.name}/{repetition}"))
            for (pvp, repetition), rows in zip(names, each, strict=True)
        ]

    def train(self, members: Sequence[Member], job: Job, label: str) -> Iterator[Trained]:
        """Trains members; the number of steps follows from ``job``'s labelled rows alone."""
        own = self.settings
        recipe = Recipe(
            steps=self.steps(job), batch=own.batch, warmup=own.warmup, mlm=own.mlm,
            mlm_batch=own.mlm_batch, budget=own.budget,
        )  # fmt: skip
        return train(self.backbone, self.tuning, members, recipe, self.encoder, label)

    def steps(self, job: Job) -> int:
        """Updates of a member."""
        return self.settings.steps or defaults(job).steps

    def rows_taken(self, job: Job) -> int:
        """Rows that a member's updates take, repetitions counted."""
        return self.steps(job) * int(self.settings.batch)

    def rated(self, member: Member) -> Member:
        """The member with the method's step size, where it has none of its own."""
        own = self.settings.lr
        return member if own is None or member.lr is not None else replace(member, lr=own)

    def weights(self, job: Job, pvps: Sequence[PVP]) -> np.ndarray:
        """One a member, ``(members,)``; all equal where no pattern is ever right before training."""
        each = [1.0 for _ in pvps]
        if self.settings.weights == "accuracy" and job.labelled:
            plain = [self.untrained(job, pvp) for pvp in pvps]
            each = [accuracy(model.scores(job.labelled), gold(job)) for model in plain]
        return np.repeat(each if any(each) else [1.0 for _ in pvps], self.settings.repetitions)

    def untrained(self, job: Job, pvp: PVP | None) -> Model:
        """A pattern before training as a predictor."""
        return Model(job.task, self.backbone, self.encoder, pvp, decoding=self.settings.decoding)

    def model(self, job: Job, done: Trained) -> Model:
        """A trained member as a predictor, valid until the next is trained."""
        plain = self.untrained(job, done.member.pvp)
        return replace(plain, tuning=self.tuning, state=done.state, facts=dict(done.facts))

    def scores(self, job: Job, model: Model, rows: Sequence[Example]) -> np.ndarray:
        """Calibrated scores of rows, ``(rows, labels)``; ``batch`` averages over these very rows."""
        found = model.scores(rows)
        known: Any = Remembered(job.task, rows, found, {}) if self.settings.calibration == "batch" else model
        taken = bias(self.settings.calibration, known, job, rows)
        return found if taken is None else found - taken

    def answering(self, job: Job, model: Model) -> Predictor:
        """The member calibrated, and so that it lasts."""
        most = len(job.unlabelled) if self.settings.pool is None else self.settings.pool
        rows = pool_of(job, most) if self.settings.calibration == "batch" else []
        return self.lasting(job, replace(model, bias=bias(self.settings.calibration, model, job, rows)))

    def lasting(self, job: Job, model: Model) -> Predictor:
        """The model kept, or its scores of the job's queries."""
        # whole weights of every member are too much to hold: where the queries are known, their scores will do
        if self.tuning.stackable or not job.queries:
            return model.keep()
        return Remembered(job.task, job.queries, model.scores(job.queries), model.facts)
