"""Masked tokens for PET's auxiliary loss: 15 % of a row's.

Never a target: padding, special tokens, the mask that asks the task's question, and learnt places (marks).
"""

from dataclasses import dataclass, field

import numpy as np
import torch

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.encode import Encoded
from promptlab.training.masking import masked
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
    random: np.random.Generator = field(init=False)
    special: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.special = sorted(self.backbone.tokenizer.all_special_ids)
        self.random = np.random.default_rng(int(torch.randint(2**62, (1,), generator=self.generator)))
        self.stream = Stream(len(self.encoded), self.batch, self.generator)

    def next(self) -> tuple[Encoded, list[list[int]]]:
        """The next rows with tokens masked, their slots at the masked ones, and the tokens, a list a row."""
        rows = self.encoded.take(self.stream.next())
        found = [self._mask(np.array(ids)) for ids in rows.ids]
        hidden = Encoded([ids for ids, _, _ in found], rows.segments, [slots for _, slots, _ in found], rows.cut)
        return hidden, [tokens for _, _, tokens in found]

    def _mask(self, ids: np.ndarray) -> tuple[list[int], list[int], list[int]]:
        usable = np.flatnonzero((ids >= 0) & ~np.isin(ids, self.special))
        if not len(usable):
            return ids.tolist(), [0], [-100]
        slots = np.sort(self.random.permutation(usable)[: max(1, round(RATE * len(usable)))])
        asked = np.zeros(len(ids), dtype=bool)
        asked[slots] = True
        changed = masked(ids, asked, self.backbone.tokenizer.mask_token_id, self.backbone.vocab, self.random)
        return changed.tolist(), slots.tolist(), ids[slots].tolist()
