"""A verbalizer: the words that stand for each label."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from promptlab.errors import DataError, did_you_mean
from promptlab.language.example import Example
from promptlab.language.grammar import Field, Part, Text, apply, scan_word


@dataclass(frozen=True)
class Verbalizer:
    """Label words.

    Args:
        name: what the pattern file calls it.
        words: the words of each label, in the task's label order; a word may name fields (``{choice1|lower_first}``).
            Empty where rows bring their own candidates, each of which is its own word.
    """

    name: str
    words: Mapping[str, tuple[str, ...]]

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the task's order."""
        return tuple(self.words)

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields its words show, each once."""
        listed = (word for words in self.words.values() for word in words)
        return tuple(dict.fromkeys(name for word in listed for name in _fields(word)))

    @property
    def per_example(self) -> bool:
        """Whether a word names a field, so that each example has words of its own."""
        return bool(self.fields)

    def fill(self, label: str, example: Example) -> tuple[str, ...]:
        """The words of a label, with the example's fields in them.

        Raises:
            DataError: the example lacks a field.
        """
        return tuple(_filled(word, example) for word in self.words[label])

    def spoken(self, example: Example, choices: Sequence[str]) -> tuple[tuple[str, ...], ...]:
        """The words that stand for each choice of an example.

        Args:
            example: its fields fill the words.
            choices: what can be answered for it (``Task.choices``).

        Returns:
            Words for each choice, in order. A choice without a verbalizer is its own word.

        Raises:
            DataError: the example lacks a field, a word comes out empty, or two choices have the same words.
        """
        words = tuple(self.fill(choice, example) if self.words else (choice,) for choice in choices)
        if self.per_example and (fault := self._spoken_fault(choices, words)):
            raise DataError(fault)
        return words

    def _spoken_fault(self, choices: Sequence[str], words: Sequence[Sequence[str]]) -> str:
        seen: dict[frozenset[str], str] = {}
        for choice, listed in zip(choices, words, strict=True):
            fields = self._sources(choice)
            if not all(word.strip() for word in listed):
                return f"the word for '{choice}' is empty in this row. Write a text in {fields}."
            first = seen.setdefault(frozenset(listed), choice)
            if first != choice:
                same = f"the same words in this row ({', '.join(listed)}), so no score can part them"
                return f"'{first}' and '{choice}' have {same}. Write another text in {fields}."
        return ""

    def _sources(self, choice: str) -> str:
        named = [f"'{name}'" for word in self.words.get(choice, ()) for name in _fields(word)]
        return " and ".join(dict.fromkeys(named))


def _fields(word: str) -> list[str]:
    return [part.name for part in _parts(word) if isinstance(part, Field)] if "{" in word else []


@lru_cache(maxsize=1024)
def _parts(word: str) -> tuple[Part, ...]:
    return scan_word(word)[0]


def _filled(word: str, example: Example) -> str:
    shown = []
    for part in _parts(word):
        if isinstance(part, Field):
            shown.append(" " * part.space + apply(part.filters, example.text(part.name)))
        elif isinstance(part, Text):
            shown.append(part.text)
    return "".join(shown)


def word_faults(words: Mapping[str, Sequence[str]], labels: Sequence[str]) -> Iterator[tuple[str | None, str]]:
    """What is wrong with label words, as (the label it is written at, the fault in words).

    Args:
        words: words by label, as written.
        labels: the task's labels.
    """
    strange = [label for label in words if label not in labels]
    for label in strange:
        known = f"({', '.join(labels)}).{did_you_mean(label, labels)}"
        yield label, f"gives a word to '{label}', which is no label {known}"
    for label in (each for each in labels if each not in words):
        yield None, f"has no word for '{label}'.{did_you_mean(label, strange) or ' Write one.'}"
    for label, listed in words.items():
        yield from ((label, fault) for fault in _listed_faults(label, listed))
    yield from _shared(words)


def _listed_faults(label: str, listed: Sequence[str]) -> Iterator[str]:
    if not listed:
        yield f"has an empty list of words for '{label}'. Write at least one."
    for i, word in enumerate(listed):
        if not word.strip():
            yield f"has an empty word for '{label}'. Write the word that stands for it."
        elif word != word.strip():
            yield f"has '{word}' for '{label}': the pattern says the space, not the word. Write '{word.strip()}'."
        elif word in listed[:i]:
            yield f"gives '{label}' the word '{word}' twice. Keep one."
        yield from (f"has the word '{word}' for '{label}': {fault}" for fault in scan_word(word)[1])


def _shared(words: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    seen: dict[frozenset[str], str] = {}
    for label, listed in words.items():
        key = frozenset(listed)
        if key in seen and any(word.strip() for word in listed):
            same = f"the same words as '{seen[key]}' ({', '.join(listed)})"
            yield label, f"gives '{label}' {same}, so no score can part them. Write another word."
        seen.setdefault(key, label)
