"""A small step's forward and backward as one recorded graph: on a CUDA device the launches take longer than the sums.

    a step's shapes are new       forward and backward as ever
    they come a second time       both are recorded (a CUDA graph): the same kernels, on tensors at fixed places
    from then on                  the step's tensors are copied there, and all its kernels start as one

Rows are padded to a multiple of ``MULTIPLE`` tokens, so that few shapes come up. What is recorded has no dropout, draws
nothing and asks no tensor for a number on the way; a step that turns out to do so is never recorded. AdaMix's experts
are drawn before a step, and their numbers lie at one place.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from promptlab.training.member import Recipe
from promptlab.training.pairs import Dealt
from promptlab.training.step import LaidOut
from promptlab.tuning.tuning import Learnt, Tuning

log = logging.getLogger("promptlab")
MULTIPLE = 16
LARGEST = 16 * 1024  # tokens of a step; a larger one keeps the device busy for longer than its launches take
MOST = 16  # shapes that are recorded


def recordable(rows: Sequence[Dealt], recipe: Recipe, tuning: Tuning, learnt: Learnt) -> bool:
    """Whether a stack's steps may be: nothing is drawn on the way, only shapes decide, and gradients are small."""
    on_cuda = rows[0].backbone.device.type == "cuda"
    drawing = bool(tuning.dropout) or getattr(learnt, "by_row", False) or bool(recipe.mlm)
    return on_cuda and learnt.stacked and not drawing and rows[0].member.texts is None


@dataclass(frozen=True)
class Graph:
    """One recorded step: where it reads, and what it leaves."""

    graph: Any
    places: LaidOut
    losses: Tensor
    gradients: Sequence[Tensor | None]

    def __call__(self, laid: LaidOut) -> None:
        """Runs it on another step of the same shapes."""
        for place, tensor in zip(_tensors(self.places), _tensors(laid), strict=True):
            place.copy_(tensor)
        self.graph.replay()


class Recorded:
    """Losses of steps, with their gradients.

    Args:
        losses_of: each member's loss, ``(members,)``, computed with tensors alone.
        leaves: what learns.
    """

    def __init__(self, losses_of: Callable[[LaidOut], Tensor], leaves: Sequence[Tensor]):
        self.losses_of, self.leaves = losses_of, list(leaves)
        self.met: set[Any] = set()
        self.graphs: dict[Any, Graph] = {}
        self.able = True
        self.pool: Any = None
        self.stream = torch.cuda.Stream(leaves[0].device) if leaves[0].is_cuda else None

    def __call__(self, laid: LaidOut) -> Tensor:
        """Each member's loss, detached; the leaves hold its gradients until the next call."""
        with _aside(self.stream):  # recorded or not: a leaf's gradients may come from one stream only
            losses, gradients = self._run(laid)
        for leaf, gradient in zip(self.leaves, gradients, strict=True):
            leaf.grad = gradient
        return losses

    def _run(self, laid: LaidOut) -> tuple[Tensor, Sequence[Tensor | None]]:
        key = _shapes(laid)
        if self.able and key in self.met and key not in self.graphs and len(self.graphs) < MOST:
            self._record(key, laid)
        self.met.add(key)
        if key not in self.graphs:
            return self._both(laid)
        found = self.graphs[key]
        found(laid)
        return found.losses.clone(), found.gradients

    def _both(self, laid: LaidOut) -> tuple[Tensor, Sequence[Tensor | None]]:
        losses = self.losses_of(laid)
        return losses.detach(), torch.autograd.grad(losses.sum(), self.leaves, allow_unused=True)

    def _record(self, key: Any, laid: LaidOut) -> None:
        if laid.batch.inputs["input_ids"].numel() > LARGEST:
            return
        places, graph = _moved(laid), torch.cuda.CUDAGraph()
        self.pool = self.pool or torch.cuda.graph_pool_handle()
        try:
            with torch.cuda.graph(graph, self.pool, self.stream, capture_error_mode="thread_local"):
                losses, gradients = self._both(places)
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            self.able = False
            log.debug("steps are not recorded: %s", error)
            return
        self.graphs[key] = Graph(graph, places, losses, gradients)


@contextmanager
def _aside(stream: Any) -> Iterator[None]:
    """Inside the block work goes to the stream, after all that was asked before it and before all that comes after."""
    if stream is None:
        yield
        return
    callers = torch.cuda.current_stream(stream.device)
    stream.wait_stream(callers)
    with torch.cuda.stream(stream):
        yield
    callers.wait_stream(stream)


def _tensors(laid: LaidOut) -> list[Tensor]:
    found = [*laid.batch.inputs.values(), laid.batch.slots, laid.targets, laid.hinges, *(laid.words or ())]
    return [one for one in found if one is not None]


def _shapes(laid: LaidOut) -> Any:
    return laid.most, len(laid.steps), tuple((one.shape, one.dtype) for one in _tensors(laid))


def _moved(laid: LaidOut) -> LaidOut:
    """The same with tensors of its own."""
    inputs = {name: one.clone() for name, one in laid.batch.inputs.items()}
    batch = replace(laid.batch, inputs=inputs, slots=laid.batch.slots.clone())
    words = None if laid.words is None else (laid.words[0].clone(), laid.words[1].clone())
    targets, hinges = (None if one is None else one.clone() for one in (laid.targets, laid.hinges))
    return replace(laid, batch=batch, words=words, targets=targets, hinges=hinges)
