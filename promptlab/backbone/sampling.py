"""Which token comes next: the ones that may, and one drawn from them.

    may not      end tokens and newlines before ``min_tokens``; a token that would end a run of ``no_repeat`` tokens
                 written before (over what was written alone, not over what was read)
    drawn        softmax(logits / temperature), cut to the ``top_k`` likeliest (ties stay), then to the likeliest that
                 reach ``top_p`` together (Holtzman et al. 2019, arXiv:1904.09751, section 3.1); then the token at
                 which the sum over the vocabulary passes a number between 0 and 1

Each row draws its numbers from a generator of its own, which follows from the seed and from what the row reads, so
neither the batch that it is in nor a run taken up again changes its text. Rows that read the same draw differently.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from promptlab.backbone.decoding import Decoding
from promptlab.backbone.device import generator
from promptlab.backbone.encode import Encoded


def allow(scores: Tensor, written: Tensor, how: Decoding, ending: Tensor) -> Tensor:
    """The scores, with minus infinity written where a token may not come next.

    Args:
        scores: logits or log-probabilities, ``(sequences, vocabulary)``; changed.
        written: the tokens of each so far, ``(sequences, tokens)``.
        how: the settings.
        ending: which tokens may end a text, ``(vocabulary,)``.
    """
    size = how.no_repeat
    if written.shape[1] < how.min_tokens:
        scores.masked_fill_(ending, -torch.inf)
    if size and written.shape[1] >= size:
        runs = written.unfold(1, size, 1)
        last = written[:, written.shape[1] - size + 1 :]
        sequence, run = (runs[..., :-1] == last[:, None]).all(-1).nonzero(as_tuple=True)
        scores[sequence, runs[sequence, run, -1]] = -torch.inf
    return scores


def numbers(encoded: Encoded, how: Decoding) -> list[Tensor]:
    """What each row draws at each step, ``(max_tokens,)`` numbers from 0 to 1."""
    keys = _keys(encoded, how.seed)
    return [torch.rand(how.max_tokens, generator=generator(key), dtype=torch.float64) for key in keys]


def _keys(encoded: Encoded, seed: int) -> Iterator[str]:
    met = Counter[str]()
    replies = encoded.replies or [[]] * len(encoded)
    for ids, reply in zip(encoded.ids, replies, strict=True):
        read = f"{ids} {reply}"
        met[read] += 1
        yield f"{seed} {met[read]} {read}"


def drawn(logits: Tensor, how: Decoding, at: Tensor) -> Tensor:
    """A token a row, ``(rows,)``.

    Args:
        logits: ``(rows, vocabulary)``.
        how: the settings.
        at: where the sum of probabilities is to be passed, from 0 to 1, ``(rows,)``.
    """
    scores = likeliest(logits.to(at.dtype) / how.temperature, how.top_k, how.top_p)
    sums = scores.softmax(-1).cumsum(-1)
    return (sums <= at[:, None] * sums[:, -1:]).sum(-1)


def likeliest(scores: Tensor, top_k: int, top_p: float) -> Tensor:
    """Scores ``(rows, vocabulary)``, minus infinity where they are not among the likeliest."""
    if 0 < top_k < scores.shape[-1]:
        scores = scores.masked_fill(scores < scores.topk(top_k).values[:, -1:], -torch.inf)
    if top_p < 1:
        ordered, places = scores.sort(descending=False)
        far = ordered.softmax(-1).cumsum(-1) <= 1 - top_p
        far[:, -1] = False
        scores = scores.masked_fill(far.scatter(1, places, far), -torch.inf)
    return scores


def stacked(rows: Sequence[Tensor], device: torch.device) -> Tensor:
    """The rows' numbers on the device, ``(rows, max_tokens)``, as exact as it can have them."""
    exact = torch.float32 if device.type == "mps" else torch.float64
    return torch.stack(list(rows)).to(device=device, dtype=exact)
