"""Masked words for the auxiliary loss: 15 % of a row's tokens, 80 % of them masked, 10 % random, 10 % as they were.

Never a target: padding, special tokens, and the mask that asks the task's question.
"""

from dataclasses import dataclass, field

import torch

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.encode import Encoded
from promptlab.training.stream import Stream

RATE = 0.15


@dataclass
class Masker:
    """Deals masked rows.

    Args:
        encoded: unlabelled rows in the member's pattern.
        batch: rows a step.
        backbone: whose mask, vocabulary and special tokens count.
        generator: the member's own.
    """

    encoded: Encoded
    batch: int
    backbone: Backbone
    generator: torch.Generator
    special: frozenset[int] = field(init=False)

    def __post_init__(self) -> None:
        self.special = frozenset(self.backbone.tokenizer.all_special_ids)
        self.stream = Stream(len(self.encoded), self.batch, self.generator)

    def next(self) -> tuple[Encoded, list[list[int]]]:
        """The next rows with words masked, their slots at the masked words, and the words, a list a row."""
        rows = self.encoded.take(self.stream.next())
        found = [self._mask(ids) for ids in rows.ids]
        masked = Encoded([ids for ids, _, _ in found], rows.segments, [slots for _, slots, _ in found], rows.cut)
        return masked, [words for _, _, words in found]

    def _mask(self, ids: list[int]) -> tuple[list[int], list[int], list[int]]:
        usable = [place for place, token in enumerate(ids) if token not in self.special]
        if not usable:
            return ids, [0], [-100]
        count = max(1, round(RATE * len(usable)))
        order = torch.randperm(len(usable), generator=self.generator)[:count].tolist()
        slots = sorted(usable[place] for place in order)
        changed, kinds = list(ids), torch.rand(count, generator=self.generator).tolist()
        for slot, kind in zip(slots, kinds, strict=True):
            if kind < 0.8:
                changed[slot] = self.backbone.tokenizer.mask_token_id
            elif kind < 0.9:
                changed[slot] = int(torch.randint(self.backbone.vocab, (1,), generator=self.generator))
        return changed, slots, [ids[slot] for slot in slots]
