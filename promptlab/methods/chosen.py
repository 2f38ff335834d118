"""A method and a tuning as somebody chose them: by name with settings, or as objects.

    choose("pet:repetitions=1", "lora:r=8")
    choose("pet:repetitions=1+lora:r=8")
    choose(Pet(repetitions=1), Lora(r=8))

All three are the same.
"""

from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, dataclass, fields, is_dataclass
from typing import Any

from promptlab.errors import SettingError
from promptlab.registry import METHODS, TUNINGS, Registry, refusal
from promptlab.spec import Spec, System, parse_spec, parse_system, settled


@dataclass(frozen=True)
class Chosen:
    """A method with its tuning.

    Args:
        method: the method's object.
        tuning: the tuning's; None where nothing learns.
        system: both as text.
    """

    method: Any
    tuning: Any
    system: System

    @property
    def settings(self) -> Mapping[str, Any]:
        """Every setting, those left out included: ``{"method": {...}, "tuning": {...} | None}``."""
        settled = self.method.settled() if hasattr(self.method, "settled") else self.method
        return {"method": asdict(settled), "tuning": asdict(self.tuning) if self.tuning else None}


def choose(method: Any, tuning: Any = None) -> Chosen:
    """Reads a choice.

    Args:
        method: ``"pet:repetitions=1"``, ``"pet+lora"``, or an object of settings.
        tuning: ``"lora:r=8"``, an object of settings, or None: ``full`` for a method that learns.

    Raises:
        SettingError: unknown names or settings, several systems at once, two tunings, or one for a method that learns
            nothing.
    """
    system = _parsed(method) if isinstance(method, str) else System(_spec(METHODS, method, "fit"))
    if system.tuning and tuning is not None:
        raise SettingError(f"method={method} names a tuning, and so does tuning={tuning}. Write one of them.")
    built = METHODS.build(system.method.name, system.method.settings) if isinstance(method, str) else method
    given = system.tuning if tuning is None else tuning
    if given is None and not built.learns:
        return Chosen(built, None, system)
    spec, learnt = _tuning(Spec("full") if given is None else given)
    reason = _refusal(system.method.name, spec.name, built.learns)
    if reason:
        raise SettingError(f"{reason}. Write tuning=None.")
    return Chosen(built, learnt, System(system.method, spec))


def _refusal(method: str, tuning: str, learns: bool) -> str:
    if method in METHODS and tuning in TUNINGS:
        return refusal(method, tuning)
    return "" if learns else f"{method} trains no weights, so it takes no tuning"


def _parsed(text: str) -> System:
    systems = list(parse_system(text).swept())
    if len(systems) != 1:
        raise SettingError(f"method='{text}' is {len(systems)} systems. Write one, or search over them.")
    return settled(systems[0])


def _tuning(given: Any) -> tuple[Spec, Any]:
    if isinstance(given, str | Spec):
        specs = list((parse_spec(given) if isinstance(given, str) else given).swept())
        if len(specs) != 1:
            raise SettingError(f"tuning='{given}' is {len(specs)} tunings. Write one, or search over them.")
        return specs[0], TUNINGS.build(specs[0].name, specs[0].settings)
    return _spec(TUNINGS, given, "learn"), given


def _spec(registry: Registry, thing: Any, needed: str) -> Spec:
    """An object of settings as text: its registered name, or its class's, and what differs from the defaults."""
    kind, cls = registry.kind, thing if isinstance(thing, type) else type(thing)
    if isinstance(thing, type) or not is_dataclass(thing) or not hasattr(thing, needed):
        shown = f"the class {cls.__name__}" if isinstance(thing, type) else f"a {cls.__name__}"
        known = ", ".join(entry.name for entry in registry)
        raise SettingError(f"{kind}: {shown} is no {kind}. Write a name with settings ({known}), or an object of them.")
    place = f"{cls.__module__}:{cls.__qualname__}"
    names = [entry.name for entry in registry if entry.target == place]
    changed = {one.name: getattr(thing, one.name) for one in fields(thing) if getattr(thing, one.name) != _default(one)}
    return Spec((names or [cls.__name__.lower()])[0], {name: _written(value) for name, value in changed.items()})


def _default(field: Field) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default


def _written(value: Any) -> str:
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
