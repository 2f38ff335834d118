"""PET: many patterns teach one classifier (Schick & Schütze 2021, arXiv:2001.07676, section 3).

    for each pattern p and repetition i:  train a member on the k labelled rows through p         (ensemble.py)
    weigh it by its accuracy on those rows before training   (or equally)
    label the unlabelled rows:  q = softmax(weighted mean of the members' scores / T),  T = 2     (teach.py)
    train a plain classifier (no pattern) on q:  T^2 KL(q || p_T)

Without unlabelled rows there is nothing to teach the student with: the ensemble answers, and the row says so.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.encode import Encoder
from promptlab.methods import presets
from promptlab.methods.ensemble import Trainer
from promptlab.methods.limits import check
from promptlab.methods.members import pool_of
from promptlab.methods.method import Job, Predictor
from promptlab.methods.patterns import left_out, usable
from promptlab.methods.teach import answers, question
from promptlab.tuning.tuning import Tuning


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
        calibration: of each member, before they are merged: ``none``, ``contextual``, ``pmi`` or ``batch``.
        decoding: how a masked backbone reads words of several tokens: ``confident``, ``left-to-right``, ``parallel``.
        student: train a student; false lets the ensemble answer.
        student_steps: its updates.
        student_batch: its rows a step.
        student_repetitions: how many students answer together.
        head_lr: step size of the student's new head.
        warmup: share of the steps with a rising learning rate.
        lr: step size of members and students; None is the tuning's.
        budget: tokens of a stack's step; None takes the device's.
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
    calibration: str = "none"
    decoding: str = "confident"
    student: bool = True
    student_steps: int | None = None
    student_batch: int | None = None
    student_repetitions: int | None = None
    head_lr: float | None = 5e-3
    warmup: float | None = None
    lr: float | None = None
    budget: int | None = None

    def __post_init__(self) -> None:
        check(self, type(self).__name__.lower())

    def settled(self) -> "Pet":
        """Every setting that was left out, from the preset.

        Raises:
            SettingError: unknown preset, weights, calibration or decoding, or numbers that cannot be.
        """
        return presets.settle(self, "pet", presets.PET)

    def fit(self, backbone: Backbone, tuning: Tuning, jobs: Iterable[Job]) -> Iterator[tuple[Job, Predictor]]:
        """Trains the members of all jobs, then all their students; in turn where the tuning changes the backbone."""
        trainer = Trainer(self.settled(), backbone, tuning, Encoder(backbone))
        for together in trainer.stacks(jobs):
            yield from _run(trainer, together)


def _run(trainer: Trainer, jobs: Sequence[Job]) -> Iterator[tuple[Job, Predictor]]:
    first, own = jobs[0], trainer.settings
    pvps, notes = usable(first.task, trainer.backbone, own.patterns)
    notes = [*notes, *left_out(pvps, trainer.backbone, trainer.tuning)]
    members = [member for job in jobs for member in trainer.members(job, pvps, "pet")]
    trained = trainer.train(members, first, f"pet {first.task.name}")
    yield from answers(trainer, [
        question(trainer, job, trained, trainer.weights(job, pvps), pool_of(job, own.pool), notes) for job in jobs
    ])  # fmt: skip
