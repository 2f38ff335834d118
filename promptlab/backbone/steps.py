"""What a model says next, token after token, of rows that are read once.

first()          read the rows                         logits at their last token
spread(k)        k sequences go on from each row
next(tokens)     each sequence grows by a token        logits there
order, keep      sequences change places within their rows; some go on alone

Causal     the beginning that all rows share is read once (cache.py), the rest of the rows side by side, padded on
           the right; what is written stands behind the padding, at positions counted over real tokens
Replying   an encoder-decoder: the encoder runs once, the decoder keeps its own keys and those of the encoder
Whole      all is read again at every step: for models whose keys cannot be kept, and where a learnt part looks
           at rows as a whole; the same texts, slower
"""

import inspect
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import Cache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.batches import Batch, pad
from promptlab.backbone.cache import Beginning, cache_name, reusable
from promptlab.backbone.continuation import shared
from promptlab.backbone.encode import Encoded
from promptlab.backbone.room import Room, layers_of
from promptlab.backbone.rows import reads_whole
from promptlab.backbone.score import narrowed, slot_logits

_WORTH = 8  # tokens that rows must share before they are read apart


class Steps(Protocol):
    """Rows of one batch, and the sequences that go on from them."""

    def first(self) -> Tensor:
        """Logits after each row, ``(rows, vocabulary)``."""

    def spread(self, beams: int) -> None:
        """From now on ``beams`` sequences go on from each row, side by side."""

    def next(self, tokens: Tensor) -> Tensor:
        """Logits after each sequence with its next token ``(sequences,)``: ``(sequences, vocabulary)``."""

    def order(self, order: Tensor) -> None:
        """Sequence i goes on from sequence ``order[i]``, which is of the same row."""

    def keep(self, sequences: Tensor) -> None:
        """Goes on with these sequences alone."""


class Reader:
    """How a backbone reads rows that texts are to follow.

    Args:
        backbone: causal, or an encoder-decoder.
        encoded: the rows, each answering at its last token, or at that of its reply; replies begin alike.
        room: tokens that are to be written.
        cached: keep keys and values; False reads all again at every step.
    """

    def __init__(self, backbone: Backbone, encoded: Encoded, room: int, cached: bool = True):
        self.backbone, self.encoded, self.room = backbone, encoded, room
        self.cached = cached and _kept(backbone, encoded, room)
        alike = shared(encoded.ids) if self.cached and encoded.replies is None else 0
        self.alike = alike if alike >= _WORTH else 0
        self.beginning = Beginning(backbone, encoded.ids[0][: self.alike]) if self.cached and len(encoded) else None

    @property
    def lengths(self) -> list[int]:
        """Tokens of each row that are read with it."""
        return [length - self.alike for length in self.encoded.lengths]

    def read(self, rows: Sequence[int]) -> Steps:
        """These rows as a batch."""
        if self.beginning is None:
            return Whole(self.backbone, self.encoded, rows)
        if self.encoded.replies is not None:
            return Replying(self.backbone, pad(self.encoded, rows, self.backbone), self.room)
        rests = [self.encoded.ids[row][self.alike :] for row in rows]
        rest = Encoded(rests, None, [[len(ids) - 1] for ids in rests], [False] * len(rests))
        return Causal(self.beginning, pad(rest, range(len(rests)), self.backbone), self.room)


class Causal:
    """See the module.

    Args:
        beginning: what the rows share.
        batch: the rest of the rows, answering at their last tokens.
        room: tokens that are to be written.
    """

    def __init__(self, beginning: Beginning, batch: Batch, room: int):
        self.beginning, self.batch, self.room = beginning, batch, room
        own = batch.attention
        alike, later = own.new_ones(len(own), beginning.length), own.new_ones(len(own), room)
        self.attention = torch.cat([alike, own, later], 1)
        self.width, self.position = beginning.length + own.shape[1], beginning.length + own.sum(1)

    def first(self) -> Tensor:
        """Logits after each row."""
        self.cache, seen = self.beginning.cache(), self.attention[:, : self.width]
        positions = (seen.cumsum(1) - 1)[:, self.beginning.length :]
        with narrowed(self.beginning.backbone, self.batch):
            return self.beginning.read(self.cache, self.batch.inputs["input_ids"], seen, positions)[:, 0]

    def spread(self, beams: int) -> None:
        """Gives every sequence room of its own."""
        grown = zip(self.cache.layers, self.beginning.layers, strict=True)
        self.cache = Cache(layers=[Room((own.keys, own.values), beams, self.room, before) for own, before in grown])
        self.attention, self.position = (one.repeat_interleave(beams, 0) for one in (self.attention, self.position))

    def next(self, tokens: Tensor) -> Tensor:
        """Logits after each sequence."""
        self.width += 1
        seen, positions = self.attention[:, : self.width], self.position[:, None]
        self.position = self.position + 1
        return self.beginning.read(self.cache, tokens[:, None], seen, positions)[:, -1]

    def order(self, order: Tensor) -> None:
        """Moves what was written."""
        for layer in layers_of(self.cache):
            layer.order(order)

    def keep(self, sequences: Tensor) -> None:
        """Cuts the cache."""
        for layer in layers_of(self.cache):
            layer.keep(sequences)
        self.attention, self.position = self.attention[sequences], self.position[sequences]


class Replying:
    """See the module.

    Args:
        backbone: an encoder-decoder.
        batch: rows and what their decoder begins with, without padding there.
        room: tokens that are to be written.
    """

    def __init__(self, backbone: Backbone, batch: Batch, room: int):
        self.backbone, self.batch, self.room = backbone, batch, room

    def first(self) -> Tensor:
        """Runs the encoder, and the decoder over its beginning."""
        self.own, self.across = DynamicCache(), DynamicCache()
        self.attention = self.batch.inputs["attention_mask"]
        given = {name: self.batch.inputs[name] for name in ("input_ids", "decoder_input_ids")}
        self.cache = EncoderDecoderCache(self.own, self.across)
        found = self.backbone.model(**given, attention_mask=self.attention, **self._cached())
        self.states: Tensor = found.encoder_last_hidden_state
        logits: Tensor = found.logits[:, -1]
        return logits

    def spread(self, beams: int) -> None:
        """Gives every sequence room of its own, and the encoder's keys."""
        both = [
            Cache(layers=[Room((layer.keys, layer.values), beams, room) for layer in cache.layers])
            for cache, room in ((self.own, self.room), (self.across, 0))
        ]
        self.own, self.across = both
        self.cache = EncoderDecoderCache(*both)
        self.states, self.attention = (one.repeat_interleave(beams, 0) for one in (self.states, self.attention))

    def next(self, tokens: Tensor) -> Tensor:
        """Logits after each sequence."""
        read = BaseModelOutput(last_hidden_state=self.states)
        given = {"encoder_outputs": read, "attention_mask": self.attention, "decoder_input_ids": tokens[:, None]}
        logits: Tensor = self.backbone.model(**given, **self._cached()).logits[:, -1]
        return logits

    def order(self, order: Tensor) -> None:
        """Moves what was written."""
        for layer in layers_of(self.own):
            layer.order(order)

    def keep(self, sequences: Tensor) -> None:
        """Cuts both caches."""
        for layer in (*layers_of(self.own), *layers_of(self.across)):
            layer.keep(sequences)
        self.states, self.attention = self.states[sequences], self.attention[sequences]

    def _cached(self) -> dict[str, object]:
        return {cache_name(self.backbone): self.cache, "use_cache": True}


class Whole:
    """See the module.

    Args:
        backbone: causal, or an encoder-decoder.
        encoded: all rows.
        rows: those that are read.
    """

    def __init__(self, backbone: Backbone, encoded: Encoded, rows: Sequence[int]):
        self.backbone, self.encoded, self.rows = backbone, encoded, list(rows)
        self.written: list[list[int]] = [[] for _ in rows]

    def first(self) -> Tensor:
        """Logits after each row."""
        found = self.encoded.followed(self.rows, self.written)
        found.slots = [slots[-1:] for slots in found.slots]
        return slot_logits(self.backbone, pad(found, range(len(found)), self.backbone))[:, 0]

    def spread(self, beams: int) -> None:
        """Every row as often."""
        self.keep(torch.arange(len(self.rows)).repeat_interleave(beams))

    def next(self, tokens: Tensor) -> Tensor:
        """Logits after each sequence, read from its start."""
        self.written = [[*ids, token] for ids, token in zip(self.written, tokens.tolist(), strict=True)]
        return self.first()

    def order(self, order: Tensor) -> None:
        """Moves what was written."""
        self.keep(order)

    def keep(self, sequences: Tensor) -> None:
        """Goes on with these sequences alone."""
        chosen = sequences.tolist()
        self.rows, self.written = [self.rows[one] for one in chosen], [self.written[one] for one in chosen]


def _kept(backbone: Backbone, encoded: Encoded, room: int) -> bool:
    """Whether keys and values can be kept, exactly."""
    if encoded.segments is not None:
        return False
    if encoded.replies is None:
        return reusable(backbone, max(encoded.lengths, default=0) + room)
    known = inspect.signature(backbone.model.forward).parameters
    stateful = getattr(backbone.model, "_is_stateful", False)
    return not (reads_whole(backbone) or stateful) and "encoder_outputs" in known and bool(cache_name(backbone))
