"""Experts and the routes through them: which expert each row meets (Wang et al. 2022, arXiv:2205.12410, section 3.1).

    before each forward of training a member's own generator draws, for every place that has experts:
        batch    one expert a pass                  all rows of a pass go the same way, as published
        row      one expert a row and pass
    in the forward each place reads its own numbers
    where nothing was drawn, and at the end:  the mean of the experts

Nothing is drawn in a hook, so a block that is computed twice (gradient checkpointing) goes the same way twice.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from promptlab.tuning.inject import Beside, Piece, beside
from promptlab.tuning.tuning import by_member


class Routes:
    """The numbers of the experts that the coming forward meets.

    Args:
        generators: one a member; a stream of its own is derived from each.
        experts: to choose from at every place.
        passes: of each row.
        by_row: whether each row has routes of its own.
    """

    def __init__(self, generators: Sequence[torch.Generator], experts: int, passes: int, by_row: bool):
        seeds = [int(torch.randint(2**62, (1,), generator=one)) for one in generators]
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.experts, self.passes, self.by_row, self.places = experts, passes, by_row, 0
        self.taken: Tensor | None = None

    def place(self) -> int:
        """The number of one more place with experts."""
        self.places += 1
        return self.places - 1

    def draw(self, rows: Sequence[Sequence[int]], device: torch.device) -> None:
        """Draws the routes of a forward, ``(places, members * passes)`` or ``(places, members * passes * inputs)``.

        Args:
            rows: for each member, which of its own rows every input of a pass belongs to.
            device: that reads them.
        """
        each = [self._of(one, own) for one, own in zip(self.generators, rows, strict=True)]
        drawn = torch.cat(each, 1)
        if self.taken is None or self.taken.shape != drawn.shape or self.taken.device != device:
            self.taken = drawn.to(device)
        else:  # at the same place, where a recorded step reads it
            self.taken.copy_(drawn)

    def _of(self, generator: torch.Generator, rows: Sequence[int]) -> Tensor:
        # by a member's own rows, so that what it draws does not depend on how many inputs its neighbours have
        count = max(rows) + 1 if self.by_row else 1
        drawn = torch.randint(self.experts, (self.places, self.passes, count), generator=generator)
        return (drawn[:, :, list(rows)] if self.by_row else drawn).flatten(1)


class Experts:
    """One projection, of which every member has several.

    Args:
        weight: ``(members, experts * inputs, outputs)``: the experts' matrices one below the other.
        bias: ``(members, experts * outputs)`` likewise, or None; flat, so that the optimiser knows it for a bias.
        experts: how many; 1 where all routes share it.
        routes: of the stack; None where nothing is chosen.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, experts: int, routes: Routes | None = None):
        self.weight, self.bias, self.experts, self.routes = weight, bias, experts, routes
        self.place = routes.place() if routes and experts > 1 else None

    def __call__(self, x: Tensor) -> Tensor:
        """``x W + b`` of whichever expert each row meets.

        Args:
            x: ``(members * passes * batch, ..., inputs)``, member-major.

        Returns:
            ``(members * passes * batch, ..., outputs)``.
        """
        weight = self._met(self.weight)
        rows = by_member(x, len(weight))
        if self.bias is None:
            out = torch.bmm(rows, weight)
        else:
            out = torch.baddbmm(self._met(self.bias)[:, None], rows, weight)
        return out.view(*x.shape[:-1], -1)

    def _met(self, tensor: Tensor) -> Tensor:
        """One expert a group of rows, ``(groups, ...)``; one a member where no routes part its rows."""
        if self.experts == 1:
            return tensor
        parted = tensor.unflatten(1, (self.experts, -1))
        if self.routes is None or self.place is None or self.routes.taken is None:
            return parted.mean(1)
        chosen = self.routes.taken[self.place]
        members = torch.arange(len(parted), device=chosen.device).repeat_interleave(len(chosen) // len(parted))
        return parted[members, chosen]


class Mixed(Beside):
    """Pieces with experts while they learn; a member's state is the mean of its experts.

    Args:
        pieces: by name.
        experts: how many of each tensor there are, by the piece's own name for it.
        routes: of the stack.
    """

    def __init__(self, pieces: Mapping[str, Piece], experts: Mapping[str, int], routes: Routes):
        super().__init__(pieces)
        self.experts = {f"{name}.{part}": experts[part] for name, piece in pieces.items() for part in piece.tensors}
        self.routes, self.by_row = routes, routes.by_row

    def route(self, rows: Sequence[Sequence[int]]) -> None:
        """Draws the experts of the coming forward."""
        self.routes.draw(rows, next(iter(self.tensors.values())).device)

    def state(self, member: int) -> dict[str, Tensor]:
        """The mean of one member's experts, as they are now: nothing is kept that further training would make stale."""
        return {
            name: tensor[member].detach().unflatten(0, (self.experts[name], -1)).mean(0)
            for name, tensor in self.tensors.items()
        }


@contextmanager
def mixed(pieces: Mapping[str, Piece], experts: Mapping[str, int], routes: Routes) -> Iterator[Mixed]:
    """Hooks every piece to its module for as long as the block lasts; arguments as for :class:`Mixed`."""
    with beside(pieces):
        yield Mixed(pieces, experts, routes)
