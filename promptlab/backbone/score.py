"""Label scores at mask rows only.

    encode the batch once
    a hook on the encoder keeps only the hidden states at the slots      (rows, slots, width)
    the model's own head turns them into logits                          (rows, slots, vocabulary)
    score of a word  = sum over its tokens of their log-probability      (one token: log-softmax at the mask)
    score of a label = mean over its words                               (Schick & Schütze 2021, arXiv:2001.07676)

No logits at other positions are ever made, and those at the slots live for one chunk (32 MB at most).
A masked backbone's raw logit (PET's score) differs from the log-probability by a constant a row, which every softmax
over labels cancels.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.batches import Batch, by_length, pad
from promptlab.backbone.device import token_budget
from promptlab.backbone.encode import Encoded
from promptlab.backbone.heads import pool
from promptlab.backbone.rows import reads_whole
from promptlab.errors import BackboneError

CHUNK_BYTES = 32 * 2**20  # logits of one chunk of mask rows
_EARLY = ("bert", "roberta", "xlm-roberta", "camembert", "electra")


@dataclass(frozen=True)
class Scores:
    """What a backbone says of rows.

    Args:
        labels: log-probability of each label's words, ``(rows, labels)``.
        mass: probability that all label words together get at the mask, ``(rows,)``.
    """

    labels: np.ndarray
    mass: np.ndarray


@contextmanager
def narrowed(backbone: Backbone, batch: Batch) -> Iterator[None]:
    """Inside the block the trunk hands only its hidden states at the batch's slots to the head.

    BERT's kin go on from the last attention with those alone: what follows in the last block mixes no places.

    Raises:
        BackboneError: the model was called in the block and never read the encoder where it is listened to.
    """
    body, heard = backbone.body, list[bool]()
    # blocks that are computed again for their gradients are so after this hook is gone
    recomputed = torch.is_grad_enabled() and any(getattr(one, "gradient_checkpointing", 0) for one in body.modules())

    def keep(module: torch.nn.Module, inputs: Any, output: Any) -> Any:
        output.last_hidden_state = batch.at_slots(output.last_hidden_state)
        heard.append(True)
        return output

    def keep_early(module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        heard.append(True)
        return tuple(map(batch.at_slots, inputs))  # what was attended to, and what it is added to

    if backbone.config.model_type in _EARLY and not recomputed and not reads_whole(backbone):
        last = body.get_submodule(f"encoder.layer.{backbone.layers - 1}.attention.output")
        handle = last.register_forward_pre_hook(keep_early)
    else:
        handle = backbone.trunk.register_forward_hook(keep)
    try:
        yield
    finally:
        handle.remove()
    if not heard:
        raise BackboneError(
            f"the head of a '{backbone.config.model_type}' model does not read what its body says, so words cannot be "
            "scored where they are asked for. Write finetune, or another backbone."
        )


def slot_logits(backbone: Backbone, batch: Batch) -> Tensor:
    """The model's own logits at the slots, ``(rows, slots, vocabulary)``."""
    with narrowed(backbone, batch):
        return backbone.model(**batch.inputs, **_call(backbone)).logits


def hidden(backbone: Backbone, batch: Batch) -> Tensor:
    """The last hidden states, ``(rows, tokens, width)``; an encoder-decoder's decoder's where there are replies."""
    if backbone.kind == "seq2seq":
        return _halves(backbone, batch.inputs)
    return batch.unpacked(backbone.body(**batch.inputs, **_call(backbone)).last_hidden_state)


def _halves(backbone: Backbone, inputs: dict[str, Tensor]) -> Tensor:
    mask = inputs["attention_mask"]
    states: Tensor = backbone.entry(input_ids=inputs["input_ids"], attention_mask=mask).last_hidden_state
    if "decoder_input_ids" not in inputs:
        return states
    found: Tensor = backbone.trunk(
        input_ids=inputs["decoder_input_ids"],
        attention_mask=inputs["decoder_attention_mask"],
        encoder_hidden_states=states,
        encoder_attention_mask=mask,
        **_call(backbone),
    ).last_hidden_state
    return found


def label_scores(logits: Tensor, ids: Tensor, normalise: bool = True, at: Tensor | None = None) -> Tensor:
    """Scores of labels from logits at the slots.

    Args:
        logits: ``(inputs, slots, vocabulary)``.
        ids: token ids of the label words, ``(rows or 1, labels, words, pieces)``, -1 where there is none; piece i is
            read at slot i.
        normalise: take log-probabilities; not needed where every word has one token and only a softmax over
            labels follows.
        at: the input that each word is read at, ``(rows, labels, words)``; None where a row is one input.

    Returns:
        ``(rows, labels)``; a label without any word (padding of a mixed stack) gets minus infinity.
    """
    ids = ids.expand(len(logits) if at is None else len(at), -1, -1, -1)
    pieces = ids.shape[-1]
    values = logits[:, :pieces].float() if logits.dtype in (torch.float16, torch.bfloat16) else logits[:, :pieces]
    if normalise:
        values = values.log_softmax(-1)
    if at is None:
        at = torch.arange(len(ids), device=ids.device)[:, None, None].expand(ids.shape[:-1])
    there = ids >= 0
    return mean_of_words((pick(values, at, ids) * there).sum(-1), there.any(-1))


def pick(values: Tensor, at: Tensor, ids: Tensor) -> Tensor:
    """What ``values (inputs, slots, vocabulary)`` say of tokens: ``values[at, i, ids[..., i]]``.

    Args:
        values: logits or log-probabilities.
        at: an input for each word, ``(...)``.
        ids: its tokens by slot, ``(..., pieces)``; where -1, what is read is of no use; 0 past the last slot.
    """
    _, slots, vocabulary = values.shape
    there = ids[..., :slots].clamp_min(0)
    places = at[..., None] * slots + torch.arange(there.shape[-1], device=ids.device)
    found = values.reshape(-1).gather(0, (places * vocabulary + there).flatten()).view(there.shape)
    return functional.pad(found, (0, ids.shape[-1] - there.shape[-1]))


def mean_of_words(scores: Tensor, present: Tensor) -> Tensor:
    """Scores of labels, ``(rows, labels)``, from those of their words ``(rows, labels, words)``.

    Minus infinity where a label has no word that is ``present``.
    """
    count = present.sum(-1)
    mean = (scores * present).sum(-1) / count.clamp_min(1)
    return mean.masked_fill(count == 0, -torch.inf)


def label_mass(logits: Tensor, ids: Tensor) -> Tensor:
    """Probability of all label words' first tokens together at the first slot, ``(rows,)``."""
    first = ids[..., 0].expand(len(logits), -1, -1).flatten(1)
    chances = logits[:, 0].float().softmax(-1).gather(1, first.clamp_min(0))
    return (chances * (first >= 0)).sum(-1)


@torch.inference_mode()
def score(backbone: Backbone, encoded: Encoded, ids: np.ndarray) -> Scores:
    """Scores every row.

    Args:
        backbone: of any kind.
        encoded: rows with one slot a token of the longest label word.
        ids: the label words, ``(labels, words, pieces)``, padded with -1; with a row axis before where rows differ.
    """
    words = torch.as_tensor(ids, device=backbone.device)
    labels, mass = np.zeros((len(encoded), ids.shape[-3])), np.zeros(len(encoded))
    for rows in batches(backbone, encoded, slots=max(1, ids.shape[-1])):
        logits, own = (
            slot_logits(backbone, pad(encoded, rows, backbone)),
            words[rows] if words.dim() > 3 else words[None],
        )
        labels[rows] = label_scores(logits, own).double().cpu().numpy()
        mass[rows] = label_mass(logits, own).double().cpu().numpy()
    return Scores(labels, mass)


@torch.inference_mode()
def pooled(
    backbone: Backbone, encoded: Encoded, how: str, then: Callable[[Tensor], Tensor] = lambda vectors: vectors
) -> np.ndarray:
    """One vector a row, ``(rows, width)``, or what ``then`` makes of it.

    Args:
        backbone: of any kind.
        encoded: rows of bare text.
        how: ``mean`` over real tokens, ``cls`` the first of them, ``last`` the last; soft tokens are none. Of an
            encoder-decoder ``last`` is the decoder's, the others are the encoder's.
        then: a head over ``(rows, width)``.
    """
    parts: dict[int, np.ndarray] = {}
    encoded = encoded if how == "last" else replace(encoded, replies=None)
    for rows in batches(backbone, encoded, slots=0):
        batch = pad(encoded, rows, backbone)
        out = then(pool(hidden(backbone, batch), batch.readable, how)).double().cpu().numpy()
        parts.update(zip(rows, out, strict=True))
    return np.stack([parts[row] for row in range(len(encoded))]) if parts else np.zeros((0, backbone.width))


def _call(backbone: Backbone) -> dict[str, bool]:
    return {} if backbone.kind == "masked" else {"use_cache": False}


def batches(backbone: Backbone, encoded: Encoded, slots: int) -> Iterator[list[int]]:
    """Row numbers in batches whose logits, at so many slots a row, fit a chunk."""
    width = backbone.model.config.vocab_size * slots * 4
    most = max(1, CHUNK_BYTES // width) if slots else None
    return by_length([len(ids) for ids in encoded.ids], token_budget(backbone.device), most)
