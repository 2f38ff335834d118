"""How long language-model training goes on: until so many tokens are read, or so many minutes are over."""

import re
from dataclasses import dataclass

from promptlab.errors import SettingError

_UNITS = {"": 1, "k": 1_000, "m": 1_000_000, "b": 1_000_000_000}


@dataclass(frozen=True)
class Budget:
    """An amount of training.

    Args:
        tokens: of text read; None where time decides.
        seconds: of training, over all sittings; None where tokens decide.
    """

    tokens: int | None
    seconds: float | None

    @property
    def total(self) -> int:
        """What a progress bar counts to: tokens, or seconds."""
        return self.tokens if self.tokens is not None else max(1, round(self.seconds or 0))

    def done(self, tokens: int, seconds: float) -> int:
        """How much of ``total`` is done."""
        return min(self.total, tokens if self.tokens is not None else int(seconds))

    def share(self, tokens: int, seconds: float) -> float:
        """How much is done, 0 to 1."""
        return min(1.0, tokens / self.tokens if self.tokens is not None else seconds / max(1e-9, self.seconds or 0.0))


def budget(tokens: int | str | None, minutes: float | None, all_tokens: int) -> Budget:
    """The budget of two settings; one pass over the text where neither is given.

    Args:
        tokens: a number, or a text such as ``20M``.
        minutes: of training.
        all_tokens: the text's own.

    Raises:
        SettingError: both, or an amount that is none.
    """
    if tokens is not None and minutes is not None:
        raise SettingError("tokens and minutes are two ends for one training. Write one of them.")
    if minutes is not None:
        if not 0 < minutes < float("inf"):
            raise SettingError(f"minutes={minutes} is no length of time. Write a number above 0.")
        return Budget(None, 60.0 * minutes)
    return Budget(all_tokens if tokens is None else read_tokens(tokens), None)


def read_tokens(text: int | str) -> int:
    """``20M``, ``1.5B``, ``300k`` or a plain number of tokens.

    Raises:
        SettingError: none of these.
    """
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,15})?)\s*([kmb]?)", str(text).strip().lower())
    number = round(float(found[1]) * _UNITS[found[2]]) if found else 0
    if number < 1:
        raise SettingError(f"tokens={text} is no amount. Write 20M, 300k or a number.")
    return number


def slope(share: float, warmup: float) -> float:
    """What multiplies the learning rate: up to 1 over the first ``warmup``, level, down to 0 over the second half."""
    return min(share / warmup, 1.0, 2 * (1.0 - share))
