"""Systems written as text: ``pet:repetitions=1+lora:r=8`` is method ``pet`` with tuning ``lora``.

    list    split at commas; a piece that starts ``key=`` belongs to the item before it
    item    name:key=value,key=value
    system  method+tuning
    sweep   ``lr=1e-4|1e-3`` stands for one system a value
    alias   a paper's name for a system: ``adamix:r=8`` is ``finetune+adamix:r=8``

Values may be lists joined by ``+`` (``patterns=a+b``). So the ``+`` that parts method from tuning is the first one that
stands behind a bare method, or before the name of a tuning, or before ``name:key=``.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product

from promptlab.errors import SettingError
from promptlab.registry import METHODS, TUNINGS, aliases, shared_out

_KEY = re.compile(r"[A-Za-z_]\w*=")
_NAME = re.compile(r"[A-Za-z][\w.-]*")
_WITH_SETTINGS = re.compile(r"[A-Za-z][\w.-]*:[A-Za-z_]\w*=")


@dataclass(frozen=True)
class Spec:
    """A name with its settings as text."""

    name: str
    settings: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        pairs = ",".join(f"{key}={value}" for key, value in self.settings.items())
        return f"{self.name}:{pairs}" if pairs else self.name

    def swept(self) -> Iterator["Spec"]:
        """One spec a combination of the values written ``a|b``, in order."""
        for values in product(*(value.split("|") for value in self.settings.values())):
            yield Spec(self.name, dict(zip(self.settings, values, strict=True)))


@dataclass(frozen=True)
class System:
    """A method with a tuning; ``tuning`` is None where none was written."""

    method: Spec
    tuning: Spec | None = None

    def __str__(self) -> str:
        return f"{self.method}+{self.tuning}" if self.tuning else str(self.method)

    def swept(self) -> Iterator["System"]:
        """One system a combination of the values written ``a|b``, the tuning's varying fastest."""
        for method in self.method.swept():
            for tuning in self.tuning.swept() if self.tuning else [None]:
                yield System(method, tuning)


def split_list(text: str) -> list[str]:
    """Splits at commas; a piece that starts ``key=`` joins the item before it."""
    items: list[str] = []
    for piece in map(str.strip, text.split(",")):
        if items and ":" in items[-1] and _KEY.match(piece):
            items[-1] += "," + piece
        elif piece:
            items.append(piece)
    return items


def parse_spec(text: str) -> Spec:
    """Reads ``name`` or ``name:key=value,key=value``.

    Raises:
        SettingError: no name, a setting without a value, or one given twice.
    """
    name, colon, rest = (part.strip() for part in text.partition(":"))
    if not _NAME.fullmatch(name) or (colon and not rest):
        raise SettingError(f"'{text}' is not a name with settings. Write name or name:key=value,key=value.")
    settings: dict[str, str] = {}
    for pair in filter(None, map(str.strip, rest.split(","))):
        key, _, value = (part.strip() for part in pair.partition("="))
        if not key or not value:
            raise SettingError(f"'{pair}' in '{text}' is not a setting. Write key=value.")
        if key in settings:
            raise SettingError(
                f"'{text}' says {key} twice. Write it once, or {key}={settings[key]}|{value} to try both."
            )
        settings[key] = value
    return Spec(name, settings)


def parse_system(text: str) -> System:
    """Reads ``method`` or ``method+tuning``, each with settings; or a paper's name for one, with settings."""
    text = _spelt_out(text)
    at = _border(text)
    if at is None:
        return System(parse_spec(text))
    return System(parse_spec(text[:at]), parse_spec(text[at + 1 :]))


def parse_systems(texts: str | list[str]) -> list[System]:
    """Reads a comma-separated list (or several), sweeps opened, in order; what is said twice counts once."""
    listed = [texts] if isinstance(texts, str) else texts
    systems = (one for text in listed for item in split_list(text) for one in parse_system(item).swept())
    return list({str(system): system for system in systems}.values())


def settled(system: System) -> System:
    """The system with every setting where it belongs: behind ``method+tuning:`` one may write the method's too.

    Raises:
        SettingError: an unknown name, or a setting given to the method twice.
    """
    if system.tuning is None or not system.tuning.settings:
        return system
    moved, own = shared_out(system.method.name, system.tuning.name, system.tuning.settings)
    for key in moved:
        if key in system.method.settings:
            raise SettingError(f"'{system}' says {key} twice. Write it once.")
    method = Spec(system.method.name, {**system.method.settings, **moved})
    return System(method, Spec(system.tuning.name, own))


def _spelt_out(text: str) -> str:
    """The text with the paper's name it begins with, if any, as method and tuning."""
    found = _NAME.match(text.strip())
    name = found.group() if found else ""
    system = None if name in METHODS else aliases().get(name.lower())
    return text.strip().replace(name, system, 1) if system else text


def _border(text: str) -> int | None:
    """Where the ``+`` stands that parts method from tuning."""
    for found in re.finditer(r"\+", text):
        after = text[found.end() :].lstrip()
        name = re.split(r"[:+,|\s]", after, maxsplit=1)[0]
        if ":" not in text[: found.start()] or name in TUNINGS or _WITH_SETTINGS.match(after):
            return found.start()
    return None
