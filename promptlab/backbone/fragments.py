"""Texts into ids, each as it would be read in the middle of a longer text, each once.

    a fragment after another        tokenise  anchor + fragment,  drop the anchor's ids
    the anchor's ids changed        a token crossed the border: try the next anchor of the same kind
    a special id is left            the text spelt one: tokenise it in two pieces, cut inside the spelling

What a leading space does, and what stands at the start of a text, is so left to the tokenizer's own behaviour:
byte-level BPE marks spaces, SentencePiece puts one before the first word, WordPiece goes on with ``##`` after a letter.
"""

import unicodedata
from collections.abc import Iterable, Iterator
from itertools import chain, pairwise
from typing import Any, NamedTuple

from promptlab.backbone.specials import special_ids

WORD = "x"  # what a slot without a text of its own counts as
_KINDS = {"letter": "xqjzké", "sign": '("-/.;#', "digit": "1790", "space": "\n\t"}
_LIKEST = {
    "letter": ("letter", "sign", "digit"),
    "sign": ("sign", "digit", "letter"),
    "digit": ("digit", "letter", "sign"),
    "space": ("space", "sign", "letter"),
}
_OPTIONS = {
    "add_special_tokens": False,
    "split_special_tokens": True,
    "padding": False,
    "truncation": False,
    "return_attention_mask": False,
    "return_token_type_ids": False,
    "verbose": False,
}


class Fragment(NamedTuple):
    """A text and the characters around it.

    Args:
        text: what is read, with the space before it if it has one.
        before: the character before; empty at the start of a segment.
        after: the character after; empty where it does not matter.
    """

    text: str
    before: str = ""
    after: str = ""

    @classmethod
    def of(cls, text: str, before: str, after: str = "") -> "Fragment":
        """A fragment that knows no more of its surroundings than matters, and so is tokenised once for many places.

        Before a space it matters only whether anything stands; what comes after matters only to white space at the end,
        which tokenizers group by what follows it.
        """
        follows = text[-1:].isspace() and after != " "
        return cls(text, WORD if before and text[:1] == " " else before, after if follows else "")


class Frame(NamedTuple):
    """Characters put around a fragment to tokenise it, and the ids they must leave behind."""

    anchor: str = ""
    follower: str = ""


class Fragments:
    """Ids of fragments by one tokenizer, kept for as long as this object lives.

    Args:
        tokenizer: a fast one.
    """

    def __init__(self, tokenizer: Any):
        self.tokenizer = tokenizer
        self._forbidden = special_ids(tokenizer)
        self._known: dict[Fragment, tuple[int, ...]] = {}
        self._anchors: dict[str, dict[str, list[int]]] = {}
        self._same: dict[int, int] = {}  # one object an id: a big data set's ids would take four times the memory

    def all(self, fragments: Iterable[Fragment]) -> list[tuple[int, ...]]:
        """Ids of each; those that are new are tokenised in one call, but for the few whose anchor merged with them."""
        listed = list(fragments)
        self._learn([fragment for fragment in dict.fromkeys(listed) if fragment not in self._known])
        return [self._known[fragment] for fragment in listed]

    def _learn(self, waiting: list[Fragment]) -> None:
        turn = 0
        while waiting:
            frames = [self._frames(fragment)[turn] for fragment in waiting]
            tokenised = self._tokenise(map(_framed, waiting, frames))
            again = []
            for fragment, frame, ids in zip(waiting, frames, tokenised, strict=True):
                inner = self._inner(fragment, frame, ids)
                if inner is None:
                    again.append(fragment)
                else:
                    self._known[fragment] = self._honest(fragment, frame, inner)
            waiting, turn = again, turn + 1

    def _frames(self, fragment: Fragment) -> list[Frame]:
        anchors = list(self._anchors_like(fragment.before)) if fragment.before else [""]
        followed = [Frame(anchor, fragment.after) for anchor in anchors] if fragment.after else []
        return [*followed, *map(Frame, anchors), Frame()]

    def _anchors_like(self, before: str) -> dict[str, list[int]]:
        if before not in self._anchors:
            tried = list(dict.fromkeys(chain(before, *(_KINDS[kind] for kind in _LIKEST[_kind(before)]))))
            bad = self._forbidden | {self.tokenizer.unk_token_id}
            # an anchor without ids proves nothing; only white space that really stands there may go without a trace
            self._anchors[before] = {
                anchor: ids
                for anchor, ids in zip(tried, self._tokenise(tried), strict=True)
                if bad.isdisjoint(ids) and (ids or (anchor == before and before.isspace()))
            }
        return self._anchors[before]

    def _inner(self, fragment: Fragment, frame: Frame, ids: list[int]) -> tuple[int, ...] | None:
        base = self._anchors_like(fragment.before)[frame.anchor] if frame.anchor else []
        tail = list(self.all([Fragment(frame.follower, fragment.text[-1])])[0]) if frame.follower else []
        start, stop = len(base), len(ids) - len(tail)
        if start > stop or ids[:start] != base or ids[stop:] != tail:
            return None
        inner = ids[start:stop]
        return tuple(map(self._same.setdefault, inner, inner))

    def _honest(self, fragment: Fragment, frame: Frame, ids: tuple[int, ...]) -> tuple[int, ...]:
        if self._forbidden.isdisjoint(ids):
            return ids
        pieces = _cut(fragment.text, self._spelt(fragment, frame))
        if len(pieces) == 1:  # a spelling of one character cannot be cut
            return self._blotted(ids)
        parts = [Fragment.of(right, left[-1]) for left, right in pairwise(pieces)]
        parts = [Fragment.of(pieces[0], fragment.before), *parts]
        return tuple(chain.from_iterable(self.all(parts)))

    def _spelt(self, fragment: Fragment, frame: Frame) -> Iterator[int]:
        read = self.tokenizer(_framed(fragment, frame), return_offsets_mapping=True, **_OPTIONS)
        for token, (start, stop) in zip(read["input_ids"], read["offset_mapping"], strict=True):
            if token in self._forbidden:
                start = max(start - len(frame.anchor), 0)
                surface = fragment.text[start : stop - len(frame.anchor)]
                yield start + len(surface) - len(surface.lstrip()) + len(surface.strip()) // 2

    def _blotted(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        unknown = self.tokenizer.unk_token_id
        instead = () if unknown is None or unknown in self._forbidden else (unknown,)
        return tuple(chain.from_iterable(instead if token in self._forbidden else (token,) for token in ids))

    def _tokenise(self, texts: Iterable[str]) -> list[list[int]]:
        return self.tokenizer(list(texts), **_OPTIONS)["input_ids"]


def _framed(fragment: Fragment, frame: Frame) -> str:
    return frame.anchor + fragment.text + frame.follower


def _cut(text: str, places: Iterable[int]) -> list[str]:
    borders = [0, *sorted(place for place in set(places) if 0 < place < len(text)), len(text)]
    return [text[start:stop] for start, stop in pairwise(borders)]


def _kind(character: str) -> str:
    if character.isspace():
        return "space"
    if character.isdigit():
        return "digit"
    joins = unicodedata.category(character)[0] in "LM" and not unicodedata.name(character, "").startswith("CJK")
    return "letter" if joins else "sign"
