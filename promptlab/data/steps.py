"""Named steps that a task file may ask for with ``prepare: NAME``, run on its rows right after they are read.

    @step("swap", "exchanges the two inputs")
    def swap(examples): ...

A step takes all examples of one source and returns the examples to use: as many, more or fewer.
"""

from collections.abc import Callable
from dataclasses import dataclass

from promptlab.errors import DataError, did_you_mean
from promptlab.language.example import Example

Prepare = Callable[[list[Example]], list[Example]]


@dataclass(frozen=True)
class Step:
    """A step and one line that says what it does."""

    run: Prepare
    about: str


STEPS: dict[str, Step] = {}


def step(name: str, about: str) -> Callable[[Prepare], Prepare]:
    """Registers a step under the name that task files write."""

    def register(run: Prepare) -> Prepare:
        STEPS[name] = Step(run, about)
        return run

    return register


def prepared(name: str | None, examples: list[Example]) -> list[Example]:
    """The examples after the step, unchanged where ``name`` is None.

    Raises:
        DataError: no such step; suggests the nearest and lists all.
    """
    if name is None:
        return examples
    if name not in STEPS:
        raise DataError(
            f"prepare: no step '{name}'.{did_you_mean(name, STEPS)} Known: {', '.join(STEPS) or 'none yet'}."
        )
    return STEPS[name].run(examples)
