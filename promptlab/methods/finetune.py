"""Fine-tuning: a new classification head on the bare text (Devlin et al. 2019, arXiv:1810.04805, section 3.2).

    read the text (two texts as a pair), pool one vector
    a fresh head turns it into label scores
    train head and tuning together:  cross-entropy; of a number (regression) the squared error of one output

The head is the architecture's own; what it reads is its own way too, unless ``pool`` says otherwise. A task that asks
for a text needs no head: there the pattern trains, and the text is written (writing.py).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.encode import Encoder
from promptlab.backbone.heads import default_pool
from promptlab.errors import SettingError
from promptlab.language.task import Task
from promptlab.methods.limits import check
from promptlab.methods.members import defaults, grouped, head_member
from promptlab.methods.method import Author, Job, Predictor
from promptlab.methods.predict import Model
from promptlab.methods.writes import WRITING, Writes, refuse_unread
from promptlab.methods.writing import Training, train_writers
from promptlab.registry import refusal
from promptlab.training.loop import train
from promptlab.training.member import Recipe
from promptlab.tuning.tuning import Tuning

_HEAD = ("head_lr", "pool")


@dataclass(frozen=True)
class Finetune(Writes):
    """Trains a head on the bare text; on a task that asks for a text, its pattern (``Writes``: how one is written).

    Args:
        steps: updates; None follows the number of labelled rows.
        batch: rows a step.
        head_lr: step size of the new head.
        pool: ``cls``, ``mean`` or ``last``; None is the backbone's own way.
        budget: tokens of a stack's step; None takes the device's.
        patterns: of a task that asks for a text: ``first``, or a name.
        smoothing: share of a text's token that is spread over the vocabulary.
    """

    needs_labels: ClassVar[bool] = True
    needs_backbone: ClassVar[bool] = True
    learns: ClassVar[bool] = True
    steps: int | None = None
    batch: int = 8
    head_lr: float | None = 5e-3
    pool: str | None = None
    budget: int | None = None
    patterns: str = "first"
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        check(self, "finetune")
        self.check_writing("finetune")

    def fit(self, backbone: Backbone, tuning: Tuning, jobs: Iterable[Job]) -> Iterator[tuple[Job, Predictor | Author]]:
        """Trains the members of all jobs, side by side where the tuning allows."""
        encoder, pool = Encoder(backbone), self.pool or default_pool(backbone)
        for alike in grouped(jobs):
            task = alike[0].task
            self._check(task)
            if task.generates:
                how = Training(self.steps, self.batch, self.smoothing, self.patterns, self.budget)
                yield from train_writers(backbone, tuning, alike, how, [self.writing(job.seed) for job in alike])
                continue
            members = [head_member(job, "finetune") for job in alike]
            recipe = Recipe(
                steps=self.steps or defaults(alike[0]).head_steps, batch=self.batch, head_lr=self.head_lr, pool=pool,
                budget=self.budget,
            )  # fmt: skip
            trained = train(backbone, tuning, members, recipe, encoder, f"finetune {task.name}")
            for job, done in zip(alike, trained, strict=True):
                facts = {**done.facts, "examples_seen": done.facts["seen"], "notes": done.notes}
                yield job, Model(job.task, backbone, encoder, None, tuning, done.state, pool=pool, facts=facts)

    def _check(self, task: Task) -> None:
        if self.patterns != "first" and not task.generates:
            raise SettingError(f"{refusal('finetune', None, 'cloze')} of '{task.name}'. Write prompt.")
        refuse_unread(self, "finetune", task, _HEAD if task.generates else (*WRITING, "smoothing"))
