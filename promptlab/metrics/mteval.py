"""BLEU and NIST as mteval-13a counts them (Papineni et al. 2002; Doddington 2002), over sacrebleu's 13a tokens.

    hits       n-grams of a hypothesis, each at most as often as in that reference which holds it most often
    BLEU       exp(1 - closest / written) where too short  x  (product over n <= 4 of hits / n-grams written)^(1/4)
    NIST       penalty  x  sum over n <= 5 of (information of the hits / n-grams written)
               information of w1..wn = log2 (count of w1..wn-1 / count of w1..wn), over all references
               penalty = exp(ln .5 / ln^2 1.5  x  ln^2(written / mean length of the references)) where too short

Two scripts close BLEU differently. E2E's (``-p``) is never 0, and a text of two tokens has minus one 4-gram there;
WebNLG's is 0 where no 4-gram is right, as sacrebleu's without smoothing. NLTK 3.10's ``corpus_nist`` is wrong where
rows have several references.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

LONGEST, FOUR = 5, 4
HITS, WORTH, WRITTEN = slice(0, 5), slice(5, 10), slice(10, 15)
CLOSEST, MEAN = 15, 16
"""Columns of a row's counts: hits, their information and n-grams written, of each length; two lengths of references."""

_TINY, _SMALL, _NOTHING = 1e-15, 1e-9, 1e-5
_STEEP = math.log(0.5) / math.log(1.5) ** 2

Ngrams = list[Counter[tuple[str, ...]]]


def count(hypotheses: Sequence[str], references: Sequence[Sequence[str]], cased: bool = False) -> np.ndarray:
    """Counts of each row, ``(rows, 17)``; BLEU and NIST follow from their sums.

    Args:
        hypotheses: a text a row.
        references: of each row, at least one.
        cased: as WebNLG's script: case counts, and a text too short for an n-gram has none.
    """
    said = _tokens(hypotheses, cased)
    right = [_tokens(some, cased) for some in references]
    told = [[_ngrams(one) for one in some] for some in right]
    known = _known(right)
    found = np.zeros((len(said), 17))
    for row, one in enumerate(said):
        for n, hits in enumerate(_hits(_ngrams(one), told[row])):
            found[row, n] = sum(hits.values())
            found[row, LONGEST + n] = sum(times * _information(gram, known) for gram, times in hits.items())
        written = len(one) - np.arange(LONGEST)
        found[row, WRITTEN] = written.clip(min=0) if cased else written
        lengths = [len(each) for each in right[row]]
        found[row, CLOSEST] = min(lengths, key=lambda length: (abs(length - len(one)), length))
        found[row, MEAN] = sum(lengths) / len(lengths)
    return found


def bleu(sums: np.ndarray) -> np.ndarray:
    """BLEU of sums of counts as E2E's script has it, ``(draws, 17)`` to ``(draws,)``; fractions."""
    hits, written = np.maximum(sums[:, :FOUR], _TINY), np.maximum(sums[:, WRITTEN][:, :FOUR], _SMALL)
    return _brevity(sums) * np.exp(np.log(hits / written).mean(axis=1))


def cased_bleu(sums: np.ndarray) -> np.ndarray:
    """BLEU of sums of counts as WebNLG's script has it, ``(draws, 17)`` to ``(draws,)``; fractions."""
    return np.where((sums[:, :FOUR] > 0).all(axis=1), bleu(sums), 0.0)


def nist(sums: np.ndarray) -> np.ndarray:
    """NIST of sums of counts, ``(draws, 17)`` to ``(draws,)``; bits a word, no fractions.

    The information of an n-gram stays that of the whole test set, however the rows are drawn.
    """
    written = sums[:, WRITTEN]
    gained = np.divide(sums[:, WORTH], written, out=np.zeros_like(written), where=written != 0).sum(axis=1)
    ratio = np.clip(sums[:, 10] / sums[:, MEAN], 1e-300, 1.0)
    return gained * np.exp(_STEEP * np.log(ratio) ** 2)


def _brevity(sums: np.ndarray) -> np.ndarray:
    length, closest = sums[:, 10], sums[:, CLOSEST]
    return np.where(length <= closest, np.exp(np.minimum(0, 1 - closest / np.maximum(length, _NOTHING))), 1.0)


def _tokens(texts: Sequence[str], cased: bool) -> list[list[str]]:
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    cut = Tokenizer13a()
    found = [cut(text if cased else text.lower()).split() for text in texts]
    return found if cased else [tokens or [""] for tokens in found]  # E2E's script counts nothing as one empty token


def _ngrams(tokens: Sequence[str]) -> Ngrams:
    return [Counter(_grams(tokens, n)) for n in range(1, LONGEST + 1)]


def _grams(tokens: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    return zip(*(tokens[start:] for start in range(n)), strict=False)


def _hits(said: Ngrams, told: Sequence[Ngrams]) -> Iterator[dict[tuple[str, ...], int]]:
    for n, grams in enumerate(said):
        most: dict[tuple[str, ...], int] = {}
        for one in told:
            for gram in grams.keys() & one[n].keys():
                most[gram] = max(most.get(gram, 0), min(grams[gram], one[n][gram]))
        yield most


def _known(right: Sequence[Sequence[Sequence[str]]]) -> Ngrams:
    """How often each n-gram occurs in all references; the one of no words as often as there are words."""
    known: Ngrams = [Counter() for _ in range(LONGEST + 1)]
    for tokens in (one for some in right for one in some):
        known[0][()] += len(tokens)
        for n in range(1, LONGEST + 1):
            known[n].update(_grams(tokens, n))
    return known


def _information(gram: tuple[str, ...], known: Ngrams) -> float:
    return math.log2(known[len(gram) - 1][gram[:-1]] / known[len(gram)][gram])
