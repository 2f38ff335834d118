"""What the blocks below the lowest learnt one say of a row: computed once, where rows repeat.

    a row is new      the frozen blocks read it; what the lowest learnt block is given is kept    (tokens, width)
    it comes again    the frozen blocks hand on what they get, and the kept states take its place before that block

Few-shot sets are tiny and every row is read many times, so under ``top`` most of a forward is the same again. It holds
where nothing below changes from step to step: no dropout there, and no learnt part.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.batches import Batch, by_length, pad
from promptlab.backbone.device import token_budget
from promptlab.backbone.encode import Encoded

MOST_BYTES = 512 * 2**20  # of states kept; rows met later are read anew each time
_Key = tuple[tuple[int, ...], tuple[int, ...]]


class _Reached(Exception):
    """The lowest learnt block was about to be called."""


class Below:
    """States that stand for the frozen blocks.

    Args:
        backbone: whose blocks.
        first: the lowest learnt block, counted from the input; at least 1.
        most: bytes of states kept.
    """

    def __init__(self, backbone: Backbone, first: int, most: int = MOST_BYTES):
        self.backbone, self.first, self.room = backbone, first, most
        self.blocks = [block.module for block in backbone.anatomy.blocks[: first + 1]]
        self.kept: dict[_Key, Tensor] = {}
        self.tuples: dict[int, int] = {}  # how many values a block answers with; 0 where it is one tensor

    @contextmanager
    def standing(self, encoded: Encoded, batch: Batch) -> Iterator[None]:
        """Inside the block a forward of ``batch`` leaves the frozen blocks out, if all its rows are kept.

        Args:
            encoded: the rows that the batch was made from, in its order.
            batch: padded or packed.
        """
        keys = [_key(encoded, row) for row in range(len(encoded))]
        self._learn(encoded, keys)
        if not all(key in self.kept for key in keys):
            yield
            return
        states = _laid([self.kept[key] for key in keys], batch)
        with ExitStack() as undo:
            for at, block in enumerate(self.blocks[:-1]):
                undo.enter_context(_handing_on(block, self.tuples[at]))
            handle = self.blocks[-1].register_forward_pre_hook(_given(states), with_kwargs=True)
            undo.callback(handle.remove)
            yield

    @torch.no_grad()
    def _learn(self, encoded: Encoded, keys: Sequence[_Key]) -> None:
        new = list({key: row for row, key in enumerate(keys) if key not in self.kept}.values())
        some = encoded.take(new)
        for rows in by_length(some.lengths, token_budget(self.backbone.device)):
            states = self._read(pad(some, rows, self.backbone))
            for row, found in zip(rows, states, strict=True):
                one = found[: len(some.ids[row])].clone()
                size = one.numel() * one.element_size()
                if size <= self.room:
                    self.room -= size
                    self.kept[keys[new[row]]] = one

    def _read(self, batch: Batch) -> Tensor:
        """What the lowest learnt block is given, ``(rows, tokens, width)``."""
        found: list[Tensor] = []

        def reached(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
            found.append(named["hidden_states"] if "hidden_states" in named else inputs[0])
            raise _Reached

        def note(at: int) -> Any:
            return lambda module, inputs, output: self.tuples.__setitem__(
                at, len(output) if isinstance(output, tuple) else 0
            )

        with ExitStack() as undo:
            for at, block in enumerate(self.blocks[:-1]):
                undo.callback(block.register_forward_hook(note(at)).remove)
            undo.callback(self.blocks[-1].register_forward_pre_hook(reached, with_kwargs=True).remove)
            call = {"use_cache": False} if self.backbone.kind == "causal" else {}
            with suppress(_Reached):
                self.backbone.body(**batch.inputs, **call)
        return found[0]


def _key(encoded: Encoded, row: int) -> _Key:
    return tuple(encoded.ids[row]), () if encoded.segments is None else tuple(encoded.segments[row])


def _laid(states: Sequence[Tensor], batch: Batch) -> Tensor:
    """States of rows at the places of their tokens among the batch's inputs, zero elsewhere."""
    shape = (*batch.inputs["input_ids"].shape, states[0].shape[-1])
    laid = states[0].new_zeros(shape)
    if batch.places is None:
        for row, one in enumerate(states):
            laid[row, : len(one)] = one
        return laid
    places = torch.cat([batch.places[row, : len(one)] for row, one in enumerate(states)])
    return laid.flatten(0, 1).index_copy(0, places, torch.cat(list(states))).view(shape)


def _given(states: Tensor) -> Any:
    def replaced(
        module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if "hidden_states" in named:
            return inputs, {**named, "hidden_states": states}
        return (states, *inputs[1:]), named

    return replaced


@contextmanager
def _handing_on(block: nn.Module, values: int) -> Iterator[None]:
    """The block answers what it is given, as the first of so many values, or alone."""

    def same(*inputs: Any, **named: Any) -> Any:
        hidden = named["hidden_states"] if "hidden_states" in named else inputs[0]
        return (hidden, *[None] * (values - 1)) if values else hidden

    block.forward = same  # the instance's own, which its class's stands behind
    try:
        yield
    finally:
        del block.forward
