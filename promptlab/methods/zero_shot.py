"""Zero-shot: ask the pattern, learn nothing (Brown et al. 2020, arXiv:2005.14165; PET's untrained PVPs).

    the task's instruction (causal backbones), then the pattern filled with the text
    score of a label = log-probability of its word at the mask (masked) or next (causal)
    take away what the pattern says whatever the text is (calibration)
    answer the label with the highest score; several patterns: the mean of their scores

Of a regression the answer is a number between two words (``language/range.py``). With ``calibration`` it no longer
leans to the label whose word is frequent anyway.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.decode import check_decoding
from promptlab.backbone.encode import Encoder
from promptlab.methods.calibrate import calibrated
from promptlab.methods.context import Contexts, InContext, Unchanging
from promptlab.methods.in_context import instruction_for
from promptlab.methods.limits import check
from promptlab.methods.method import Author, Job, Predictor
from promptlab.methods.patterns import refuse_slots, usable
from promptlab.methods.writes import ASKING, WRITING, Writes, refuse_unread
from promptlab.methods.writing import shown_writer


@dataclass(frozen=True)
class ZeroShot(Writes):
    """Asks without training; on a task that asks for a text, writes it after the instruction (see ``Writes`` for how).

    Args:
        patterns: ``first``, ``all`` (their mean), or names joined by ``+``.
        calibration: ``none``, ``contextual``, ``pmi`` or ``batch``.
        transductive: let ``batch`` average over the rows that are asked about.
        pool: unlabelled rows that ``batch`` averages over, drawn by the seed.
        instruction: ``about``: the task's own on causal backbones, none on masked ones; ``none``; or a text.
        chat: wrap instruction and row in the backbone's chat template.
        max_length: tokens a row may have; None takes what the backbone reads.
        decoding: how a masked backbone reads words of several tokens.
    """

    needs_labels: ClassVar[bool] = False
    needs_backbone: ClassVar[bool] = True
    learns: ClassVar[bool] = False
    patterns: str = "first"
    calibration: str = "none"
    transductive: bool = False
    pool: int = 500
    instruction: str = "about"
    chat: bool = False
    max_length: int | None = None
    decoding: str = "confident"

    def __post_init__(self) -> None:
        check(self, "zero-shot")
        self.check_writing("zero-shot")

    def fit(self, backbone: Backbone, tuning: None, jobs: Iterable[Job]) -> Iterator[tuple[Job, Predictor | Author]]:
        """One predictor a job; nothing is learnt but the calibration."""
        check_decoding(self.decoding)
        encoder, same = Encoder(backbone), dict[str, Predictor | Author]()
        for job in jobs:
            refuse_unread(self, "zero-shot", job.task, ASKING if job.task.generates else WRITING)
            alone = self.sample if job.task.generates else self.calibration == "batch"
            if alone or job.task.digest not in same:
                same[job.task.digest] = self._answering(encoder, job, alone)
            yield job, same[job.task.digest]

    def _answering(self, encoder: Encoder, job: Job, alone: bool) -> Predictor | Author:
        if not job.task.generates:
            return self._asking(encoder, job, Contexts if alone else Unchanging)
        return shown_writer(
            job, encoder, self.patterns, self.writing(job.seed),
            instruction_for(job.task, encoder.backbone, self.instruction), chat=self.chat, max_length=self.max_length,
        )  # fmt: skip

    def _asking(self, encoder: Encoder, job: Job, kind: type[Contexts]) -> Contexts:
        backbone = encoder.backbone
        pvps, notes = usable(job.task, backbone, self.patterns, numbers=True)
        refuse_slots(pvps, backbone, "zero-shot")
        first = instruction_for(job.task, backbone, self.instruction)
        plain = [
            InContext(job.task, backbone, encoder, pvp, decoding=self.decoding, instruction=first, chat=self.chat,
                      max_length=self.max_length)
            for pvp in pvps
        ]  # fmt: skip
        members, told = calibrated(self.calibration, plain, job, self.transductive, self.pool)
        facts = {"notes": [*notes, *told], "calibration": self.calibration}
        return kind(members, np.ones(len(members)), facts)
