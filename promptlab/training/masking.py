"""Masked words: which are asked for, and what stands in their place.

words in random order, taken whole until the share of tokens is reached
of the tokens taken: 80 % become the mask, 10 % a random token, 10 % stay                 (Devlin et al. 2019,
arXiv:1810.04805, section 3.1)
"""

from dataclasses import dataclass

import numpy as np

from promptlab.backbone.passages import Row


def masked(ids: np.ndarray, asked: np.ndarray, mask: int, vocab: int, random: np.random.Generator) -> np.ndarray:
    """A copy of ``ids (tokens,)`` in which the tokens at ``asked (tokens,)`` bool are masked, replaced, or kept."""
    kind, changed = random.random(len(ids)), ids.copy()
    changed[asked & (kind < 0.8)] = mask
    other = asked & (kind >= 0.8) & (kind < 0.9)
    changed[other] = random.integers(vocab, size=int(other.sum()))
    return changed


@dataclass(frozen=True)
class Masking:
    """How whole words are masked.

    Args:
        mask: id of the mask token.
        vocab: how many ids there are.
        rate: share of a row's text tokens.
    """

    mask: int
    vocab: int
    rate: float = 0.15

    def __call__(self, row: Row, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The row's ids with words masked ``(tokens,)``, and where a word is asked for ``(tokens,)`` bool."""
        asked = self._words(row, random)
        return masked(row.ids, asked, self.mask, self.vocab, random), asked

    def _words(self, row: Row, random: np.random.Generator) -> np.ndarray:
        places = np.flatnonzero(row.text)
        first = np.flatnonzero(row.starts[places])
        sizes = np.diff(np.append(first, len(places)))
        order = random.permutation(len(first))
        taken = np.searchsorted(np.cumsum(sizes[order]), max(1, round(self.rate * len(places)))) + 1
        chosen = np.zeros(len(first), dtype=bool)
        chosen[order[:taken]] = True
        asked = np.zeros(len(row.ids), dtype=bool)
        asked[places] = np.repeat(chosen, sizes)
        return asked
