"""A pattern's parts as one backbone reads them, in segments."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

from promptlab.backbone.fragments import WORD
from promptlab.errors import BackboneError, PatternError
from promptlab.language.grammar import Field, Labels, Mask, Part, Sep, Soft, Target, Text, Token
from promptlab.language.pattern import Pattern

Laid = Text | Field | Mask | Token | Soft


def lay_out(parts: Iterable[Part], pairs: bool) -> list[list[Laid]]:
    """Parts in segments.

    Soft slots that hold ids stay slots; others are read as their words, or left out where they have none.

    Args:
        parts: of a pattern.
        pairs: whether ``{sep}`` parts segments; otherwise it is a newline.

    Raises:
        PatternError: the pattern generates, or lists labels and is of no task.
    """
    segments: list[list[Laid]] = [[]]
    for part in parts:
        match part:
            case Sep() if pairs:
                segments.append([])
            case Sep():
                _add(segments[-1], Text("\n"))
            case Soft(ids=(_, *_)):
                _add(segments[-1], part)
            case Soft(words=None):
                pass
            case Soft(words=words, space=space):
                _add(segments[-1], Text(" " * space + (words or "")))
            case Target():
                raise PatternError("a pattern with {target} generates text, so no label word answers it. Write {mask}.")
            case Labels():
                raise PatternError(
                    "{labels} lists a task's labels, and this pattern is of no task. Put it into a task."
                )
            case _:
                _add(segments[-1], part)
    return segments


def gapped(pattern: Pattern) -> Pattern:
    """The pattern with a mask where its text is to stand; a pattern with a mask as it is."""
    parts = tuple(Mask(part.space) if isinstance(part, Target) else part for part in pattern.parts)
    return replace(pattern, parts=parts) if pattern.generates else pattern


def until_mask(pattern: Pattern, name: str) -> tuple[Part, ...]:
    """The parts that a causal backbone reads: those up to the mask (or target), which it answers by going on.

    Raises:
        BackboneError: a field stands after the mask; names the backbone by ``name``.
    """
    if not pattern.mask_last:
        last = [part.name for part in pattern.parts if isinstance(part, Field)][-1]
        slot, other = ("target", "an encoder-decoder") if pattern.generates else ("mask", "a masked backbone")
        raise BackboneError(
            f"pattern '{pattern.name}' has {{{last}}} after {{{slot}}}, and {name} is causal: it would answer before "
            f"it has read it. Use a pattern whose {{{slot}}} comes last, or {other}."
        )
    asked = [isinstance(part, Mask | Target) for part in pattern.parts]
    return pattern.parts[: asked.index(True) + 1] if any(asked) else pattern.parts


def after_gap(pattern: Pattern) -> str:
    """Text behind the mask or target, which a causal backbone never reads; without the white space around it."""
    asked = [isinstance(part, Mask | Target) for part in pattern.parts].index(True)
    return "".join(part.text for part in pattern.parts[asked + 1 :] if isinstance(part, Text)).strip()


def at_mask(pattern: Pattern, pairs: bool) -> tuple[bool, str]:
    """Where the label word stands: whether a space belongs to it, and the character before.

    That is ``WORD`` after a slot, and empty at the start of a segment.
    """
    for segment in lay_out(pattern.parts, pairs):
        for before, part in pairwise([Text(""), *segment]):
            if isinstance(part, Mask):
                return part.space, before.text[-1:] if isinstance(before, Text) else WORD
    raise PatternError(f"pattern '{pattern.name}' has no {{mask}}. Write {{mask}} where the label word stands.")


def _add(segment: list[Laid], part: Laid) -> None:
    if isinstance(part, Text) and segment and isinstance(segment[-1], Text):
        segment[-1] = Text(segment[-1].text + part.text)
    else:
        segment.append(part)
