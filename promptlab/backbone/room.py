"""Keys and values of sequences that grow: room for all that is to come is taken once, so a step copies nothing.

    a layer holds     what all rows share, once  |  a row's own beginning, once a sequence  |  what was written
    beams change      only what was written moves, since all texts of a row have its beginning
    rows leave        the others' are copied together

transformers' own layers are copied whole at every step.
"""

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from promptlab.backbone.cache import Pair


class Room(DynamicLayer):
    """One layer's keys and values of sequences that go on from rows.

    Args:
        own: of the rows, ``(rows, heads, tokens, head width)`` each.
        beams: sequences that go on from each row.
        room: tokens that are to come.
        before: what all rows share, ``(1, heads, tokens, head width)`` each.
    """

    def __init__(self, own: Pair, beams: int, room: int, before: Pair | None = None):
        super().__init__()
        self.before, self.begun = before, own[0].shape[-2]
        self.stores = [self._store(one, beams, room) for one in own]
        self.lazy_initialization(*own)
        self._show(self.begun)

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> Pair:
        """All keys and values, with the new ones written behind the others."""
        start, stop = self.filled, self.filled + key_states.shape[-2]
        for store, new in zip(self.stores, (key_states, value_states), strict=True):
            store[:, :, start:stop] = new
        self._show(stop)
        if self.before is None:
            return self.keys, self.values
        first, second = (one.expand(len(self.keys), -1, -1, -1) for one in self.before)
        return torch.cat([first, self.keys], dim=-2), torch.cat([second, self.values], dim=-2)

    def get_seq_length(self) -> int:
        """Tokens that are held, padding among them."""
        return self.filled + (0 if self.before is None else self.before[0].shape[-2])

    def order(self, order: Tensor) -> None:
        """Sequence i goes on from what sequence ``order[i]`` has written; both are of one row."""
        if self.filled > self.begun:
            for store in self.stores:
                written = store[:, :, self.begun : self.filled]
                written.copy_(written.index_select(0, order))

    def keep(self, sequences: Tensor) -> None:
        """Goes on with these sequences alone."""
        self.stores = [store.index_select(0, sequences) for store in self.stores]
        self._show(self.filled)

    def _show(self, filled: int) -> None:
        self.filled = filled
        self.keys, self.values = (store[:, :, :filled] for store in self.stores)

    @staticmethod
    def _store(own: Tensor, beams: int, room: int) -> Tensor:
        rows, heads, tokens, width = own.shape
        store = own.new_empty(rows * beams, heads, tokens + room, width)
        store[:, :, :tokens] = own.repeat_interleave(beams, 0)
        return store


def layers_of(cache: Cache) -> list[Room]:
    """The layers of a cache whose layers all have room."""
    return [layer for layer in cache.layers if isinstance(layer, Room)]
