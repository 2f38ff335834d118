"""Numbers that a tuning's settings may hold; others are refused when it is made, before anything is loaded or trained.

    a step size, a decay, a weight of a loss    from 0 on
    a factor                                    above 0
    a rate of dropout                           from 0 on, below 1
    a count                                     whole, from 1 on: from 2 where one leaves nothing to mix, from 0 where
                                                none is a choice

One rule a name, whatever tuning has a setting of it. How large a count may be only a backbone can say.
"""

from collections.abc import Callable
from math import isfinite
from numbers import Integral, Real
from typing import Any, NamedTuple

from promptlab.errors import SettingError


class Limit(NamedTuple):
    """Which numbers are taken, and what a message says to write."""

    takes: Callable[[Any], bool]
    write: str


_FROM_ZERO = Limit(lambda value: isfinite(value) and value >= 0, "a number from 0 on")
_ABOVE_ZERO = Limit(lambda value: isfinite(value) and value > 0, "a number above 0")
_RATE = Limit(lambda value: 0 <= value < 1, "a number from 0 on, below 1")


def _whole(least: int) -> Limit:
    return Limit(lambda value: isinstance(value, Integral) and int(value) >= least, f"a whole number from {least} on")


_COUNTS = ("r", "adapter_r", "n", "embed", "layers", "candidates", "judge")
LIMITS = {
    **dict.fromkeys(("lr", "weight_decay", "consistency"), _FROM_ZERO),
    **dict.fromkeys(("alpha", "scale"), _ABOVE_ZERO),
    "dropout": _RATE,
    **dict.fromkeys(_COUNTS, _whole(1)),
    "experts": _whole(2),
    "mid": _whole(0),
}


def check(tuning: Any, name: str) -> None:
    """Refuses a tuning's numbers that cannot be.

    Args:
        tuning: an object of settings; those of other names are passed over, and None where it is the default.
        name: what messages call it.

    Raises:
        SettingError: names the first such setting and what to write.
    """
    for key, limit in LIMITS.items():
        value, usual = getattr(tuning, key, None), getattr(type(tuning), key, None)
        if value is None and usual is None:
            continue
        if not isinstance(value, Real) or isinstance(value, bool) or not limit.takes(value):
            raise SettingError(f"{name}: {key}={value} cannot be. Write {limit.write}.")
