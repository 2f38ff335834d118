"""Plain text as rows of token ids for language-model training, kept in one flat array on disk.

    row = as many whole paragraphs as fit into ``length`` tokens; a longer paragraph is cut into several rows
    the tokenizer's special tokens stand around a row (``[CLS] ... [SEP]``); causal models end a paragraph with theirs

Beside each token stands whether it begins a word, so that words can be masked whole.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.specials import special_ids, specials_of

_AT_ONCE = 1000  # paragraphs a call of the tokenizer


class Row(NamedTuple):
    """A row with its special tokens.

    Args:
        ids: ``(tokens,)``.
        starts: whether a word begins there, ``(tokens,)``.
        text: whether the token is text, not a special one, ``(tokens,)``.
    """

    ids: np.ndarray
    starts: np.ndarray
    text: np.ndarray


@dataclass(frozen=True)
class Passages:
    """Rows of a corpus.

    Args:
        ids: all text tokens, flat.
        starts: whether a word begins at each, flat.
        bounds: row i is ``ids[bounds[i]:bounds[i + 1]]``.
        before: special ids before each row.
        after: and after it.
    """

    ids: np.ndarray
    starts: np.ndarray
    bounds: np.ndarray
    before: tuple[int, ...]
    after: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @property
    def sizes(self) -> np.ndarray:
        """Tokens of text in each row."""
        return np.diff(self.bounds)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, special ones counted."""
        return self.sizes + len(self.before) + len(self.after)

    def row(self, number: int) -> Row:
        """One row."""
        span = slice(self.bounds[number], self.bounds[number + 1])
        ids = np.concatenate([self.before, self.ids[span], self.after]).astype(np.int64)
        text = np.zeros(len(ids), dtype=bool)
        text[len(self.before) : len(ids) - len(self.after)] = True
        starts = np.zeros(len(ids), dtype=bool)
        starts[text] = self.starts[span]
        starts[len(self.before)] = True  # the rest of a word that the row before began
        return Row(ids, starts, text)

    def save(self, folder: Path) -> None:
        """Writes the three arrays."""
        for name in ("ids", "starts", "bounds"):
            np.save(folder / f"{name}.npy", getattr(self, name), allow_pickle=False)


def load_passages(folder: Path, backbone: Backbone) -> Passages:
    """What :meth:`Passages.save` wrote, mapped into memory rather than read."""
    ids, starts, bounds = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("ids", "starts", "bounds"))
    return Passages(ids, starts, bounds, *_around(backbone))


def read_passages(paragraphs: Iterable[str], backbone: Backbone, length: int) -> Passages:
    """Tokenises paragraphs and lays them out in rows.

    Args:
        paragraphs: texts; none can spell a special token.
        backbone: whose tokenizer reads them.
        length: the most tokens of a row, special ones counted.
    """
    before, after = _around(backbone)
    room = max(1, length - len(before) - len(after))
    kind = np.uint16 if backbone.vocab <= 2**16 else np.uint32
    ids, starts, bounds, filled = [np.zeros(0, kind)], [np.zeros(0, bool)], [0], 0
    for tokens, first in _tokenised(paragraphs, backbone):
        ids.append(tokens.astype(kind))
        starts.append(first)
        if filled and filled + len(tokens) > room:
            bounds.append(bounds[-1] + filled)
            filled = 0
        filled += len(tokens)
        while filled > room:
            bounds.append(bounds[-1] + room)
            filled -= room
    if filled:
        bounds.append(bounds[-1] + filled)
    return Passages(np.concatenate(ids), np.concatenate(starts), np.array(bounds, np.int64), before, after)


def _around(backbone: Backbone) -> tuple[tuple[int, ...], tuple[int, ...]]:
    before, after = (tuple(token for token, _ in run) for run in specials_of(backbone).single.runs)
    return before, after


def _tokenised(paragraphs: Iterable[str], backbone: Backbone) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Ids of each paragraph, and where its words begin."""
    tokenizer, left = backbone.tokenizer, iter(paragraphs)
    end = [] if backbone.kind == "masked" or tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    forbidden = np.array(sorted(special_ids(tokenizer)))
    while batch := list(islice(left, _AT_ONCE)):
        found = tokenizer(batch, add_special_tokens=False, split_special_tokens=True, verbose=False)
        for one in found.encodings:
            ids, words = np.array(one.ids, np.int64), np.array(one.word_ids, np.float64)
            if not len(ids) or np.isin(ids, forbidden).any():  # it spells a special token all the same (Unigram)
                continue
            begins = np.concatenate([[True], words[1:] != words[:-1]])
            yield np.concatenate([ids, end]).astype(np.int64), np.concatenate([begins, [True] * len(end)]).astype(bool)
