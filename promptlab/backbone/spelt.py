"""Words of several tokens after a row that goes on: each read behind the pieces before it (teacher forcing).

    a word of pieces t1 .. tn     the input  row t1 .. t(n-1),  whose last n tokens answer for t1 .. tn
    words that begin alike        share an input; one that is the beginning of another needs none of its own

So words of one token cost one input a row, the row itself. An encoder-decoder spells them in its decoder.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence

import numpy as np

from promptlab.backbone.encode import Encoded


def spell(encoded: Encoded, ids: np.ndarray) -> tuple[Encoded, np.ndarray]:
    """Inputs in which every word of every row can be read.

    Args:
        encoded: rows of a causal backbone or an encoder-decoder, each answering at its last token.
        ids: token ids of each row's words, ``(rows, labels, words, pieces)``, -1 where there is none.

    Returns:
        The inputs, with a slot for each piece; and the number of the input at which each word is read,
        ``(rows, labels, words)``.
    """
    at = np.zeros(ids.shape[:3], dtype=np.int64)
    rows, pieces = list[int](), list[tuple[int, ...]]()
    for row, words in enumerate(ids):
        before = {place: _before(words[place]) for place in np.ndindex(words.shape[:2]) if words[place][0] >= 0}
        longest = _longest(before.values())
        for place, own in before.items():
            at[(row, *place)] = len(rows) + _first(longest, own)
        rows += [row] * len(longest)
        pieces += longest
    return encoded.followed(rows, pieces), at


def _before(word: np.ndarray) -> tuple[int, ...]:
    """The pieces of a word that stand before its last."""
    return tuple(word[word >= 0][:-1].tolist())


def _longest(beginnings: Iterable[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Those that are the beginning of no other; sorted, so what begins with one follows it at once."""
    listed = sorted(set(beginnings))
    after: Sequence[tuple[int, ...] | None] = [*listed[1:], None]
    return [one for one, then in zip(listed, after, strict=True) if then is None or then[: len(one)] != one]


def _first(longest: Sequence[tuple[int, ...]], pieces: tuple[int, ...]) -> int:
    """The number of the first that begins with ``pieces``: a beginning sorts right before what begins with it."""
    return bisect_left(longest, pieces)
