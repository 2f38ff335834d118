"""One step of a stack: its rows laid out on the device, and each member's loss on them.

    laid_out    every member's rows, once a pass, member-major, as one batch, with what is asked of them
    computed    batch -> logits or pooled states -> label scores or token logits -> a loss a member

The first builds tensors from lists; the second only computes with tensors, so it can be recorded (``recorded.py``).
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.batches import Batch, pad
from promptlab.backbone.below import Below
from promptlab.backbone.encode import Encoded
from promptlab.backbone.heads import default_pool, pool
from promptlab.backbone.packing import pack
from promptlab.backbone.score import hidden, label_scores, slot_logits
from promptlab.training import losses
from promptlab.training.clozes import Asked, together
from promptlab.training.head import HeadStack
from promptlab.training.member import Recipe, Step, join
from promptlab.training.pairs import Dealt, text_losses
from promptlab.tuning.tuning import Tuning, Usual

_ONCE = Usual()


@dataclass(frozen=True)
class LaidOut:
    """A step on the device.

    Args:
        steps: of every member and pass, member-major.
        inputs: all their rows in ids.
        batch: the same padded or packed.
        targets: ``(members * passes, rows)`` label numbers or numbers to say, or ``(.., rows, labels)`` soft labels; of
            texts, which bring their own, none.
        words: of a cloze, ``ids (rows, labels, words, pieces)`` and where they are read, ``at (rows, labels, words)``.
        hinges: which rows' words of several pieces ask for the hinge loss, ``(members * passes * rows,)``; None if none
            do.
        most: inputs a member that answer; those after them are for the masked-LM loss.
    """

    steps: list[Step]
    inputs: Encoded
    batch: Batch
    targets: Tensor | None
    words: tuple[Tensor, Tensor] | None
    hinges: Tensor | None
    most: int


def laid_out(
    backbone: Backbone, steps: Sequence[Step], recipe: Recipe, passes: int = 1, multiple: int = 1, texts: bool = False
) -> LaidOut:
    """A step's rows as one batch.

    Args:
        backbone: whose device they go to.
        steps: of each member.
        recipe: of all.
        passes: how often each row goes through.
        multiple: rows are padded to a multiple of so many tokens.
        texts: whether texts are learnt.
    """
    steps = [step for step in steps for _ in range(passes)]  # from here on every pass is a group of rows
    most = _most(steps)
    inputs = join([step.rows.take(_evened(step, most)) for step in steps])
    every = range(len(inputs))
    batch = pack(inputs, len(steps), backbone) if recipe.packed else pad(inputs, every, backbone, multiple)
    asked = [step.words for step in steps if step.words]
    words = together(asked, most, backbone.device) if asked else None
    if texts:
        return LaidOut(steps, inputs, batch, None, words, None, most)
    targets = _targets(steps).to(backbone.device)
    return LaidOut(steps, inputs, batch, targets, words, _hinges(asked, targets), most)


def computed(
    backbone: Backbone, laid: LaidOut, recipe: Recipe, head: HeadStack | None, tuning: Tuning | Usual
) -> Tensor:
    """Each member's loss, ``(members,)``."""
    if laid.targets is None:
        return text_losses(slot_logits(backbone, laid.batch), laid.steps, recipe.smoothing, tuning)
    if head is not None:
        how = recipe.pool or default_pool(backbone)
        scores = head(pool(hidden(backbone, laid.batch), laid.batch.readable, how))
        return _joined(scores, _label_losses(scores, laid.targets, recipe), tuning)
    assert laid.words is not None
    logits = slot_logits(backbone, laid.batch)
    logits = logits.unflatten(0, (len(laid.steps), -1))  # (groups, inputs, slots, vocabulary)
    ids, at = laid.words
    scores = label_scores(logits[:, : laid.most].flatten(0, 1), ids, normalise=ids.shape[-1] > 1, at=at)
    labels = _joined(scores, _label_losses(scores, laid.targets, recipe, laid.hinges), tuning)
    if not laid.steps[0].masked:
        return labels
    masked = losses.masked_words(logits[:, laid.most :].flatten(0, 1), _masked(laid.steps, logits))
    return (1 - recipe.mlm) * labels + recipe.mlm * masked.view(len(labels), -1).mean(1)  # in whichever pass


def step_losses(
    backbone: Backbone,
    rows: Sequence[Dealt],
    steps: Sequence[Step],
    recipe: Recipe,
    head: HeadStack | None,
    tuning: Tuning | Usual = _ONCE,
    below: Below | None = None,
) -> Tensor:
    """Each member's loss on its rows of one step, ``(members,)``; all passes go through the backbone as one batch."""
    laid = laid_out(backbone, steps, recipe, tuning.passes, texts=rows[0].member.texts is not None)
    with below.standing(laid.inputs, laid.batch) if below else nullcontext():
        return computed(backbone, laid, recipe, head, tuning)


def owners(steps: Sequence[Step]) -> list[list[int]]:
    """For each member of a step, which of its own rows every input of a pass belongs to."""
    most = _most(steps)
    return [[own[at] for at in _evened(step, most)] for step in steps if (own := step.owners)]


def _most(steps: Sequence[Step]) -> int:
    return max((step.words.inputs for step in steps if step.words), default=0)


def _evened(step: Step, most: int) -> list[int]:
    """A member's inputs, as many as the others': the first, which nothing then reads, stands in for those it lacks."""
    own = step.words.inputs if step.words else most
    return [*range(own), *[0] * (most - own), *range(own, len(step.rows))]


def _joined(scores: Tensor, each: Tensor, tuning: Tuning | Usual) -> Tensor:
    """Each member's loss from its rows' scores ``(groups * rows, labels)`` and losses ``(groups, rows)``."""
    parted = each.unflatten(0, (-1, tuning.passes))
    return tuning.joined(parted, scores.view(*parted.shape, -1))


def _targets(steps: Sequence[Step]) -> Tensor:
    """``(members, batch)`` label numbers or numbers to say; ``(members, batch, labels)`` soft labels, padded by 0."""
    each = [step.targets for step in steps]
    widest = max(one.shape[-1] for one in each)
    if each[0].dim() > 1:
        each = [torch.nn.functional.pad(one, (0, widest - one.shape[-1])) for one in each]
    return torch.stack(each)


def _hinges(asked: Sequence[Asked], targets: Tensor) -> Tensor | None:
    if not any(one.hinge for one in asked):
        return None
    own = torch.tensor([one.hinge for one in asked], device=targets.device)  # in a mixed stack each keeps its own loss
    return own.repeat_interleave(targets.shape[1])


def _label_losses(scores: Tensor, targets: Tensor, recipe: Recipe, hinges: Tensor | None = None) -> Tensor:
    """What each row costs against its label, ``(groups, rows)``."""
    flat = targets.flatten(0, 1)
    if flat.is_floating_point() and flat.dim() == 1:
        each = losses.squared(scores, flat.to(scores))
    elif flat.is_floating_point():
        each = losses.soft(scores, flat.to(scores), recipe.temperature)
    else:
        each = losses.hard(scores, flat)
        if hinges is not None:
            each = torch.where(hinges, losses.hinge(scores, flat), each)
    return each.view(len(targets), -1)


def _masked(steps: Sequence[Step], logits: Tensor) -> Tensor:
    rows = [row + [-100] * (logits.shape[2] - len(row)) for step in steps for row in step.masked]
    return torch.tensor(rows, device=logits.device)
