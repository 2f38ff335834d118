"""Losses of many wordings on the same rows: what the search for words judges its swaps by.

    sort the rows by length, cut them into parts                  so that every judgement has short and long ones
    each call: from every part its share of the rows, drawn anew  (all rows, where all may judge)
    loss of a wording = mean over the rows

The best of many needs few of them whole, as no row's loss is negative:
    the present wording on all rows; its loss is the bound; from then on its worst rows come first
    as many rows at once as fill a batch: only wordings whose sum so far is within the bound
    from half of the rows on the one with the least sum is finished at once, and lowers the bound

A wording that is dropped would have lost, so the choice is the one that all losses would give. Every wording and row
is a member of a stack of its own, and all wordings of a row are equally long: nothing is padded.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.batches import by_length
from promptlab.backbone.device import token_budget
from promptlab.backbone.encode import Encoder
from promptlab.backbone.marks import speaking
from promptlab.backbone.score import CHUNK_BYTES
from promptlab.training.loop import step_losses
from promptlab.training.member import Member, Recipe, Rows, Step

PARTS = 4  # of like length, of at least as many rows each


class Verdict(NamedTuple):
    """What was best.

    Args:
        before: loss of the present wording.
        best: number of the best of the others.
        after: its loss, or infinity where all others were dropped.
    """

    before: float
    best: int
    after: float


class Judge:
    """The second batch: rows drawn anew at each call, from parts of like length.

    Args:
        most: rows; all of the member's where there are fewer.
        member: with marks in its pattern's slots.
        recipe: of the search.
        backbone: never changed.
        encoder: shared.
    """

    def __init__(self, most: int, member: Member, recipe: Recipe, backbone: Backbone, encoder: Encoder):
        self.backbone, self.recipe = backbone, recipe
        lengths = Rows(member, recipe, backbone, encoder).encoded.lengths
        share = min(1.0, most / len(lengths))
        order = np.argsort(lengths, kind="stable")
        self.parts = list[Rows]()
        for i, some in enumerate(np.array_split(order, max(1, min(PARTS, round(share * len(lengths)) // PARTS)))):
            own = replace(recipe, batch=max(1, round(share * len(some))))
            self.parts.append(Rows(_part(member, some, f"{member.key}{i}"), own, backbone, encoder))
        self.rows = sum(part.recipe.batch for part in self.parts)

    def __call__(self, wordings: Tensor) -> Tensor:
        """The loss of new rows under each wording ``(wordings, places)``: ``(wordings,)``."""
        return self.losses(self.drawn(), wordings).mean(1)

    def best(self, wordings: Tensor) -> Verdict:
        """The best of all but the first, which is the present one, on new rows.

        Args:
            wordings: token ids, ``(wordings, places)``; at least two.
        """
        drawn, whole = self.drawn(), torch.full((len(wordings), self.rows), torch.nan, dtype=torch.double)
        whole[0] = self.losses(drawn, wordings[:1])[0]
        bound, order = whole[0].sum(), whole[0].argsort(descending=True, stable=True)
        alive, at = torch.arange(1, len(wordings)), 0
        while at < len(order) and len(alive):
            rows = order[at : at + self._at_once(drawn, order[at:].tolist(), len(alive))]
            self._fill(whole, alive, rows, drawn, wordings)
            at += len(rows)
            sums = whole[alive][:, order[:at]].sum(1)
            if 2 * at >= len(order):  # before, the least sum says little
                leader = alive[sums.argmin()][None]
                self._fill(whole, leader, order[at:], drawn, wordings)
                bound = torch.minimum(bound, whole[leader].sum())
            alive = alive[~(sums > bound)]  # so that what is not a number is never dropped
        totals = whole[1:].sum(1).nan_to_num(torch.inf)
        best = int(totals.argmin())
        return Verdict(float(whole[0].mean()), best, float(totals[best]) / self.rows)

    def drawn(self) -> list[Step]:
        """New rows, one a step."""
        return [part.take([row]) for part in self.parts for row in part.stream.next()]

    @torch.no_grad()
    def losses(self, drawn: Sequence[Step], wordings: Tensor) -> Tensor:
        """The loss of each row under each wording, ``(wordings, rows)``.

        Args:
            drawn: rows, one a step.
            wordings: token ids, ``(wordings, places)``.
        """
        found = torch.empty(len(drawn) * len(wordings), dtype=torch.double)
        costs = [_tokens(step) for step in drawn for _ in wordings]
        widest = max((len(step.rows) * max(1, len(step.rows.slots[0])) for step in drawn), default=1)
        most = max(1, CHUNK_BYTES // (4 * self.backbone.vocab * widest))
        for pairs in by_length(costs, token_budget(self.backbone.device), most):
            own = [pair % len(wordings) for pair in pairs]
            steps = [drawn[pair // len(wordings)] for pair in pairs]
            with speaking(self.backbone, wordings[own]):
                each = step_losses(self.backbone, [self.parts[0]] * len(steps), steps, self.recipe, None)
            found[pairs] = each.double().cpu()
        return found.view(len(drawn), len(wordings)).T

    def _fill(self, whole: Tensor, which: Tensor, rows: Tensor, drawn: Sequence[Step], wordings: Tensor) -> None:
        """Puts in the losses of some wordings on some rows, but for those of a wording that has been finished."""
        lacking = which[whole[which].isnan().any(1)]
        if len(lacking) and len(rows):
            whole[lacking[:, None], rows] = self.losses([drawn[row] for row in rows.tolist()], wordings[lacking])

    def _at_once(self, drawn: Sequence[Step], rows: Sequence[int], wordings: int) -> int:
        longest = max(_tokens(drawn[row]) for row in rows)
        return max(1, token_budget(self.backbone.device) // (longest * wordings))


def _tokens(step: Step) -> int:
    return len(step.rows) * max(step.rows.lengths)


def _part(member: Member, rows: np.ndarray, key: str) -> Member:
    choices = member.choices
    own: dict[str, Any] = {} if choices is None else {"choices": [choices[row] for row in rows]}
    examples = [member.examples[row] for row in rows]
    return replace(member, key=key, examples=examples, targets=member.targets[rows], **own)
