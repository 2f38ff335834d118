"""Names of methods and tunings, each with one line of description.

An entry points at its object as ``"module:object"`` and imports it only when asked, so ``promptlab ls`` stays light.
Other packages add entries through the entry points ``promptlab.methods`` and ``promptlab.tunings``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from math import isnan
from operator import attrgetter
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from promptlab.errors import SettingError, did_you_mean

_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


@dataclass(frozen=True)
class Entry:
    """A name, where its object lives, one line that says what it is, and the papers it follows."""

    name: str
    target: str
    about: str
    paper: str = ""

    def load(self) -> Any:
        """Imports the object.

        Raises:
            SettingError: the module or the object is not there.
        """
        module, _, attribute = self.target.partition(":")
        try:
            return attrgetter(attribute)(import_module(module))
        except (ImportError, AttributeError) as error:
            raise SettingError(f"{self.name} ({self.about}) cannot be imported from {self.target}: {error}.") from error


class Registry:
    """Entries of one kind by name, the built-in ones first, then those of other packages.

    Args:
        kind: singular noun for messages (``"method"``).
        group: entry-point group that other packages may fill.
        entries: the built-in ones.
    """

    def __init__(self, kind: str, group: str, entries: list[Entry]):
        self.kind, self.group, self._builtin = kind, group, entries

    @cached_property
    def entries(self) -> Mapping[str, Entry]:
        """All entries by name; a built-in name cannot be taken over."""
        others = map(_entry, entry_points(group=self.group))
        return {entry.name: entry for entry in (*others, *self._builtin)}

    def __iter__(self) -> Iterator[Entry]:
        own = {entry.name for entry in self._builtin}
        return iter(sorted(self.entries.values(), key=lambda entry: entry.name not in own))

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def entry(self, name: str) -> Entry:
        """The entry of a name.

        Raises:
            SettingError: no such name; suggests the nearest and lists all.
        """
        if name not in self.entries:
            known = ", ".join(entry.name for entry in self)
            raise SettingError(f"no {self.kind} '{name}'.{did_you_mean(name, self.entries)} Known: {known}.")
        return self.entries[name]

    def build(self, name: str, settings: Mapping[str, Any] | None = None) -> Any:
        """Makes the dataclass behind a name from settings written as text.

        Raises:
            SettingError: unknown name or setting, or a value that cannot be read.
        """
        return configure(self.entry(name).load(), name, settings or {})


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


def _entry(point: EntryPoint) -> Entry:
    about = f"from {point.dist.name}" if point.dist else "from another package"
    return Entry(point.name, f"{point.module}:{point.attr}", about)


def _within(package: str, *rows: tuple[str, ...]) -> list[Entry]:
    return [Entry(name, f"{package}.{target}", *rest) for name, target, *rest in rows]


METHODS = Registry(
    "method",
    "promptlab.methods",
    _within(
        "promptlab.methods",
        ("majority", "baselines:Majority", "always the commonest label of the labelled rows"),
        ("tfidf", "baselines:Tfidf", "logistic regression on TF-IDF of words and pairs of words"),
        ("probe", "probe:Probe", "logistic regression on the frozen backbone's pooled features"),
        ("zero-shot", "zero_shot:ZeroShot", "asks the pattern, learns nothing", "2005.14165, 2001.07676"),
        (
            "in-context",
            "in_context:InContextLearning",
            "shows labelled rows before each row, learns nothing",
            "2005.14165, 2012.15723",
        ),
        ("prompt", "prompt:Prompt", "trains one model through its pattern", "2001.07676, 2012.15723"),
        ("finetune", "finetune:Finetune", "trains a classification head on the bare text", "1810.04805"),
        ("pet", "pet:Pet", "many patterns teach one classifier through unlabelled text", "2001.07676, 2009.07118"),
        ("ipet", "ipet:Ipet", "generations of PET's ensembles label rows for each other", "2001.07676, 2009.07118"),
    ),
)

TUNINGS = Registry(
    "tuning",
    "promptlab.tunings",
    _within(
        "promptlab.tuning",
        ("full", "full:Full", "every weight learns"),
        ("top", "full:Top", "the last blocks and the final norm learn", "2101.00190"),
        ("bitfit", "bitfit:BitFit", "every bias learns", "2106.10199"),
        ("words", "words:Words", "discrete words in the soft slots, found by gradients", "2010.15980"),
        ("soft", "soft:Soft", "embeddings of soft tokens learn", "2104.08691"),
        ("prefix", "prefix:Prefix", "keys and values before those of every layer learn", "2101.00190"),
        ("prelayer", "prelayer:Prelayer", "activations of soft tokens at every block learn", "2106.09685"),
        ("lora", "lora:Lora", "a low-rank difference beside chosen projections learns", "2106.09685"),
        ("houlsby", "houlsby:Houlsby", "two bottlenecks a block, after attention and feed-forward", "1902.00751"),
        ("pfeiffer", "pfeiffer:Pfeiffer", "one bottleneck a block, after the feed-forward", "2005.00247"),
        ("parallel", "parallel:Parallel", "one bottleneck a block, beside the feed-forward", "2110.04366"),
        ("lin", "lin:Lin", "one bottleneck a block with its own norm, on the block's output", "2004.03829"),
        (
            "adamix",
            "adamix:AdaMix",
            "bottlenecks met at random, a step's two passes agreeing, averaged at the end",
            "2205.12410",
        ),
        ("adamix-lora", "adamix:AdaMixLora", "low-rank differences met at random and averaged likewise", "2205.12410"),
        ("ia3", "ia3:Ia3", "factors on keys, values and inner units learn", "2205.05638"),
        ("mix", "mix:Mix", "several tunings at once, ungated; parts=prefix+parallel is MAM", "2110.04366"),
        ("unipelt", "unipelt:UniPelt", "bottlenecks, a prefix and low-rank differences, each gated", "2110.07577"),
    ),
)


CALIBRATIONS = (
    Entry("none", "", "label scores as they come"),
    Entry("contextual", "", "minus what empty texts get, for some words win whatever the text is", "2102.09690"),
    Entry("pmi", "", "minus the score of the word without the text, for frequent words score high", "2104.08315"),
    Entry("batch", "", "minus the mean over unlabelled rows, for a prompt leans to a label", "2309.17249"),
)
"""What may be taken away from label scores (``calibration=``), why, and the paper."""

BACKBONES = (
    ("mini", "masked, 22.7 M weights, comes with promptlab (over all-MiniLM-L6-v2)"),
    ("smollm2", "causal, 134.5 M weights, SmolLM2-135M-Instruct from a package or the hub"),
    ("FOLDER", "what save_pretrained or promptlab adapt wrote"),
    ("FILE.gguf", "quantised weights, read with the package gguf"),
    ("owner/name", "a masked or causal model on the Hugging Face hub"),
)


def shared_out(method: str, tuning: str, settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings written behind ``method+tuning:``, parted: the tuning's own, and those that only the method knows.

    So ``pet+lora:repetitions=1,r=4`` means ``pet:repetitions=1+lora:r=4``.

    Returns:
        the method's, the tuning's.
    """
    known = [{field.name for field in fields(entry.load())} for entry in (METHODS.entry(method), TUNINGS.entry(tuning))]
    moved = {key for key in settings if key in known[0] and key not in known[1]}
    parts = ({key: value for key, value in settings.items() if (key in moved) is mine} for mine in (True, False))
    return next(parts), next(parts)


def refusal(method: str, tuning: str | None) -> str:
    """Why a method cannot go with a tuning; empty where it can.

    Raises:
        SettingError: an unknown name.
    """
    learns = METHODS.entry(method).load().learns
    if tuning is not None and TUNINGS.entry(tuning) and not learns:
        return f"{method} trains no weights, so it takes no tuning"
    only = getattr(TUNINGS.entry(tuning).load(), "methods", None) if tuning else None
    if only and method not in only:
        return f"{tuning} goes with {', '.join(only)} only, since what it learns is text"
    return ""


def cells() -> Iterator[tuple[str, str | None, str]]:
    """Every method with every tuning and with none (``full``, where it learns): method, tuning, why not."""
    for method in METHODS:
        for tuning in (None, *(entry.name for entry in TUNINGS)):
            yield method.name, tuning, refusal(method.name, tuning)
