"""AdamW over stacks: every tensor ``(members, ...)``, learning rate and weight decay a vector over members.

    m <- b1 m + (1 - b1) g        v <- b2 v + (1 - b2) g^2
    w <- w - lr wd w              w <- w - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)

After Loshchilov & Hutter 2019 (arXiv:1711.05101, algorithm 2). Adam is elementwise, so a member's slice moves as it
would alone; what is not elementwise (the gradient's norm) is computed a member at a time. A stack's tensors are many
and small, so a group moves as one matrix ``(members, numbers)``: a dozen calls where a tensor at a time needs hundreds.
Whole weights, always a stack of one, go through torch's fused kernel: one pass over memory where plain code needs ten.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

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
        self.groups = [one for group in groups for one in _by_dtype(group)]
        self.betas, self.eps, self.steps = betas, eps, 0
        self.flat = [_Flat(group) if group.stacked else None for group in self.groups]
        self.fused = [None if group.stacked else _fused(group, betas, eps) for group in self.groups]

    def zero_grad(self) -> None:
        """Forgets all gradients."""
        for group in self.groups:
            for tensor in group.tensors:
                tensor.grad = None

    def norms(self) -> Tensor:
        """Each member's gradient norm over all its tensors, ``(members,)``."""
        squares = [
            _whole_squares(group) if flat is None else torch.linalg.vector_norm(flat.gather(), dim=1).square()
            for group, flat in zip(self.groups, self.flat, strict=True)
        ]
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
        for g, (group, flat, fused) in enumerate(zip(self.groups, self.flat, self.fused, strict=True)):
            if flat is not None:
                firsts, seconds = flat.parted(flat.first), flat.parted(flat.second)
                yield from ((g, i, *pair) for i, pair in enumerate(zip(firsts, seconds, strict=True)))
            else:
                for i, tensor in enumerate(group.tensors):
                    one = _begun(cast(torch.optim.AdamW, fused), tensor)
                    yield g, i, one["exp_avg"], one["exp_avg_sq"]

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
        still = None if bool(active.all()) else ~active[:, None]
        for group, flat, fused in zip(self.groups, self.flat, self.fused, strict=True):
            if fused is not None:
                _step_whole(fused, group, factor, float(scale[0]), still is None)
            elif flat is not None:
                self._update(flat, factor, scale[:, None], still)

    def _update(self, flat: "_Flat", factor: float, scale: Tensor, still: Tensor | None) -> None:
        beta1, beta2 = self.betas
        values, still = flat.values(), flat.unmoved(still)
        grad = flat.grads * scale.to(flat.grads)
        first, second = flat.first.lerp(grad, 1 - beta1), (flat.second * beta2).addcmul_(grad, grad, value=1 - beta2)
        bias1, bias2 = 1 - beta1**self.steps, 1 - beta2**self.steps
        spread = second.sqrt().div_(math.sqrt(bias2)).add_(self.eps)
        lr = flat.group.lr * factor
        moved = values * _beside(1 - lr * flat.group.weight_decay, values)
        moved -= _beside(lr / bias1, values) * first / spread
        if still is not None:
            pairs = ((values, moved), (flat.first, first), (flat.second, second))
            moved, first, second = (torch.where(still, before, after) for before, after in pairs)
        flat.put(moved, first, second)


class _Flat:
    """A group's tensors side by side, ``(members, numbers)``."""

    def __init__(self, group: Group):
        self.group = group
        self.first = torch.cat([torch.zeros_like(one).flatten(1) for one in group.tensors], 1)
        self.second, self.grads = torch.zeros_like(self.first), self.first
        self.without: list[int] = []  # tensors that no gradient reached

    def values(self) -> Tensor:
        """What the tensors hold."""
        return torch.cat([one.detach().flatten(1) for one in self.group.tensors], 1)

    def gather(self) -> Tensor:
        """The gradients, zero where there is none."""
        grads = [one.grad for one in self.group.tensors]
        self.without = [i for i, grad in enumerate(grads) if grad is None]
        each = zip(grads, self.group.tensors, strict=True)
        self.grads = torch.cat([(torch.zeros_like(one) if grad is None else grad).flatten(1) for grad, one in each], 1)
        return self.grads

    def unmoved(self, still: Tensor | None) -> Tensor | None:
        """Which numbers stay: those of frozen members, ``(members, 1)``, and of tensors without a gradient."""
        if not self.without:
            return still
        alone = torch.zeros_like(self.first, dtype=torch.bool)
        parts = self.parted(alone)
        for i in self.without:
            parts[i].fill_(True)
        return alone if still is None else alone | still

    def parted(self, flat: Tensor) -> list[Tensor]:
        """Views of ``(members, numbers)`` in the tensors' shapes."""
        parts = flat.split([one[0].numel() for one in self.group.tensors], 1)
        return [part.view(one.shape) for part, one in zip(parts, self.group.tensors, strict=True)]

    def put(self, values: Tensor, first: Tensor, second: Tensor) -> None:
        """Takes a step's outcome."""
        self.first, self.second = first, second
        torch._foreach_copy_(list(self.group.tensors), self.parted(values))


def _by_dtype(group: Group) -> list[Group]:
    kinds = {one.dtype: None for one in group.tensors}
    return [replace(group, tensors=[one for one in group.tensors if one.dtype == kind]) for kind in kinds]


def _whole_squares(group: Group) -> Tensor:
    grads = [one.grad for one in group.tensors if one.grad is not None]
    if not grads:
        return torch.zeros(1, device=group.tensors[0].device)
    return torch.stack(torch._foreach_norm(grads)).square().sum()[None]


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


def _beside(vector: Tensor, flat: Tensor) -> Tensor:
    """A number a member, shaped to multiply ``(members, numbers)``."""
    return vector.to(flat)[:, None]


def linear(step: int, steps: int, warmup: float) -> float:
    """Linear warm-up over a share of the steps, then linear decay to zero; ``step`` counts from 0."""
    rising = round(steps * warmup)
    if step < rising:
        return (step + 1) / rising
    return max(0.0, (steps - step) / max(1, steps - rising))
