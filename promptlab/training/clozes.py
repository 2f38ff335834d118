"""Label words in training: one pass a step, whatever their length (Schick & Schütze 2021, arXiv:2009.07118).

    masked    as many masks as the row's longest word; piece i of any word is read at mask i
    causal    the row with the words behind it (``spelt.py``); piece i is read behind those before it
    seq2seq   the same in the decoder
    score of a word = sum of its pieces' log-probabilities;  of a label, the mean over its words
    one-token words that are all rows' own: cross-entropy over label scores;  all others: hinge over the choices

Unlike in decoding, masks are never filled: each piece is learnt as if it stood there alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from promptlab.backbone.encode import Encoded, Encoder
from promptlab.backbone.spelt import spell
from promptlab.backbone.words import RowWords, row_words
from promptlab.language.example import Example
from promptlab.language.task import PVP


class Asked(NamedTuple):
    """Where a step's words are read.

    Args:
        ids: token ids, ``(rows, labels, words, pieces)``, -1 where there is none.
        at: the input of each word, ``(rows, labels, words)``.
        inputs: how many inputs the rows take.
        hinge: whether the loss is the hinge over choices.
    """

    ids: np.ndarray
    at: np.ndarray
    inputs: int
    hinge: bool


@dataclass(frozen=True)
class Clozes:
    """A member's rows in its pattern.

    Args:
        encoded: the rows, with masks for each row's longest word.
        words: what each is asked for.
        spelt: whether words are read behind the row, or in the decoder.
        most: inputs that a row takes at most.
    """

    encoded: Encoded
    words: RowWords
    spelt: bool
    most: int

    @classmethod
    def of(
        cls, encoder: Encoder, pvp: PVP, examples: Sequence[Example], choices: Sequence[Sequence[str]] | None
    ) -> "Clozes":
        """Lays the pattern around examples; arguments as for :func:`promptlab.backbone.ask.ask`."""
        words = row_words(encoder.backbone, pvp, examples, choices)
        encoded = encoder.cloze(pvp.pattern, examples, words.room(len(examples)))
        spelt = encoder.backbone.kind != "masked"
        return cls(encoded, words, spelt, _most(encoded, words) if spelt else 1)

    @property
    def pieces(self) -> int:
        """Tokens of the longest word."""
        return self.words.ids.shape[-1]

    @property
    def lengths(self) -> list[int]:
        """Tokens of each row's input, with room for the longest word."""
        return [length + (self.pieces - 1 if self.spelt else 0) for length in self.encoded.lengths]

    def take(self, rows: Sequence[int]) -> tuple[Encoded, Asked]:
        """Inputs of a step, and where its words are read in them."""
        encoded, ids = self.encoded.take(rows), self.words.take(rows)
        hinge = not self.words.single
        if self.spelt:
            inputs, at = spell(encoded, ids)
            return inputs, Asked(ids, at, len(inputs), hinge)
        at = np.broadcast_to(np.arange(len(rows))[:, None, None], ids.shape[:3])
        return encoded, Asked(ids, at, len(rows), hinge)


def _most(encoded: Encoded, words: RowWords) -> int:
    counted = range(min(1, len(encoded))) if words.fixed else range(len(encoded))
    return max((len(spell(encoded.take([row]), words.take([row]))[0]) for row in counted), default=1)


def together(asked: Sequence[Asked], inputs: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Words of all members of a stack, and where they are read: ``ids`` and ``at`` of member-major rows.

    Args:
        asked: of each member.
        inputs: that each member has in the batch.
        device: of the backbone.
    """
    sizes = [max(one.ids.shape[axis] for one in asked) for axis in range(4)]
    ids = np.full((len(asked), *sizes), -1, dtype=np.int64)
    at = np.zeros((len(asked), *sizes[:3]), dtype=np.int64)
    for i, one in enumerate(asked):
        rows, labels, words, pieces = one.ids.shape
        ids[i, :rows, :labels, :words, :pieces] = one.ids
        at[i, :rows, :labels, :words] = one.at
        at[i] += i * inputs
    return torch.as_tensor(ids, device=device).flatten(0, 1), torch.as_tensor(at, device=device).flatten(0, 1)
