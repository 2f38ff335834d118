"""Curves of a training, for whoever draws them: TensorBoard, Weights & Biases, Trackio, or a list of one's own.

    a tracker        log(step, values) takes numbers by name; close() ends it
    tracking("...")  makes one the listener of all that runs inside the block
    under("name")    puts a name before all that is told inside it
    curves(...)      what the loop tells: each member's loss, learning rate and gradient norm, a step

Losses and norms stay on their device until some steps are there, so telling waits for nothing that the loop does not
wait for. The libraries are imported when they are asked for; none of them is needed.
"""

import logging
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib import import_module
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from promptlab.errors import OutputError, SettingError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger("promptlab")
EVERY = 20  # steps between two looks at the device
_UNSAFE = re.compile(r"[^\w./-]+")  # what some of the libraries do not take in a name


class Tracker(Protocol):
    """Draws or keeps numbers."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Takes numbers by name; steps begin anew for every member, and so are no clock."""

    def close(self) -> None:
        """Ends it: nothing more will come."""


@dataclass
class Kept:
    """A tracker that keeps all it is told.

    Args:
        rows: step and values, in their order.
        closed: whether it was ended.
    """

    rows: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    closed: bool = False

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Keeps them."""
        self.rows.append((step, dict(values)))

    def close(self) -> None:
        """Remembers that it was ended."""
        self.closed = True

    def curve(self, name: str) -> list[tuple[int, float]]:
        """Steps and values of one name."""
        return [(step, values[name]) for step, values in self.rows if name in values]


class TensorBoard:
    """Event files for TensorBoard.

    Args:
        folder: where they are written.

    Raises:
        SettingError: the package is not installed.
        OutputError: the folder cannot be written.
    """

    def __init__(self, folder: str):
        library = _library("tensorboard", "torch.utils.tensorboard")
        try:
            self.writer = library.SummaryWriter(str(Path(folder).expanduser()))
        except OSError as error:
            raise OutputError(f"{folder} cannot be written: {error.strerror or error}. Write another DIR.") from error

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """A point a name."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Writes what is left."""
        self.writer.close()


class Wandb:
    """A run of Weights & Biases.

    Args:
        project: its name.

    Raises:
        SettingError: the package is not installed, or begins no run.
    """

    def __init__(self, project: str):
        self.run = _begun("wandb", lambda library: library.init(project=project))
        self.run.define_metric("*", step_metric="step")  # its own steps may only rise, and every member starts at 0

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """One record, drawn over ``step``."""
        self.run.log({"step": step, **values})

    def close(self) -> None:
        """Ends the run."""
        self.run.finish()


class Trackio:
    """A run of Trackio.

    Args:
        project: its name.

    Raises:
        SettingError: the package is not installed, or begins no run.
    """

    def __init__(self, project: str):
        self.run = _begun("trackio", lambda library: library.init(project=project))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """One record."""
        self.run.log(dict(values), step=step)

    def close(self) -> None:
        """Ends the run."""
        with redirect_stdout(sys.stderr):
            self.run.finish()


KINDS: dict[str, Callable[[str], Tracker]] = {"tensorboard": TensorBoard, "wandb": Wandb, "trackio": Trackio}
_WRITE = "Write tensorboard:DIR, wandb:PROJECT or trackio:PROJECT."


def tracker(text: str) -> Tracker:
    """The tracker that a setting names: ``tensorboard:DIR``, ``wandb:PROJECT``, ``trackio:PROJECT``.

    Raises:
        SettingError: none of these, or its package is not installed.
        OutputError: its folder cannot be written.
    """
    kind, _, where = text.partition(":")
    if kind not in KINDS:
        raise SettingError(f"track: no tracker '{kind}'.{did_you_mean(kind, KINDS)} {_WRITE}")
    if not where.strip():
        raise SettingError(f"track: '{text}' says not where to. {_WRITE}")
    return KINDS[kind](where.strip())


def _library(name: str, module: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise SettingError(f"track: {name} cannot be imported ({error}). Write: pip install {name}.") from error


def _begun(name: str, begin: Callable[[Any], Any]) -> Any:
    library = _library(name, name)
    try:
        with redirect_stdout(sys.stderr):  # results go to stdout
            return begin(library)
    except Exception as error:  # the libraries' errors share no root
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SettingError(f"track: {name} begins no run: {reason}. Write another tracker, or leave it out.") from error


# telling

_using: ContextVar[Tracker | None] = ContextVar("promptlab_tracker", default=None)
_under: ContextVar[str] = ContextVar("promptlab_under", default="")


@contextmanager
def tracking(to: str | Tracker | None) -> Iterator[Tracker | None]:
    """Tells a tracker of everything inside the block, and closes it at the end.

    Args:
        to: a setting as for :func:`tracker`, a tracker, or None for nobody.

    Raises:
        SettingError, OutputError: as :func:`tracker`.
    """
    made = tracker(to) if isinstance(to, str) else to
    token = _using.set(made)
    try:
        yield made
    finally:
        _using.reset(token)
        if made is not None:
            made.close()


@contextmanager
def under(name: str) -> Iterator[None]:
    """Puts a name before those of all that is told inside the block."""
    token = _under.set(f"{_under.get()}{name}/")
    try:
        yield
    finally:
        _under.reset(token)


def tell(step: int, values: Mapping[str, Any]) -> None:
    """Tells the tracker in use, if any; what is no finite number is left out.

    A tracker that fails is told once in the log and heard no more: a curve is no reason to lose a training.
    """
    using = _using.get()
    finite = {_UNSAFE.sub("_", _under.get() + name): float(value) for name, value in values.items() if _number(value)}
    if using is None or not finite:
        return
    try:
        using.log(step, finite)
    except Exception as error:  # the libraries' errors share no root
        _using.set(None)
        log.warning("%s takes no more numbers (%s); the training goes on without", type(using).__name__, error)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and isfinite(value)


def curves(keys: Sequence[str], rates: "Tensor", steps: int) -> Callable[["Tensor", "Tensor", float], None]:
    """What a loop calls at the end of every step: ``record(losses, norms, factor)``.

    Args:
        keys: of the members.
        rates: their learning rates, ``(members,)``, which ``factor`` scales.
        steps: how many there will be.

    Returns:
        A function of the members' losses ``(members,)``, their gradient norms before clipping ``(members,)``, and the
        schedule's factor; it does nothing where nobody listens.
    """
    return (lambda losses, norms, factor: None) if _using.get() is None else _Curves(keys, rates.tolist(), steps)


@dataclass
class _Curves:
    keys: Sequence[str]
    rates: Sequence[float]
    steps: int
    told: int = 0
    waiting: list["Tensor"] = field(default_factory=list)
    factors: list[float] = field(default_factory=list)

    def __call__(self, losses: "Tensor", norms: "Tensor", factor: float) -> None:
        import torch

        self.waiting.append(torch.stack([losses.detach().float(), norms.detach().float()]))
        self.factors.append(factor)
        if len(self.waiting) == EVERY or self.told + len(self.waiting) == self.steps:
            self._tell(torch.stack(self.waiting).tolist())
            self.waiting, self.factors = [], []

    def _tell(self, numbers: list[list[list[float]]]) -> None:
        for (losses, norms), factor in zip(numbers, self.factors, strict=True):
            values: dict[str, float] = {}
            for key, loss, norm, rate in zip(self.keys, losses, norms, self.rates, strict=True):
                values |= {f"{key}/loss": loss, f"{key}/gradient_norm": norm, f"{key}/learning_rate": rate * factor}
            tell(self.told, values)
            self.told += 1
