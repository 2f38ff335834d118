"""The keys and values of a beginning that many rows share, held once for all of them (causal backbones).

    read the beginning once                       keys, values of each layer   (1, heads, beginning, head width)
    a batch of rows goes on from there            a layer's keys = beginning, seen by every row, then the rows' own
    words go on from the rows                     the rows' own keys, picked by row, then the words'

The beginning is laid before a batch one layer at a time and let go again, so it takes the memory of one layer of the
batch, not of all. What a row attends to is what it would attend to if it were read whole, at the same positions.
"""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import Cache, DynamicLayer

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.rows import reads_whole

Pair = tuple[Tensor, Tensor]


class _Layer(DynamicLayer):
    """One layer's keys and values: the shared ones before, and the rows' own, which alone are kept."""

    def __init__(self, before: Pair | None, own: Pair | None = None):
        super().__init__()
        self.before = before
        if own is not None:
            self.lazy_initialization(*own)
            self.keys, self.values = own

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> Pair:
        keys, values = super().update(key_states, value_states)
        if self.before is None:
            return keys, values
        first, second = (one.expand(len(keys), -1, -1, -1) for one in self.before)
        return torch.cat([first, keys], dim=-2), torch.cat([second, values], dim=-2)

    def get_seq_length(self) -> int:
        own: int = super().get_seq_length()
        return own + (0 if self.before is None else self.before[0].shape[-2])


class Beginning:
    """What rows share, as a backbone has read it.

    Args:
        backbone: a causal one that :func:`reusable` accepts.
        ids: token ids of the beginning; none where rows share nothing, and only their own keys are kept.
    """

    def __init__(self, backbone: Backbone, ids: Sequence[int]):
        self.backbone, self.length = backbone, len(ids)
        self.layers: list[Pair | None] = [None] * backbone.layers
        if self.length:
            cache = DynamicCache()
            tokens = torch.tensor([list(ids)], device=backbone.device)
            backbone.body(input_ids=tokens, **_cached(backbone, cache))
            self.layers = [(layer.keys, layer.values) for layer in cache.layers]

    def cache(self) -> Cache:
        """For rows that go on from here."""
        return Cache(layers=[_Layer(before) for before in self.layers])

    def picked(self, cache: Cache, rows: Tensor) -> Cache:
        """For words that go on from the rows of a cache, one row a word; the cache itself stays as it is."""
        own = [(layer.keys[rows], layer.values[rows]) for layer in cache.layers]
        return Cache(layers=list(map(_Layer, self.layers, own)))

    def read(self, cache: Cache, ids: Tensor, attention: Tensor, positions: Tensor) -> Tensor:
        """Logits of the model at what the head is shown of ``ids``.

        Args:
            cache: of what was read before; grows by ``ids``.
            ids: ``(rows, tokens)``, padded on the right.
            attention: ``(rows, beginning + tokens read before + tokens)``, 0 at padding.
            positions: of ``ids``, counted over real tokens from the row's start, ``(rows, tokens)``.
        """
        call = _cached(self.backbone, cache)
        found: Tensor = self.backbone.model(
            input_ids=ids, attention_mask=attention, position_ids=positions, **call
        ).logits
        return found


def reusable(backbone: Backbone, longest: int) -> bool:
    """Whether keys and values of a beginning can stand for it, exactly, in rows of ``longest`` tokens.

    They cannot where a layer looks back over fewer tokens than that or carries a state of another kind; such backbones
    read every row whole.
    """
    config, known = backbone.config, inspect.signature(backbone.model.forward).parameters
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    window = getattr(config, "sliding_window", None) or getattr(config, "window_size", None)
    if reads_whole(backbone) or getattr(backbone.model, "_is_stateful", False):
        return False
    if not kinds <= {"full_attention", "sliding_attention"}:
        return False
    return (window is None or longest <= window) and "position_ids" in known and bool(cache_name(backbone))


def _cached(backbone: Backbone, cache: Cache) -> dict[str, Any]:
    return {cache_name(backbone): cache, "use_cache": True}


def cache_name(backbone: Backbone) -> str:
    """What the model calls the argument that keys and values are kept in; empty where it keeps none."""
    # newer transformers call the argument cache, and warn where the older name is used
    known = inspect.signature(backbone.model.forward).parameters
    return next((name for name in ("cache", "past_key_values") if name in known), "")
