import pytest
import torch

from promptlab.training.optim import AdamW, Group, linear


def leaves(members, seed=0, shape=(3, 2)):
    values = torch.randn(members, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return values.requires_grad_(True)


def pull(tensor, member_targets):
    return ((tensor - member_targets) ** 2).sum()


def vector(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def run(optimiser, tensors, targets, steps, clip=None, factor=1.0):
    members = len(targets)
    for _ in range(steps):
        optimiser.zero_grad()
        sum(pull(one, targets.view(-1, *[1] * (one.dim() - 1))) for one in tensors).backward()
        optimiser.step(factor, optimiser.norms(), torch.ones(members, dtype=torch.bool), clip)


def test_every_member_moves_as_torchs_adamw_moves_it_alone():
    rates, decays, targets = vector(1e-1, 1e-2, 3e-2), vector(0.0, 0.1, 0.5), vector(1.0, -2.0, 3.0)
    stack = leaves(3)
    alone = [stack[i].detach().clone().requires_grad_(True) for i in range(3)]
    run(AdamW([Group([stack], rates, decays)]), [stack], targets, steps=7)
    for i, one in enumerate(alone):
        peer = torch.optim.AdamW([one], lr=float(rates[i]), weight_decay=float(decays[i]))
        for _ in range(7):
            peer.zero_grad()
            pull(one, targets[i]).backward()
            peer.step()
        torch.testing.assert_close(stack[i], one, rtol=0, atol=1e-12)


def test_a_parameter_without_the_members_axis_moves_as_torchs_adamw_moves_it():
    weight = leaves(1)[0].detach().requires_grad_(True)
    twin = weight.detach().clone().requires_grad_(True)
    ours, peer = (
        AdamW([Group([weight], vector(0.05), vector(0.2), stacked=False)]),
        torch.optim.AdamW([twin], lr=0.05, weight_decay=0.2),
    )
    for _ in range(5):
        ours.zero_grad()
        peer.zero_grad()
        pull(weight, 2.0).backward()
        pull(twin, 2.0).backward()
        ours.step(1.0, ours.norms(), torch.ones(1, dtype=torch.bool), None)
        peer.step()
    torch.testing.assert_close(weight, twin, rtol=0, atol=1e-12)


def test_clipping_measures_each_members_gradient_over_all_its_tensors():
    first, second = leaves(2, 1), leaves(2, 2, shape=(4,))
    (first[0].sum() * 3 + second[0].sum() * 3 + first[1].sum() * 0.01).backward()
    optimiser = AdamW([Group([first], vector(0.1, 0.1), vector(0, 0)), Group([second], vector(0.1, 0.1), vector(0, 0))])
    expected = vector((9 * (6 + 4)) ** 0.5, (0.01**2 * 6) ** 0.5)
    torch.testing.assert_close(optimiser.norms(), expected)


def test_a_members_clipping_is_torchs_clipping_of_it_alone():
    targets = vector(100.0, 0.1)
    stack = leaves(2)
    alone = [stack[i].detach().clone().requires_grad_(True) for i in range(2)]
    run(AdamW([Group([stack], vector(0.1, 0.1), vector(0.0, 0.0))]), [stack], targets, steps=4, clip=1.0)
    for i, one in enumerate(alone):
        peer = torch.optim.AdamW([one], lr=0.1, weight_decay=0.0)
        for _ in range(4):
            peer.zero_grad()
            pull(one, targets[i]).backward()
            torch.nn.utils.clip_grad_norm_([one], 1.0)
            peer.step()
        torch.testing.assert_close(stack[i], one, rtol=0, atol=1e-9)


def test_a_frozen_member_stays_bit_for_bit_and_its_nan_does_not_spread():
    stack, twin = leaves(2), leaves(2)
    before = stack.detach().clone()
    optimiser = AdamW([Group([stack], vector(0.1, 0.1), vector(0.1, 0.1))])
    single = AdamW([Group([twin], vector(0.1, 0.1), vector(0.1, 0.1))])
    for _ in range(3):
        for one, scale, tensor in ((optimiser, float("nan"), stack), (single, 1.0, twin)):
            one.zero_grad()
            (tensor[0].sum() * scale + (tensor[1] ** 2).sum()).backward()
            active = torch.tensor([scale == 1.0, True])
            one.step(1.0, one.norms(), active)
    assert torch.equal(stack[0], before[0])
    assert torch.equal(stack[1], twin[1])
    assert not torch.equal(stack[1], before[1])


@pytest.mark.parametrize(("step", "expected"), [(0, 0.5), (1, 1.0), (2, 1.0), (11, 0.1)])
def test_the_schedule_rises_over_the_warm_up_and_falls_to_nothing(step, expected):
    assert linear(step, steps=12, warmup=2 / 12) == pytest.approx(expected)


def test_without_warm_up_the_first_step_is_whole():
    assert linear(0, steps=10, warmup=0.0) == 1.0
    assert linear(10, steps=10, warmup=0.0) == 0.0


@pytest.mark.parametrize("stacked", [True, False])
def test_half_precision_loses_no_small_step(stacked):
    begun = torch.ones(1, 5) if stacked else torch.ones(5)
    half, single = (begun.to(kind).requires_grad_(True) for kind in (torch.bfloat16, torch.float32))
    for one in (half, single):
        run(AdamW([Group([one], vector(1e-4), vector(0.0), stacked=stacked)]), [one], vector(-5.0), steps=200)
    assert single.max() < 0.99
    torch.testing.assert_close(half.float(), single.bfloat16().float(), rtol=0, atol=0)


def test_a_halfs_exact_values_are_kept_with_its_moments():
    both = [torch.ones(1, 5, dtype=torch.bfloat16).requires_grad_(True) for _ in range(2)]
    first, second = (AdamW([Group([one], vector(1e-4), vector(0.0))]) for one in both)
    run(first, both[:1], vector(-5.0), steps=20)
    with torch.no_grad():
        both[1].copy_(both[0])
    second.load({name: one.clone() for name, one in first.state().items()})
    for optimiser, one in zip((first, second), both, strict=True):
        run(optimiser, [one], vector(-5.0), steps=30)
    assert torch.equal(both[0], both[1])
    assert both[0].max() < 1
