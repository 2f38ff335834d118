"""Whether rows can be answered: candidates to choose from, the right one among them, a word for each choice.

Only tasks whose rows have words of their own are looked at; found here, a fault still has its file and row.
"""

from collections.abc import Callable

from promptlab.errors import DataError
from promptlab.language.example import Example
from promptlab.language.task import Task


def answerable(examples: list[Example], task: Task, place: Callable[[int], str]) -> list[Example]:
    """The examples, checked.

    Args:
        examples: rows as read.
        task: says what can be answered.
        place: where a row stands, for messages.

    Raises:
        DataError: candidates that are missing, empty or equal; a right answer that is not among them; a word that
            comes out empty, or the same for two choices.
    """
    if not task.per_example:
        return examples
    verbalizers = list({pvp.verbalizer.name: pvp.verbalizer for pvp in task.pvps}.values())
    for row, example in enumerate(examples):
        try:
            choices = task.choices(example)
            if example.right:
                task.golds(example)
            for verbalizer in verbalizers:
                verbalizer.spoken(example, choices)
        except DataError as error:
            raise DataError(f"{place(row)}: {error}") from None
    return examples
