"""Label words into ids, as they would be read in the mask's place.

``was {mask}`` asks for the word with the space before it (RoBERTa's ``Ġgreat``), ``({mask}`` for the word without.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.fragments import WORD, Fragment, Fragments
from promptlab.backbone.layout import at_mask
from promptlab.backbone.reply import sentinel
from promptlab.backbone.specials import specials_of
from promptlab.errors import DataError, Fault, PatternError
from promptlab.language.example import Example
from promptlab.language.pattern import Pattern
from promptlab.language.task import PVP

_SIGN = "("  # what stands before a word without a space, where nothing else is known: a word begins after it


@dataclass(frozen=True)
class LabelWords:
    """Token ids of a verbalizer's words.

    Args:
        ids: ``(labels, words, pieces)`` int64, -1 where a label has fewer words or a word fewer pieces.
    """

    ids: np.ndarray

    @property
    def pieces(self) -> int:
        """Tokens of the longest word."""
        return self.ids.shape[2]


@dataclass(frozen=True)
class RowWords:
    """Token ids of the words that each row is asked for.

    Args:
        ids: ``(rows, choices, words, pieces)`` int64, -1 where there is none; ``(1, ...)`` where rows share them.
        fixed: whether all rows have the same.
    """

    ids: np.ndarray
    fixed: bool

    @property
    def single(self) -> bool:
        """Whether all rows have the same words and each is one token."""
        return self.fixed and self.ids.shape[3] == 1

    def take(self, rows: Sequence[int]) -> np.ndarray:
        """Ids of the chosen rows, ``(rows, choices, words, pieces)``."""
        return np.repeat(self.ids, len(rows), 0) if self.fixed else self.ids[list(rows)]

    def room(self, rows: int) -> list[int]:
        """Tokens of each row's longest word: so many masks it gets."""
        longest = (self.ids >= 0).sum(3).max((1, 2), initial=0).tolist()
        return longest * rows if self.fixed else longest


def word_pieces(backbone: Backbone, word: str, space: bool, before: str = _SIGN) -> list[int]:
    """Ids of a word.

    Args:
        backbone: whose tokens.
        word: without spaces around it.
        space: a space stands before it, and belongs to it.
        before: the character before that; empty at the start of a segment.

    Raises:
        PatternError: the word is empty, or has characters the tokenizer does not know.
    """
    return _Reader(backbone, space, before).pieces(word)


def label_words(backbone: Backbone, pvp: PVP) -> LabelWords:
    """Ids of all label words where the pattern's mask stands.

    Raises:
        PatternError: holds every fault: an empty word, unknown characters, two labels with a word in common, words that
            name fields (:func:`row_words` reads those).
    """
    if pvp.verbalizer.per_example:
        fault = "its label words name fields, so every row has its own. Ask row by row."
        raise PatternError([_fault(pvp, fault)])
    reader, faults = _reader_at_mask(backbone, pvp.pattern), []
    found: dict[str, list[list[int]]] = {label: [] for label in pvp.verbalizer.words}
    for label, word in _listed(pvp):
        try:
            found[label].append(reader.pieces(word))
        except PatternError as error:
            faults.append(_fault(pvp, f"label '{label}': {error}"))
    faults += [_fault(pvp, text) for text in _clashes(reader, found)]
    if faults:
        raise PatternError(faults)
    return LabelWords(_array(list(found.values())))


def row_words(
    backbone: Backbone, pvp: PVP, examples: Sequence[Example], choices: Sequence[Sequence[str]] | None = None
) -> RowWords:
    """Ids of the words that each row is asked for.

    Args:
        backbone: whose tokens.
        pvp: pattern and label words.
        examples: fill the fields that words name.
        choices: what can be answered for each row; None where that is the verbalizer's labels. Candidates that the
            backbone reads alike (they differ in case) get equal scores.

    Raises:
        PatternError: as for :func:`label_words`, where all rows have the same words.
        DataError: the same of a row's own words; names the row.
    """
    if choices is None and not pvp.verbalizer.per_example:
        return RowWords(label_words(backbone, pvp).ids[None], fixed=True)
    each = [pvp.verbalizer.labels] * len(examples) if choices is None else choices
    spoken = [pvp.verbalizer.spoken(one, tuple(which)) for one, which in zip(examples, each, strict=True)]
    reader = _reader_at_mask(backbone, pvp.pattern)
    reader.learn(word for row in spoken for words in row for word in words)
    found = [_row(reader, pvp, at, row, names) for at, (row, names) in enumerate(zip(spoken, each, strict=True), 1)]
    shape = np.max([one.shape for one in found], axis=0, initial=0) if found else (0, 0, 0)
    ids = np.full((len(found), *shape), -1, dtype=np.int64)
    for at, one in enumerate(found):
        ids[at, : one.shape[0], : one.shape[1], : one.shape[2]] = one
    return RowWords(ids, fixed=False)


def report(backbone: Backbone, pvp: PVP) -> list[dict[str, Any]]:
    """How each label word splits: ``label``, ``word``, ``pieces`` (tokens as the vocabulary writes them), ``single``.

    Nothing is refused here; a word that names fields has no pieces of its own.
    """
    reader, rows = _reader_at_mask(backbone, pvp.pattern), []
    for label, word in _listed(pvp):
        ids = [] if pvp.verbalizer.per_example else reader.read(word)
        single = len(ids) == 1 and reader.knows(ids)
        rows.append({"label": label, "word": word, "pieces": reader.shown(ids), "single": single})
    return rows


class _Reader:
    def __init__(self, backbone: Backbone, space: bool, before: str):
        self.backbone, self.space, self.before = backbone, space, before
        self.tokenizer = backbone.tokenizer
        self._fragments = Fragments(self.tokenizer)

    def read(self, word: str) -> list[int]:
        return list(self._fragments.all([self._fragment(word)])[0])

    def learn(self, words: Iterable[str]) -> None:
        """Reads many words in one call, so that each is known afterwards."""
        self._fragments.all(map(self._fragment, words))

    def _fragment(self, word: str) -> Fragment:
        return Fragment.of(" " * self.space + word, self.before)

    def knows(self, ids: list[int]) -> bool:
        return bool(ids) and self.tokenizer.unk_token_id not in ids

    def shown(self, ids: list[int]) -> list[str]:
        return self.tokenizer.convert_ids_to_tokens(ids)

    def pieces(self, word: str) -> list[int]:
        if not word.strip():
            raise PatternError("a label word is empty. Write the word that stands for its label.")
        ids = self.read(word)
        if not self.knows(ids):
            raise PatternError(
                f"the word '{word}' has characters that the vocabulary of {self.backbone.name} lacks "
                f"(it reads {' '.join(self.shown(ids)) or 'nothing'}). Write another word."
            )
        return ids


def _reader_at_mask(backbone: Backbone, pattern: Pattern) -> _Reader:
    if backbone.kind == "seq2seq" and not sentinel(backbone):
        return _Reader(backbone, False, "")  # the decoder begins a text with it
    space, before = at_mask(pattern, pairs=specials_of(backbone).parts)
    return _Reader(backbone, space, _SIGN if before == WORD else before)  # a slot says nothing about where words begin


def _listed(pvp: PVP) -> Iterator[tuple[str, str]]:
    return ((label, word) for label, words in pvp.verbalizer.words.items() for word in words)


def _fault(pvp: PVP, text: str) -> Fault:
    return Fault(f"pattern '{pvp.name}'", None, text)


def _row(reader: _Reader, pvp: PVP, row: int, spoken: Sequence[Sequence[str]], choices: Sequence[str]) -> np.ndarray:
    found: dict[str, list[list[int]]] = {}
    for choice, words in zip(choices, spoken, strict=True):
        try:
            found[choice] = [reader.pieces(word) for word in words]
        except PatternError as error:
            raise DataError(f"row {row}: pattern '{pvp.name}': choice '{choice}': {error}") from None
    clash = next(_clashes(reader, found), None)
    if clash and pvp.verbalizer.words:  # candidates come as the data has them: LOS ANGELES and Los Angeles may both
        raise DataError(f"row {row}: pattern '{pvp.name}': {clash}")
    return _array(list(found.values()))


def _clashes(reader: _Reader, found: dict[str, list[list[int]]]) -> Iterator[str]:
    owners: dict[tuple[int, ...], str] = {}
    for label, words in found.items():
        for ids in words:
            owner = owners.setdefault(tuple(ids), label)
            if owner != label:
                yield (
                    f"labels '{owner}' and '{label}' have a word in common on {reader.backbone.name} "
                    f"({' '.join(reader.shown(ids))}), so no score can part them. Write another word for one of them."
                )


def _array(found: Sequence[Sequence[Sequence[int]]]) -> np.ndarray:
    words = max(map(len, found), default=0)
    pieces = max((len(ids) for listed in found for ids in listed), default=0)
    out = np.full((len(found), words, pieces), -1, dtype=np.int64)
    for i, listed in enumerate(found):
        for j, ids in enumerate(listed):
            out[i, j, : len(ids)] = ids
    return out
