"""Zero-shot: ask the pattern, learn nothing (Brown et al. 2020, arXiv:2005.14165; PET's untrained PVPs).

    fill the pattern with the text
    score of a label = log-probability of its word at the mask (masked) or next (causal)
    take away what the pattern says whatever the text is (calibration)
    answer the label with the highest score; several patterns: the mean of their scores

With ``calibration`` the answer no longer leans to the label whose word is frequent anyway.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.encode import Encoder
from promptlab.methods.calibrate import bias
from promptlab.methods.method import Job, Predictor
from promptlab.methods.patterns import usable
from promptlab.methods.predict import Ensemble, Model


@dataclass(frozen=True)
class ZeroShot:
    """Asks without training.

    Args:
        patterns: ``first``, ``all`` (their mean), or names joined by ``+``.
        calibration: ``none``, ``contextual``, ``pmi`` or ``batch``.
        transductive: let ``batch`` average over the rows that are asked about.
        pool: unlabelled rows that ``batch`` averages over.
    """

    needs_labels: ClassVar[bool] = False
    needs_backbone: ClassVar[bool] = True
    learns: ClassVar[bool] = False
    patterns: str = "first"
    calibration: str = "none"
    transductive: bool = False
    pool: int = 500

    def fit(self, backbone: Backbone, tuning: None, jobs: Iterable[Job]) -> Iterator[tuple[Job, Predictor]]:
        """One predictor a job; nothing is learnt but the calibration."""
        encoder = Encoder(backbone)
        for job in jobs:
            pvps, notes = usable(job.task, backbone, self.patterns)
            rows = list(job.queries if self.transductive else job.unlabelled[: self.pool])
            members = []
            for pvp in pvps:
                model = Model(job.task, backbone, encoder, pvp)
                members.append(replace(model, bias=bias(self.calibration, model, job, rows)))
            if self.calibration == "batch" and self.transductive:
                notes = [*notes, "transductive: calibrated on the rows it was asked about"]
            yield job, Ensemble(members, np.ones(len(members)), {"notes": notes, "calibration": self.calibration})
