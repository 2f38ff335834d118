"""Language-model loss at chosen positions, in memory for one chunk of logits.

    encode the batch once
    the hidden states at the chosen positions go through the model's own head, a chunk at a time
    the chunk's gradient comes back to the hidden states, and from there once through the encoder

So no logits at other positions are ever made, and never more than one chunk's at a time, whatever the vocabulary.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.batches import Batch
from promptlab.backbone.score import hidden

CHUNK_BYTES = 128 * 2**20  # float32 logits of one chunk


@contextmanager
def bodiless(backbone: Backbone, states: Tensor) -> Iterator[None]:
    """Inside the block the encoder answers ``states (rows, tokens, width)`` whatever it is asked."""

    def answer(*args: Any, **kwargs: Any) -> BaseModelOutputWithPastAndCrossAttentions:
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=states)

    backbone.body.forward = answer
    try:
        yield
    finally:
        del backbone.body.forward


def head_logits(backbone: Backbone, states: Tensor) -> Tensor:
    """The model's own head over hidden states ``(places, width)``: ``(places, vocabulary)``."""
    dummy = torch.zeros(1, len(states), dtype=torch.long, device=states.device)
    with bodiless(backbone, states[None]):
        return backbone.model(input_ids=dummy).logits[0]


def learn_from(backbone: Backbone, batch: Batch, asked: Tensor, targets: Tensor, share: float) -> Tensor:
    """Adds ``share`` times the summed loss's gradient to whatever learns, and returns the sum of losses.

    Args:
        backbone: some of whose weights ask for gradients.
        batch: padded rows.
        asked: positions whose hidden states answer, ``(rows, tokens)`` bool.
        targets: the ids they should say, ``(places,)``.
        share: one over the number of places of the whole step.
    """
    if not len(targets):
        return torch.zeros((), device=asked.device)
    states = hidden(backbone, batch)[asked]
    leaf = states.detach().requires_grad_(True)
    total = torch.zeros((), device=leaf.device, dtype=torch.promote_types(leaf.dtype, torch.float32))
    for part in _chunks(len(leaf), backbone):
        loss = _losses(head_logits(backbone, leaf[part]), targets[part]).sum()
        (share * loss).backward()
        total += loss.detach()
    if states.requires_grad:
        states.backward(leaf.grad)
    return total


@torch.inference_mode()
def judge(backbone: Backbone, batch: Batch, asked: Tensor, targets: Tensor) -> tuple[float, int]:
    """Sum of the losses at the asked positions, and how many of them the model says right."""
    states = hidden(backbone, batch)[asked]
    loss, right = 0.0, 0
    for part in _chunks(len(states), backbone):
        logits = head_logits(backbone, states[part])
        loss += float(_losses(logits, targets[part]).sum())
        right += int((logits.argmax(-1) == targets[part]).sum())
    return loss, right


def _losses(logits: Tensor, targets: Tensor) -> Tensor:
    wide = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    return functional.cross_entropy(wide, targets, reduction="none")


def _chunks(places: int, backbone: Backbone) -> Iterator[slice]:
    size = max(1, CHUNK_BYTES // (4 * backbone.vocab))
    for start in range(0, places, size):
        yield slice(start, start + size)
