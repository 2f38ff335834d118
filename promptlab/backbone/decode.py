"""Scores of words of any length, many rows and words at a time (Schick & Schütze 2021, arXiv:2009.07118, section 3.1).

    masked    a word of n pieces has n masks of its own
        confident        fill the mask whose own piece is likeliest, encode again, and so on          n inputs
        left-to-right    fill them in order                                                           n inputs
        parallel         fill none: each piece is read with all masks open                             1 input
    causal    the word stands there, and each piece is read behind those before it (``spelt.py``)
    seq2seq   the same in the decoder
    score of a word = sum of its pieces' log-probabilities where they were read

Words whose input looks the same (the same row, as many masks, the same pieces in them) share it; all inputs of a step
go through in batches of like length, and the head sees open masks only.
"""

from collections.abc import Sequence

import numpy as np
import torch

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.batches import pad
from promptlab.backbone.encode import Encoded
from promptlab.backbone.score import Scores, batches, mean_of_words, pick, score, slot_logits
from promptlab.backbone.spelt import spell
from promptlab.errors import SettingError, did_you_mean

DECODINGS = ("confident", "left-to-right", "parallel")
_OPEN = -2  # a mask that is not filled yet


def check_decoding(decoding: str) -> None:
    """Refuses what is no way of decoding.

    Raises:
        SettingError: names the known ones.
    """
    if decoding not in DECODINGS:
        near = did_you_mean(decoding, DECODINGS)
        raise SettingError(f"decoding={decoding}: no such way.{near} Write {', '.join(DECODINGS)}.")


def answer(backbone: Backbone, encoded: Encoded, ids: np.ndarray, decoding: str = "confident") -> Scores:
    """Label scores of encoded rows, whatever the length of the words.

    Args:
        backbone: of any kind; only a masked one reads words in another order than their own.
        encoded: rows with as many masks as the row's longest word has pieces; others end where the word begins.
        ids: the words, ``(rows or 1, labels, words, pieces)``, -1 where there is none.
        decoding: in which order masks are filled: ``confident``, ``left-to-right`` or ``parallel``.

    Returns:
        Scores ``(rows, labels)``, minus infinity where a row has fewer labels than others.

    Raises:
        SettingError: no such decoding.
    """
    check_decoding(decoding)
    same = len(ids) == 1
    if ids.shape[-1] <= 1:
        return score(backbone, encoded, ids[0] if same else ids)
    each = np.repeat(ids, len(encoded), 0) if same else ids
    words, there = word_scores(backbone, encoded, each, decoding), each[..., 0] >= 0
    labels = mean_of_words(torch.as_tensor(np.where(there, words, 0.0)), torch.as_tensor(there)).numpy()
    return Scores(labels, np.exp(words).sum((1, 2)))


def word_scores(backbone: Backbone, encoded: Encoded, ids: np.ndarray, decoding: str) -> np.ndarray:
    """Log-probability of every word, ``(rows, labels, words)``; minus infinity where there is none.

    Args:
        backbone: of any kind.
        encoded: as for :func:`answer`.
        ids: ``(rows, labels, words, pieces)``.
        decoding: as for :func:`answer`.
    """
    there = ids[..., 0] >= 0
    out = np.full(there.shape, -np.inf)
    if backbone.kind != "masked":
        inputs, at = spell(encoded, ids)
        out[there] = _read(backbone, inputs, at[there], ids[there]).sum(1)
    else:
        out[there] = _fill(backbone, encoded, there.nonzero()[0], ids[there], decoding)
    return out


@torch.inference_mode()
def _read(backbone: Backbone, inputs: Encoded, at: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Log-probability of ``ids[n, i]`` at slot i of input ``at[n]``, ``(words, slots)``; 0 where the id is negative."""
    out, order = np.zeros(ids.shape), np.argsort(at, kind="stable")
    starts = np.searchsorted(at[order], np.arange(len(inputs) + 1))
    for rows in batches(backbone, inputs, slots=ids.shape[1]):
        here = np.concatenate([order[starts[row] : starts[row + 1]] for row in rows])
        local = np.repeat(np.arange(len(rows)), [starts[row + 1] - starts[row] for row in rows])
        logits = slot_logits(backbone, pad(inputs, rows, backbone))
        wide = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
        wanted, rows_at = (torch.as_tensor(one, device=wide.device) for one in (ids[here], local))
        out[here] = pick(wide.log_softmax(-1), rows_at, wanted).double().cpu().numpy()
    return np.where(ids >= 0, out, 0.0)


def _fill(backbone: Backbone, encoded: Encoded, rows: np.ndarray, ids: np.ndarray, decoding: str) -> np.ndarray:
    """Scores of masked words, ``(words,)``: word n, of pieces ``ids[n]``, in row ``rows[n]``."""
    total, seen = np.zeros(len(ids)), np.where(ids >= 0, _OPEN, -1)  # what stands at each mask of each word
    left = np.arange(len(ids))
    while len(left):
        keys, at = np.unique(np.column_stack([rows[left], seen[left]]), axis=0, return_inverse=True)
        inputs = [_Input(int(key[0]), key[1:]) for key in keys]
        places = np.array([one.open + [-1] * (ids.shape[1] - len(one.open)) for one in inputs])[at.ravel()]
        if decoding == "left-to-right":
            places[:, 1:] = -1
        places = places[:, : max(1, (places >= 0).sum(1).max())]
        wanted = np.where(places >= 0, np.take_along_axis(ids[left], places.clip(0), 1), -1)
        found = _read(backbone, _masked(encoded, inputs, places.shape[1]), at.ravel(), wanted)
        if decoding == "parallel":
            return found.sum(1)
        best = np.where(wanted >= 0, found, -np.inf).argmax(1)
        each = np.arange(len(left))
        total[left] += found[each, best]
        seen[left, places[each, best]] = wanted[each, best]
        left = left[(seen[left] == _OPEN).any(1)]
    return total


class _Input:
    """A row with masks of which some are filled: ``fills`` holds their tokens, ``_OPEN``, and -1 past the last mask."""

    def __init__(self, row: int, fills: np.ndarray):
        self.row, self.fills = row, fills[fills != -1].tolist()
        self.open = [place for place, token in enumerate(self.fills) if token == _OPEN]


def _masked(encoded: Encoded, inputs: Sequence[_Input], slots: int) -> Encoded:
    """Rows with as many masks as their words have pieces, the filled ones filled; slots at the first open ones."""
    ids, segments, places = [], [], []
    for one in inputs:
        own, masks = encoded.ids[one.row], encoded.slots[one.row]
        start, stop, surplus = masks[0], masks[0] + len(one.fills), masks[-1] + 1
        filled = [own[start] if token == _OPEN else token for token in one.fills]
        ids.append([*own[:start], *filled, *own[surplus:]])
        places.append([start + place for place in one.open[:slots]])
        if encoded.segments is not None:
            numbers = encoded.segments[one.row]
            segments.append(numbers[:stop] + numbers[surplus:])
    return Encoded(
        ids, None if encoded.segments is None else segments, places, [encoded.cut[one.row] for one in inputs]
    )
