"""What a backbone would write itself: its likeliest words at the mask."""

from collections.abc import Iterator
from typing import Any

import torch

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.batches import by_length, pad
from promptlab.backbone.device import token_budget
from promptlab.backbone.encode import Encoded
from promptlab.backbone.score import CHUNK_BYTES, slot_logits


@torch.inference_mode()
def guesses(backbone: Backbone, encoded: Encoded, count: int = 5) -> list[list[tuple[str, float]]]:
    """The likeliest words of each row with their probabilities, likeliest first.

    Args:
        backbone: masked or causal.
        encoded: rows in a pattern; the first slot of each is asked.
        count: words a row.
    """
    found: dict[int, list[tuple[str, float]]] = {}
    for rows in _batches(backbone, encoded):
        logits = slot_logits(backbone, pad(encoded, rows, backbone))[:, 0].float()
        chances, ids = logits.softmax(-1).topk(min(count, logits.shape[-1]))
        for row, each, these in zip(rows, ids.tolist(), chances.tolist(), strict=True):
            found[row] = [(_word(backbone.tokenizer, token), p) for token, p in zip(each, these, strict=True)]
    return [found[row] for row in range(len(encoded))]


def _word(tokenizer: Any, token: int) -> str:
    """A token as a person reads it; as the vocabulary writes it where it is no text by itself."""
    text = tokenizer.decode([token]).strip()
    readable = text.isprintable() and "\N{REPLACEMENT CHARACTER}" not in text
    return text if text and readable else str(tokenizer.convert_ids_to_tokens(token))


def _batches(backbone: Backbone, encoded: Encoded) -> Iterator[list[int]]:
    most = max(1, CHUNK_BYTES // (4 * backbone.vocab))
    return by_length(encoded.lengths, token_budget(backbone.device), most)
