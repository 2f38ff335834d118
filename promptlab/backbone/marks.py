"""Marks in rows of token ids: what stands at them is told to the word embedding, not written into the rows.

    mark -1, -2, ...          first, second, ... learnt place of a row
    inside ``speaking``       the word embedding reads at a mark the token that its member has there
    with a shift (places, width)      and adds the place's row to what it puts out
    inside ``writing``        the word embedding puts out at a mark the vector that its member has there

So the gradient by the shift, at zero, is that of the loss by each place's embedding, summed over all rows; and one
batch of equal rows is read with as many wordings as it has members (rows are member-major). Ids alone carry the marks,
so padding, batching, packing and joining of rows know nothing of them, and RoBERTa, which numbers its positions by the
ids that are no padding, counts them as any token.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.device import capturing
from promptlab.errors import SettingError


def embedding_of(backbone: Backbone) -> nn.Module:
    """The module that turns token ids into vectors, an encoder-decoder's in its encoder."""
    model = backbone.model
    found: nn.Module = (model.get_encoder() if model.config.is_encoder_decoder else model).get_input_embeddings()
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

    def read(own: Callable[[Tensor], Tensor], ids: Tensor) -> Tensor:
        marked, member, place = _places(ids, len(words))
        vectors = own(torch.where(marked, words[member, place], ids))
        return vectors if shift is None else vectors + marked[..., None] * shift[place]

    with _reading(backbone, read):
        yield


@contextmanager
def writing(backbone: Backbone, vectors: Tensor) -> Iterator[None]:
    """Inside the block marks are read as vectors.

    Args:
        backbone: left as it was afterwards.
        vectors: what the word embedding puts out, ``(members, places, embedding width)``; rows are member-major.

    Raises:
        SettingError: a batch's rows are no multiple of the members, or have more marks than there are places.
    """
    with marked(backbone, vectors.shape[1], lambda ids, found: written(found, ids, vectors)):
        yield


@contextmanager
def marked(backbone: Backbone, places: int, then: Callable[[Tensor, Tensor], Tensor]) -> Iterator[None]:
    """Inside the block rows may hold marks, which the word embedding reads as some token.

    Args:
        backbone: left as it was afterwards.
        places: the most marks of a row.
        then: from ids ``(rows, tokens)`` and what was read, ``(rows, tokens, embedding width)``, what is put out.

    Raises:
        SettingError: a row has more marks.
    """

    def read(own: Callable[[Tensor], Tensor], ids: Tensor) -> Tensor:
        most = 0 if capturing() else -int(ids.min())  # what is recorded has run before, and may not be looked at
        if most > places:
            raise SettingError(
                f"a row has {most} soft tokens, but {places} were learnt. Put the pattern, or n=, back as it was."
            )
        return then(ids, own(ids.clamp_min(0)))

    with _reading(backbone, read):
        yield


def written(states: Tensor, ids: Tensor, vectors: Tensor) -> Tensor:
    """States ``(rows, tokens, width)`` with ``vectors (members, places, width)`` at the marks of ``ids``."""
    where, member, place = _places(ids, len(vectors))
    found = functional.embedding(member * vectors.shape[1] + place, vectors.flatten(0, 1))
    return torch.where(where[..., None], found.to(states.dtype), states)


def _places(ids: Tensor, members: int) -> tuple[Tensor, Tensor, Tensor]:
    """Where marks stand, the member of each row ``(rows, 1)``, and the place of each mark, 0 elsewhere."""
    if len(ids) % members:
        raise SettingError(f"{len(ids)} rows are no multiple of {members} members.")
    member = torch.arange(len(ids), device=ids.device) // (len(ids) // members)
    return ids < 0, member[:, None], (-1 - ids).clamp_min(0)


@contextmanager
def _reading(backbone: Backbone, read: Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]) -> Iterator[None]:
    module = embedding_of(backbone)
    own = module.forward

    def forward(ids: Tensor) -> Tensor:
        return read(own, ids)

    setattr(module, "forward", forward)  # noqa: B010 (mypy forbids assigning to a method)
    try:
        yield
    finally:
        delattr(module, "forward")
