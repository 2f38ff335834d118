"""Texts in training: a row goes on with its text, whose tokens alone are learnt (Li & Liang 2021, arXiv:2101.00190, 3).

    a step         B rows of like length a member (stream.py), each with its text behind it or in the decoder
    logits         at the places whose next token is the text's
    loss           cross-entropy averaged over all of a member's target tokens of the step, the end tokens included
                   smoothing e: (1 - e) of it, and e of the mean over the whole vocabulary
    two passes     how far they are apart counts a hundredfold, token by token   (AdaMix for GPT-2, arXiv:2205.12410)

So a long text has as many voices as it has tokens, and padding has none.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.device import generator
from promptlab.backbone.encode import Encoder
from promptlab.backbone.pairs import Pairs, pairs
from promptlab.errors import SettingError
from promptlab.training.member import Member, Recipe, Rows, Step
from promptlab.training.stream import Buckets
from promptlab.tuning.tuning import Tuning, Usual

NONE = -100
"""What stands in a step's targets where a row has no more tokens."""
AGREEMENT = 100.0


@dataclass
class Texts:
    """A member's rows with their texts in ids, dealt step by step from its own generator."""

    member: Member
    recipe: Recipe
    backbone: Backbone
    encoder: Encoder
    pairs: Pairs = field(init=False)
    masker: None = field(default=None, init=False)
    spread: int = field(default=1, init=False)

    def __post_init__(self) -> None:
        member = self.member
        if member.pattern is None or member.texts is None:
            raise SettingError(f"{member.key}: texts are learnt in a pattern. Write both, or neither.")
        self.pairs = pairs(self.encoder, member.pattern, member.examples, member.texts)
        self.stream = Buckets(self.pairs.lengths, self.recipe.batch, generator(f"{member.key}/rows"))

    @property
    def usual(self) -> int:
        """Tokens of an input, text included: the longest, or the mean where rows are packed."""
        lengths = self.pairs.lengths
        return -(-sum(lengths) // len(lengths)) if self.recipe.packed else max(lengths)

    def next(self) -> Step:
        """The next step's rows."""
        return self.take(self.stream.next())

    def take(self, taken: Sequence[int]) -> Step:
        """A step of the chosen rows; its targets are token ids, ``(rows, slots)``, ``NONE`` past a row's last."""
        chosen = self.pairs.take(taken)
        said = [torch.tensor(ids) for ids in chosen.targets]
        return Step(chosen.encoded, torch.nn.utils.rnn.pad_sequence(said, batch_first=True, padding_value=NONE), [])


Dealt = Rows | Texts


def dealt(member: Member, recipe: Recipe, backbone: Backbone, encoder: Encoder) -> Dealt:
    """A member's rows, with texts or with labels."""
    return (Rows if member.texts is None else Texts)(member, recipe, backbone, encoder)


def text_losses(logits: Tensor, steps: Sequence[Step], smoothing: float, tuning: Tuning | Usual) -> Tensor:
    """Each member's loss, ``(members,)``.

    Args:
        logits: at the slots of all rows, member-major, ``(members * passes * rows, slots, vocabulary)``.
        steps: of each member and pass, with targets ``(rows, its own slots)``.
        smoothing: share of a target that is spread over the vocabulary.
        tuning: joins the passes.
    """
    grouped = logits.view(-1, tuning.passes, len(steps[0].targets), *logits.shape[1:])
    each = zip(grouped, steps[:: tuning.passes], strict=True)
    return torch.cat([_member_loss(own, step.targets.to(own.device), smoothing, tuning) for own, step in each])


def _member_loss(logits: Tensor, targets: Tensor, smoothing: float, tuning: Tuning | Usual) -> Tensor:
    """A member's loss, ``(1,)``, from logits ``(passes, rows, slots, vocabulary)`` and targets ``(rows, slots)``."""
    real = targets != NONE
    own = logits[:, :, : targets.shape[1]][:, real]  # (passes, tokens, vocabulary): padding is never normalised
    own = own.float() if own.dtype in (torch.float16, torch.bfloat16) else own
    said = targets[real].expand(len(own), -1)
    each = functional.cross_entropy(
        own.flatten(0, 1), said.flatten(), reduction="none", label_smoothing=smoothing
    ).view_as(said)
    return tuning.joined(each[None], own[None], AGREEMENT)
