"""ReCoRD (Zhang et al. 2018; SuperGLUE): which entity of a news story fills the gap of a query?

    asked     the query parted at @placeholder into ``before`` and ``after``; the story's entities, each once, are the
              candidates; "@highlight" and its line end become "- "; any of several right answers is right
    taught    a row for each right answer, against at most nine wrong candidates

After Schick & Schütze 2021 (PET on SuperGLUE, arXiv:2009.07118, and its code). Which nine is drawn by a hash of query
and candidate, ours.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from promptlab.data.fields import text_of, texts_of
from promptlab.errors import DataError
from promptlab.language.example import Example
from promptlab.language.task import Task

GAP, HIGHLIGHT, WRONG = "@placeholder", "@highlight\n", 9

Row = Mapping[str, Any]


def asked(row: Row) -> Iterator[Row]:
    """The row's queries (one, but in the published form) with the columns passage, before, after, choices and label.

    Raises:
        DataError: a field that is missing, a query without its gap, entities that are not in the text.
    """
    passage = row.get("passage")
    if row.get("before") is not None:
        yield row
    elif isinstance(passage, Mapping):
        text = text_of(passage, "text")
        entities = [_entity(text, each) for each in passage.get("entities") or ()]
        for query in row.get("qas") or ():
            answers = [text_of(each, "text") for each in query.get("answers") or ()]
            yield _parted(text, text_of(query, "query"), entities, answers)
    else:
        text, query = text_of(row, "passage", "text", "text_a"), text_of(row, "query", "text_b")
        answers = texts_of(row, "answers", "label")
        yield _parted(text, query, texts_of(row, "choices", "entities"), answers)


def taught(example: Example, task: Task) -> Iterator[Example]:
    """One row for each right answer: it and the wrong candidates, at most nine, in the order of the text."""
    right, choices = set(example.right), task.choices(example)
    wrong = sorted((each for each in choices if each not in right), key=lambda each: _ticket(example, each))[:WRONG]
    for answer in example.right:
        kept = tuple(each for each in choices if each == answer or each in wrong)
        yield replace(example, fields={**example.fields, str(task.candidates): kept}, label=answer, answers=())


def _parted(text: str, query: str, entities: Sequence[str], answers: Sequence[str]) -> Row:
    if query.count(GAP) != 1:
        raise DataError(f"the query has {query.count(GAP)} {GAP}. Write it once, where the answer stands: '{query}'.")
    before, after = query.split(GAP)
    return {
        "passage": text.replace(HIGHLIGHT, "- "),
        "before": before.rstrip(),
        "after": after,
        "choices": _once(entities),
        "label": _once(answers) or None,
    }


def _entity(text: str, span: Row) -> str:
    start, end = span.get("start"), span.get("end")
    if not (isinstance(start, int) and isinstance(end, int) and 0 <= start <= end < len(text)):
        raise DataError(f"an entity from {start} to {end} is not in the passage ({len(text)} characters).")
    return text[start : end + 1]  # SuperGLUE counts the last character in


def _once(texts: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(stripped for text in texts if (stripped := text.strip())))


def _ticket(example: Example, candidate: str) -> bytes:
    return hashlib.sha256(f"{example.text('before')}:{example.text('after')}:{candidate}".encode()).digest()
