"""Label words into ids, as they would be read in the mask's place.

``was {mask}`` asks for the word with the space before it (RoBERTa's ``Ġgreat``), ``({mask}`` for the word without.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.fragments import WORD, Fragment, Fragments
from promptlab.backbone.layout import at_mask
from promptlab.backbone.specials import specials_of
from promptlab.errors import Fault, PatternError
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
        PatternError: holds every fault: a word of several tokens or of unknown characters, two labels with a token in
            common, words that name fields.
    """
    if pvp.verbalizer.per_example:
        fault = "its label words name fields, which methods cannot use yet. Write the words themselves."
        raise PatternError([_fault(pvp, fault)])
    reader, faults = _reader_at_mask(backbone, pvp.pattern), []
    found: dict[str, list[list[int]]] = {label: [] for label in pvp.verbalizer.words}
    for label, word in _listed(pvp):
        try:
            found[label].append(reader.single(word))
        except PatternError as error:
            faults.append(_fault(pvp, f"label '{label}': {error}"))
    faults += [_fault(pvp, text) for text in _clashes(pvp, reader, found)]
    if faults:
        raise PatternError(faults)
    return LabelWords(_array(found))


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

    def read(self, word: str, space: bool | None = None) -> list[int]:
        spaced = self.space if space is None else space
        return list(self._fragments.all([Fragment.of(" " * spaced + word, self.before)])[0])

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

    def single(self, word: str) -> list[int]:
        ids = self.pieces(word)
        if len(ids) > 1:
            raise PatternError(
                f"the word '{word}' is {len(ids)} tokens of {self.backbone.name} ({' + '.join(self.shown(ids))}), "
                f"and methods ask for one. {self._instead(word)}"
            )
        return ids

    def _instead(self, word: str) -> str:
        inner = re.findall(r"\w+", word)
        forms = [word.lower(), word.capitalize(), *(form for each in inner for form in (each, each.lower()))]
        near = next((form for form in forms if form != word and self._whole(form, self.space)), None)
        if not self.space and self._whole(word, True):
            return "After a space it is one: write a space before {mask}."
        return f"'{near}' is one." if near else "Write another word; promptlab check shows how words split."

    def _whole(self, word: str, space: bool) -> bool:
        ids = self.read(word, space)
        return len(ids) == 1 and self.knows(ids)


def _reader_at_mask(backbone: Backbone, pattern: Pattern) -> _Reader:
    space, before = at_mask(pattern, pairs=specials_of(backbone).parts)
    return _Reader(backbone, space, _SIGN if before == WORD else before)  # a slot says nothing about where words begin


def _listed(pvp: PVP) -> Iterator[tuple[str, str]]:
    return ((label, word) for label, words in pvp.verbalizer.words.items() for word in words)


def _fault(pvp: PVP, text: str) -> Fault:
    return Fault(f"pattern '{pvp.name}'", None, text)


def _clashes(pvp: PVP, reader: _Reader, found: dict[str, list[list[int]]]) -> Iterator[str]:
    owners: dict[tuple[int, ...], str] = {}
    for label, words in found.items():
        for ids in words:
            owner = owners.setdefault(tuple(ids), label)
            if owner != label:
                yield (
                    f"labels '{owner}' and '{label}' have a word in common on {reader.backbone.name} "
                    f"({' '.join(reader.shown(ids))}), so no score can part them. Write another word for one of them."
                )


def _array(found: dict[str, list[list[int]]]) -> np.ndarray:
    words = max(map(len, found.values()), default=0)
    pieces = max((len(ids) for listed in found.values() for ids in listed), default=0)
    out = np.full((len(found), words, pieces), -1, dtype=np.int64)
    for i, listed in enumerate(found.values()):
        for j, ids in enumerate(listed):
            out[i, j, : len(ids)] = ids
    return out
