"""Rows of unequal length into batches: sorted by length, padded to their own longest, under a token budget."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.encode import Encoded


@dataclass(frozen=True)
class Batch:
    """Padded rows on the backbone's device.

    Args:
        inputs: what the model is called with: ``input_ids``, ``attention_mask`` and, where the model has them,
            ``token_type_ids``, each ``(rows, tokens)``; with replies what the decoder reads, ``decoder_input_ids`` and
            ``decoder_attention_mask``, ``(rows, decoder tokens)``.
        slots: positions whose hidden state answers, ``(rows, slots)``; short rows repeat their last one. With replies
            they are the decoder's.
        places: where each row's tokens lie among the flattened inputs, ``(rows, tokens)``, if rows are packed
            (``packing.py``); None if they are padded.
        real: 1 for a real token, 0 for padding, ``(rows, tokens)``, if rows are packed.
    """

    inputs: dict[str, Tensor]
    slots: Tensor
    places: Tensor | None = None
    real: Tensor | None = None

    @property
    def attention(self) -> Tensor:
        """1 for a real token, 0 for padding: ``(rows, tokens)``."""
        return self.inputs["attention_mask"] if self.real is None else self.real

    @property
    def readable(self) -> Tensor:
        """1 for a token of the row's own, 0 for padding and learnt places (marks): ``(rows, tokens)``.

        With replies those of the decoder.
        """
        if "decoder_attention_mask" in self.inputs:
            return self.inputs["decoder_attention_mask"]
        ids = self.inputs["input_ids"]
        return self.attention * ((ids if self.places is None else ids.flatten()[self.places]) >= 0)

    def unpacked(self, states: Tensor) -> Tensor:
        """What the model says of its inputs, ``(.., .., width)``, as one row a row: ``(rows, tokens, width)``."""
        return states if self.places is None else states.flatten(0, 1)[self.places]

    def at_slots(self, states: Tensor) -> Tensor:
        """The same at the slots alone, ``(rows, slots, width)``."""
        rows = torch.arange(len(self.slots), device=states.device)[:, None]
        return states[rows, self.slots] if self.places is None else states.flatten(0, 1)[self.places[rows, self.slots]]


def pad(encoded: Encoded, rows: Sequence[int], backbone: Backbone, multiple: int = 1) -> Batch:
    """The chosen rows side by side, padded on the right (positions then count from the text's own start).

    Args:
        encoded: rows in ids.
        rows: which of them.
        backbone: whose device they go to.
        multiple: they become a multiple of so many tokens long, as far as the backbone reads.
    """
    ids = [encoded.ids[row] for row in rows]
    padding = backbone.tokenizer.pad_token_id or 0
    inputs = {"input_ids": (ids, padding), "attention_mask": ([[1] * len(one) for one in ids], 0)}
    if encoded.segments is not None:
        inputs["token_type_ids"] = ([encoded.segments[row] for row in rows], 0)
    if encoded.replies is not None:
        replies = [encoded.replies[row] for row in rows]
        inputs["decoder_input_ids"] = (replies, padding)
        inputs["decoder_attention_mask"] = ([[1] * len(one) for one in replies], 0)
    slots = [encoded.slots[row] for row in rows]
    widest = max(map(len, slots), default=0)
    slots = [[*slot, *([slot[-1]] * (widest - len(slot)))] if slot else [0] * widest for slot in slots]
    return Batch(
        {
            name: _rectangle(each, filler, multiple, backbone.max_length).to(backbone.device)
            for name, (each, filler) in inputs.items()
        },
        torch.tensor(slots, dtype=torch.long, device=backbone.device).view(len(rows), widest),
    )


def by_length(lengths: Sequence[int], budget: int, most_rows: int | None = None) -> Iterator[list[int]]:
    """Row numbers in batches of like length, longest first (so that a lack of memory shows at once).

    Args:
        lengths: tokens of each row.
        budget: padded tokens a batch may hold; a longer row gets a batch of its own.
        most_rows: rows a batch may hold at most.
    """
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    start = 0
    while start < len(order):
        fits = max(1, budget // max(1, lengths[order[start]]))
        stop = start + min(fits, most_rows or fits)
        yield order[start:stop]
        start = stop


def _rectangle(rows: list[list[int]], filler: int, multiple: int, most: int) -> Tensor:
    longest = max(map(len, rows))
    longest = max(longest, min(most, -(-longest // multiple) * multiple))
    return torch.tensor([row + [filler] * (longest - len(row)) for row in rows], dtype=torch.long)
