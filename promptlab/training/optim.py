"""AdamW over stacks: every tensor ``(members, ...)``, learning rate and weight decay a vector over members.

    m <- b1 m + (1 - b1) g        v <- b2 v + (1 - b2) g^2
    w <- w - lr wd w              w <- w - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)

After Loshchilov & Hutter 2019 (arXiv:1711.05101, algorithm 2). Adam is elementwise, so a member's slice moves exactly
as it would alone; what is not elementwise (the gradient's norm) is computed a member at a time.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Group:
    """Tensors that share learning rate and weight decay.

    Args:
        tensors: leaves ``(members, ...)``, or of any shape where ``stacked`` is false (a stack of one).
        lr: ``(members,)``.
        weight_decay: ``(members,)``.
        stacked: whether the tensors carry the members axis.
    """

    tensors: Sequence[Tensor]
    lr: Tensor
    weight_decay: Tensor
    stacked: bool = True


class AdamW:
    """The optimiser of a stack.

    Args:
        groups: what learns.
        betas: decay of the first and second moments.
        eps: added to the root of the second moment.
    """

    def __init__(self, groups: Sequence[Group], betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8):
        self.groups, self.betas, self.eps, self.steps = groups, betas, eps, 0
        self.moments = [[(torch.zeros_like(one), torch.zeros_like(one)) for one in group.tensors] for group in groups]

    def zero_grad(self) -> None:
        """Forgets all gradients."""
        for group in self.groups:
            for tensor in group.tensors:
                tensor.grad = None

    def norms(self) -> Tensor:
        """Each member's gradient norm over all its tensors, ``(members,)``."""
        squares: list[Tensor] = []
        for group in self.groups:
            for tensor in group.tensors:
                if tensor.grad is not None:
                    flat = tensor.grad.flatten(1) if group.stacked else tensor.grad.flatten()[None]
                    squares.append(torch.linalg.vector_norm(flat, dim=1).square())
        return torch.stack(squares).sum(0).sqrt()

    @torch.no_grad()
    def step(self, factor: float, norms: Tensor, active: Tensor, clip: float | None = 1.0) -> None:
        """One update.

        Args:
            factor: what the schedule multiplies the learning rates with.
            norms: gradient norms, ``(members,)``.
            active: members that move, ``(members,)`` bool; the others stay bit for bit.
            clip: largest gradient norm of a member, or None.
        """
        self.steps += 1
        scale = (clip / (norms + 1e-6)).clamp_max(1.0) if clip is not None else torch.ones_like(norms)
        frozen = not bool(active.all())
        for group, moments in zip(self.groups, self.moments, strict=True):
            for tensor, (first, second) in zip(group.tensors, moments, strict=True):
                if tensor.grad is not None:
                    self._update(group, tensor, first, second, factor, scale, active if frozen else None)

    def _update(
        self,
        group: Group,
        tensor: Tensor,
        first: Tensor,
        second: Tensor,
        factor: float,
        scale: Tensor,
        active: Tensor | None,
    ) -> None:
        def wide(vector: Tensor) -> Tensor:
            ones = [1] * (tensor.dim() - 1) if group.stacked else [1] * tensor.dim()
            return vector.to(tensor).view(-1, *ones) if group.stacked else vector.to(tensor).view(ones)

        kept = (tensor.clone(), first.clone(), second.clone()) if active is not None else None
        beta1, beta2 = self.betas
        grad = tensor.grad if bool((scale == 1).all()) else tensor.grad * wide(scale)  # type: ignore[operator]
        assert grad is not None
        first.lerp_(grad, 1 - beta1)
        second.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        bias1, bias2 = 1 - beta1**self.steps, 1 - beta2**self.steps
        spread = second.sqrt().div_(math.sqrt(bias2)).add_(self.eps)
        lr = group.lr * factor
        if group.stacked:
            tensor.mul_(1 - wide(lr * group.weight_decay))
            tensor.sub_(wide(lr / bias1) * first / spread)
        else:  # one member: plain numbers save two passes over large weights
            tensor.mul_(1 - float(lr[0] * group.weight_decay[0]))
            tensor.addcdiv_(first, spread, value=-float(lr[0]) / bias1)
        if kept is not None and active is not None:
            for now, before in zip((tensor, first, second), kept, strict=True):
                now.copy_(torch.where(wide(active).bool(), now, before))


def linear(step: int, steps: int, warmup: float) -> float:
    """Linear warm-up over a share of the steps, then linear decay to zero; ``step`` counts from 0."""
    rising = round(steps * warmup)
    if step < rising:
        return (step + 1) / rising
    return max(0.0, (steps - step) / max(1, steps - rising))
