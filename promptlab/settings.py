"""Settings written as text, read by the type of the field they are for."""

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from math import isnan
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from promptlab.errors import SettingError, did_you_mean

_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def configure(cls: type, name: str, settings: Mapping[str, Any]) -> Any:
    """``cls(**settings)`` with each text read by the type of its field.

    ``int``, ``float``, ``bool``, ``str`` and ``Literal`` are read, and unions of them from the narrowest on; ``none``
    is None where the field may be None and is no text.

    Raises:
        SettingError: ``cls`` is no dataclass, a setting is unknown or missing, or a value cannot be read.
    """
    if not is_dataclass(cls):
        raise SettingError(f"{name} is not a dataclass of settings, so it cannot be set up by name.")
    hints, known = get_type_hints(cls), [field for field in fields(cls) if field.init]
    names = [field.name for field in known]
    for key in settings:
        if key not in names:
            listed = ", ".join(names) or "none"
            raise SettingError(f"{name} has no setting '{key}'.{did_you_mean(key, names)} Known: {listed}.")
    for field in known:
        if field.name not in settings and field.default is MISSING and field.default_factory is MISSING:
            raise SettingError(f"{name} needs a value for '{field.name}'. Write {name}:{field.name}=...")
    return cls(**{key: _read(f"{name}: {key}", value, hints[key]) for key, value in settings.items()})


def _read(place: str, value: Any, hint: Any) -> Any:
    """One setting; what is not text is taken as it is."""
    if not isinstance(value, str):
        return value
    if get_origin(hint) is Literal:
        return _choice(place, value, get_args(hint))
    options = (hint, *get_args(hint))  # ``int | None`` lists int and NoneType
    text = str in options
    readers = [(kind, read) for kind, read in _READERS if kind in options and not (text and kind is NoneType)]
    for _, read in readers:
        try:
            return read(value)
        except (ValueError, KeyError):
            continue
    if text or not readers:
        return value
    wanted = " or ".join(_WORDS[kind] for kind, _ in readers)
    raise SettingError(f"{place}={value} cannot be read. Write {wanted}.")


def _choice(place: str, value: str, choices: tuple[Any, ...]) -> Any:
    for choice in choices:
        if value == str(choice):
            return choice
    texts = list(map(str, choices))
    raise SettingError(f"{place}={value} cannot be.{did_you_mean(value, texts)} Write one of {', '.join(texts)}.")


def _none(text: str) -> None:
    if text.lower() != "none":
        raise ValueError(text)


def _number(text: str) -> float:
    if isnan(number := float(text)):
        raise ValueError(text)
    return number


_READERS: list[tuple[type, Any]] = [
    (bool, lambda text: _BOOLEANS[text.lower()]),
    (int, int),
    (float, _number),
    (NoneType, _none),
]
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", NoneType: "none"}
