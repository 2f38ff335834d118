"""AdamW over stacks: every tensor ``(members, ...)``, learning rate and weight decay a vector over members.

    m <- b1 m + (1 - b1) g        v <- b2 v + (1 - b2) g^2
    w <- w - lr wd w              w <- w - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)

After Loshchilov & Hutter 2019 (arXiv:1711.05101, algorithm 2). Adam is elementwise, so a member's slice moves as it
would alone; what is not elementwise (the gradient's norm) is computed a member at a time. Whole weights, always a stack
of one, go through torch's fused kernel: one pass over memory where plain code needs ten.
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
        self.groups = [group for group in groups if group.tensors]
        self.betas, self.eps, self.steps = betas, eps, 0
        self.moments = [
            [(torch.zeros_like(one), torch.zeros_like(one)) for one in group.tensors] if group.stacked else []
            for group in self.groups
        ]
        self.fused = [None if group.stacked else _fused(group, betas, eps) for group in self.groups]

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
        if not squares:
            return torch.zeros(len(self.groups[0].lr), device=self.groups[0].tensors[0].device)
        return torch.stack(squares).sum(0).sqrt()

    def state(self) -> dict[str, Tensor]:
        """All moments by group, tensor and order (``0.3.second``), and the count of steps."""
        taken = [0 if fused is None else _taken(fused) for fused in self.fused]  # a step not finite counts in none
        found = {"steps": torch.tensor(self.steps), "taken": torch.tensor(taken)}
        for g, i, first, second in self._moments():
            found |= {f"{g}.{i}.first": first, f"{g}.{i}.second": second}
        return found

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Takes back what :meth:`state` gave, for the same groups."""
        self.steps = int(state["steps"])
        for g, i, first, second in self._moments():
            first.copy_(state[f"{g}.{i}.first"])
            second.copy_(state[f"{g}.{i}.second"])
        for fused, taken in zip(self.fused, state["taken"].tolist(), strict=True):
            for one in fused.state.values() if fused is not None else ():
                one["step"].fill_(float(taken))

    def _moments(self) -> Iterator[tuple[int, int, Tensor, Tensor]]:
        for g, (group, moments, fused) in enumerate(zip(self.groups, self.moments, self.fused, strict=True)):
            for i, tensor in enumerate(group.tensors):
                if fused is None:
                    yield g, i, *moments[i]
                else:
                    one = _begun(fused, tensor)
                    yield g, i, one["exp_avg"], one["exp_avg_sq"]

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
        for group, moments, fused in zip(self.groups, self.moments, self.fused, strict=True):
            if fused is not None:
                _step_whole(fused, group, factor, float(scale[0]), bool(active[0]))
                continue
            for tensor, (first, second) in zip(group.tensors, moments, strict=True):
                if tensor.grad is not None:
                    grad = tensor.grad * _wide(scale, tensor)
                    self._update(group, tensor, grad, first, second, factor, active)

    def _update(
        self, group: Group, tensor: Tensor, grad: Tensor, first: Tensor, second: Tensor, factor: float, active: Tensor
    ) -> None:
        before = None if bool(active.all()) else (tensor.clone(), first.clone(), second.clone())
        beta1, beta2 = self.betas
        first.lerp_(grad, 1 - beta1)
        second.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        bias1, bias2 = 1 - beta1**self.steps, 1 - beta2**self.steps
        spread = second.sqrt().div_(math.sqrt(bias2)).add_(self.eps)
        lr = group.lr * factor
        tensor.mul_(1 - _wide(lr * group.weight_decay, tensor))
        tensor.sub_(_wide(lr / bias1, tensor) * first / spread)
        if before is not None:
            for now, kept in zip((tensor, first, second), before, strict=True):
                now.copy_(torch.where(_wide(active, now).bool(), now, kept))


def _fused(group: Group, betas: tuple[float, float], eps: float) -> torch.optim.AdamW:
    decay = float(group.weight_decay[0])
    return torch.optim.AdamW(group.tensors, lr=float(group.lr[0]), betas=betas, eps=eps, weight_decay=decay, fused=True)


def _taken(fused: torch.optim.AdamW) -> int:
    return max((int(one["step"]) for one in fused.state.values()), default=0)


def _begun(fused: torch.optim.AdamW, tensor: Tensor) -> dict[str, Tensor]:
    """The moments of a whole weight, at zero where it has not moved yet."""
    if not fused.state[tensor]:
        step = torch.zeros((), dtype=torch.float32, device=tensor.device)
        fused.state[tensor] = {
            "step": step,
            "exp_avg": torch.zeros_like(tensor),
            "exp_avg_sq": torch.zeros_like(tensor),
        }
    return fused.state[tensor]


def _step_whole(fused: torch.optim.AdamW, group: Group, factor: float, scale: float, active: bool) -> None:
    if not active:
        return
    for tensor in group.tensors:
        if scale != 1.0 and tensor.grad is not None:
            tensor.grad.mul_(scale)
    fused.param_groups[0]["lr"] = float(group.lr[0]) * factor
    fused.step()


def _wide(vector: Tensor, tensor: Tensor) -> Tensor:
    """A number a member, shaped to multiply ``(members, ...)``."""
    return vector.to(tensor).view(-1, *[1] * (tensor.dim() - 1))


def linear(step: int, steps: int, warmup: float) -> float:
    """Linear warm-up over a share of the steps, then linear decay to zero; ``step`` counts from 0."""
    rising = round(steps * warmup)
    if step < rising:
        return (step + 1) / rising
    return max(0.0, (steps - step) / max(1, steps - rising))
