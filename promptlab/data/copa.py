"""COPA (Roemmele et al. 2011; SuperGLUE): which of two sentences is the cause or the effect of a premise?

    question "cause"     the link " because"          premise because ___
    question "effect"    the link ", so"              premise, so ___
    a shot               the row, and the row with its choices swapped and its label turned round

Both after Schick & Schütze 2021 (PET on SuperGLUE, arXiv:2009.07118); test rows are asked once, as they stand.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from promptlab.data.fields import text_of
from promptlab.errors import DataError
from promptlab.language.example import Example
from promptlab.language.task import Task

LINKS = {"cause": " because", "effect": ", so"}


def linked(row: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The row with the words that lead from its premise to the answer, in the field ``link``.

    Raises:
        DataError: the row asks for neither cause nor effect.
    """
    if row.get("link") is not None:
        yield row
        return
    question = text_of(row, "question").strip().lower()
    if question not in LINKS:
        raise DataError(f"'question' is '{question}'. Write cause or effect.")
    yield {**row, "link": LINKS[question]}


def both(example: Example, task: Task) -> Iterator[Example]:
    """A shot as it is and mirrored."""
    yield example
    first, second = task.labels
    swapped = {**example.fields, "choice1": example.fields["choice2"], "choice2": example.fields["choice1"]}
    yield replace(example, fields=swapped, label=second if example.label == first else first)
