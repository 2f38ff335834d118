"""Settings of methods that also write texts, and which of a method's settings a kind of task reads.

    labels    what texts are written with is not read
    texts     what label words and heads are asked with is not read

A setting that would not be read is refused, so that nobody believes it had an effect.
"""

from collections.abc import Iterable
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar

from promptlab.backbone.decoding import Decoding, Stop
from promptlab.errors import SettingError
from promptlab.language.task import Task


@dataclass(frozen=True, kw_only=True)
class Writes:
    """How texts are written; read on tasks that ask for one.

    Args:
        beams: texts that are followed side by side; 1 takes the likeliest token at each step.
        length_penalty: a text of n tokens is worth its log-probability over ``n ** length_penalty``, under beams.
        no_repeat: no run of so many tokens is written twice; 0 forbids nothing.
        max_tokens: the most tokens of a text.
        min_tokens: before so many, nothing ends it.
        sample: tokens are drawn, by the job's seed, not chosen.
        temperature: what logits are divided by before drawing.
        top_k: only the so many likeliest tokens are drawn from; 0 for all.
        top_p: only the likeliest tokens that together have this probability are drawn from.
        stop: what ends a text beside the end token: ``line``, ``blank`` (an empty line) or ``none``.
    """

    writes: ClassVar[bool] = True
    beams: int = 1
    length_penalty: float = 1.0
    no_repeat: int = 0
    max_tokens: int = 64
    min_tokens: int = 0
    sample: bool = False
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    stop: Stop = "blank"

    def writing(self, seed: int) -> Decoding:
        """The same for one job.

        Raises:
            SettingError: a value that cannot be, or one that would be without effect.
        """
        return Decoding(**{name: getattr(self, name) for name in WRITING}, seed=seed)

    def check_writing(self, name: str) -> None:
        """Refuses what cannot be, as ``writing`` does, before anything is loaded or trained.

        Args:
            name: what messages call the method.
        """
        try:
            self.writing(0)
        except SettingError as error:
            raise SettingError(f"{name}: {error}") from None


WRITING = tuple(one.name for one in fields(Writes))
"""Settings that a task with labels does not read."""
ASKING = ("calibration", "transductive", "pool", "decoding")
"""Settings of untrained methods that a task that asks for a text does not read."""


def refuse_unread(method: Any, name: str, task: Task, unread: Iterable[str]) -> None:
    """Refuses settings that were changed and that the task does not read.

    Args:
        method: an object of settings.
        name: what messages call it.
        task: what is asked.
        unread: names of settings.

    Raises:
        SettingError: names the first.
    """
    usual = {one.name: one.default for one in fields(method) if one.default is not MISSING}
    for key in unread:
        if (value := getattr(method, key)) != usual[key]:
            reader, has = ("labels", "asks for a text") if task.generates else ("a text to write", "asks for labels")
            raise SettingError(
                f"{name}: {key}={value} is read on tasks with {reader} alone, and '{task.name}' {has}. Leave it out."
            )
