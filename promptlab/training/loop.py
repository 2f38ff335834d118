"""The one training loop: a stack of members over one backbone.

    split the members into stacks that fit the token budget      (one member each where the backbone itself changes,
                                                                  or its rows cannot share a forward)
    for each stack:
        install the learnt tensors, each member drawing from its own generator
        every step: B rows a member, once a pass, member-major -> scores -> a loss a member, summed -> gradients
            a member with a non-finite loss or gradient is frozen and reported
            clip, then AdamW, both a member at a time
        yield each member's learnt tensors, then put the backbone back

The sum's gradient by one member's tensors is the gradient of its own loss, so a stack trains every member as alone.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.below import Below
from promptlab.backbone.device import free_memory, generator, token_budget
from promptlab.backbone.encode import Encoder
from promptlab.backbone.heads import default_pool, head_for
from promptlab.backbone.packing import packable
from promptlab.errors import SettingError, TrainingError
from promptlab.progress import track
from promptlab.training.curves import curves
from promptlab.training.head import HeadStack
from promptlab.training.member import Member, Recipe, Step
from promptlab.training.optim import AdamW, Group, linear
from promptlab.training.pairs import Dealt, dealt
from promptlab.training.recorded import MULTIPLE, Recorded, recordable
from promptlab.training.step import computed, laid_out, owners, step_losses
from promptlab.tuning.tuning import Learnt, Tuning

log = logging.getLogger("promptlab")
Descent = Callable[[Sequence[Step]], Tensor]  # a step's losses, detached, with their sum's gradients in the leaves
CPU_BUDGET = 1024  # padded tokens a step: on a CPU a stack pays only while the batch is too small to fill the cores


@dataclass(frozen=True)
class Trained:
    """A trained member: its learnt tensors, and what happened."""

    member: Member
    state: dict[str, Tensor]
    facts: dict[str, Any]

    @property
    def notes(self) -> list[str]:
        """What a results row must say of it."""
        step, lost = self.facts["frozen_at"], self.facts.get("mlm") is False
        frozen = [] if step is None else [f"{self.member.key} became non-finite and was frozen at step {step}"]
        return frozen + ["no unlabelled rows: trained without the masked-LM loss"] * lost


def train(
    backbone: Backbone,
    tuning: Tuning,
    members: Sequence[Member],
    recipe: Recipe,
    encoder: Encoder,
    label: str = "train",
) -> Iterator[Trained]:
    """Trains all members and yields each, in order.

    Under ``full`` and ``top`` a member's tensors are whole weights: use or drop them before the next is asked for.

    Raises:
        TrainingError: one member alone does not fit into memory.
        SettingError: a masked-LM loss without rows a step, on a causal backbone, or of some members only.
    """
    _check_mlm(backbone, recipe)
    encoder = tuning.reading(encoder)
    packed = recipe.packed and tuning.packs and packable(backbone)
    recipe = replace(recipe, packed=packed)  # tried before anything is hooked
    rows = [dealt(member, recipe, backbone, encoder) for member in members]
    if len({one.masker is None for one in rows}) > 1:
        raise SettingError("some members have unlabelled rows for the masked-LM loss, others none. Train them apart.")
    budget = recipe.budget or (CPU_BUDGET if backbone.device.type == "cpu" else token_budget(backbone.device))
    size = stack_size(rows, recipe, budget, tuning.passes) if tuning.stackable and backbone.stackable else 1
    under = 0 if recipe.mlm or tuning.dropout else tuning.below(backbone)  # masked rows come in ever new forms
    below = Below(backbone, under) if under else None
    stacks = -(-len(rows) // size)
    with track(label, total=stacks * recipe.steps) as advance:
        while rows:
            stack, rest = rows[:size], rows[size:]
            try:
                done = _train_stack(backbone, tuning, stack, recipe, advance, below)
            except torch.OutOfMemoryError as error:
                if size == 1:
                    raise TrainingError(
                        f"no memory for one member: {recipe.batch} rows. Write a smaller batch=."
                    ) from error
                done = None
            if done is None:  # out here, where the error no longer holds what the stack had computed
                size, rows = max(1, size // 2), [dealt(one.member, recipe, backbone, encoder) for one in stack] + rest
                log.warning("out of memory: the stack restarts with %d members", size)
                free_memory()
                continue
            rows = rest
            yield from done


def _check_mlm(backbone: Backbone, recipe: Recipe) -> None:
    if recipe.mlm and backbone.kind != "masked":
        raise SettingError(f"mlm={recipe.mlm}: {backbone.name} is {backbone.kind} and fills in no masks. Write mlm=0.")
    if recipe.mlm and recipe.mlm_batch < 1:
        raise SettingError(f"mlm={recipe.mlm} learns from mlm_batch={recipe.mlm_batch} rows a step. Write 1 or more.")


def stack_size(rows: Sequence[Dealt], recipe: Recipe, budget: int, passes: int = 1) -> int:
    """How many members train side by side: a function of the plan and the budget alone."""
    inputs = recipe.batch * max(one.spread for one in rows) + (recipe.mlm_batch if recipe.mlm else 0)
    tokens = max(one.usual for one in rows) * inputs * passes
    most = max(1, budget // tokens)
    return -(-len(rows) // -(-len(rows) // most))  # even stacks rather than a full one and a rest


def _train_stack(
    backbone: Backbone, tuning: Tuning, rows: list[Dealt], recipe: Recipe, advance: Any, below: Below | None = None
) -> list[Trained]:
    members = [one.member for one in rows]
    generators = [generator(f"{member.key}/init") for member in members]
    pvps = [member.reads for member in members]
    cloze = pvps[0] is not None
    seed = "/".join(member.key for member in members)
    with tuning.begin(rows[0].encoder, pvps, generators) as learnt, _dropping(backbone, tuning.dropout, seed):
        head = None if cloze else _heads(backbone, members, generators, recipe, tuning)
        optimiser = _optimiser(backbone, tuning, members, learnt, head, recipe)
        if below is None and recordable(rows, recipe, tuning, learnt):
            descend = _recorded(backbone, recipe, head, tuning, learnt, optimiser)
        else:
            descend = _descending(backbone, rows, recipe, head, tuning, below, learnt, optimiser)
        history, frozen = _steps(rows, recipe, descend, optimiser, advance)
        facts = {"stack": [member.key for member in members], "seen": recipe.steps * recipe.batch}
        facts |= {"mlm": rows[0].masker is not None} if recipe.mlm else {}
        return [
            Trained(
                member,
                {**learnt.state(i), **(head.state(i) if head else {})},
                {**facts, "loss": float(history[i]), "frozen_at": frozen[i]},
            )
            for i, member in enumerate(members)
        ]


def _descending(
    backbone: Backbone, rows: list[Dealt], recipe: Recipe, head: HeadStack | None, tuning: Tuning, below: Below | None,
    learnt: Learnt, optimiser: AdamW,
) -> Descent:  # fmt: skip
    def descend(steps: Sequence[Step]) -> Tensor:
        learnt.route(owners(steps))
        each = step_losses(backbone, rows, steps, recipe, head, tuning, below)
        optimiser.zero_grad()
        each.sum().backward()
        return each.detach()

    return descend


def _recorded(
    backbone: Backbone, recipe: Recipe, head: HeadStack | None, tuning: Tuning, learnt: Learnt, optimiser: AdamW
) -> Descent:
    leaves = [tensor for group in optimiser.groups for tensor in group.tensors]
    run = Recorded(lambda laid: computed(backbone, laid, recipe, head, tuning), leaves)

    def descend(steps: Sequence[Step]) -> Tensor:
        learnt.route(owners(steps))
        return run(laid_out(backbone, steps, recipe, tuning.passes, MULTIPLE))

    return descend


def _steps(
    rows: list[Dealt], recipe: Recipe, descend: Descent, optimiser: AdamW, advance: Any
) -> tuple[Tensor, list[int | None]]:
    active = torch.ones(len(rows), dtype=torch.bool, device=rows[0].backbone.device)
    frozen: list[int | None] = [None] * len(rows)
    latest = torch.full((len(rows),), torch.nan)
    record = curves([one.member.key for one in rows], optimiser.groups[0].lr, recipe.steps)
    for step in range(recipe.steps):
        each = descend([one.next() for one in rows])
        norms = optimiser.norms()
        now = active & each.isfinite() & norms.isfinite()
        if not bool(now.all()):
            _report(rows, active & ~now, step, frozen)
        active = now
        factor = linear(step, recipe.steps, recipe.warmup)
        optimiser.step(factor, norms, active, recipe.clip)
        record(each, norms, factor)
        latest = torch.where(active, each, latest.to(each))
        advance(1)
    return latest.cpu(), frozen


def _heads(
    backbone: Backbone, members: Sequence[Member], generators: list[torch.Generator], recipe: Recipe, tuning: Tuning
) -> HeadStack:
    shape = head_for(backbone, members[0].labels, recipe.pool or default_pool(backbone))
    stack = HeadStack(shape, generators, tuning.pooler, like=next(backbone.model.parameters()))
    stack.module.train(tuning.dropout > 0)
    return stack


def _optimiser(
    backbone: Backbone,
    tuning: Tuning,
    members: Sequence[Member],
    learnt: Learnt,
    head: HeadStack | None,
    recipe: Recipe,
) -> AdamW:
    rate = tuning.rate(backbone, cloze=head is None)
    lr = torch.tensor([rate if member.lr is None else member.lr for member in members], dtype=torch.float64)
    decay = torch.tensor(
        [tuning.weight_decay if member.weight_decay is None else member.weight_decay for member in members],
        dtype=torch.float64,
    )
    groups = []
    # what learns at the tuning's own rate comes first: the curves show the first group's
    for (faster, heavier), own in sorted(_by_factors(learnt).items(), key=lambda one: one[0][0] != 1):
        groups += _groups(own, learnt.stacked, lr * faster, decay * heavier)
    if head is not None:
        fixed = lr if recipe.head_lr is None else torch.full_like(lr, recipe.head_lr)
        groups += _groups(head.tensors, True, fixed, decay)
    return AdamW(groups)


def _by_factors(learnt: Learnt) -> dict[tuple[float, float], dict[str, Tensor]]:
    """The learnt tensors by what their learning rate and weight decay are multiplied with: 1 unless the tuning says."""
    factors: Mapping[str, tuple[float, float]] = getattr(learnt, "factors", {})
    found: dict[tuple[float, float], dict[str, Tensor]] = {}
    for name, tensor in learnt.tensors.items():
        found.setdefault(factors.get(name, (1.0, 1.0)), {})[name] = tensor
    return found


def _groups(tensors: dict[str, Tensor], stacked: bool, lr: Tensor, decay: Tensor) -> list[Group]:
    matrices = [one for one in tensors.values() if one.dim() - stacked >= 2]
    vectors = [one for one in tensors.values() if one.dim() - stacked < 2]  # biases and norms: no weight decay
    return [Group(matrices, lr, decay, stacked), Group(vectors, lr, torch.zeros_like(decay), stacked)]


@contextmanager
def _dropping(backbone: Backbone, rate: float, seed: str) -> Iterator[None]:
    """Dropout on at ``rate`` with one stream for the whole stack, or off and nothing touched."""
    if not rate:
        yield
        return
    places = _dropouts(backbone)
    own = [getattr(module, name) for module, name in places]
    devices = [backbone.device] if backbone.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(generator(seed).initial_seed() % 2**63)
        backbone.model.train()
        for module, name in places:
            setattr(module, name, rate)
        try:
            yield
        finally:
            backbone.model.eval()
            for (module, name), p in zip(places, own, strict=True):
                setattr(module, name, p)


def _dropouts(backbone: Backbone) -> list[tuple[torch.nn.Module, str]]:
    """Where rates stand: in modules of their own, and in blocks and attentions as numbers."""
    modules = list(backbone.model.modules())
    found: list[tuple[torch.nn.Module, str]] = [(one, "p") for one in modules if isinstance(one, torch.nn.Dropout)]
    names = ("dropout", "attention_dropout", "activation_dropout")
    found += [(one, name) for one in modules for name in names if isinstance(getattr(one, name, None), int | float)]
    return found


def _report(rows: list[Dealt], lost: Tensor, step: int, frozen: list[int | None]) -> None:
    for i in lost.nonzero().flatten().tolist():
        frozen[i] = step
        log.warning("%s became non-finite at step %d and was frozen; the others go on", rows[i].member.key, step)
