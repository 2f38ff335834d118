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
from promptlab.methods.method import Job, Predictor
from promptlab.methods.patterns import usable


@dataclass(frozen=True)
class ZeroShot:
    """Asks without training.

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

    def fit(self, backbone: Backbone, tuning: None, jobs: Iterable[Job]) -> Iterator[tuple[Job, Predictor]]:
        """One predictor a job; nothing is learnt but the calibration."""
        check_decoding(self.decoding)
        encoder, same = Encoder(backbone), dict[str, Predictor]()
        for job in jobs:
            if self.calibration == "batch":
                yield job, self._asking(encoder, job, Contexts)
                continue
            if job.task.digest not in same:
                same[job.task.digest] = self._asking(encoder, job, Unchanging)
            yield job, same[job.task.digest]

    def _asking(self, encoder: Encoder, job: Job, kind: type[Contexts]) -> Contexts:
        backbone = encoder.backbone
        pvps, notes = usable(job.task, backbone, self.patterns, numbers=True)
        first = instruction_for(job.task, backbone, self.instruction)
        plain = [
            InContext(job.task, backbone, encoder, pvp, decoding=self.decoding, instruction=first, chat=self.chat,
                      max_length=self.max_length)
            for pvp in pvps
        ]  # fmt: skip
        members, told = calibrated(self.calibration, plain, job, self.transductive, self.pool)
        facts = {"notes": [*notes, *told], "calibration": self.calibration}
        return kind(members, np.ones(len(members)), facts)
