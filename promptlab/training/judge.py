"""Losses of many wordings on the same rows: what the search for words judges its swaps by.

sort the rows by length, cut them into parts                  so that little of a batch is padding
each call: from every part its share of the rows, drawn anew  (all rows, where all may judge)
each wording is a member of a stack whose members read the same rows
loss of a wording = mean over the rows
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.device import token_budget
from promptlab.backbone.encode import Encoder
from promptlab.backbone.marks import speaking
from promptlab.backbone.score import CHUNK_BYTES
from promptlab.training.loop import step_losses
from promptlab.training.member import Member, Recipe, Rows, Step

PARTS = 4  # of like length, of at least as many rows each


class Judge:
    """The second batch: rows drawn anew at each call, from parts of like length so that little is padding.

    Args:
        most: rows; all of the member's where there are fewer.
        member: with marks in its pattern's slots.
        recipe: of the search.
        backbone: never changed.
        encoder: shared.
    """

    def __init__(self, most: int, member: Member, recipe: Recipe, backbone: Backbone, encoder: Encoder):
        self.backbone = backbone
        lengths = Rows(member, recipe, backbone, encoder).encoded.lengths
        share = min(1.0, most / len(lengths))
        order = np.argsort(lengths, kind="stable")
        self.parts = list[Rows]()
        for i, some in enumerate(np.array_split(order, max(1, min(PARTS, round(share * len(lengths)) // PARTS)))):
            own = replace(recipe, batch=max(1, round(share * len(some))))
            self.parts.append(Rows(_part(member, some, f"{member.key}{i}"), own, backbone, encoder))
        self.rows = sum(part.recipe.batch for part in self.parts)

    @torch.no_grad()
    def __call__(self, wordings: Tensor) -> Tensor:
        """The loss of new rows under each wording ``(wordings, places)``: ``(wordings,)``."""
        each = [part.recipe.batch / self.rows * self._losses(part, wordings) for part in self.parts]
        return torch.stack(each).sum(0)

    def _losses(self, part: Rows, wordings: Tensor) -> Tensor:
        step, found = part.next(), list[Tensor]()
        for some in wordings.split(self._at_once(part, step)):
            with speaking(self.backbone, some):
                losses = step_losses(self.backbone, [part] * len(some), [step] * len(some), part.recipe, None)
            found.append(losses.double().cpu())
        return torch.cat(found)

    def _at_once(self, part: Rows, step: Step) -> int:
        inputs = len(step.rows)
        logits = 4 * self.backbone.vocab * inputs * max(1, len(step.rows.slots[0]))
        return max(1, min(token_budget(self.backbone.device) // (part.usual * inputs), CHUNK_BYTES // logits))


def _part(member: Member, rows: np.ndarray, key: str) -> Member:
    choices = member.choices
    own: dict[str, Any] = {} if choices is None else {"choices": [choices[row] for row in rows]}
    examples = [member.examples[row] for row in rows]
    return replace(member, key=key, examples=examples, targets=member.targets[rows], **own)
