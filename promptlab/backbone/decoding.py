"""How a text is written: which tokens may come next, how many ways are followed, and what ends it."""

from dataclasses import dataclass
from typing import Literal, get_args

from promptlab.errors import SettingError, did_you_mean

Stop = Literal["line", "blank", "none"]
_LEAST = {"beams": 1, "no_repeat": 0, "max_tokens": 1, "min_tokens": 0, "top_k": 0}


@dataclass(frozen=True)
class Decoding:
    """The settings of one text.

    Args:
        beams: texts that are followed side by side; 1 takes the likeliest token at each step.
        length_penalty: a finished text of n tokens is worth its log-probability over ``n ** length_penalty``.
        no_repeat: no run of so many tokens is written twice; what was read may be repeated. 0 forbids nothing.
        max_tokens: the most tokens of a text, the one that ends it included.
        min_tokens: before so many, nothing ends it.
        sample: tokens are drawn, not chosen.
        temperature: what logits are divided by before drawing.
        top_k: only the so many likeliest tokens are drawn from; 0 for all.
        top_p: only the likeliest tokens that together have this probability are drawn from.
        seed: of the drawing.
        stop: what ends a text beside the end token: ``line``, a newline; ``blank``, an empty line; ``none``, nothing.
            White space before a text ends nothing.

    Raises:
        SettingError: a value that cannot be, or one that would be without effect.
    """

    beams: int = 1
    length_penalty: float = 1.0
    no_repeat: int = 0
    max_tokens: int = 64
    min_tokens: int = 0
    sample: bool = False
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    stop: Stop = "blank"

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise SettingError(f"{name}={getattr(self, name)} cannot be. Write {least} or more.")
        if self.min_tokens > self.max_tokens:
            raise SettingError(
                f"min_tokens={self.min_tokens} is more than max_tokens={self.max_tokens}. Write a smaller one."
            )
        if self.stop not in get_args(Stop):
            near = did_you_mean(self.stop, get_args(Stop))
            raise SettingError(f"stop={self.stop}: nothing known ends a text so.{near} Write line, blank or none.")
        self._check_drawing()

    def _check_drawing(self) -> None:
        if self.temperature <= 0:
            raise SettingError(f"temperature={self.temperature} cannot be. Write a number above 0, or sample=false.")
        if not 0 < self.top_p <= 1:
            raise SettingError(f"top_p={self.top_p} cannot be. Write a number above 0, up to 1.")
        if self.sample and self.beams > 1:
            raise SettingError(f"sample=true draws one text, and beams={self.beams} follows several. Write beams=1.")
        narrowed = {"temperature": self.temperature, "top_k": self.top_k, "top_p": self.top_p}
        idle = [name for name, value in narrowed.items() if value != getattr(Decoding, name)]
        if idle and not self.sample:
            raise SettingError(
                f"{idle[0]}={narrowed[idle[0]]} has no effect unless tokens are drawn. Write sample=true."
            )
