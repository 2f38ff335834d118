"""Texts written after rows, many rows at a time.

    batches of rows of like length, under the token budget with every beam counted
    each batch     read once, then a token a step for all its rows (steps.py): the likeliest or a drawn one
                   (greedy.py), or the best of several texts followed side by side (beams.py)
    a row leaves   when its text has ended (stops.py); the batch goes on with the others
    after a batch  its texts are told, whole, so that work that is broken off can be taken up there

Neither the batch nor its size changes a text, but for rounding.
"""

from collections.abc import Callable, Sequence

import torch

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.batches import by_length
from promptlab.backbone.beams import followed
from promptlab.backbone.decoding import Decoding
from promptlab.backbone.device import token_budget
from promptlab.backbone.encode import Encoded
from promptlab.backbone.greedy import stepped
from promptlab.backbone.sampling import numbers
from promptlab.backbone.score import CHUNK_BYTES
from promptlab.backbone.steps import Reader
from promptlab.backbone.stops import Stops
from promptlab.errors import BackboneError, DataError

__all__ = ["Decoding", "generate"]
Told = Callable[[list[int], list[str]], None]
_LIGHT = 8  # a token that is kept costs a batch so much less than one that is read


@torch.inference_mode()
def generate(
    backbone: Backbone, encoded: Encoded, how: Decoding, told: Told | None = None, cached: bool = True
) -> list[str]:
    """Writes a text after every row.

    Args:
        backbone: causal, or an encoder-decoder; as some tuning has it, or plain.
        encoded: what is read before (``pairs.sources``).
        how: the settings.
        told: is shown the numbers of a batch's rows and their texts as soon as these are written.
        cached: keep keys and values; False reads all again at every step.

    Returns:
        A text a row, without white space around it; empty where nothing was written.

    Raises:
        BackboneError: a masked backbone, or one without a token that ends a text.
        DataError: a row and ``max_tokens`` more do not fit; names the row.
    """
    if backbone.kind == "masked":
        raise BackboneError(
            f"{backbone.name} fills in masks and writes no text. Write a causal model (GPT-2, Llama) or an "
            "encoder-decoder (T5, BART)."
        )
    _check_room(backbone, encoded, how)
    stops, reader = Stops(backbone, how), Reader(backbone, encoded, how.max_tokens, cached)
    drawing = numbers(encoded, how) if how.sample else []
    texts = [""] * len(encoded)
    for rows in _batches(reader, how):
        steps = reader.read(rows)
        own = [drawing[row] for row in rows] if how.sample else []
        found = followed(steps, how, stops) if how.beams > 1 else stepped(steps, how, stops, own)
        written = [stops.text(ids) for ids in found]
        for row, text in zip(rows, written, strict=True):
            texts[row] = text
        if told is not None:
            told(rows, written)
    return texts


def _batches(reader: Reader, how: Decoding) -> Sequence[list[int]]:
    """Rows by length; a row costs what all its sequences do, in tokens read at once."""
    later = how.max_tokens if not reader.cached else -(-(how.max_tokens + reader.alike) // _LIGHT)
    costs = [how.beams * (length + later) for length in reader.lengths]
    most = max(1, CHUNK_BYTES // (4 * reader.backbone.vocab * how.beams))
    return list(by_length(costs, token_budget(reader.backbone.device), most))


def _check_room(backbone: Backbone, encoded: Encoded, how: Decoding) -> None:
    most = backbone.max_length + 1 - how.max_tokens  # the last token written is never read
    for row, ids in enumerate(encoded.ids if encoded.replies is None else encoded.replies, 1):
        if len(ids) > most:
            raise DataError(
                f"row {row}: {len(ids)} tokens are read and max_tokens={how.max_tokens} may follow, but "
                f"{backbone.name} has room for {backbone.max_length}. Write a smaller max_tokens=, or a shorter row."
            )
