"""Label words as continuations of rows that begin alike (causal backbones; Brown et al. 2020, arXiv:2005.14165).

    the longest beginning that all rows share     read once, kept as keys and values        (cache.py)
    the rest of each row, in batches by length    logits at its last token alone
    first token of every label word               looked up there: one-token words are done, however many labels
    words of more tokens                          their tokens are read after the row's own keys and values
    score of a word = sum of its tokens' log-probabilities,  of a label = mean over its words

What rows share is found in their ids, which are those of the whole texts, so no token is cut at the border. Backbones
whose keys and values cannot stand for a beginning (sliding windows) read every row whole: the same scores, slower.
"""

from collections.abc import Iterator, Sequence
from itertools import takewhile

import numpy as np
import torch
from torch import Tensor

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.batches import Batch, by_length, pad
from promptlab.backbone.cache import Beginning, reusable
from promptlab.backbone.device import token_budget
from promptlab.backbone.encode import Encoded
from promptlab.backbone.score import CHUNK_BYTES, Scores, mean_of_words, narrowed, slot_logits

_WORTH = 8  # tokens that rows must share before they are read apart
_LIGHT = 8  # a token that was read before costs a batch so much less than a new one


@torch.inference_mode()
def continued(backbone: Backbone, encoded: Encoded, words: np.ndarray, cached: bool = True) -> Scores:
    """Scores every row.

    Args:
        backbone: a causal one.
        encoded: rows up to the label word.
        words: token ids, ``(rows or 1, labels, words, pieces)``, -1 where there is none.
        cached: read what rows share once; False reads every row whole.

    Returns:
        Log-probabilities ``(rows, labels)``, minus infinity where a row has no such label, and the probability that
        all its words together get, ``(rows,)``.
    """
    labels, pieces = words.shape[1], words.shape[3]
    longest = max(encoded.lengths, default=0) + pieces
    pays = pieces > 1 or shared(encoded.ids) >= _WORTH
    reader = _Cached if cached and pays and reusable(backbone, longest) else _Whole
    table = torch.as_tensor(words, device=backbone.device)
    out, mass = np.zeros((len(encoded), labels)), np.zeros(len(encoded))
    reading = reader(backbone, encoded)
    most = max(1, CHUNK_BYTES // (4 * backbone.vocab))
    for rows in by_length(reading.costs, token_budget(backbone.device), most):
        own = table[rows] if len(table) > 1 else table.expand(len(rows), -1, -1, -1)
        found = _first(reading.first(rows), own)
        for picked in _long(own, reading, rows):
            ids = _trimmed(own[picked])
            found[picked] += _rest(reading.rest(picked[0], ids), ids)
        out[rows] = mean_of_words(found, own[..., 0] >= 0).double().cpu().numpy()
        mass[rows] = _mass(found, own).double().cpu().numpy()
    return Scores(out, mass)


def shared(rows: Sequence[Sequence[int]]) -> int:
    """How many ids all rows begin with alike; each keeps at least its last."""
    if len(rows) < 2:
        return 0
    low, high = min(rows, key=list), max(rows, key=list)  # whatever these two share, all between them do
    alike = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(low, high, strict=False)))
    return max(0, min(alike, *(len(row) - 1 for row in rows)))


class _Cached:
    """Reads the shared beginning once, then the rest of each row."""

    def __init__(self, backbone: Backbone, encoded: Encoded):
        alike = shared(encoded.ids)
        at = alike if alike >= _WORTH else 0
        self.backbone, self.beginning = backbone, Beginning(backbone, encoded.ids[0][:at] if at else [])
        self.rests = [ids[at:] for ids in encoded.ids]
        self.costs = [len(rest) + at // _LIGHT for rest in self.rests]

    def first(self, rows: Sequence[int]) -> Tensor:
        """Logits at the last token of each row, ``(rows, vocabulary)``."""
        ids, attention = _right(self.backbone, [self.rests[row] for row in rows])
        self.attention = torch.cat([attention.new_ones(len(rows), self.beginning.length), attention], 1)
        self.lengths = self.attention.sum(1)
        self.cache = self.beginning.cache()
        positions = (self.attention.cumsum(1) - 1)[:, self.beginning.length :]
        with narrowed(self.backbone, Batch({}, attention.sum(1, keepdim=True) - 1)):
            return self.beginning.read(self.cache, ids, self.attention, positions)[:, 0]

    def rest(self, rows: Tensor, words: Tensor) -> Tensor:
        """Logits at all but the last token of words after those rows, ``(words, pieces - 1, vocabulary)``."""
        ids, there = words[:, :-1].clamp_min(0), (words[:, :-1] >= 0).long()
        attention = torch.cat([self.attention[rows], there], 1)
        positions = self.lengths[rows][:, None] + torch.arange(ids.shape[1], device=ids.device)
        return self.beginning.read(self.beginning.picked(self.cache, rows), ids, attention, positions * there)


class _Whole:
    """Reads every row, and every word of several tokens, from its start."""

    def __init__(self, backbone: Backbone, encoded: Encoded):
        self.backbone, self.encoded = backbone, encoded
        self.costs = encoded.lengths

    def first(self, rows: Sequence[int]) -> Tensor:
        """Logits at the last token of each row, ``(rows, vocabulary)``."""
        self.rows = rows
        return slot_logits(self.backbone, pad(self.encoded, rows, self.backbone))[:, 0]

    def rest(self, rows: Tensor, words: Tensor) -> Tensor:
        """Logits at all but the last token of words after those rows, ``(words, pieces - 1, vocabulary)``."""
        begun = [self.encoded.ids[self.rows[row]] for row in rows.tolist()]
        pieces = [[one for one in word if one >= 0] for word in words[:, :-1].tolist()]
        slots = [list(range(len(a), len(a) + len(b))) for a, b in zip(begun, pieces, strict=True)]
        ids = [a + b for a, b in zip(begun, pieces, strict=True)]
        numbers = None if self.encoded.segments is None else [[0] * len(one) for one in ids]
        long = Encoded(ids, numbers, slots, [False] * len(ids))
        return slot_logits(self.backbone, pad(long, range(len(ids)), self.backbone))


def _right(backbone: Backbone, rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    batch = pad(Encoded(rows, None, [[] for _ in rows], [False] * len(rows)), range(len(rows)), backbone)
    return batch.inputs["input_ids"], batch.attention


def _long(own: Tensor, reading: _Cached | _Whole, rows: Sequence[int]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    # (row, label, word) of the words of several tokens, so many at a time as the logits and the budget allow
    pieces = own.shape[3]
    if pieces < 2:
        return
    cost = max(reading.costs[row] for row in rows) + pieces
    most = max(1, CHUNK_BYTES // (4 * reading.backbone.vocab * (pieces - 1)))
    most = min(most, max(1, token_budget(reading.backbone.device) // cost))
    for chunk in (own[..., 1] >= 0).nonzero().split(most):
        if len(chunk):
            row, label, word = chunk.unbind(1)
            yield row, label, word


def _trimmed(words: Tensor) -> Tensor:
    return words[:, : int((words >= 0).sum(1).max())]


def _first(logits: Tensor, own: Tensor) -> Tensor:
    rows, labels, words, _ = own.shape
    values = _wide(logits).log_softmax(-1)
    return values.gather(1, own[..., 0].clamp_min(0).view(rows, -1)).view(rows, labels, words)


def _rest(logits: Tensor, words: Tensor) -> Tensor:
    following = words[:, 1:]
    values = _wide(logits).log_softmax(-1).gather(2, following.clamp_min(0)[..., None])[..., 0]
    return values.masked_fill(following < 0, 0).sum(1)


def _mass(found: Tensor, own: Tensor) -> Tensor:
    return found.exp().masked_fill(own[..., 0] < 0, 0).sum((1, 2))


def _wide(logits: Tensor) -> Tensor:
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
