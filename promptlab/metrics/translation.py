"""TER and chrF++ by sacrebleu (Post 2018, arXiv:1804.08771), as WebNLG's tables have them.

    TER       edits with shifts / mean length of the references (Snover et al. 2006); smaller is better
    chrF++    F with beta 2 of 1- to 6-grams of characters and 1- and 2-grams of words (Popovic 2017)

Rows may have different numbers of references; those that a row lacks are None, which sacrebleu leaves out. The script of
WebNLG 2020 takes other packages: its TER is a mean over rows of the best reference.
"""

from collections.abc import Sequence


def ter(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """TER of a test set, a fraction (above 1 where more is written than is right)."""
    from sacrebleu.metrics.ter import TER

    return TER().corpus_score(list(hypotheses), columns(references)).score / 100


def chrf(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """chrF++ of a test set, a fraction."""
    from sacrebleu.metrics.chrf import CHRF

    return CHRF(word_order=2).corpus_score(list(hypotheses), columns(references)).score / 100


def columns(references: Sequence[Sequence[str]]) -> list[list[str | None]]:
    """The first reference of each row, the second of each, and so on; None where a row has none."""
    most = max(map(len, references))
    return [[some[at] if at < len(some) else None for some in references] for at in range(most)]
