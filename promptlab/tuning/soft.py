"""Prompt tuning: the embeddings of soft tokens learn (Lester et al. 2021, arXiv:2104.08691, section 2).

    P (n, embedding width)                         one row a soft token, started from words (starts.py)
    lay rows out with n places for them            in the pattern's {soft:...} slots, or before the text
    embed the row, and put P at those places
    train P, keep the rest

What stands in ``{soft:It was}`` starts from these words. The embedding width is not always the hidden width (ALBERT,
ELECTRA, OPT). P is written by the word embedding itself, so positions are counted as for any token.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.encode import Encoder
from promptlab.backbone.marks import embeddings, writing
from promptlab.backbone.soft import SoftEncoder
from promptlab.errors import SettingError, did_you_mean
from promptlab.language.task import PVP
from promptlab.tuning.starts import Start
from promptlab.tuning.tuning import Learnt, State, Usual, by_width

PLACES = ("text", "front")
_NAME = "soft.P"


@dataclass(frozen=True)
class Soft(Usual):
    """Soft tokens whose embeddings learn.

    Args:
        n: how many, where the pattern has no ``{soft:...}`` slot or the text is bare.
        init: where they start: ``vocabulary``, ``words``, ``labels`` or ``random``; a slot with words of its own
            starts from those.
        text: what ``init=words`` starts from.
        place: where they stand then: ``text``, before the text, or ``front``, before [CLS] too.
        lr: step size; by default 3e-3 at width 1024, larger on narrower backbones.
        weight_decay: decoupled.
        dropout: rate in the backbone while training.
    """

    name: ClassVar[str] = "soft"
    stackable: ClassVar[bool] = True
    n: int = 20
    init: str = "vocabulary"
    text: str = ""
    place: str = "text"
    lr: float | None = None
    weight_decay: float = 0.0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._start.check()
        if self.place not in PLACES:
            near = did_you_mean(self.place, PLACES)
            raise SettingError(f"{self.name}: place={self.place}: no such place.{near} Write {' or '.join(PLACES)}.")

    def learn(
        self, backbone: Backbone, cloze: bool, generators: Sequence[torch.Generator]
    ) -> AbstractContextManager[Learnt]:
        """P for every member, as if it read bare text."""
        if embeddings(backbone).is_meta:
            return self.learning(backbone, [embeddings(backbone).new_empty(self.n, _width(backbone))] * len(generators))
        return self.begin(self.reading(Encoder(backbone)), [None] * len(generators), generators)

    def begin(
        self, encoder: Encoder, pvps: Sequence[PVP | None], generators: Sequence[torch.Generator]
    ) -> AbstractContextManager[Learnt]:
        """P for every member, started from what its pattern says."""
        each = zip(pvps, generators, strict=True)
        return self.learning(encoder.backbone, [self._start.vectors(encoder, pvp, random) for pvp, random in each])

    def learning(self, backbone: Backbone, starts: Sequence[Tensor]) -> AbstractContextManager[Learnt]:
        """Soft tokens that learn, of each member as many as its start has, ``(places, embedding width)``."""
        return _embedded(backbone, starts)

    def applied(self, backbone: Backbone, state: State) -> AbstractContextManager[None]:
        """The word embedding writes P at the marks."""
        return writing(backbone, state[_NAME][None].to(embeddings(backbone)))

    def rate(self, backbone: Backbone, cloze: bool) -> float:
        """3e-3 at width 1024."""
        return self.lr if self.lr is not None else by_width(3e-3, backbone)

    def reading(self, encoder: Encoder) -> Encoder:
        """Rows have marks where soft tokens stand."""
        if isinstance(encoder, SoftEncoder) and (encoder.n, encoder.place) == (self.n, self.place):
            return encoder
        return SoftEncoder(encoder, self.n, self.place)

    @property
    def _start(self) -> Start:
        return Start(self.name, self.n, self.init, self.text)


class Tokens:
    """Soft tokens of a stack: tensors ``(members, longest, width)``, of which each member reads its own number."""

    stacked = True

    def __init__(self, tensors: dict[str, Tensor], sizes: Sequence[int]):
        self.tensors, self.sizes = tensors, sizes

    def route(self, rows: Sequence[Sequence[int]]) -> None:
        """Nothing: every row of a member meets the same tokens."""

    def state(self, member: int) -> dict[str, Tensor]:
        """One member's own tokens, ``(places, width)`` each."""
        size = self.sizes[member]
        return {name: tensor[member, :size].detach().clone() for name, tensor in self.tensors.items()}


def together(starts: Sequence[Tensor]) -> Tensor:
    """A leaf ``(members, longest, width)`` of ``(places, width)`` each; what no member reads is 0, and stays so."""
    return nn.utils.rnn.pad_sequence(list(starts), batch_first=True).detach().requires_grad_(True)


@contextmanager
def _embedded(backbone: Backbone, starts: Sequence[Tensor]) -> Iterator[Tokens]:
    tokens = together(starts)
    with writing(backbone, tokens):
        yield Tokens({_NAME: tokens}, list(map(len, starts)))


def _width(backbone: Backbone) -> int:
    return embeddings(backbone).shape[1]
