"""How a group of tensors moves under AdamW: a stack's as one matrix, whole weights through torch's fused kernel.

Tensors in half precision move as copies in single precision, which are rounded after every step: near 1, bfloat16 has
no number between 1 and 1.008, and a learning rate's steps would be lost (Micikevicius et al. 2018, arXiv:1710.03740,
section 3.1).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Group:
    """Tensors that share learning rate and weight decay.

    Args:
        tensors: leaves ``(members, ...)``, or of any shape where ``stacked`` is false (a stack of one); of one number
            format.
        lr: ``(members,)``.
        weight_decay: ``(members,)``.
        stacked: whether the tensors carry the members axis.
    """

    tensors: Sequence[Tensor]
    lr: Tensor
    weight_decay: Tensor
    stacked: bool = True


@dataclass(frozen=True)
class Move:
    """One step of all groups.

    Args:
        count: which step it is, from 1.
        factor: what the schedule multiplies the learning rates with.
        scale: what a member's gradients are multiplied with, ``(members,)``.
        still: members that stay bit for bit, ``(members,)`` bool; None where all move.
    """

    count: int
    factor: float
    scale: Tensor
    still: Tensor | None


Moments = Mapping[str, Tensor]  # first, second, and exact where the tensor itself is in half precision


class Flat:
    """A stack's tensors side by side, ``(members, numbers)``."""

    def __init__(self, group: Group, betas: tuple[float, float], eps: float):
        self.group, self.betas, self.eps = group, betas, eps
        values = self._beside([one.detach() for one in group.tensors])
        self.exact = None if values.dtype == group.tensors[0].dtype else values
        self.first, self.second, self.grads = torch.zeros_like(values), torch.zeros_like(values), values
        self.without: list[int] = []  # tensors that no gradient reached

    def squares(self) -> Tensor:
        """Each member's squared gradient norm, ``(members,)``."""
        found = [one.grad for one in self.group.tensors]
        self.without = [i for i, one in enumerate(found) if one is None]
        each = zip(found, self.group.tensors, strict=True)
        self.grads = self._beside([torch.zeros_like(one) if grad is None else grad for grad, one in each])
        return torch.linalg.vector_norm(self.grads, dim=1).square()

    def step(self, move: Move) -> None:
        """Moves by the gradients that :meth:`squares` has gathered."""
        beta1, beta2 = self.betas
        exact, still = self.exact, self._still(move.still)
        values = self._beside([one.detach() for one in self.group.tensors]) if exact is None else exact
        grad = self.grads * move.scale[:, None].to(self.grads)
        first, second = self.first.lerp(grad, 1 - beta1), (self.second * beta2).addcmul_(grad, grad, value=1 - beta2)
        spread = second.sqrt().div_(math.sqrt(1 - beta2**move.count)).add_(self.eps)
        lr = self.group.lr * move.factor
        moved = values * _column(1 - lr * self.group.weight_decay, values)
        moved -= _column(lr / (1 - beta1**move.count), values) * first / spread
        if still is not None:
            pairs = ((values, moved), (self.first, first), (self.second, second))
            moved, first, second = (torch.where(still, before, after) for before, after in pairs)
        self.first, self.second, self.exact = first, second, None if exact is None else moved
        torch._foreach_copy_(list(self.group.tensors), self._parted(moved))

    def moments(self) -> Iterator[Moments]:
        """Of each tensor, as views."""
        named = {"first": self.first, "second": self.second} | ({} if self.exact is None else {"exact": self.exact})
        for each in zip(*map(self._parted, named.values()), strict=True):
            yield dict(zip(named, each, strict=True))

    def _beside(self, tensors: Sequence[Tensor]) -> Tensor:
        return torch.cat([_wide(one).flatten(1) for one in tensors], 1)

    def _parted(self, flat: Tensor) -> list[Tensor]:
        """Views of ``(members, numbers)`` in the tensors' shapes."""
        parts = flat.split([one[0].numel() for one in self.group.tensors], 1)
        return [part.view(one.shape) for part, one in zip(parts, self.group.tensors, strict=True)]

    def _still(self, members: Tensor | None) -> Tensor | None:
        """Which numbers stay: those of members that do, ``(members, 1)``, and of tensors without a gradient."""
        still = None if members is None else members[:, None]
        if not self.without:
            return still
        alone = torch.zeros_like(self.first, dtype=torch.bool)
        parts = self._parted(alone)
        for i in self.without:
            parts[i].fill_(True)
        return alone if still is None else alone | still


class Whole:
    """Whole weights, a stack of one."""

    def __init__(self, group: Group, betas: tuple[float, float], eps: float):
        self.group = group
        self.exact = [one if _wide(one) is one else _wide(one.detach()) for one in group.tensors]
        lr, decay = float(group.lr[0]), float(group.weight_decay[0])
        self.fused = torch.optim.AdamW(self.exact, lr=lr, betas=betas, eps=eps, weight_decay=decay, fused=True)

    def squares(self) -> Tensor:
        """The squared gradient norm, ``(1,)``."""
        grads = [one.grad for one in self.group.tensors if one.grad is not None]
        if not grads:
            return torch.zeros(1, device=self.group.tensors[0].device)
        return _wide(torch.stack(torch._foreach_norm(grads))).square().sum()[None]

    def step(self, move: Move) -> None:
        """Moves by the gradients that are there."""
        if move.still is not None:
            return
        scale = float(move.scale[0])
        for tensor, exact in zip(self.group.tensors, self.exact, strict=True):
            exact.grad = None if tensor.grad is None else _wide(tensor.grad)
            if scale != 1.0 and exact.grad is not None:
                exact.grad.mul_(scale)
        self.fused.param_groups[0]["lr"] = float(self.group.lr[0]) * move.factor
        self.fused.step()
        if self.exact[0] is not self.group.tensors[0]:
            torch._foreach_copy_(list(self.group.tensors), self.exact)

    def moments(self) -> Iterator[Moments]:
        """Of each tensor, at zero where it has not moved yet."""
        for tensor, exact in zip(self.group.tensors, self.exact, strict=True):
            one = _begun(self.fused, exact)
            own = {} if exact is tensor else {"exact": exact}
            yield {"first": one["exp_avg"], "second": one["exp_avg_sq"], **own}

    def taken(self) -> int:
        """Steps made: one that is not finite counts in none."""
        return max((int(one["step"]) for one in self.fused.state.values()), default=0)

    def take(self, count: int) -> None:
        """Counts on from so many."""
        for one in self.fused.state.values():
            one["step"].fill_(float(count))


def _begun(fused: torch.optim.AdamW, tensor: Tensor) -> dict[str, Tensor]:
    if not fused.state[tensor]:
        step = torch.zeros((), dtype=torch.float32, device=tensor.device)
        fused.state[tensor] = {
            "step": step,
            "exp_avg": torch.zeros_like(tensor),
            "exp_avg_sq": torch.zeros_like(tensor),
        }
    return fused.state[tensor]


def _wide(tensor: Tensor) -> Tensor:
    """In single precision at least."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _column(vector: Tensor, flat: Tensor) -> Tensor:
    """A number a member, shaped to multiply ``(members, numbers)``."""
    return vector.to(flat)[:, None]
