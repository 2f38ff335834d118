"""The contract of a tuning: which tensors learn, and how a backbone answers with them.

    learn(backbone, cloze, generators)  tensors with a leading members axis stand in or beside the backbone
    state(member)                       one member's tensors, without that axis
    joined(each, scores)                a member's loss from what its rows cost, in every pass they make
    applied(backbone, state)            inside the block the backbone answers as that member
    reading(encoder)                    rows are laid out by this encoder, in training and in answering
    begin(encoder, pvps, generators)    as ``learn``, told what each member reads: soft tokens start from slots' words

Rows of a training batch are ``(members, passes, batch)`` flattened, member-major; a learnt part sees them as groups of
equal size. A single run is a stack of one. After the blocks the backbone is bit for bit what it was.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.encode import Encoder
from promptlab.errors import SettingError
from promptlab.language.task import PVP
from promptlab.tuning.limits import check

State = Mapping[str, Tensor]


class Learnt(Protocol):
    """Learnt tensors of a stack while it trains.

    One may also say ``factors``: what a tensor's learning rate and weight decay are multiplied with, by its name; and
    ``by_row``: whether what it draws has as many numbers as a step has rows.
    """

    tensors: dict[str, Tensor]
    """Leaves that require grad, ``(members, ...)``; a stack of one may hold the backbone's own parameters."""
    stacked: bool
    """Whether the tensors carry the members axis."""

    def route(self, rows: Sequence[Sequence[int]]) -> None:
        """Draws, before each forward of training, what the coming one reads.

        Args:
            rows: for each member, which of its own rows every input of a pass belongs to.
        """

    def state(self, member: int) -> dict[str, Tensor]:
        """One member's tensors, without the members axis, detached."""


class Tuning(Protocol):
    """Which weights learn."""

    name: ClassVar[str]
    stackable: ClassVar[bool]
    """Whether members train side by side over one frozen backbone; else they run in turn."""
    pooler: ClassVar[str]
    """What of a head's pretrained pooler learns: ``none``, ``bias`` or ``all``."""
    lr: float | None
    weight_decay: float
    dropout: float

    @property
    def packs(self) -> bool:
        """Whether short rows may be laid end to end: no learnt part looks at a row as a whole."""

    @property
    def passes(self) -> int:
        """How often each row goes through in a step; a part sees ``members * passes`` groups of rows."""

    def learn(
        self, backbone: Backbone, cloze: bool, generators: Sequence[torch.Generator]
    ) -> AbstractContextManager[Learnt]:
        """Installs learnt tensors for as many members as there are generators; each draws from its own."""

    def applied(self, backbone: Backbone, state: State) -> AbstractContextManager[None]:
        """Makes the backbone answer as one member."""

    def rate(self, backbone: Backbone, cloze: bool) -> float:
        """The learning rate where none was set."""

    def joined(self, each: Tensor, scores: Tensor, agreement: float = 1.0) -> Tensor:
        """Each member's loss, ``(members,)``.

        Args:
            each: what every row, or every token of a text, costs against what is right, ``(members, passes, rows)``.
            scores: label scores, ``(members, passes, rows, labels)``; minus infinity where a row has fewer.
            agreement: how many times as much as on labels it counts that a row's passes agree.
        """

    def begin(
        self, encoder: Encoder, pvps: Sequence[PVP | None], generators: Sequence[torch.Generator]
    ) -> AbstractContextManager[Learnt]:
        """As :meth:`learn`, for members that read these patterns; None where a member reads bare text."""

    def reading(self, encoder: Encoder) -> Encoder:
        """How rows are laid out for it: with room for its soft tokens, say."""

    def spoken(self, backbone: Backbone, pvp: PVP, state: State) -> PVP:
        """The pair with what was learnt, where that is text."""

    def below(self, backbone: Backbone) -> int:
        """How many blocks, from the input, nothing learnt stands in or before."""


class Usual:
    """What most tunings have in common."""

    name: ClassVar[str]
    pooler: ClassVar[str] = "none"

    def __post_init__(self) -> None:
        """Refuses numbers that cannot be; a tuning with more to look at calls it first."""
        check(self, self.name)

    @property
    def packs(self) -> bool:
        """Where the model allows it."""
        return True

    @property
    def passes(self) -> int:
        """Once."""
        return 1

    def joined(self, each: Tensor, scores: Tensor, agreement: float = 1.0) -> Tensor:
        """The mean over a member's rows."""
        return each.flatten(1).mean(1)

    def begin(
        self: Tuning, encoder: Encoder, pvps: Sequence[PVP | None], generators: Sequence[torch.Generator]
    ) -> AbstractContextManager[Learnt]:
        """Whatever the members read, the start is the same."""
        return self.learn(encoder.backbone, pvps[0] is not None, generators)

    def reading(self, encoder: Encoder) -> Encoder:
        """As the encoder lays rows out by itself."""
        return encoder

    def spoken(self, backbone: Backbone, pvp: PVP, state: State) -> PVP:
        """As the task has it."""
        return pvp

    def below(self, backbone: Backbone) -> int:
        """None: the first block learns already, or what it reads does."""
        return 0


def by_member(rows: Tensor, members: int) -> Tensor:
    """``(members * batch, tokens, width)`` seen as ``(members, batch * tokens, width)``.

    Raises:
        SettingError: the rows are not a multiple of the members.
    """
    if rows.shape[0] % members:
        raise SettingError(
            f"{rows.shape[0]} rows are no multiple of {members} members: every member needs as many rows."
        )
    return rows.reshape(members, -1, rows.shape[-1])


def by_width(lr: float, backbone: Backbone, at: int = 1024) -> float:
    """A learning rate given for a backbone ``at`` wide, scaled so that narrower ones step further.

    Adam moves every weight by about the learning rate; a sum over ``width`` of them moves in proportion to the width
    (Yang et al. 2022, arXiv:2203.03466, table 3).
    """
    return lr * at / backbone.width
