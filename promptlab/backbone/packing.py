"""Short rows laid end to end, so that a training step computes next to no padding.

    share each member's rows out into bins of nearly equal length       (longest first, each to the emptiest bin)
    of all numbers of bins, take the one that computes least            (one row a bin is plain padding)
    a token attends only to its own row, and its position counts from its row's own start
    afterwards the hidden states are put back to one row a row

Rows of a few-shot set differ threefold in length and cannot be sorted, since each step draws them at random. The
result is that of padded rows but for rounding. Whether a model allows it is tried once on two short rows: positions
must be the model's to be told, and its attention must take a mask of pairs; else rows are padded.
"""

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.batches import Batch, pad
from promptlab.backbone.encode import Encoded

Bins = list[list[int]]

_WINDOWS = ("sliding_window", "local_attention")  # a mask of pairs would take the place of the window
_STARTS: "WeakKeyDictionary[nn.Module, int | None]" = WeakKeyDictionary()


def pack(encoded: Encoded, members: int, backbone: Backbone) -> Batch:
    """All rows of a training step, member-major, packed where that computes less and the model allows it.

    Args:
        encoded: as many rows for each member.
        members: how many.
        backbone: whose rows they are.

    Returns:
        A batch of ``members * bins`` rows of ids; its slots and its attention are still those of the rows given.
    """
    padded = pad(encoded, range(len(encoded)), backbone)
    if not packable(backbone):
        return padded
    bins = shared_out([len(ids) for ids in encoded.ids], members, backbone.width)
    return padded if len(bins) == len(encoded) else _packed(encoded, bins, padded, _start(backbone), backbone)


def shared_out(lengths: Sequence[int], members: int, width: int) -> Bins:
    """Row numbers by bin, as many bins for each member, member-major.

    Args:
        lengths: tokens of each row, member-major.
        members: how many.
        width: of the hidden states; a token costs ``6 width`` in the projections, and its row's length in attention.
    """
    each = len(lengths) // members
    rows = [range(member * each, (member + 1) * each) for member in range(members)]
    tried = [[one for mine in rows for one in _binned(lengths, mine, bins)] for bins in range(1, each + 1)]
    return min(tried, key=lambda bins: _cost(bins, lengths, width))


def _binned(lengths: Sequence[int], rows: Sequence[int], count: int) -> Bins:
    bins: Bins = [[] for _ in range(count)]
    filled = [0] * count
    for row in sorted(rows, key=lambda row: -lengths[row]):
        least = filled.index(min(filled))
        bins[least].append(row)
        filled[least] += lengths[row]
    return bins


def _cost(bins: Bins, lengths: Sequence[int], width: int) -> int:
    longest = max(sum(lengths[row] for row in one) for one in bins)
    return len(bins) * longest * (6 * width + 3 * longest)  # attention reaches a third of the projections' speed


def packable(backbone: Backbone) -> bool:
    """Whether rows are packed: on a CPU (elsewhere kernels prefer padding), where the model allows it."""
    return backbone.device.type == "cpu" and _start(backbone) is not None


def _start(backbone: Backbone) -> int | None:
    # what the positions of a row count from, or None where the model's rows cannot be packed
    if backbone.model not in _STARTS:
        _STARTS[backbone.model] = _tried(backbone)
    return _STARTS[backbone.model]


@torch.no_grad()
def _tried(backbone: Backbone) -> int | None:
    if any(getattr(backbone.config, name, None) for name in _WINDOWS) or backbone.config.is_encoder_decoder:
        return None
    ids = [[3 + (7 * i + row) % max(1, min(backbone.vocab, 100) - 3) for i in range(4 + 3 * row)] for row in range(2)]
    rows = Encoded(ids, [[0] * len(one) for one in ids], [[0]] * 2, [False] * 2)
    if not _numbered(backbone):
        rows.segments = None
    padded = pad(rows, range(2), backbone)
    real = padded.attention.bool()
    wanted = _answer(backbone, padded)[real]
    for start in (0, backbone.pad_id + 1):  # RoBERTa and its kin count from behind the padding's own number
        try:
            found = _answer(backbone, _packed(rows, [[1, 0]], padded, start, backbone))[real]
        except (TypeError, ValueError, RuntimeError, IndexError):  # no positions to be told, or no mask of pairs
            return None
        if torch.allclose(found, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max())):
            return start
    return None


def _numbered(backbone: Backbone) -> bool:
    return "token_type_ids" in backbone.tokenizer.model_input_names


def _answer(backbone: Backbone, batch: Batch) -> Tensor:
    named = {"use_cache": False} if backbone.kind == "causal" else {}
    return batch.unpacked(backbone.body(**batch.inputs, **named).last_hidden_state)


def _packed(encoded: Encoded, bins: Bins, padded: Batch, start: int | None, backbone: Backbone) -> Batch:
    longest = max(sum(len(encoded.ids[row]) for row in one) for one in bins)
    shape = (len(bins), longest)
    owner, position = torch.full(shape, -1), torch.zeros(shape, dtype=torch.long)
    places = torch.zeros(padded.attention.shape, dtype=torch.long)
    for i, one in enumerate(bins):
        at = 0
        for row in one:
            length = len(encoded.ids[row])
            owner[i, at : at + length], position[i, at : at + length] = row, torch.arange(length)
            places[row] = i * longest + at  # padding stands for the row's first token: no row touches another's states
            places[row, :length] += torch.arange(length)
            at += length
    places, owner, position = (one.to(backbone.device) for one in (places, owner, position))
    real = padded.attention.bool()
    inputs = {"position_ids": position + (start or 0), "attention_mask": _pairs(owner, backbone)}
    for name in ("input_ids", "token_type_ids"):
        if name in padded.inputs:
            filler = backbone.pad_id if name == "input_ids" else 0
            laid = torch.full(shape, filler, device=backbone.device).flatten()
            inputs[name] = laid.index_put((places[real],), padded.inputs[name][real]).view(shape)
    return Batch(inputs, padded.slots, places, padded.attention)


def _pairs(owner: Tensor, backbone: Backbone) -> Tensor:
    # added to the attention's logits; fillers see each other, so that no row of the softmax is empty
    seen = owner[:, None, :, None] == owner[:, None, None, :]
    if backbone.kind == "causal":
        order = torch.arange(owner.shape[1], device=owner.device)
        seen = seen & (order[:, None] >= order)
    dtype = backbone.dtype
    return torch.zeros(seen.shape, dtype=dtype, device=owner.device).masked_fill(~seen, torch.finfo(dtype).min)
