import math

import torch

from promptlab.training import losses


def scores(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def test_hard_labels_cost_minus_the_log_of_the_labels_share():
    found = losses.hard(scores([2.0, 1.0, -1.0]), torch.tensor([1]))
    total = math.exp(2) + math.exp(1) + math.exp(-1)
    assert math.isclose(found.item(), -math.log(math.exp(1) / total), rel_tol=1e-12)


def test_soft_labels_cost_temperature_squared_times_the_divergence():
    logits, teacher, temperature = [0.5, -1.0, 2.0], [1.0, 0.0, -1.0], 2.0
    exp = [math.exp(one / temperature) for one in logits]
    p = [one / sum(exp) for one in exp]
    exp = [math.exp(one / temperature) for one in teacher]
    q = [one / sum(exp) for one in exp]
    by_hand = temperature**2 * sum(b * (math.log(b) - math.log(a)) for a, b in zip(p, q, strict=True))
    target = (scores(teacher) / temperature).softmax(-1)
    torch.testing.assert_close(target, scores(q), rtol=1e-12, atol=0)
    assert math.isclose(losses.soft(scores(logits), target, temperature).item(), by_hand, rel_tol=1e-12)


def test_a_student_that_agrees_costs_nothing():
    agreed = scores([3.0, -1.0], [0.0, 0.5])
    assert losses.soft(agreed, (agreed / 2.0).softmax(-1), 2.0).abs().max() < 1e-12


def test_masked_words_average_a_rows_own_slots_and_skip_padding():
    logits = torch.randn(2, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[1, 4, -100], [2, -100, -100]])
    log_p = logits.log_softmax(-1)
    expected = torch.stack([-(log_p[0, 0, 1] + log_p[0, 1, 4]) / 2, -log_p[1, 0, 2]])
    torch.testing.assert_close(losses.masked_words(logits, targets), expected)


def test_a_label_that_a_mixed_stack_lacks_gets_no_share_of_the_loss():
    with_gap = scores([1.0, 2.0, -math.inf])
    torch.testing.assert_close(
        losses.hard(with_gap, torch.tensor([0])), losses.hard(scores([1.0, 2.0]), torch.tensor([0]))
    )


def test_the_hinge_keeps_every_wrong_choice_a_margin_behind_the_right_one():
    rows, gold = [[-1.0, -1.5, -4.0], [-2.0, -0.5, -math.inf]], [0, 0]
    by_hand = []
    for row, right in zip(rows, gold, strict=True):
        total = 0.0
        for at, score in enumerate(row):
            if at != right:
                total += max(0.0, 1 - row[right] + score)
        by_hand.append(total)
    asked = scores(*rows).requires_grad_(True)
    found = losses.hinge(asked, torch.tensor(gold))
    assert found.tolist() == by_hand == [0.5, 2.5]
    found.sum().backward()
    assert asked.grad.tolist() == [[-1.0, 1.0, 0.0], [-1.0, 1.0, 0.0]]


def test_a_row_with_one_choice_costs_nothing():
    assert losses.hinge(scores([-3.0, -math.inf]), torch.tensor([0])).tolist() == [0.0]
