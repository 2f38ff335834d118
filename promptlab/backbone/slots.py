"""A pattern's soft slots with words of the vocabulary in them: where they stand, how they are read, how written back.

    {soft:5}         five tokens                 {soft:It was}    as many as the words have, which they start from
    no slot          n tokens in front, as if ``{soft:n} `` began the pattern
    filled           a slot holds ids, which are what is read, and their text, which is what is shown
    written back     in the pattern's source the text stands in the slot's place, braces doubled

On a causal backbone a slot after the mask is never read, so it is none. A filled slot costs its tokens of a row's
length and is never cut, like all words of a pattern.
"""

import string
from collections.abc import Iterator, Sequence
from dataclasses import replace

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.encode import Encoder
from promptlab.backbone.fragments import WORD, Fragment
from promptlab.backbone.layout import until_mask
from promptlab.errors import PatternError
from promptlab.language.example import Example
from promptlab.language.grammar import Part, Sep, Soft, Text
from promptlab.language.pattern import Pattern


def slotted(pattern: Pattern, n: int, backbone: Backbone) -> Pattern:
    """The pattern itself where the backbone reads a slot of it; else with ``n`` tokens and a space in front."""
    if slots(pattern, backbone):
        return pattern
    first, *rest = pattern.parts
    spaced = Text(" " + first.text) if isinstance(first, Text) else first
    spaced = spaced if isinstance(spaced, Text | Sep) else replace(spaced, space=True)
    return replace(pattern, source=f"{{soft:{n}}} {pattern.source}", parts=(Soft(n), spaced, *rest))


def slots(pattern: Pattern, backbone: Backbone) -> list[Soft]:
    """The soft slots that the backbone reads, in order."""
    parts = until_mask(pattern, backbone.name) if backbone.kind == "causal" else pattern.parts
    return [part for part in parts if isinstance(part, Soft)]


def started(pattern: Pattern, encoder: Encoder) -> list[tuple[int, ...] | None]:
    """Ids of each slot's own words as they are read in its place; None where it has none."""
    read, found = len(slots(pattern, encoder.backbone)), list[tuple[int, ...] | None]()
    for before, part in zip((None, *pattern.parts), pattern.parts, strict=False):
        if isinstance(part, Soft):
            fragment = Fragment.of(" " * part.space + (part.words or ""), _edge(before))
            found.append(encoder.fragments.all([fragment])[0] if part.words else None)
    return found[:read]


def filled(pattern: Pattern, backbone: Backbone, found: Sequence[Sequence[int]]) -> Pattern:
    """The pattern with token ids in the slots that the backbone reads.

    Args:
        pattern: with slots.
        backbone: whose tokens.
        found: ids of each slot; marks (below 0) have no text.
    """
    decode, waiting, texts = backbone.tokenizer.decode, list(map(tuple, found)), list[str]()
    parts: list[Part] = []
    for part in pattern.parts:
        if isinstance(part, Soft) and waiting:
            ids = waiting.pop(0)
            text = decode(list(ids), clean_up_tokenization_spaces=False) if min(ids) >= 0 else ""
            texts.append(text[1:] if part.space and text[:1] == " " else text)
            part = replace(part, words=texts[-1], ids=ids)
        parts.append(part)
    return replace(pattern, source="".join(_rewritten(pattern.source, texts)), parts=tuple(parts))


def is_filled(pattern: Pattern) -> bool:
    """Whether slots hold ids."""
    return any(isinstance(part, Soft) and part.ids for part in pattern.parts)


def reads_back(pattern: Pattern, encoder: Encoder, examples: Sequence[Example]) -> bool:
    """Whether the source of a filled pattern, read as any pattern is, gives the very ids that its slots hold."""
    try:
        plain = Pattern.parse(pattern.name, pattern.source, pattern.when)
    except PatternError:
        return False
    return encoder.cloze(plain, examples).ids == encoder.cloze(pattern, examples).ids


def _edge(before: Part | None) -> str:
    if before is None or isinstance(before, Sep):
        return ""
    return before.text[-1:] if isinstance(before, Text) else WORD


def _rewritten(source: str, texts: Sequence[str]) -> Iterator[str]:
    waiting = list(texts)
    for literal, name, spec, _ in string.Formatter().parse(source):
        yield _doubled(literal)
        if name is not None and name.strip() == "soft" and waiting:
            yield _doubled(waiting.pop(0))
        elif name is not None:
            yield f"{{{name}:{spec}}}" if spec else f"{{{name}}}"


def _doubled(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
