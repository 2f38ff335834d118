"""WSC (Levesque et al. 2012; SuperGLUE): does a pronoun stand for a given noun phrase (the span)?

    asked     the pronoun between asterisks; candidates: the span, then the other noun phrases of the text (nouns.py)
              label true    the span is right              label false    each of the others is right
    taught    rows labelled true, the span against the others

So accuracy is WSC's: a row is answered true where the span's score beats all others'. Pattern, marks and which rows
teach after Schick & Schütze 2021 (PET on SuperGLUE, arXiv:2009.07118), who let the model write a phrase freely and
compare it with the span; candidates found by rule are ours. ``span1_index`` is not read, and ``span2_index`` only where
the pronoun stands more than once: some published indices are off by a word.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from promptlab.data.fields import plain, text_of
from promptlab.data.nouns import bare, noun_phrases, words_of
from promptlab.errors import DataError
from promptlab.language.example import Example
from promptlab.language.task import Task

Row = Mapping[str, Any]

_TRUE, _FALSE, _UNKNOWN = ("true", "1"), ("false", "0"), ("", "-1", "none")


def asked(row: Row) -> Iterator[Row]:
    """The row with the columns text, pronoun, choices and label.

    Raises:
        DataError: a field that is missing, a span or a pronoun that is not in the text, a label that is neither.
    """
    if row.get("choices") is not None:
        yield row
        return
    target = row.get("target")
    named = target if isinstance(target, Mapping) else row
    text, span = text_of(row, "text", "text_a"), " ".join(text_of(named, "span1_text").split())
    pronoun = text_of(named, "span2_text").strip()
    _refuse_absent(text, span)
    others = _others(text, span, pronoun)
    yield {
        "text": _marked(text, pronoun, named.get("span2_index")),
        "pronoun": pronoun,
        "choices": [span, *others],
        "label": _right(plain(row.get("label")), span, others),
    }


def taught(example: Example, task: Task) -> Iterator[Example]:
    """The row where the span is right; nothing where it is not, since what is right is then not known."""
    if task.gold(example) == 0:
        yield example


def _refuse_absent(text: str, span: str) -> None:
    missing = set(bare(span).split()) - set(bare(text).split())
    if missing or not bare(span):
        raise DataError(f"the span '{span}' is not in the text '{text}'. Write words of the text in 'span1_text'.")


def _others(text: str, span: str, pronoun: str) -> list[str]:
    wanted = set(bare(span).split())
    found = [phrase for phrase in noun_phrases(text) if not _same(wanted, set(bare(phrase).split()))]
    if not found:  # no phrase by the rules: any other word of the text
        words = dict.fromkeys(word for word in words_of(text) if word.lower() not in wanted | {pronoun.lower()})
        found = [word for word in words if len(word) > 1]
    if not found:
        raise DataError(f"the text has no noun phrase but '{span}': '{text}'. Write a text with two at least.")
    return found


def _same(one: set[str], other: set[str]) -> bool:
    # as PET compares an answer with the span: either holds all words of the other
    return one <= other or other <= one


def _marked(text: str, pronoun: str, index: Any) -> str:
    places = [found.start() for found in re.finditer(rf"(?<!\w){re.escape(pronoun)}(?!\w)", text, re.IGNORECASE)]
    if not pronoun or not places:
        raise DataError(f"the pronoun '{pronoun}' is not in the text '{text}'. Write a word of it in 'span2_text'.")
    words, index = [found.start() for found in re.finditer(r"\S+", text)], plain(index)
    wanted = words[index] if isinstance(index, int) and 0 <= index < len(words) else places[0]
    start = min(places, key=lambda place: abs(place - wanted))
    end = start + len(pronoun)
    return f"{text[:start]}*{text[start:end]}*{text[end:]}"


def _right(label: Any, span: str, others: list[str]) -> list[str] | None:
    text = str(label).strip().lower()
    if text in _UNKNOWN:
        return None
    if text not in (*_TRUE, *_FALSE):
        raise DataError(f"label '{label}' is neither true nor false. Write one of these.")
    return [span] if text in _TRUE else others
