"""Learnt parts beside a frozen backbone: forward hooks while they train, folded into the weights when they answer.

A part changes what one module puts out; which numbers of that output, a ``Projection`` says. Nothing in a hook counts,
draws or changes anything, so gradient checkpointing may call it twice.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from promptlab.errors import BackboneError


class After(Protocol):
    """The learnt part of one module, for all members of a stack."""

    module: nn.Module
    tensors: dict[str, Tensor]

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """The module's output ``y`` for its input ``x``, changed: same shape."""


class Before(Protocol):
    """The same where a module's input is changed, or only looked at."""

    module: nn.Module
    tensors: dict[str, Tensor]

    def before(self, x: Tensor) -> Tensor:
        """The module's input, changed: same shape."""


Piece = After | Before


class Beside:
    """The learnt parts of a stack, by name."""

    stacked = True

    def __init__(self, pieces: Mapping[str, Piece]):
        self.tensors = {
            f"{name}.{part}": leaf for name, piece in pieces.items() for part, leaf in piece.tensors.items()
        }

    def route(self, rows: Sequence[Sequence[int]]) -> None:
        """Nothing: every row of a member meets the same tensors."""

    def state(self, member: int) -> dict[str, Tensor]:
        """One member's tensors."""
        return {name: tensor[member].detach().clone() for name, tensor in self.tensors.items()}


@contextmanager
def beside(pieces: Mapping[str, Piece]) -> Iterator[Beside]:
    """Hooks every piece to its module for as long as the block lasts."""
    handles = list(map(_hooked, pieces.values()))
    try:
        yield Beside(pieces)
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def standing(pieces: Mapping[str, Piece]) -> Iterator[None]:
    """The same for pieces that have learnt and only answer."""
    with beside(pieces):
        yield


@contextmanager
def swapped(parameters: Mapping[str, nn.Parameter], values: Mapping[str, Tensor]) -> Iterator[None]:
    """The named parameters hold other values inside the block; their own tensors are put back, not copies."""
    own = {name: parameters[name].data for name in values}
    try:
        for name, value in values.items():
            parameters[name].data = value
        yield
    finally:
        for name, tensor in own.items():
            parameters[name].data = tensor


def few_bits(weights: Mapping[str, Tensor]) -> str | None:
    """The first of these that holds no real numbers, as quantised weights do: its name; None where all do."""
    return next((name for name, one in weights.items() if not one.is_floating_point()), None)


def refuse_few_bits(tuning: str, weights: Mapping[str, Tensor], why: str) -> None:
    """Refuses to change quantised weights.

    Args:
        tuning: its name.
        weights: that it changes, by name.
        why: it cannot.

    Raises:
        BackboneError: some are quantised.
    """
    if name := few_bits(weights):
        raise BackboneError(
            f"{tuning}: {name} keeps its weights in few bits, {why}. Write prefix, soft or a bottleneck such as "
            "pfeiffer."
        )


@contextmanager
def learning(parameters: Mapping[str, nn.Parameter]) -> Iterator[None]:
    """The parameters ask for gradients inside the block."""
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter in parameters.values():
            parameter.requires_grad_(False)
            parameter.grad = None


def _hooked(piece: Piece) -> RemovableHandle:
    if hasattr(piece, "before"):
        return piece.module.register_forward_pre_hook(_pre_hook(piece.before))
    return piece.module.register_forward_hook(_hook(piece))


def _pre_hook(before: Callable[[Tensor], Tensor]) -> Callable[[nn.Module, Any], Any]:
    return lambda module, inputs: (before(inputs[0]), *inputs[1:])


def _hook(piece: After) -> Callable[[nn.Module, Any, Any], Any]:
    def changed(module: nn.Module, inputs: Any, output: Any) -> Any:
        if isinstance(output, tuple):  # some blocks give more than their states
            return piece(inputs[0], output[0]), *output[1:]
        return piece(inputs[0], output)

    return changed


def drawn(shape: tuple[int, ...], generators: list[torch.Generator], bound: float, like: Tensor) -> Tensor:
    """A leaf ``(members, *shape)``, each member's slice uniform in ``[-bound, bound)`` from its own generator."""
    found = like.new_empty(len(generators), *shape)
    if like.is_meta:  # parameters are only counted
        return found.requires_grad_(True)
    for one, generator in zip(found, generators, strict=True):  # in place: an MLP under a prefix has millions of them
        one.copy_(torch.rand(shape, generator=generator, dtype=torch.float64).mul_(2).sub_(1).mul_(bound))
    return found.requires_grad_(True)


def drawn_normal(
    shape: tuple[int, ...], generators: Sequence[torch.Generator], std: float, like: Tensor, cut: float | None = None
) -> Tensor:
    """A leaf ``(members, *shape)``, normal around 0, each slice from its own generator; all within ``cut * std``."""
    if like.is_meta:
        return like.new_empty(len(generators), *shape).requires_grad_(True)
    slices = [torch.empty(shape, dtype=torch.float64) for _ in generators]
    for one, generator in zip(slices, generators, strict=True):
        if cut is None:
            one.normal_(0, std, generator=generator)
        else:
            nn.init.trunc_normal_(one, std=std, a=-cut * std, b=cut * std, generator=generator)
    return torch.stack(slices).to(device=like.device, dtype=like.dtype).requires_grad_(True)
