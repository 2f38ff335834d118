"""Numbers that a method's settings may hold; others are refused when it is made, before anything is loaded or trained.

    a number of updates, rows or tokens    from 1 on
    a pool                                 from 0 on, which is none of its rows
    a step size                            from 0 on
    a share                                from 0 to 1
    a temperature                          above 0

A setting that was left out (None) is looked at when its preset has settled it.
"""

from math import inf, isfinite
from typing import Any

from promptlab.errors import SettingError

_COUNTS = ("steps", "batch", "student_steps", "student_batch", "budget", "max_length")
_LEAST = {"pool": 0, "mlm_batch": 0, "lr": 0, "head_lr": 0, **dict.fromkeys(_COUNTS, 1)}
_SHARES = ("mlm", "warmup", "smoothing")


def check(method: Any, name: str) -> None:
    """Refuses a method's numbers that cannot be.

    Args:
        method: an object of settings; those of other names, those that are None, and texts are passed over.
        name: what messages call it.

    Raises:
        SettingError: names the first such setting and what to write.
    """
    for key, least in _LEAST.items():
        _within(method, name, key, least, inf, f"{least} or more")
    for key in _SHARES:
        _within(method, name, key, 0, 1, "a number from 0 to 1")
    if getattr(method, "temperature", None) == 0:
        raise SettingError(f"{name}: temperature=0 cannot be. Write a number above 0.")
    _within(method, name, "temperature", 0, inf, "a number above 0")
    if getattr(method, "mlm", None) and getattr(method, "mlm_batch", None) == 0:
        raise SettingError(f"{name}: mlm={method.mlm} has mlm_batch=0 rows a step. Write 1 or more, or mlm=0.")


def _within(method: Any, name: str, key: str, least: float, most: float, write: str) -> None:
    value = getattr(method, key, None)
    if isinstance(value, int | float) and not (isfinite(value) and least <= value <= most):
        raise SettingError(f"{name}: {key}={value} cannot be. Write {write}.")
