"""Labels by letter: what ``{labels}`` lists, the words that answer it, and two patterns that every task has.

    {labels}              each label on a line of its own, ``A: World``, ``B: Sports``; with dashes under ``{labels:-}``
    what is listed        the first word of each label in the verbalizer ``default``; the labels themselves where no
                          pattern has it; a row's own answers under ``candidates``
    what answers          A, B, C, ... (the verbalizer ``letters``)
    letters               the inputs, the task's question, the list, "Answer:"
    modernbert-letters    as ModernBERT-Large-Instruct was taught to be asked (Clavie et al. 2025, arXiv:2502.03793)

Both patterns come when they are asked for by name; a task file may write its own under these names.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from string import ascii_uppercase

from promptlab.errors import DataError, Fault, PatternError
from promptlab.language.example import Example
from promptlab.language.grammar import Field, Labels, Part, Text, apply, scan_word
from promptlab.language.pattern import Pattern
from promptlab.language.verbalizer import Verbalizer

NAME = "letters"  # of the verbalizer
GENERATED = ("letters", "modernbert-letters")
MOST = len(ascii_uppercase)

_PLAIN = "{inputs}\nQuestion: {about}\n{{labels}}\nAnswer: {{mask}}"
_MODERNBERT = (
    "You will be given a question and options. Select the right answer.\n"
    "QUESTION: {inputs}\n{about}\nCHOICES:\n{{labels:-}}\nANSWER: {{token:[unused0]}} {{mask}}"
)
_ABOUT = "Which of these is right?"


@dataclass(frozen=True)
class Listed(Field):
    """The items of a list field by letter, a line each."""

    dashed: bool = False

    def read(self, example: Example) -> str:
        """The list as text.

        Raises:
            DataError: the field is missing, is no list, or has more items than there are letters.
        """
        example.text(self.name)
        items = example.fields[self.name]
        if isinstance(items, str):
            raise DataError(
                f"the field '{self.name}' is one text, and {{labels}} lists several. Write a list of texts."
            )
        if len(items) > MOST:
            raise DataError(
                f"the field '{self.name}' has {len(items)} items, and letters end at Z ({MOST}). Leave some out, or "
                "ask another pattern."
            )
        return _lines([apply(self.filters, item.strip()) for item in items], self.dashed)


@dataclass(frozen=True)
class Letters(Verbalizer):
    """A letter for each answer of a row, however many it has."""

    def spoken(self, example: Example, choices: Sequence[str]) -> tuple[tuple[str, ...], ...]:
        """The letter of each choice."""
        return tuple((letter,) for letter in ascii_uppercase[: len(choices)])


def letters(labels: Sequence[str]) -> Verbalizer:
    """The verbalizer that answers by letter; ``labels`` is empty where rows bring their own answers.

    Raises:
        PatternError: more labels than letters.
    """
    if fault := too_many(labels):
        raise PatternError(f"a pattern by letters {fault}")
    words = {label: (letter,) for label, letter in zip(labels, ascii_uppercase, strict=False)}
    return Verbalizer(NAME, words) if words else Letters(NAME, {})


def too_many(labels: Sequence[str]) -> str:
    """What is wrong with listing so many labels, in words; empty where nothing is."""
    if len(labels) <= MOST:
        return ""
    return f"cannot list {len(labels)} labels: letters end at Z ({MOST}). Write a pattern with a word for each label."


def lists(parts: Iterable[Part]) -> bool:
    """Whether a pattern has a ``{labels}`` that is not yet put into words."""
    return any(isinstance(part, Labels) for part in parts)


def put_in(
    pattern: Pattern, labels: Sequence[str], words: Mapping[str, Sequence[str]], candidates: str | None
) -> Pattern:
    """The pattern with ``{labels}`` put into words; its source stays as written.

    Args:
        pattern: with or without the slot.
        labels: the task's.
        words: of the verbalizer ``default``; empty where there is none.
        candidates: the list field that holds a row's answers, where the task has no labels.

    Raises:
        PatternError: nothing to list, or more labels than letters.
    """
    if not lists(pattern.parts):
        return pattern
    if fault := too_many(labels) or ("" if labels or candidates else "has {labels}, but there are none. Take it out."):
        raise PatternError([Fault(f"pattern '{pattern.name}'", None, fault)])
    shown = [words[label][0] if label in words else _escaped(label) for label in labels]
    parts: list[Part] = []
    for part in pattern.parts:
        for new in _listed(part, shown, candidates) if isinstance(part, Labels) else [part]:
            before = parts[-1] if parts else None
            if isinstance(new, Text) and isinstance(before, Text):
                parts[-1] = Text(before.text + new.text)  # one text to the tokenizer, as if it had been written so
            else:
                parts.append(new)
    return replace(pattern, parts=tuple(parts))


def _listed(slot: Labels, shown: Sequence[str], candidates: str | None) -> list[Part]:
    if not shown:
        return [Listed(candidates or "", keep=True, space=slot.space, dashed=slot.dashed)]
    parts, _ = scan_word(" " * slot.space + _lines(shown, slot.dashed))
    return [replace(part, keep=True) if isinstance(part, Field) else part for part in parts]


def _lines(items: Iterable[str], dashed: bool) -> str:
    dash = "- " * dashed
    return "\n".join(f"{dash}{letter}: {item}" for letter, item in zip(ascii_uppercase, items, strict=False))


def generated(
    name: str, inputs: Iterable[str], about: str, labels: Sequence[str], words: Mapping[str, Sequence[str]]
) -> tuple[Pattern, Verbalizer]:
    """A pattern that every task has, and its verbalizer.

    Args:
        name: one of ``GENERATED``.
        inputs: what it shows, in order, with their names where there are several; those that answers stand in
            (fields of ``words``) are left to the list.
        about: the task's question.
        labels: the task's.
        words: of the verbalizer ``default``.

    Raises:
        PatternError: more labels than letters.
    """
    listed = Verbalizer("default", {label: tuple(each) for label, each in words.items()}).fields
    names = [each for each in inputs if each not in listed]
    shown = [f"{{{each}}}" if len(names) == 1 else f"{_heading(each)}: {{{each}}}" for each in names]
    frame = _PLAIN if name == NAME else _MODERNBERT
    source = frame.format(inputs="\n".join(shown), about=_escaped(about or _ABOUT))
    return Pattern.parse(name, source), letters(labels)


def _heading(name: str) -> str:
    text = name.replace("_", " ")
    return text[:1].upper() + text[1:]


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
