"""Names of methods and tunings, each with one line of description, and the cells that they make together.

    entry   points at its object as ``"module:object"`` and imports it only when asked, so ``promptlab ls`` stays light
    cell    a method x a tuning x what answers x a kind of backbone: valid, or refused with its reason
    name    what a paper calls a cell

Other packages add entries through the entry points ``promptlab.methods`` and ``promptlab.tunings``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from operator import attrgetter
from typing import Any

from promptlab.errors import SettingError, did_you_mean
from promptlab.settings import configure

HEADS = ("cloze", "head")
"""What answers: label words at the mask, or a head on the bare text. Methods with the trait ``writes`` write texts."""
KINDS = ("masked", "causal", "seq2seq")
"""What kinds of backbone there are; seq2seq are encoder-decoders."""
TWO_ROWS = "unipelt's gates average over one row, and an encoder-decoder reads two at a time"


@dataclass(frozen=True)
class Entry:
    """A name, where its object lives, one line that says what it is, and the papers it follows.

    Args:
        name: as users write it.
        target: ``"module:object"``.
        about: one line.
        paper: arXiv numbers, joined by commas.
        traits: those of the object's attributes that the cells follow from; None: the object is asked itself.
    """

    name: str
    target: str
    about: str
    paper: str = ""
    traits: Mapping[str, Any] | None = field(default=None, repr=False)

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

    def trait(self, name: str, default: Any) -> Any:
        """An attribute of its object, which need not be imported where it comes with promptlab."""
        return getattr(self.load(), name, default) if self.traits is None else self.traits.get(name, default)


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
            SettingError: unknown name or setting, a value that cannot be read, or a tuning's name misspelt behind one.
        """
        entry, written = self.entry(name), settings or {}
        for key, (head, write) in _SIGNS.items():
            asks = key == "patterns" and self.kind == "method" and entry.trait("writes", False)  # of tasks for texts
            if key in written and self.kind == "method" and not asks and (reason := _lacking(entry, head)):
                raise SettingError(f"{name} has no setting '{key}': {reason}. Write {write}.")
        try:
            made = configure(entry.load(), name, written)
        except SettingError as error:
            _check_tuning(self.kind, {key: value for key, value in written.items() if f"{key}={value}" in str(error)})
            raise
        _check_tuning(self.kind, {key: value for key, value in written.items() if key in _CHOICES})
        return made


_CHOICES = ("calibration", "decoding", "preset", "weights")  # of methods: texts that are no lists, read when it runs


def _check_tuning(kind: str, settings: Mapping[str, Any]) -> None:
    """Refuses ``steps=1+lorra`` for its tuning: a value that is no list, and ends in what looks like one."""
    for value in settings.values() if kind == "method" else ():
        _, plus, last = str(value).rpartition("+")
        if plus and did_you_mean(last.strip(), TUNINGS.entries):
            TUNINGS.entry(last.strip())


def _entry(point: EntryPoint) -> Entry:
    about = f"from {point.dist.name}" if point.dist else "from another package"
    return Entry(point.name, f"{point.module}:{point.attr}", about)


def _within(package: str, traits: Mapping[str, Mapping[str, Any]], *rows: tuple[str, ...]) -> list[Entry]:
    return [
        Entry(name, f"{package}.{target}", about, ", ".join(papers), traits.get(name, {}))
        for name, target, about, *papers in rows
    ]


_BOTH = {"head": "", "cloze": "student=false"}  # what answers, and the settings under which it does
_TRAITS: dict[str, dict[str, Any]] = {
    "majority": {"needs_backbone": False, "heads": {"head": ""}},
    "tfidf": {"needs_backbone": False, "heads": {"head": ""}},
    "probe": {"heads": {"head": ""}},
    "zero-shot": {"heads": {"cloze": ""}, "writes": True},
    "in-context": {"heads": {"cloze": ""}, "writes": True},
    "prompt": {"learns": True, "heads": {"cloze": ""}},
    "finetune": {"learns": True, "heads": {"head": ""}, "writes": True},
    "pet": {"learns": True, "heads": _BOTH},
    "ipet": {"learns": True, "heads": _BOTH},
}

METHODS = Registry(
    "method",
    "promptlab.methods",
    _within(
        "promptlab.methods",
        _TRAITS,
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
        (
            "finetune",
            "finetune:Finetune",
            "trains a classification head on the bare text, or a pattern to write texts",
            "1810.04805, 2101.00190",
        ),
        ("pet", "pet:Pet", "many patterns teach one classifier through unlabelled text", "2001.07676, 2009.07118"),
        ("ipet", "ipet:Ipet", "generations of PET's ensembles label rows for each other", "2001.07676, 2009.07118"),
    ),
)

TUNINGS = Registry(
    "tuning",
    "promptlab.tunings",
    _within(
        "promptlab.tuning",
        {"words": {"methods": ("prompt",)}, "unipelt": {"kinds": ("masked", "causal")}},
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
    ("owner/name", "a masked or causal model or an encoder-decoder on the Hugging Face hub"),
)


NAMED = (
    ("zero-shot", "zero-shot", "2005.14165"),
    ("in-context learning", "in-context", "2005.14165"),
    ("fine-tuning", "finetune", "1810.04805"),
    ("PVP fine-tuning", "prompt", "2001.07676, 2012.15723"),
    ("PET", "pet", "2001.07676"),
    ("iPET", "ipet", "2001.07676"),
    ("FT-Top2", "finetune+top", "2101.00190"),
    ("BitFit", "finetune+bitfit", "2106.10199"),
    ("AutoPrompt", "prompt+words", "2010.15980"),
    ("prompt tuning", "prompt+soft", "2104.08691"),
    ("prefix tuning", "prompt+prefix", "2101.00190"),
    ("prefix tuning", "finetune+prefix", "2101.00190"),
    ("PreLayer", "prompt+prelayer", "2106.09685"),
    ("LoRA", "finetune+lora", "2106.09685"),
    ("Houlsby", "finetune+houlsby", "1902.00751"),
    ("Pfeiffer", "finetune+pfeiffer", "2005.00247"),
    ("parallel adapter", "finetune+parallel", "2110.04366"),
    ("Lin", "finetune+lin", "2004.03829"),
    ("AdaMix", "finetune+adamix", "2205.12410"),
    ("AdaMix-LoRA", "finetune+adamix-lora", "2205.12410"),
    ("UniPELT", "finetune+unipelt", "2110.07577"),
    ("IA3", "prompt+ia3", "2205.05638"),
    ("MAM", "finetune+mix", "2110.04366"),
)
"""What papers call a cell, the cell, and the papers."""


def aliases() -> dict[str, str]:
    """The system of each paper's name, written small and with hyphens; of two that share a name the first."""
    return {name.lower().replace(" ", "-"): system for name, system, _ in reversed(NAMED)}


@dataclass(frozen=True)
class Cell:
    """A method with a tuning, what answers, and a kind of backbone.

    Args:
        method: bare name.
        tuning: bare name; None where nothing learns.
        head: one of ``HEADS``.
        kind: one of ``KINDS``.
        refused: why it cannot be; empty where it can.
        system: how it is written; of a refused one, how it would be.
        name: what a paper calls it; empty where none does.
        papers: arXiv numbers of the papers that do.
    """

    method: str
    tuning: str | None
    head: str
    kind: str
    refused: str
    system: str
    name: str = ""
    papers: tuple[str, ...] = ()


def cells() -> Iterator[Cell]:
    """Every method with every tuning, with either head, on every kind of backbone; valid, or refused with its reason.

    A method that learns nothing comes without a tuning too; one that learns and is written without takes ``full``.
    """
    for method in METHODS:
        bare = [] if method.trait("learns", False) else [None]
        for tuning in (*bare, *(entry.name for entry in TUNINGS)):
            yield from (_cell(method, tuning, head, kind) for head in HEADS for kind in KINDS)


def _cell(method: Entry, tuning: str | None, head: str, kind: str) -> Cell:
    settings = _heads(method).get(head, "")
    system = "+".join(filter(None, [f"{method.name}:{settings}" if settings else method.name, tuning]))
    reason = refusal(method.name, tuning, head, kind)
    made = Cell(method.name, tuning, head, kind, reason, system)
    for name, known, papers in () if reason or settings else NAMED:
        if system == known or system == f"{known}+full":
            return replace(made, name=name, papers=tuple(papers.split(", ")))
    return made


def refusal(method: str, tuning: str | None, head: str = "", kind: str = "") -> str:
    """Why these cannot go together; empty where they can, whatever that is which was left out.

    Raises:
        SettingError: an unknown name.
    """
    entry = METHODS.entry(method)
    if tuning is not None and TUNINGS.entry(tuning) and not entry.trait("learns", False):
        return f"{method} trains no weights, so it takes no tuning"
    only = TUNINGS.entry(tuning).trait("methods", None) if tuning else None
    if only and method not in only:
        return f"{tuning} goes with {', '.join(only)} only, since what it learns is text"
    if head and (reason := _lacking(entry, head)):
        return reason
    taken = TUNINGS.entry(tuning).trait("kinds", KINDS) if tuning else KINDS
    return TWO_ROWS if kind and kind not in taken else ""


_SIGNS = {"patterns": ("cloze", "prompt"), "head_lr": ("head", "finetune")}  # settings that ask for one, who has it


def _heads(method: Entry) -> Mapping[str, str]:
    return dict(method.trait("heads", dict.fromkeys(HEADS, "")))


def _lacking(method: Entry, head: str) -> str:
    if head in _heads(method):
        return ""
    words = f"{method.name} answers with label words, so it has no head"
    return words if head == "head" else f"{method.name} reads the bare text, so it asks no pattern"


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
