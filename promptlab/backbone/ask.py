"""Asking a pattern: label words of any length, the same for all rows or a row's own.

the words as ids              what each row can be answered with, at the mask
the rows as ids               as many masks as the row's longest word
log-probability of each word  one token: one pass (``score.py``); several: ``decode.py``
score of a choice             the mean over its words
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from promptlab.backbone.decode import answer
from promptlab.backbone.encode import Encoder
from promptlab.backbone.words import row_words
from promptlab.language.example import Example
from promptlab.language.task import PVP


@dataclass(frozen=True)
class Asked:
    """What a pattern says of rows.

    Args:
        labels: log-score of each choice, ``(rows, widest number of choices)``; minus infinity where a row has fewer.
        mass: probability that all words of a row together get, ``(rows,)``.
        cut: whether each row lost tokens, ``(rows,)``.
    """

    labels: np.ndarray
    mass: np.ndarray
    cut: np.ndarray


def ask(
    encoder: Encoder,
    pvp: PVP,
    examples: Sequence[Example],
    choices: Sequence[Sequence[str]] | None = None,
    decoding: str = "confident",
    max_length: int | None = None,
) -> Asked:
    """Scores of what can be answered.

    Args:
        encoder: of the backbone that is asked.
        pvp: pattern and label words.
        examples: rows.
        choices: of each row (``Task.choices``); None where the verbalizer's labels are all rows'.
        decoding: how a masked backbone reads words of several tokens: ``confident``, ``left-to-right``, ``parallel``.
        max_length: tokens a row may have; at most, and by default, what the backbone reads.

    Raises:
        DataError: a row lacks a field, has a word that cannot be asked for, or does not fit.
        PatternError: a label word that cannot be asked for.
        BackboneError: a pattern that this backbone cannot read.
        SettingError: no such decoding.
    """
    words = row_words(encoder.backbone, pvp, examples, choices)
    encoded = encoder.cloze(pvp.pattern, examples, words.room(len(examples)), max_length)
    found = answer(encoder.backbone, encoded, words.ids, decoding)
    return Asked(found.labels, found.mass, np.array(encoded.cut, dtype=bool))
