"""Mixes: several tunings at once, ungated (He et al. 2022, arXiv:2110.04366, section 4.6, whose MAM is one of them).

    parts = prefix + parallel          any two or more that leave the backbone frozen
    learn:   every part installs its own tensors, named ``part.tensor``
    answer:  every part enters with its own state; what folds into the weights folds, the rest stays beside them
    rates:   each part keeps its own default; ``lr`` sets the first part's, and the others' move in proportion

Parts are installed in one order however they are written: what reads a weight as it is comes before what scales it, and
that before what reads the module's output. So folded or beside, they compute the same.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, fields
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.encode import Encoder
from promptlab.errors import SettingError
from promptlab.language.task import PVP
from promptlab.registry import TUNINGS
from promptlab.tuning.tuning import Learnt, State, Tuning, Usual

_OWN = ("parts", "lr", "weight_decay", "dropout")
# a prefix reads the backbone while it is installed, so nothing stands in it yet; then the rest, as the registry has it
_ORDER = ("prefix", "soft", "prelayer", "lora", "adamix-lora", "bitfit", "ia3")
_POOLERS = ("none", "bias", "all")
_NOT_BOTH = {
    ("adamix", "adamix-lora"): "would each compare the two passes",
    ("bitfit", "pfeiffer"): "would both use the norms' biases, which one changes and the other reads as they were",
    ("prefix", "prelayer"): "would each start from what the backbone says without the other",
    ("prelayer", "soft"): "would learn the same soft tokens",
}


@dataclass(frozen=True)
class Mix(Usual):
    """Several tunings at once.

    Args:
        parts: their names, joined by ``+``.
        n: handed, as all that follow but the last three, to every part that has a setting of this name; the part's own
            default where None.
        r: see ``n``.
        alpha: see ``n``.
        targets: see ``n``.
        mid: see ``n``.
        embed: see ``n``.
        scale: see ``n``.
        act: see ``n``.
        init: see ``n``.
        text: see ``n``.
        place: see ``n``.
        start: see ``n``.
        shift: see ``n``.
        experts: see ``n``.
        share: see ``n``.
        lr: step size of the part named first; those of the others keep their proportion to it.
        weight_decay: decoupled, on the matrices of those parts that decay by themselves.
        dropout: rate while training, in the backbone and in every part that has one.
    """

    name: ClassVar[str] = "mix"
    stackable: ClassVar[bool] = True
    parts: str = "prefix+parallel"
    n: int | None = None
    r: int | None = None
    alpha: float | None = None
    targets: str | None = None
    mid: int | None = None
    embed: int | None = None
    scale: float | None = None
    act: str | None = None
    init: str | None = None
    text: str | None = None
    place: str | None = None
    start: str | None = None
    shift: bool | None = None
    experts: int | None = None
    share: str | None = None
    lr: float | None = None
    weight_decay: float = 0.01
    dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        names = self.parts.split("+")
        _check_names(names)
        shared = {one.name: value for one in fields(self) if (value := getattr(self, one.name)) is not None}
        taken = {name: _settings(name) for name in names}
        for key in shared:
            if key not in _OWN and not any(key in one for one in taken.values()):
                raise SettingError(f"mix: none of {', '.join(names)} has a setting '{key}'. Write it without {key}=.")
        object.__setattr__(self, "pooler", max((one.pooler for one in self.members.values()), key=_POOLERS.index))

    @property
    def packs(self) -> bool:
        """Where every part does."""
        return all(part.packs for part in self.members.values())

    @property
    def passes(self) -> int:
        """As many as any part wants."""
        return self._often.passes

    def joined(self, each: Tensor, scores: Tensor, agreement: float = 1.0) -> Tensor:
        """As the part that compares its passes has it."""
        return self._often.joined(each, scores, agreement)

    @cached_property
    def members(self) -> Mapping[str, Tuning]:
        """The parts by name, in the order they are installed."""
        known = [*_ORDER, *(entry.name for entry in TUNINGS)]
        return {name: self._built(name) for name in sorted(self.parts.split("+"), key=known.index)}

    def learn(
        self, backbone: Backbone, cloze: bool, generators: Sequence[torch.Generator]
    ) -> AbstractContextManager["Union"]:
        """The tensors of every part, for every member."""
        return self._together(backbone, cloze, lambda part: part.learn(backbone, cloze, generators))

    def begin(
        self, encoder: Encoder, pvps: Sequence[PVP | None], generators: Sequence[torch.Generator]
    ) -> AbstractContextManager["Union"]:
        """The same, each part told what each member reads."""
        cloze = pvps[0] is not None
        return self._together(encoder.backbone, cloze, lambda part: part.begin(encoder, pvps, generators))

    @contextmanager
    def _together(
        self, backbone: Backbone, cloze: bool, start: Callable[[Tuning], AbstractContextManager[Learnt]]
    ) -> Iterator["Union"]:
        first = self._first.rate(backbone, cloze)
        with ExitStack() as stack:
            learnt = {name: stack.enter_context(start(part)) for name, part in self.members.items()}
            rates = {name: part.rate(backbone, cloze) / first for name, part in self.members.items()}
            yield Union(
                learnt, {name: (rates[name], float(part.weight_decay > 0)) for name, part in self.members.items()}
            )

    @contextmanager
    def applied(self, backbone: Backbone, state: State) -> Iterator[None]:
        """Every part enters with its own tensors."""
        with ExitStack() as stack:
            for name, part in self.members.items():
                own = {key.removeprefix(f"{name}."): one for key, one in state.items() if key.startswith(f"{name}.")}
                stack.enter_context(part.applied(backbone, own))
            yield

    def rate(self, backbone: Backbone, cloze: bool) -> float:
        """That of the part named first."""
        return self.lr if self.lr is not None else self._first.rate(backbone, cloze)

    def reading(self, encoder: Encoder) -> Encoder:
        """As every part wants it."""
        for part in self.members.values():
            encoder = part.reading(encoder)
        return encoder

    @property
    def _first(self) -> Tuning:
        return self.members[self.parts.split("+")[0]]

    @property
    def _often(self) -> Tuning:
        return max(self.members.values(), key=lambda part: part.passes)

    def _built(self, name: str) -> Tuning:
        own = _settings(name) - {"lr", "weight_decay"}
        given = {key: value for key in sorted(own) if (value := getattr(self, key, None)) is not None}
        part: Tuning = TUNINGS.build(name, given)
        return part


class Union:
    """The learnt tensors of all parts.

    Args:
        parts: by name.
        factors: of each part, what its tensors' learning rate and weight decay are multiplied with.
    """

    stacked = True

    def __init__(self, parts: Mapping[str, Learnt], factors: Mapping[str, tuple[float, float]]):
        self.parts = parts
        self.tensors = {f"{part}.{name}": one for part, learnt in parts.items() for name, one in learnt.tensors.items()}
        self.factors = {name: factors[name.partition(".")[0]] for name in self.tensors}
        self.by_row = any(getattr(learnt, "by_row", False) for learnt in parts.values())

    def route(self, rows: Sequence[Sequence[int]]) -> None:
        """What each part draws before a forward."""
        for learnt in self.parts.values():
            learnt.route(rows)

    def state(self, member: int) -> dict[str, Tensor]:
        """One member's tensors."""
        return {
            f"{part}.{name}": one for part, learnt in self.parts.items() for name, one in learnt.state(member).items()
        }


def _settings(name: str) -> set[str]:
    return {one.name for one in fields(TUNINGS.entry(name).load()) if one.init}


def _unfit(name: str) -> str:
    tuning = TUNINGS.entry(name).load()
    if "parts" in _settings(name):
        return "is a mix itself"
    if getattr(tuning, "methods", None):
        return "learns text, with no step to share"
    return "" if tuning.stackable else "changes the backbone itself"


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if why := _unfit(name):
            raise SettingError(f"mix: {name} {why}. Write parts that stand beside a frozen backbone, as lora.")
    if len(names) < 2 or len(set(names)) < len(names):
        raise SettingError(
            f"mix: parts={'+'.join(names)} cannot be. Write two or more different tunings, as soft+lora."
        )
    for (one, other), why in _NOT_BOTH.items():
        if one in names and other in names:
            raise SettingError(f"mix: {one} and {other} {why}. Write one of them.")
