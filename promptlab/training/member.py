"""A member, what a step takes of it, and how it is trained.

A member is one model of an ensemble, one seed of a comparison, one learning rate of a sweep. Members of a stack share
task, backbone, tuning, kind of head, steps and batch size; rows, pattern, words, seed and rates are their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.device import generator
from promptlab.backbone.encode import Encoded, Encoder
from promptlab.language.example import Example
from promptlab.language.pattern import Pattern
from promptlab.language.task import PVP
from promptlab.language.verbalizer import Verbalizer
from promptlab.training.clozes import Asked, Clozes
from promptlab.training.mlm import Masker
from promptlab.training.stream import Stream


@dataclass(frozen=True)
class Member:
    """One model to be trained.

    Args:
        key: names its random streams; members with equal keys and rows are equal.
        examples: training rows.
        targets: label numbers ``(rows,)``, or soft labels ``(rows, labels)``, 0 where a row has fewer choices; floats
            ``(rows,)`` are what a head's one output should say.
        labels: how many outputs a head has: one a label, or 1 for a number; 0 where rows bring their own.
        inputs: the fields a head reads, in order.
        pvp: pattern and label words; None trains a classification head on the bare text, or texts in ``pattern``.
        choices: what can be answered for each row; None where that is the task's labels.
        unlabelled: text for the auxiliary masked-LM loss.
        lr: step size, or None for the tuning's.
        weight_decay: or None for the tuning's.
        texts: what is to be written, one a row; its ``targets`` are then not read.
        pattern: in which it is written.
    """

    key: str
    examples: Sequence[Example]
    targets: np.ndarray
    labels: int
    inputs: tuple[str, ...]
    pvp: PVP | None = None
    choices: Sequence[Sequence[str]] | None = None
    unlabelled: Sequence[Example] = ()
    lr: float | None = None
    weight_decay: float | None = None
    texts: Sequence[str] | None = None
    pattern: Pattern | None = None

    @property
    def reads(self) -> PVP | None:
        """What it reads: a pattern, with label words where it has some; None for bare text."""
        return self.pvp if self.pattern is None else PVP(self.pattern, Verbalizer("texts", {}))


@dataclass(frozen=True)
class Recipe:
    """How the members of a stack are trained.

    Args:
        steps: updates.
        batch: rows a step and member.
        warmup: share of the steps with a rising learning rate.
        clip: largest gradient norm of a member.
        temperature: T of soft labels.
        mlm: weight a of the auxiliary masked-LM loss; 0 leaves it out.
        mlm_batch: unlabelled rows a step and member for it.
        head_lr: step size of a new classification head; None takes the tuning's.
        pool: what a head reads: ``cls``, ``mean``, ``last``, or None for the backbone's own way.
        budget: tokens of a stack's step; None takes the device's.
        packed: lay short rows end to end where the model allows it (``backbone/packing.py``).
        smoothing: share of a target token that is spread over the vocabulary, of texts.
    """

    steps: int
    batch: int
    warmup: float = 0.1
    clip: float = 1.0
    temperature: float = 2.0
    mlm: float = 0.0
    mlm_batch: int = 0
    head_lr: float | None = None
    pool: str | None = None
    budget: int | None = None
    packed: bool = True
    smoothing: float = 0.0


class Step(NamedTuple):
    """One member's rows of one step: first the labelled, then those for the masked-LM loss; or rows with texts."""

    rows: Encoded
    targets: Tensor
    masked: list[list[int]]
    words: Asked | None = None

    @property
    def owners(self) -> list[int]:
        """The labelled row that each input belongs to; inputs for the masked-LM loss count on from there."""
        inputs = len(self.rows) if self.words is None else self.words.inputs
        owner = np.arange(inputs)
        if self.words is not None:
            there, at = self.words.ids[..., 0] >= 0, self.words.at
            rows = np.broadcast_to(np.arange(len(at))[:, None, None], at.shape)
            owner[at[there]] = rows[there]
        last = int(owner.max(initial=-1))
        return [*owner.tolist(), *range(last + 1, last + 1 + len(self.rows) - inputs)]


@dataclass
class Rows:
    """A member's rows in ids, dealt step by step from its own generators."""

    member: Member
    recipe: Recipe
    backbone: Backbone
    encoder: Encoder
    clozes: Clozes | None = field(init=False)
    encoded: Encoded = field(init=False)
    masker: Masker | None = field(init=False)

    def __post_init__(self) -> None:
        member, recipe = self.member, self.recipe
        self.stream = Stream(len(member.examples), recipe.batch, generator(f"{member.key}/rows"))
        self.clozes, self.masker = None, None
        if member.pvp is None:
            self.encoded = self.encoder.plain(member.examples, member.inputs)
            return
        self.clozes = Clozes.of(self.encoder, member.pvp, member.examples, member.choices)
        self.encoded = self.clozes.encoded
        if recipe.mlm and member.unlabelled:
            pool = self.encoder.cloze(member.pvp.pattern, member.unlabelled, self.clozes.pieces)
            self.masker = Masker(pool, recipe.mlm_batch, self.backbone, generator(f"{member.key}/mlm"))

    @property
    def usual(self) -> int:
        """Tokens of an input: the longest, or about as many as one takes in the mean where rows are packed."""
        own = self.encoded.lengths if self.clozes is None else self.clozes.lengths
        lengths = [*own, *(self.masker.encoded.lengths if self.masker else [])]
        return -(-sum(lengths) // len(lengths)) if self.recipe.packed else max(lengths)

    @property
    def spread(self) -> int:
        """Inputs that a labelled row takes at most."""
        return 1 if self.clozes is None else self.clozes.most

    def next(self) -> Step:
        """The next step's rows."""
        return self.take(self.stream.next())

    def take(self, taken: Sequence[int]) -> Step:
        """A step of the chosen rows."""
        targets = torch.as_tensor(self.member.targets[list(taken)])
        if self.clozes is None:
            return Step(self.encoded.take(taken), targets, [])
        rows, words = self.clozes.take(taken)
        if self.masker is None:
            return Step(rows, targets, [], words)
        extra, masked = self.masker.next()
        return Step(join([rows, extra]), targets, masked, words)


def join(parts: Sequence[Encoded]) -> Encoded:
    """Rows of several sets one after the other."""
    return Encoded.joined(parts)
