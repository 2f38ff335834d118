"""Marks in rows of token ids: what stands at them is told to the word embedding, not written into the rows.

    mark -1, -2, ...          first, second, ... learnt place of a row
    inside ``speaking``       the word embedding reads at a mark the token that its member has there
    with a shift (places, width)      and adds the place's row to what it puts out

So the gradient by the shift, at zero, is that of the loss by each place's embedding, summed over all rows; and one
batch of equal rows is read with as many wordings as it has members (rows are member-major). Ids alone carry the marks,
so padding, batching and joining of rows know nothing of them.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from promptlab.backbone.backbone import Backbone
from promptlab.errors import SettingError


def embedding_of(backbone: Backbone) -> nn.Module:
    """The module that turns token ids into vectors."""
    found: nn.Module = backbone.model.get_input_embeddings()
    return found


def embeddings(backbone: Backbone) -> Tensor:
    """The vectors of all tokens, ``(vocabulary, width)``."""
    found: Tensor = embedding_of(backbone).weight  # type: ignore[assignment]
    return found


def marks(sizes: list[int]) -> list[tuple[int, ...]]:
    """Marks of several slots in turn, ``sizes`` places each."""
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    return [tuple(-1 - place for place in range(end - size, end)) for size, end in zip(sizes, ends, strict=True)]


@contextmanager
def speaking(backbone: Backbone, words: Tensor, shift: Tensor | None = None) -> Iterator[None]:
    """Inside the block marks are read as words.

    Args:
        backbone: left as it was afterwards.
        words: token ids, ``(members, places)``; a batch's rows are shared out evenly, member-major.
        shift: added to the embeddings at the places, ``(places, width)``.

    Raises:
        SettingError: a batch's rows are no multiple of the members.
    """
    module = embedding_of(backbone)
    own = module.forward

    def forward(ids: Tensor) -> Tensor:
        if len(ids) % len(words):
            raise SettingError(f"{len(ids)} rows are no multiple of {len(words)} members.")
        marked, place = ids < 0, (-1 - ids).clamp_min(0)
        member = torch.arange(len(ids), device=ids.device) // (len(ids) // len(words))
        vectors: Tensor = own(torch.where(marked, words[member[:, None], place], ids))
        return vectors if shift is None else vectors + marked[..., None] * shift[place]

    setattr(module, "forward", forward)  # noqa: B010 (mypy forbids assigning to a method)
    try:
        yield
    finally:
        delattr(module, "forward")
