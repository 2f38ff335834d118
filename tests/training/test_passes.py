"""Tunings whose rows go through twice a step: both passes as one batch, and what they say of each other as a loss."""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch

from promptlab.backbone.device import generator
from promptlab.backbone.encode import Encoder
from promptlab.backbone.heads import default_pool, head_for
from promptlab.backbone.packing import packable
from promptlab.language.task import Task
from promptlab.training.head import HeadStack
from promptlab.training.loop import owners, stack_size, step_losses, train
from promptlab.training.member import Member, Recipe, Rows
from promptlab.tuning.adamix import AdaMix, AdaMixLora

CLOSE = {"rtol": 0, "atol": 1e-10}
PLAIN = Task.from_parts(["{text} It was {mask}."], {"negative": "terrible", "positive": "great"})
LONG = Task.from_parts(["{text} It was {mask}."], {"negative": ["terrible", "badly made"], "positive": "very funny"})
OTHER = Task.from_parts(["{text} All in all, it was {mask}."], {"negative": "so very bad", "positive": "great"})
BOTH = [AdaMix(r=3, experts=3), AdaMixLora(r=2, experts=2, share="none")]


def named(tuning):
    return f"{tuning.name}-{tuning.routing}"


def member(reviews, key, task=PLAIN, rows=6, head=False, soft=False, **more):
    targets = np.array([PLAIN.labels.index(one.label) for one in reviews[:rows]])
    if soft:
        targets = np.stack([0.9 - 0.7 * targets, 0.1 + 0.7 * targets], 1)
    unlabelled = [one.unlabelled() for one in reviews[20:]]
    pvp = None if head else task.pvps[0]
    return Member(key, reviews[:rows], targets, 2, ("text",), pvp, unlabelled=unlabelled, **more)


class Step:
    """One step's loss of members, again and again on the same rows and routes."""

    def __init__(self, backbone, tuning, members, learnt, recipe):
        self.backbone, self.tuning, self.recipe, self.head = backbone, tuning, recipe, None
        self.rows = [Rows(one, recipe, backbone, Encoder(backbone)) for one in members]
        self.steps = [one.next() for one in self.rows]
        if members[0].pvp is None:
            shape = head_for(backbone, 2, default_pool(backbone))
            made = [generator(f"{one.key}/head") for one in members]
            self.head = HeadStack(shape, made, "none", like=next(backbone.model.parameters()))
        learnt.route(owners(self.steps))

    def __call__(self, **changed):
        tuning = replace(self.tuning, **changed)
        return step_losses(self.backbone, self.rows, self.steps, self.recipe, self.head, tuning)


@contextmanager
def learning(backbone, tuning, *members, **recipe):
    """Moved tensors, and a step's loss under routes that were drawn once."""
    settings = {"steps": 1, "batch": 3, "packed": tuning.packs and packable(backbone), **recipe}
    with tuning.learn(backbone, members[0].pvp is not None, [generator(one.key) for one in members]) as learnt:
        with torch.no_grad():
            for name, tensor in learnt.tensors.items():
                tensor.add_(0.3 * torch.randn(tensor.shape, generator=generator(name), dtype=torch.float64))
        yield learnt, Step(backbone, tuning, members, learnt, Recipe(**settings))


@contextmanager
def only(learnt, number):
    """The routes of one pass alone."""
    routes = learnt.routes
    whole, members = routes.taken, len(routes.generators)
    routes.taken = whole.view(routes.places, members, routes.passes, -1)[:, :, number].flatten(1)
    yield
    routes.taken = whole


def gradients(loss, learnt):
    found = torch.autograd.grad(loss.sum(), list(learnt.tensors.values()), allow_unused=True)
    return [torch.zeros(()) if one is None else one for one in found]


def close(ones, others):
    for one, other in zip(ones, others, strict=True):
        torch.testing.assert_close(one, other, **CLOSE)


@pytest.mark.parametrize("tuning", [*BOTH, AdaMix(r=3, routing="row")], ids=named)
@pytest.mark.parametrize("head", [False, True], ids=["cloze", "head"])
@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_one_pass_over_doubled_rows_is_two_passes(float64, reviews, tuning, head, family):
    backbone, task = float64(family), PLAIN if head else LONG
    tuning = replace(tuning, consistency=0.0, second_pass_loss=True)
    with learning(backbone, tuning, member(reviews, "a", task, head=head), member(reviews, "b", task, head=head)) as (
        learnt,
        loss,
    ):
        together, apart = loss(), []
        for number in (0, 1):
            with only(learnt, number):
                apart.append(loss(second_pass_loss=False))
        torch.testing.assert_close(together, apart[0] + apart[1], **CLOSE)
        assert (apart[0] - apart[1]).abs().min() > 1e-6
        close(gradients(together, learnt), gradients(apart[0] + apart[1], learnt))


@pytest.mark.parametrize("changed", [{}, {"detach": False}, {"second_pass_loss": True}, {"consistency": 3.0}], ids=str)
@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
def test_the_loss_is_ten_plain_lines(float64, reviews, soft, changed):
    backbone = float64("bert")
    tuning = replace(BOTH[0], **changed)
    with learning(backbone, tuning, member(reviews, "a", soft=soft)) as (learnt, loss):
        z, [step] = [], loss.steps
        words = backbone.tokenizer.convert_tokens_to_ids(["terrible", "great"])
        for number in (0, 1):
            with only(learnt, number):
                each = [backbone.model(torch.tensor([ids])).logits[0] for ids in step.rows.ids]
            z.append(torch.stack([one[slots[0]][words] for one, slots in zip(each, step.rows.slots, strict=True)]))
        if soft:
            q = step.targets
            ce = [4 * (q * (q.log() - (one / 2).log_softmax(1))).sum(1) for one in z]
        else:
            ce = [-one.log_softmax(1)[range(3), step.targets] for one in z]
        a, b = z[0].log_softmax(1), z[1].log_softmax(1)
        to, fro = (a.detach(), b.detach()) if tuning.detach else (a, b)
        kl = 0.5 * ((to.exp() * (to - b)).sum(1) + (fro.exp() * (fro - a)).sum(1))
        wanted = (ce[0] + tuning.second_pass_loss * ce[1] + tuning.consistency * kl).mean()
        torch.testing.assert_close(loss()[0], wanted, **CLOSE)
        close(gradients(loss(), learnt), gradients(wanted, learnt))


@pytest.mark.parametrize("tuning", [*BOTH, AdaMix(r=2, experts=2, share="none", routing="row")], ids=named)
@pytest.mark.parametrize(("family", "head"), [("bert", False), ("gpt2", False), ("bert", True)])
def test_gradients_are_finite_differences(float64, reviews, tuning, family, head):
    backbone, task = float64(family), PLAIN if head else LONG  # a detached target is no function's gradient
    tuning = replace(tuning, detach=False, consistency=2.0)
    with learning(backbone, tuning, member(reviews, "a", task, head=head), member(reviews, "b", head=head)) as (
        learnt,
        loss,
    ):
        exact = gradients(loss(), learnt)
        for (name, tensor), gradient in zip(learnt.tensors.items(), exact, strict=True):
            way, ends = torch.randn(tensor.shape, generator=generator(name), dtype=torch.float64), []
            with torch.no_grad():
                for by in (1e-5, -2e-5):
                    tensor.add_(by * way)
                    ends.append(float(loss().sum()))
                tensor.add_(1e-5 * way)
            assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(float((gradient * way).sum()), rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("tuning", [*BOTH, AdaMix(r=3, routing="row")], ids=named)
@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_gradient_checkpointing_changes_nothing(float64, reviews, tuning, family):
    backbone = float64(family)
    with learning(backbone, tuning, member(reviews, "a"), member(reviews, "b"), packed=False) as (learnt, loss):
        plain = loss()
        wanted, passed = gradients(plain, learnt), []
        for module in backbone.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        model = backbone.model.train()
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable({"use_reentrant": False})
        backbone.anatomy.blocks[-1].query.module.register_forward_pre_hook(lambda *_: passed.append(1))
        again = loss()
        close(gradients(again, learnt), wanted)
        assert len(passed) == 2  # the block was computed a second time
        torch.testing.assert_close(again, plain, **CLOSE)


@pytest.mark.parametrize("head", [False, True], ids=["cloze", "head"])
@pytest.mark.parametrize("tuning", BOTH, ids=named)
def test_rows_laid_end_to_end_give_the_loss_of_padded_ones(float64, reviews, tuning, head):
    backbone, members = float64("bert"), [member(reviews, key, head=head) for key in "ab"]
    found = []
    for packed in (True, False):
        assert packable(backbone)
        with learning(backbone, tuning, *members, packed=packed, batch=6) as (learnt, loss):
            found.append((loss(), *gradients(loss(), learnt)))
    close(*found)


@pytest.mark.parametrize("tuning", [*BOTH, AdaMix(r=2, routing="row")], ids=named)
@pytest.mark.parametrize(("family", "mlm"), [("bert", 0.3), ("gpt2", 0.0)])
def test_members_of_other_words_and_inputs_stay_apart(float64, reviews, tuning, family, mlm):
    backbone, tuning = float64(family), replace(tuning, lr=1e-2)
    members = [member(reviews, "a", LONG), member(reviews, "b", OTHER, rows=2), member(reviews, "c", PLAIN)]
    recipe = Recipe(steps=3, batch=4, budget=10**6, mlm=mlm, mlm_batch=2)
    together = list(train(backbone, tuning, members, recipe, Encoder(backbone)))
    assert together[0].facts["stack"] == ["a", "b", "c"]
    for one, mine in zip(members, together, strict=True):
        [alone] = train(backbone, tuning, [one], recipe, Encoder(backbone))
        close(mine.state.values(), alone.state.values())


def test_the_auxiliary_loss_is_the_mean_over_both_passes(float64, reviews):
    backbone = float64("bert")
    with learning(backbone, BOTH[0], member(reviews, "a"), mlm=1.0, mlm_batch=2) as (learnt, loss):
        each = []
        for number in (0, 1):
            with only(learnt, number):
                each.append(loss(consistency=0.0))
        torch.testing.assert_close(loss(), (each[0] + each[1]) / 2, **CLOSE)
        assert not torch.allclose(each[0], each[1])


def test_inputs_of_a_row_go_one_way(tiny_gpt2, reviews):
    rows = Rows(member(reviews, "a", LONG), Recipe(steps=1, batch=3), tiny_gpt2, Encoder(tiny_gpt2))
    step = rows.next()
    assert len(step.rows) > 3
    assert sorted(set(step.owners)) == [0, 1, 2]
    asked = [tuple(ids[: slots[0] + 1]) for ids, slots in zip(step.rows.ids, step.rows.slots, strict=True)]
    assert len(set(zip(step.owners, asked, strict=True))) == len(set(asked)) == 3


def test_masked_rows_have_owners_of_their_own_behind_what_evens_members_out(tiny_bert, tiny_gpt2, reviews):
    recipe = Recipe(steps=1, batch=3, mlm=0.1, mlm_batch=2)
    steps = [Rows(member(reviews, key), recipe, tiny_bert, Encoder(tiny_bert)).next() for key in "ab"]
    assert owners(steps) == [[0, 1, 2, 3, 4]] * 2
    plain, recipe = [], Recipe(steps=1, batch=3)
    for key, task in (("a", LONG), ("b", PLAIN)):
        plain.append(Rows(member(reviews, key, task), recipe, tiny_gpt2, Encoder(tiny_gpt2)).next())
    first, second = owners(plain)
    assert len(first) == len(second) > 3
    assert second == [0, 1, 2, *[0] * (len(second) - 3)]


def test_rows_that_go_through_twice_count_twice_in_the_budget(tiny_bert, reviews):
    recipe = Recipe(steps=1, batch=5)
    rows = [Rows(member(reviews, key), recipe, tiny_bert, Encoder(tiny_bert)) for key in "abcd"]
    budget = 4 * 5 * max(one.usual for one in rows)
    assert [stack_size(rows, recipe, budget, passes) for passes in (1, 2)] == [4, 2]


@pytest.mark.parametrize("head", [False, True], ids=["cloze", "head"])
@pytest.mark.parametrize("tuning", [*BOTH, AdaMix(r=3, routing="row")], ids=named)
def test_three_steps_bring_the_loss_down(float64, reviews, tuning, head):
    backbone = float64("bert")
    tuning = replace(tuning, lr=5e-3)
    recipe = {"batch": 6, "warmup": 0.0, "head_lr": 5e-3}
    one = member(reviews, "a", head=head)
    first, last = (
        next(iter(train(backbone, tuning, [one], Recipe(steps=steps, **recipe), Encoder(backbone)))).facts["loss"]
        for steps in (1, 4)
    )
    assert last < first
