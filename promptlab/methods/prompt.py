"""One model trained through its pattern (PET's single PVP; LM-BFF, Gao et al. 2021, arXiv:2012.15723).

    fill the pattern with each labelled text
    train so that the label's word wins at the mask:  cross-entropy of softmax over label scores;
        words of several tokens, or a row's own: hinge over its choices, in one pass
        a number: KL of the two words between which it lies  (regression; LM-BFF, section 4.2; language/range.py)
    optionally beside it, masked words of unlabelled text in the same pattern:  L = (1 - a) CE + a MLM
    answer the label with the highest score; several patterns: one model each, the mean of their scores

Which tensors learn, the tuning says; soft prompts and prefixes are this method with another tuning.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.decode import check_decoding
from promptlab.backbone.encode import Encoder
from promptlab.methods.calibrate import calibrated, check_calibration
from promptlab.methods.limits import check
from promptlab.methods.members import cloze_member, defaults, grouped
from promptlab.methods.method import Job, Predictor
from promptlab.methods.patterns import left_out, usable
from promptlab.methods.predict import Ensemble, Model
from promptlab.training.loop import Trained, train
from promptlab.training.member import Recipe
from promptlab.training.search import search
from promptlab.tuning.tuning import Tuning
from promptlab.tuning.words import Words


@dataclass(frozen=True)
class Prompt:
    """Trains through one pattern.

    Args:
        patterns: ``first``, ``all``, or names joined by ``+``.
        steps: updates; None follows the number of labelled rows.
        batch: rows a step.
        mlm: weight a of the auxiliary masked-LM loss (1e-4 in the paper); 0 leaves it out.
        mlm_batch: unlabelled rows a step for it.
        budget: tokens of a stack's step; None takes the device's.
        decoding: how a masked backbone reads words of several tokens: ``confident`` (the likeliest piece first),
            ``left-to-right`` or ``parallel``.
        calibration: ``none``, ``contextual``, ``pmi`` or ``batch``, of the trained model.
        transductive: let ``batch`` average over the rows that are asked about.
        pool: unlabelled rows that ``batch`` averages over, drawn by the seed.
    """

    needs_labels: ClassVar[bool] = True
    needs_backbone: ClassVar[bool] = True
    learns: ClassVar[bool] = True
    patterns: str = "first"
    steps: int | None = None
    batch: int = 8
    mlm: float = 0.0
    mlm_batch: int = 8
    budget: int | None = None
    decoding: str = "confident"
    calibration: str = "none"
    transductive: bool = False
    pool: int = 500

    def __post_init__(self) -> None:
        check(self, "prompt")

    def fit(self, backbone: Backbone, tuning: Tuning, jobs: Iterable[Job]) -> Iterator[tuple[Job, Predictor]]:
        """Trains the members of all jobs, side by side where the tuning allows."""
        check_decoding(self.decoding)
        encoder = Encoder(backbone)
        for alike in grouped(jobs):
            pvps, notes = usable(alike[0].task, backbone, self.patterns, numbers=True)
            notes = [*notes, *left_out(pvps, backbone, tuning)]
            for job in alike:
                check_calibration(self.calibration, job, self.transductive)
            members = [cloze_member(job, pvp, f"prompt/{pvp.name}") for job in alike for pvp in pvps]
            recipe = Recipe(
                steps=self.steps or defaults(alike[0]).steps, batch=self.batch, mlm=self.mlm, mlm_batch=self.mlm_batch,
                budget=self.budget, temperature=1.0,
            )  # fmt: skip
            label = f"prompt {alike[0].task.name}"
            if isinstance(tuning, Words):
                trained: Iterator[Trained] = search(backbone, tuning, members, recipe, encoder, label)
            else:
                trained = train(backbone, tuning, members, recipe, encoder, label)
            for job in alike:
                models, said = list[Model](), list(notes)
                for _, done in zip(pvps, trained, strict=False):
                    model = Model(
                        job.task, backbone, encoder, done.member.pvp, tuning, done.state, facts=dict(done.facts),
                        decoding=self.decoding,
                    )  # fmt: skip
                    [model], told = calibrated(self.calibration, [model], job, self.transductive, self.pool)
                    models.append(model if len(pvps) == 1 or tuning.stackable else model.keep())
                    said += [*done.notes, *told]
                seen = sum(model.facts["seen"] for model in models)
                facts = {
                    "notes": list(dict.fromkeys(said)), "stack": models[0].facts["stack"], "examples_seen": seen,
                    "calibration": self.calibration,
                }  # fmt: skip
                facts |= {
                    name: each
                    for name in ("words", "swaps")
                    if (each := [m.facts[name] for m in models if name in m.facts])
                }
                yield job, Ensemble(models, np.ones(len(models)), facts)
