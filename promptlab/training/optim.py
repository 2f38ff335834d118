"""AdamW over stacks: every tensor ``(members, ...)``, learning rate and weight decay a vector over members.

    m <- b1 m + (1 - b1) g        v <- b2 v + (1 - b2) g^2
    w <- w - lr wd w              w <- w - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)

After Loshchilov & Hutter 2019 (arXiv:1711.05101, algorithm 2). Adam is elementwise, so a member's slice moves as it
would alone; what is not elementwise (the gradient's norm) is computed a member at a time. A stack's tensors are many
and small, so a group moves as one matrix ``(members, numbers)``: a dozen calls where a tensor at a time needs hundreds.
Whole weights, always a stack of one, go through torch's fused kernel: one pass over memory where plain code needs ten.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from promptlab.training.moves import Flat, Group, Moments, Move, Whole

__all__ = ["AdamW", "Group", "linear"]


class AdamW:
    """The optimiser of a stack.

    Args:
        groups: what learns.
        betas: decay of the first and second moments.
        eps: added to the root of the second moment.
    """

    def __init__(self, groups: Sequence[Group], betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8):
        self.groups = [one for group in groups for one in _by_dtype(group)]
        self.parts = [(Flat if group.stacked else Whole)(group, betas, eps) for group in self.groups]
        self.steps = 0

    def zero_grad(self) -> None:
        """Forgets all gradients."""
        for group in self.groups:
            for tensor in group.tensors:
                tensor.grad = None

    def norms(self) -> Tensor:
        """Each member's gradient norm over all its tensors, ``(members,)``."""
        return torch.stack([part.squares() for part in self.parts]).sum(0).sqrt()

    def state(self) -> dict[str, Tensor]:
        """All moments by group, tensor and order (``0.3.second``), and the count of steps."""
        taken = [part.taken() if isinstance(part, Whole) else 0 for part in self.parts]
        found = {"steps": torch.tensor(self.steps), "taken": torch.tensor(taken)}
        return found | {f"{name}.{kind}": one for name, moments in self._moments() for kind, one in moments.items()}

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Takes back what :meth:`state` gave, for the same groups."""
        self.steps = int(state["steps"])
        for name, moments in self._moments():
            for kind, one in moments.items():
                one.copy_(state[f"{name}.{kind}"])
        for part, taken in zip(self.parts, state["taken"].tolist(), strict=True):
            if isinstance(part, Whole):
                part.take(taken)

    def _moments(self) -> Iterator[tuple[str, Moments]]:
        for g, part in enumerate(self.parts):
            yield from ((f"{g}.{i}", moments) for i, moments in enumerate(part.moments()))

    @torch.no_grad()
    def step(self, factor: float, norms: Tensor, active: Tensor, clip: float | None = 1.0) -> None:
        """One update, by the gradients that :meth:`norms` has measured.

        Args:
            factor: what the schedule multiplies the learning rates with.
            norms: gradient norms, ``(members,)``.
            active: members that move, ``(members,)`` bool; the others stay bit for bit.
            clip: largest gradient norm of a member, or None.
        """
        self.steps += 1
        scale = (clip / (norms + 1e-6)).clamp_max(1.0) if clip is not None else torch.ones_like(norms)
        move = Move(self.steps, factor, scale, None if bool(active.all()) else ~active)
        for part in self.parts:
            part.step(move)


def _by_dtype(group: Group) -> list[Group]:
    kinds = {one.dtype: None for one in group.tensors}
    return [replace(group, tensors=[one for one in group.tensors if one.dtype == kind]) for kind in kinds]


def linear(step: int, steps: int, warmup: float) -> float:
    """Linear warm-up over a share of the steps, then linear decay to zero; ``step`` counts from 0."""
    rising = round(steps * warmup)
    if step < rising:
        return (step + 1) / rising
    return max(0.0, (steps - step) / max(1, steps - rising))
