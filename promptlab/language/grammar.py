"""The language of patterns, whole.

    text  {{ }}          itself; doubled braces are literal ones
    {field}              the text of an input, cut from its end where the row is too long
    {field|lower|...}    filtered (FILTERS)                {field:keep}  never cut
    {mask}               where the label word stands: exactly one (or one {target}, in generation)
    {soft:5}             five learnt tokens                {soft:It was}  as many as the words have, started from them
    {sep}                the border between two segments   {token:[unused0]}  a special token by name
    {labels}             the labels by letter, a line each: ``A: word``        {labels:-}  ``- A: word``

A space directly before a slot belongs to the slot, so that ``was {mask}`` asks RoBERTa for a word that starts with a
space and ``({mask}`` for one that does not. White space beside ``{sep}`` is dropped. A pattern is parsed by
``string.Formatter`` into parts; nothing in it is ever evaluated, and attributes (``{x.y}``) are refused.
"""

import re
import string
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from promptlab.errors import Fault, PatternError, did_you_mean
from promptlab.language.example import Example


@dataclass(frozen=True)
class Text:
    """Text that stands in the pattern itself."""

    text: str


@dataclass(frozen=True)
class Field:
    """The text of an input; ``keep`` means never cut, ``space`` that a space stands before it."""

    name: str
    filters: tuple[str, ...] = ()
    keep: bool = False
    space: bool = False

    def read(self, example: Example) -> str:
        """The field's text, filtered.

        Raises:
            DataError: the example has no such field.
        """
        return apply(self.filters, example.text(self.name))


@dataclass(frozen=True)
class Labels:
    """The labels by letter, a line each, with ``- `` before it where ``dashed``; the task says which (letters.py)."""

    dashed: bool = False
    space: bool = False


@dataclass(frozen=True)
class Mask:
    """Where the label word stands; grows to the longest label word in the backbone's own tokens."""

    space: bool = False


@dataclass(frozen=True)
class Soft:
    """Learnt tokens: ``count`` of them, or as many as ``words`` has tokens in the backbone (``count`` is 0 then).

    ``ids`` are the backbone's tokens that a search has put there, and ``words`` their text; never parsed.
    """

    count: int
    words: str | None = None
    space: bool = False
    ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Sep:
    """The border between two segments."""


@dataclass(frozen=True)
class Token:
    """A special token of the backbone, by name."""

    name: str
    space: bool = False


@dataclass(frozen=True)
class Target:
    """Where generated text stands."""

    space: bool = False


Slot = Field | Labels | Mask | Soft | Token | Target
Part = Text | Sep | Slot

RESERVED = ("mask", "soft", "sep", "token", "target", "labels")

# what PET's released code takes off a premise's end (2001.07676), with white space and the full stops of Chinese
_FINAL = string.punctuation + string.whitespace + "…\u3002\uff01\uff1f"

FILTERS: dict[str, Callable[[str], str]] = {
    "lower": str.lower,
    "lower_first": lambda text: text[:1].lower() + text[1:],
    "upper_first": lambda text: text[:1].upper() + text[1:],
    "strip_punct": lambda text: text.rstrip(_FINAL),
}

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def apply(filters: Iterable[str], text: str) -> str:
    """``text`` after each filter in turn."""
    for name in filters:
        text = FILTERS[name](text)
    return text


def is_field_name(name: str) -> bool:
    """Whether an input may be called so: a plain name that no slot has taken."""
    return _NAME.fullmatch(name) is not None and name not in RESERVED


def parse(source: str) -> tuple[Part, ...]:
    """The parts of a pattern.

    Raises:
        PatternError: holds every fault of the pattern.
    """
    parts, faults = scan(source)
    if faults:
        raise PatternError([Fault("pattern", None, f"'{source}': {fault}") for fault in faults])
    return parts


def scan(source: str) -> tuple[tuple[Part, ...], list[str]]:
    """The parts of a pattern as far as they can be read, and every fault in words."""
    parts, faults, whole = _read(source)
    parts = _settle_spaces(parts)
    return parts, faults + _whole_faults(parts) if whole else faults


def scan_word(source: str) -> tuple[tuple[Part, ...], list[str]]:
    """The parts of a label word, which holds text and fields only, and every fault in words."""
    parts, faults, _ = _read(source)
    if not faults and not all(isinstance(part, Text | Field) for part in parts):
        faults.append("a label word holds text and fields only. Take the other slots out.")
    if not faults and not any(isinstance(part, Field) for part in parts) and ("{" in source or "}" in source):
        faults.append("a brace in a label word must name a field. Write {name}, or a word without braces.")
    return _settle_spaces(parts), faults


def _read(source: str) -> tuple[tuple[Part, ...], list[str], bool]:
    # the last value: whether the text was read to its end, which a brace that stays open prevents
    parts: list[Part] = []
    faults: list[str] = []
    try:
        for literal, name, spec, conversion in string.Formatter().parse(source):
            if literal and parts and isinstance(parts[-1], Text):
                parts[-1] = Text(parts[-1].text + literal)
            elif literal:
                parts.append(Text(literal))
            if name is not None:
                parts += _slot(name.strip(), (spec or "").strip(), conversion, faults)
    except ValueError:
        faults.append(
            "braces do not match. Close each slot before the next, and double a brace that is text: {{ or }}."
        )
        return tuple(parts), faults, False
    return tuple(parts), faults, True


def _slot(name: str, spec: str, conversion: str | None, faults: list[str]) -> list[Part]:
    if conversion is not None:
        faults.append(f"{{{name}!{conversion}}} has a conversion, which patterns do not know. Write {{{name}}}.")
    if "{" in spec or "}" in spec:
        faults.append(f"{{{name}:{spec}}} has braces inside braces. Write plain text after the colon.")
    head, *filters = (piece.strip() for piece in name.split("|"))
    if head not in RESERVED:
        return _field(head, tuple(filters), spec, faults)
    if filters:
        faults.append(f"{{{name}}} has a filter; only fields have. Write {{{head}}}.")
    return _special(head, spec, faults)


def _field(name: str, filters: tuple[str, ...], spec: str, faults: list[str]) -> list[Part]:
    if not _NAME.fullmatch(name):
        plain = _NAME.search(name)
        instead = f"Write {{{plain.group()}}}." if plain else "Write the name of an input, such as {text}."
        faults.append(f"{{{name}}} is not a field: a field is a plain name without dots, brackets or signs. {instead}")
        return []
    for unknown in (each for each in filters if each not in FILTERS):
        faults.append(f"no filter '{unknown}'.{did_you_mean(unknown, FILTERS)} Known: {', '.join(FILTERS)}.")
    if spec not in ("", "keep"):
        faults.append(f"{{{name}:{spec}}} has '{spec}' after the colon. Write {{{name}:keep}} or {{{name}}}.")
    return [Field(name, filters, keep=spec == "keep")]


def _special(name: str, spec: str, faults: list[str]) -> list[Part]:
    if name == "labels":
        if spec not in ("", "-"):
            faults.append(
                f"{{labels:{spec}}} has '{spec}' after the colon. Write {{labels}}, or {{labels:-}} for dashes."
            )
        return [Labels(dashed=spec == "-")]
    if name == "soft":
        return [_soft(spec, faults)]
    if name == "token":
        if not spec:
            faults.append("{token} names no token. Write its name, such as {token:[unused0]}.")
        return [Token(spec)]
    if spec:
        why = " It grows to the longest label word by itself." if name == "mask" else ""
        faults.append(f"{{{name}:{spec}}} has something after the colon.{why} Write {{{name}}}.")
    return [{"mask": Mask, "sep": Sep, "target": Target}[name]()]


def _soft(spec: str, faults: list[str]) -> Soft:
    if spec.isdecimal() and int(spec) > 0:
        return Soft(int(spec))
    if not spec or spec.isdecimal():
        faults.append("{soft} needs a number above 0, or words to start from. Write {soft:5} or {soft:It was}.")
        return Soft(1)
    return Soft(0, words=spec)


def _whole_faults(parts: tuple[Part, ...]) -> list[str]:
    masks, targets, seps = (sum(isinstance(part, kind) for part in parts) for kind in (Mask, Target, Sep))
    faults = []
    if masks and targets:
        faults.append("has both {mask} and {target}. Keep {mask} to classify, or {target} to generate.")
    elif masks + targets == 0:
        faults.append("has no {mask}; a pattern has exactly one. Write {mask} where the label word stands.")
    elif masks + targets > 1:
        kind = "mask" if masks else "target"
        grows = " It grows to the longest label word by itself." if masks else ""
        faults.append(f"has {masks + targets} {{{kind}}} slots; a pattern has exactly one.{grows} Take the others out.")
    if seps > 1:
        faults.append(f"has {seps} {{sep}} borders; a model reads two segments at most. Keep one.")
    if parts and (isinstance(parts[0], Sep) or isinstance(parts[-1], Sep)):
        faults.append("{sep} stands at the edge, so one segment is empty. Write text or a field on both of its sides.")
    return faults


def _settle_spaces(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    settled: list[Part] = []
    for i, part in enumerate(parts):
        if isinstance(part, Text):
            text = part.text.lstrip() if i and isinstance(parts[i - 1], Sep) else part.text
            if i + 1 < len(parts) and isinstance(parts[i + 1], Sep):
                text = text.rstrip()
            settled.append(Text(text))
        elif isinstance(part, Sep):
            settled.append(part)
        else:
            before = settled[-1] if settled else None
            takes = isinstance(before, Text) and before.text.endswith(" ")
            if isinstance(before, Text) and takes:
                settled[-1] = Text(before.text[:-1])
            settled.append(replace(part, space=takes))
    return tuple(part for part in settled if part != Text(""))
