"""MultiRC (Khashabi et al. 2018; SuperGLUE): which answers to a question about a passage are right?

    as published    {idx, passage: {text, questions: [{idx, question, answers: [{text, label}]}]}}
    on the hub      {paragraph, question, answer, label, idx: {paragraph, question, answer}}
    flat            {..., question_idx}

All become a row for each answer, with the number of its question (``question_idx``: passage-question) to group by.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from promptlab.data.fields import text_of
from promptlab.errors import DataError

Row = Mapping[str, Any]


def unfolded(row: Row) -> Iterator[Row]:
    """The rows of a passage's answers; a row that holds one answer already, with its question's number.

    Raises:
        DataError: a passage whose questions or answers are not where they should be.
    """
    passage, number = row.get("passage"), row.get("idx")
    if isinstance(passage, Mapping):
        yield from _answers(row, passage)
    elif row.get("question_idx") is None and isinstance(number, Mapping) and {"paragraph", "question"} <= set(number):
        yield {**row, "question_idx": f"{number['paragraph']}-{number['question']}"}
    else:
        yield row


def _answers(row: Row, passage: Row) -> Iterator[Row]:
    text = text_of(passage, "text")
    for question in _listed(passage, "questions"):
        shared = {"passage": text, "question": text_of(question, "question")}
        number = f"{row.get('idx')}-{question.get('idx')}"
        for answer in _listed(question, "answers"):
            label = {"label": answer["label"]} if "label" in answer else {}
            yield {**shared, "answer": text_of(answer, "text"), "question_idx": number, **label}


def _listed(row: Row, name: str) -> list[Row]:
    found = row.get(name)
    if not isinstance(found, list) or not all(isinstance(each, Mapping) for each in found):
        raise DataError(f"'{name}' is no list of objects. Write MultiRC's own form, or a row for each answer.")
    return found
