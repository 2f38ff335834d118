"""In-context learning: show labelled rows, learn nothing (Brown et al. 2020, arXiv:2005.14165; LM-BFF, 2012.15723).

    draw demonstrations, balanced over the labels, by seed; or take those nearest to the row
    instruction, demonstrations, the row up to its label word; as many demonstrations as fit
    score of a label = log-probability of its word there, minus what calibration finds
    orders=4: four draws, the mean of their scores

On causal backbones what rows share is read once; masked ones read every row whole.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.decode import check_decoding
from promptlab.backbone.encode import Encoder
from promptlab.errors import DataError, SettingError
from promptlab.language.task import PVP, Task
from promptlab.methods.calibrate import calibrated
from promptlab.methods.context import Contexts, InContext
from promptlab.methods.demonstrations import asked_for, drawn, number_of
from promptlab.methods.limits import check
from promptlab.methods.method import Author, Job, Predictor
from promptlab.methods.patterns import refuse_slots, usable
from promptlab.methods.writes import ASKING, WRITING, Writes, refuse_unread
from promptlab.methods.writing import shown_writer


@dataclass(frozen=True)
class InContextLearning(Writes):
    """Shows labelled rows before each row that is asked about; see ``Writes`` for how a text is written.

    Args:
        demonstrations: labelled rows a class, ``total:N`` in all, or ``all``; of a task that asks for a text, in all.
        order: ``seed`` draws them once for all rows, ``similar`` shows each row its nearest.
        orders: draws, each with an order of its own; their scores are averaged.
        instruction: ``about``: the task's own on causal backbones, none on masked ones; ``none``; or a text.
        chat: wrap all in the backbone's chat template.
        patterns: ``first``, ``all`` (their mean), or names joined by ``+``.
        calibration: ``none``, ``contextual``, ``pmi`` or ``batch``.
        transductive: let ``batch`` average over the rows that are asked about.
        pool: unlabelled rows that ``batch`` averages over, drawn by the seed.
        max_length: tokens a row may have with its demonstrations; None takes what the backbone reads.
        decoding: how a masked backbone reads words of several tokens.
    """

    needs_labels: ClassVar[bool] = True
    needs_backbone: ClassVar[bool] = True
    learns: ClassVar[bool] = False
    demonstrations: int | str = 4
    order: Literal["seed", "similar"] = "seed"
    orders: int = 1
    instruction: str = "about"
    chat: bool = False
    patterns: str = "first"
    calibration: str = "none"
    transductive: bool = False
    pool: int = 500
    max_length: int | None = None
    decoding: str = "confident"

    def __post_init__(self) -> None:
        check(self, "in-context")
        self.check_writing("in-context")
        number_of(self.demonstrations)

    def fit(self, backbone: Backbone, tuning: None, jobs: Iterable[Job]) -> Iterator[tuple[Job, Predictor | Author]]:
        """One predictor a job; nothing is learnt but the calibration."""
        encoder = Encoder(backbone)
        for job in jobs:
            refuse_unread(self, "in-context", job.task, (*ASKING, "orders") if job.task.generates else WRITING)
            self._check(job)
            if job.task.generates:
                yield job, self._author(job, encoder)
                continue
            pvps, notes = usable(job.task, backbone, self.patterns)
            refuse_slots(pvps, backbone, "in-context")
            plain = [self._member(job, encoder, pvp, turn) for turn in range(self.orders) for pvp in pvps]
            members, told = calibrated(self.calibration, plain, job, self.transductive, self.pool)
            facts = {"notes": [*notes, *told], "calibration": self.calibration}
            yield job, Contexts(members, np.ones(len(members)), facts)

    def _member(self, job: Job, encoder: Encoder, pvp: PVP, turn: int) -> InContext:
        key, classes = f"{job.seed}/{turn}", job.task.labels if job.task.fixed else ()
        similar = self.order == "similar"
        chosen = range(len(job.labelled)) if similar else drawn(job.labelled, self.demonstrations, key, classes)
        return InContext(
            job.task, encoder.backbone, encoder, pvp,
            instruction=instruction_for(job.task, encoder.backbone, self.instruction), similar=similar,
            rows=[job.labelled[row] for row in chosen], demonstrations=self.demonstrations,
            asked=asked_for(self.demonstrations, len(job.labelled), len(classes)), key=key, chat=self.chat,
            max_length=self.max_length, decoding=self.decoding,
        )  # fmt: skip

    def _author(self, job: Job, encoder: Encoder) -> Author:
        return shown_writer(
            job, encoder, self.patterns, self.writing(job.seed),
            instruction_for(job.task, encoder.backbone, self.instruction), chat=self.chat, max_length=self.max_length,
            demonstrations=self.demonstrations, similar=self.order == "similar",
        )  # fmt: skip

    def _check(self, job: Job) -> None:
        check_decoding(self.decoding)
        if self.order not in ("seed", "similar"):
            raise SettingError(f"order={self.order} cannot be. Write seed or similar.")
        if self.orders < 1:
            raise SettingError(f"orders={self.orders}: write 1 or more.")
        if self.orders > 1 and self.order == "similar":
            raise SettingError("order=similar knows one order, the nearest last. Write orders=1, or order=seed.")
        asked_for(self.demonstrations, len(job.labelled), len(job.task.labels))
        if not job.labelled:
            raise DataError(
                f"{job.task.name}: in-context shows labelled rows, and there are none. Give -k 1 or more, or write the "
                "method zero-shot."
            )


def instruction_for(task: Task, backbone: Backbone, written: str) -> str:
    """What stands first.

    Args:
        task: whose ``instruction`` is the default.
        backbone: a masked one reads none unless a text was written.
        written: ``about``, ``none``, or a text.
    """
    if written == "about":
        return task.instruction if backbone.kind == "causal" else ""
    return "" if written == "none" else written
