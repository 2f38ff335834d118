"""PreLayer: the activations of soft tokens learn at every block (Hu et al. 2022, arXiv:2106.09685, section 5.1).

    for each block:  P (n, width)
    lay rows out with n places for soft tokens       as prompt tuning does (soft.py)
    at the input of each block put its P there       instead of what the block below has computed
    train every P, keep the rest:  L n d numbers

Each P starts from what its block reads there when the soft tokens are still embeddings and stand alone between the
row's special tokens. On a decoder, where nothing after them matters, the start so equals prompt tuning's.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.batches import pad
from promptlab.backbone.encode import Encoded
from promptlab.backbone.marks import embeddings, marked, marks, writing, written
from promptlab.backbone.score import hidden
from promptlab.backbone.specials import specials_of
from promptlab.errors import SettingError
from promptlab.tuning.soft import Soft, Tokens, together
from promptlab.tuning.tuning import Learnt, State


@dataclass(frozen=True)
class Prelayer(Soft):
    """Soft tokens whose activations learn at the input of every block.

    Args:
        n: how many, where the pattern has no ``{soft:...}`` slot or the text is bare.
        init: what they are read as for a start, as of ``soft``.
        text: what ``init=words`` starts from.
        place: ``text``, before the text, or ``front``, before [CLS] too.
        lr: step size; by default 3e-3 at width 1024, larger on narrower backbones.
        weight_decay: decoupled.
        dropout: rate in the backbone while training.
    """

    name: ClassVar[str] = "prelayer"

    def learning(self, backbone: Backbone, starts: Sequence[Tensor]) -> AbstractContextManager[Learnt]:
        """Activations that learn, of each member at as many places as its start has.

        Raises:
            SettingError: the soft tokens fill a whole row.
        """
        return _layered(backbone, [self._activations(backbone, start) for start in starts])

    def applied(self, backbone: Backbone, state: State) -> AbstractContextManager[None]:
        """Every block reads its P at the marks."""
        like = embeddings(backbone)
        return _replacing(backbone, [state[name][None].to(like) for name in _names(backbone)])

    @torch.no_grad()
    def _activations(self, backbone: Backbone, start: Tensor) -> list[Tensor]:
        """What each block reads at soft tokens ``(places, embedding width)``: ``(places, width)`` a block."""
        blocks, places = backbone.anatomy.blocks, len(start)
        if start.is_meta:
            return [start.new_empty(places, backbone.width) for _ in blocks]
        before, after = (tuple(token for token, _ in run) for run in specials_of(backbone).single.runs)
        if places + len(before + after) >= backbone.max_length:
            raise SettingError(
                f"prelayer: {places} soft tokens leave no room for a text in the {backbone.max_length} tokens of "
                f"{backbone.name}. Write a smaller n=."
            )
        row, at = [*before, *marks([places])[0], *after], len(before)
        if self.place == "front":
            row, at = [*marks([places])[0], *before, *after], 0
        batch = pad(Encoded([row], None, [[]], [False]), [0], backbone)
        with writing(backbone, start[None]), _looking(backbone) as read:
            hidden(backbone, batch)
        return [states[0, at : at + places].clone() for states in read]


@contextmanager
def _layered(backbone: Backbone, starts: Sequence[list[Tensor]]) -> Iterator[Tokens]:
    layers = [together(each) for each in zip(*starts, strict=True)]
    with _replacing(backbone, layers):
        yield Tokens(dict(zip(_names(backbone), layers, strict=True)), [len(each[0]) for each in starts])


@contextmanager
def _replacing(backbone: Backbone, layers: Sequence[Tensor]) -> Iterator[None]:
    """Inside the block every transformer block reads its ``(members, places, width)`` at the marks."""
    rows = list[Tensor]()  # ids of the batch that is read; a block that is computed again finds them still there

    def look(ids: Tensor, vectors: Tensor) -> Tensor:
        rows[:] = [ids]
        return vectors

    with ExitStack() as stack:
        stack.enter_context(marked(backbone, layers[0].shape[1], look))
        for block, vectors in zip(backbone.anatomy.blocks, layers, strict=True):
            stack.enter_context(_entering(block.module, partial(_put, rows, vectors)))
        yield


def _put(rows: list[Tensor], vectors: Tensor, states: Tensor) -> Tensor:
    return written(states, rows[0], vectors)


@contextmanager
def _looking(backbone: Backbone) -> Iterator[list[Tensor]]:
    """What each block reads, in order, in a list that grows."""
    read = list[Tensor]()

    def keep(states: Tensor) -> Tensor:
        read.append(states)
        return states

    with ExitStack() as stack:
        for block in backbone.anatomy.blocks:
            stack.enter_context(_entering(block.module, keep))
        yield read


@contextmanager
def _entering(module: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Inside the block a transformer block's hidden states are changed before it reads them."""

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        if args:
            return (change(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": change(kwargs["hidden_states"])}

    handle = module.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _names(backbone: Backbone) -> list[str]:
    return [f"{block.name}.P" for block in backbone.anatomy.blocks]
