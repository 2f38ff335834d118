"""What one member with a pattern makes of rows, and why.

    read      the rows as ids, as the member itself lays them out
    scores    of what can be answered, by the code that answers
    guesses   the likeliest words at the mask; one mask, where label words need several
    words     each label word's pieces, and its own score
    cuts      which fields lost tokens, and where they end now

``shown.py`` puts the rows of all members together.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np

from promptlab.backbone.decode import answer
from promptlab.backbone.encode import Encoded
from promptlab.backbone.guess import guesses
from promptlab.backbone.score import Scores
from promptlab.backbone.soft import decoded
from promptlab.backbone.words import RowWords, row_words
from promptlab.language.example import Example
from promptlab.language.task import PVP
from promptlab.methods.method import probabilities
from promptlab.methods.predict import Model

Row = dict[str, Any]
"""``pattern`` and ``text``; then ``skipped`` (why), or ``probabilities`` by label (``uncalibrated`` too, where a
calibration moved them), and of a pattern its ``context`` (an instruction, demonstrations), what was ``read`` with the
model's own tokens, ``guesses`` (word, share), ``words`` (``label``, ``word``, its ``pieces``, log-``score``),
``mass`` on them, whether the text was ``cut`` and ``cuts`` (``field``, tokens ``read`` ``of`` how many, ``until``
which words), and the ``member`` where several asked."""


class _Heard(NamedTuple):
    encoded: Encoded
    words: RowWords
    scores: Scores
    context: list[list[str]]  # what each row was read after: an instruction, demonstrations


def asked(model: Model, pvp: PVP, examples: Sequence[Example], count: int) -> list[Row]:
    """What a member says of rows.

    Args:
        model: with a pattern.
        pvp: that pattern and its words.
        examples: the rows.
        count: guesses at the mask.

    Raises:
        DataError, PatternError, BackboneError: rows or words that it cannot read.
    """
    choices = [model.task.choices(example) for example in examples]
    with model.tuning.applied(model.backbone, model.state) if model.tuning else nullcontext():
        heard = _heard(model, pvp, examples, choices)
        guessed = guesses(model.backbone, _one_mask(model, pvp, examples, heard), count)
        words = _words(model, pvp, examples, choices, heard)
    cuts = _cuts(model, pvp, examples, heard)
    before = probabilities(heard.scores.labels)
    after = before if model.bias is None else probabilities(heard.scores.labels - model.bias)
    return [
        {
            "pattern": pvp.name,
            "text": model.encoder.shown(pvp.pattern).fill(example),
            **({"context": heard.context[i]} if any(heard.context) else {}),
            "read": decoded(model.backbone.tokenizer, heard.encoded.ids[i]),
            "guesses": guessed[i],
            "words": words[i],
            **({} if model.bias is None else {"uncalibrated": by_label(labels, before[i])}),
            "probabilities": by_label(labels, after[i]),
            "mass": float(heard.scores.mass[i]),
            "cut": bool(heard.encoded.cut[i]),
            "cuts": cuts[i],
        }
        for i, (example, labels) in enumerate(zip(examples, choices, strict=True))
    ]


def by_label(labels: Sequence[str], shares: np.ndarray) -> dict[str, float]:
    """Probabilities by label; those behind the last are padding, where other rows have more."""
    return dict(zip(labels, map(float, shares), strict=False))


def _heard(model: Any, pvp: PVP, examples: Sequence[Example], choices: Sequence[Sequence[str]]) -> _Heard:
    if hasattr(model, "read"):  # it puts an instruction or demonstrations before its rows
        read = model.read(examples)
        first = [model.instruction] if model.instruction else []
        context = [first + [_demonstration(model, pvp, model.rows[at]) for at in shown] for shown in read.shown]
        return _Heard(read.encoded, read.words, model.score(read), context)
    words = row_words(model.backbone, pvp, examples, None if model.task.fixed else choices)
    encoded = model.encoder.cloze(pvp.pattern, examples, words.room(len(examples)))
    return _Heard(encoded, words, answer(model.backbone, encoded, words.ids, model.decoding), [])


def _demonstration(model: Model, pvp: PVP, row: Example) -> str:
    spoken = pvp.verbalizer.spoken(row, model.task.choices(row))
    return pvp.pattern.fill(row, word=spoken[model.task.gold(row)][0])


def _bare(model: Any) -> bool:
    """Whether the pattern is all that it reads."""
    return not any(getattr(model, name, None) for name in ("instruction", "rows", "chat"))


def _one_mask(model: Model, pvp: PVP, examples: Sequence[Example], heard: _Heard) -> Encoded:
    several = any(len(slots) > 1 for slots in heard.encoded.slots)
    return model.encoder.cloze(pvp.pattern, examples) if several and _bare(model) else heard.encoded


def _cuts(model: Model, pvp: PVP, examples: Sequence[Example], heard: _Heard) -> list[list[dict[str, Any]]]:
    if not any(heard.encoded.cut) or not _bare(model):
        return [[] for _ in examples]
    return model.encoder.cuts(pvp.pattern, examples, heard.words.room(len(examples)))


def _words(
    model: Model, pvp: PVP, examples: Sequence[Example], choices: Sequence[Sequence[str]], heard: _Heard
) -> list[list[dict[str, Any]]]:
    """Each row's label words, each scored as if it were a label of its own."""
    spoken = [pvp.verbalizer.spoken(example, each) for example, each in zip(examples, choices, strict=True)]
    ids = heard.words.take(range(len(examples)))
    places = [np.argwhere(row[..., 0] >= 0).tolist() for row in ids]  # choice and number of each word
    alone = np.full((len(ids), max(map(len, places)), 1, ids.shape[-1]), -1, dtype=ids.dtype)
    for row, listed in enumerate(places):
        alone[row, : len(listed), 0] = [ids[row, choice, word] for choice, word in listed]
    scores = answer(model.backbone, heard.encoded, alone, model.decoding).labels
    tokens = model.backbone.tokenizer.convert_ids_to_tokens
    return [
        [
            {
                "label": choices[row][choice],
                "word": spoken[row][choice][word],
                "pieces": tokens([int(piece) for piece in ids[row, choice, word] if piece >= 0]),
                "score": float(scores[row, at]),
            }
            for at, (choice, word) in enumerate(listed)
        ]
        for row, listed in enumerate(places)
    ]
