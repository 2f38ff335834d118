"""A stack trains every member exactly as it would train alone."""

import gc
import weakref

import numpy as np
import pytest
import torch

from promptlab.backbone.encode import Encoder
from promptlab.language.task import Task
from promptlab.training.loop import stack_size, step_losses, train
from promptlab.training.member import Member, Recipe, Rows
from promptlab.tuning.adamix import AdaMix, AdaMixLora
from promptlab.tuning.bitfit import BitFit
from promptlab.tuning.full import Full, Top
from promptlab.tuning.houlsby import Houlsby
from promptlab.tuning.ia3 import Ia3
from promptlab.tuning.lin import Lin
from promptlab.tuning.lora import Lora
from promptlab.tuning.parallel import Parallel
from promptlab.tuning.pfeiffer import Pfeiffer
from promptlab.tuning.unipelt import UniPelt

TASK = Task.from_parts(
    patterns=["{text} It was {mask}.", "Just {mask}! {sep} {text}"],
    verbalizer={"negative": ["terrible", "bad"], "positive": ["great", "good"]},
)
PLAIN = Task.from_parts(
    patterns=["{text} All in all, it was {mask}."], verbalizer={"negative": "terrible", "positive": "great"}
)


def member(reviews, key, task=TASK, pvp=0, rows=8, head=False, **rates):
    chosen = reviews[:rows]
    targets = np.array([task.labels.index(one.label) for one in chosen])
    asked = None if head else task.pvps[pvp]
    return Member(
        key, chosen, targets, 2, ("text",), asked, unlabelled=[one.unlabelled() for one in reviews[20:]], **rates
    )


def three(reviews, head=False):
    """Other patterns, other numbers of words, other rates, and one of them with fewer rows than a batch."""
    return [
        member(reviews, "a", TASK, 0, head=head, lr=1e-2),
        member(reviews, "b", TASK, 1, rows=3, head=head, lr=3e-3, weight_decay=0.1),
        member(reviews, "c", PLAIN, 0, head=head, lr=5e-3),
    ]


def trained(backbone, tuning, members, **recipe):
    settings = {"steps": 4, "batch": 5, "budget": 10**6, **recipe}
    return list(train(backbone, tuning, members, Recipe(**settings), Encoder(backbone)))


def states(found):
    return [{name: tensor.clone() for name, tensor in one.state.items()} for one in found]


@pytest.mark.parametrize(
    "tuning",
    [Lora(r=2), BitFit(), AdaMix(r=2), AdaMixLora(r=2, share="none"), UniPelt(adapter_r=2, n=2, mid=4, r=2)],
    ids=lambda tuning: tuning.name,
)
@pytest.mark.parametrize("head", [False, True], ids=["cloze", "head"])
@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2"])
def test_a_stack_trains_each_member_exactly_as_it_would_train_alone(float64, reviews, tuning, head, family):
    backbone = float64(family)
    members = three(reviews, head)
    if family == "gpt2" and not head:
        members = [members[0], member(reviews, "b", TASK, 0, rows=3, lr=3e-3, weight_decay=0.1), members[2]]
    found = trained(backbone, tuning, members)
    assert found[0].facts["stack"] == ["a", "b", "c"]
    for together, one in zip(states(found), members, strict=True):
        (alone,) = states(trained(backbone, tuning, [one]))
        assert together.keys() == alone.keys()
        for name in alone:
            torch.testing.assert_close(together[name], alone[name], rtol=0, atol=1e-10)


def test_the_auxiliary_loss_keeps_members_apart_too(float64, reviews):
    backbone, members = float64("bert"), three(reviews)
    recipe = {"mlm": 0.3, "mlm_batch": 3}
    for together, one in zip(states(trained(backbone, Lora(r=2), members, **recipe)), members, strict=True):
        (alone,) = states(trained(backbone, Lora(r=2), [one], **recipe))
        for name in alone:
            torch.testing.assert_close(together[name], alone[name], rtol=0, atol=1e-10)


def test_the_auxiliary_loss_is_weighed_as_the_paper_writes_it(float64, reviews):
    backbone = float64("bert")
    one = member(reviews, "a")

    def losses(mlm):
        recipe = Recipe(steps=1, batch=4, mlm=mlm, mlm_batch=3)
        rows = [Rows(one, recipe, backbone, Encoder(backbone))]
        return step_losses(backbone, rows, [each.next() for each in rows], recipe, None)[0]

    labels, masked = losses(0.0), losses(1.0)  # 0 reads the labelled rows alone, so the two cannot change places
    assert not torch.isclose(labels, masked)
    torch.testing.assert_close(losses(1e-4), (1 - 1e-4) * labels + 1e-4 * masked, rtol=1e-9, atol=0)


def test_masked_words_are_never_padding_specials_or_the_tasks_own_mask(tiny_bert, reviews):
    recipe = Recipe(steps=1, batch=2, mlm=0.5, mlm_batch=20)
    rows = Rows(member(reviews, "a"), recipe, tiny_bert, Encoder(tiny_bert))
    special = set(tiny_bert.tokenizer.all_special_ids)
    for _ in range(10):
        step = rows.next()
        assert len(step.masked) == 20
        assert not special & {word for words in step.masked for word in words}
        asked = [ids.count(tiny_bert.tokenizer.mask_token_id) for ids in step.rows.ids[:2]]
        assert asked == [1, 1]


def test_the_loss_equals_plain_transformers_code(float64, reviews):
    backbone, one = float64("bert"), member(reviews, "a", PLAIN, rows=6)
    recipe = Recipe(steps=1, batch=6)
    rows = [Rows(one, recipe, backbone, Encoder(backbone))]
    step = rows[0].next()
    found = step_losses(backbone, rows, [step], recipe, None)[0]
    order = [[e.fields["text"] for e in one.examples].index(t) for t in _texts(backbone, step, one)]
    each = []
    for row in order:
        text = f"{one.examples[row].fields['text']} All in all, it was [MASK]."
        inputs = backbone.tokenizer(text, return_tensors="pt")
        logits = backbone.model(**inputs).logits[
            0, inputs["input_ids"][0].tolist().index(backbone.tokenizer.mask_token_id)
        ]
        words = logits[backbone.tokenizer.convert_tokens_to_ids(["terrible", "great"])]
        each.append(-words.log_softmax(-1)[one.targets[row]])
    torch.testing.assert_close(found, torch.stack(each).mean(), rtol=0, atol=1e-10)


def _texts(backbone, step, one):
    """Which example each row of a step came from, read back from its ids."""
    decoded = [
        backbone.tokenizer.decode(ids, skip_special_tokens=True).split(" all in all")[0] for ids in step.rows.ids
    ]
    plain = {e.fields["text"].replace(" ,", ",").lower(): e.fields["text"] for e in one.examples}
    return [plain[text.replace(" ,", ",")] for text in decoded]


def test_a_member_that_turns_non_finite_is_frozen_and_reported_and_the_others_go_on(float64, reviews, caplog):
    backbone = float64("bert")
    members = three(reviews)
    wild = [members[0], Member(**{**vars(members[1]), "lr": float("inf")}), members[2]]
    found = trained(backbone, Lora(r=2), wild)
    assert [one.facts["frozen_at"] is None for one in found] == [True, False, True]
    assert "'b'" in caplog.text or "b became non-finite" in caplog.text
    (alone,) = states(trained(backbone, Lora(r=2), [members[2]]))
    for name in alone:
        torch.testing.assert_close(states(found)[2][name], alone[name], rtol=0, atol=1e-10)


@pytest.mark.parametrize(("budget", "expected"), [(10**6, 3), (1, 1)])
def test_the_budget_alone_says_how_many_members_stand_side_by_side(tiny_bert, reviews, budget, expected):
    recipe = Recipe(steps=1, batch=5)
    rows = [Rows(one, recipe, tiny_bert, Encoder(tiny_bert)) for one in three(reviews)]
    assert stack_size(rows, recipe, budget) == expected


def test_stacks_are_even_rather_than_full_and_a_rest(tiny_bert, reviews):
    recipe = Recipe(steps=1, batch=5)
    rows = [Rows(member(reviews, str(i)), recipe, tiny_bert, Encoder(tiny_bert)) for i in range(4)]
    fits_three = max(one.usual for one in rows) * 5 * 3
    assert stack_size(rows, recipe, fits_three) == 2


def test_splitting_a_stack_does_not_change_what_is_learnt(float64, reviews):
    backbone, members = float64("bert"), three(reviews)
    whole, parted = (
        states(trained(backbone, Lora(r=2), members)),
        states(trained(backbone, Lora(r=2), members, budget=1)),
    )
    for one, other in zip(whole, parted, strict=True):
        for name in one:
            torch.testing.assert_close(one[name], other[name], rtol=0, atol=1e-10)


def test_running_out_of_memory_restarts_the_stack_with_fewer_members(float64, reviews, monkeypatch):
    from promptlab.training import loop

    backbone, members = float64("bert"), three(reviews)
    whole, real = states(trained(backbone, Lora(r=2), members)), loop.step_losses

    def tight(backbone, rows, *rest):
        if len(rows) > 1:
            raise torch.OutOfMemoryError
        return real(backbone, rows, *rest)

    monkeypatch.setattr(loop, "step_losses", tight)
    found = trained(backbone, Lora(r=2), members)
    assert [len(one.facts["stack"]) for one in found] == [1, 1, 1]
    for one, other in zip(whole, states(found), strict=True):
        for name in one:
            torch.testing.assert_close(one[name], other[name], rtol=0, atol=1e-10)


def test_before_a_stack_restarts_nothing_holds_what_it_had_computed(float64, reviews, monkeypatch):
    from promptlab.training import loop

    real, held, alive = loop.step_losses, [], []

    def tight(backbone, rows, *rest):
        if len(rows) > 1:
            states = torch.zeros(3)
            held.append(weakref.ref(states))
            raise torch.OutOfMemoryError
        return real(backbone, rows, *rest)

    monkeypatch.setattr(loop, "step_losses", tight)
    monkeypatch.setattr(loop, "free_memory", lambda: alive.append((gc.collect(), held[-1]())[1]))
    trained(float64("bert"), Lora(r=2), three(reviews))
    assert alive
    assert all(one is None for one in alive)


def test_full_and_top_run_their_members_in_turn_from_the_same_start(float64, reviews):
    backbone = float64("bert")
    for tuning in (Full(lr=1e-3), Top(layers=1, lr=1e-3)):
        members = [member(reviews, "a"), member(reviews, "b"), member(reviews, "a")]
        first, other, again = states(trained(backbone, tuning, members))
        assert all(torch.equal(first[name], again[name]) for name in first)
        assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize(
    ("tuning", "head", "share"),
    [
        (Full(lr=3e-3), False, 1.0),
        (Full(lr=3e-3), True, 1.0),
        (Top(layers=1, lr=1e-2), False, 0.9),
        (Top(layers=1, lr=1e-2), True, 0.9),
        (Lora(lr=2e-2), False, 0.9),
        (Lora(lr=2e-2), True, 0.9),
        (AdaMix(lr=1e-2, experts=2), True, 0.65),  # each expert meets half of the passes
        (AdaMixLora(lr=2e-2), True, 0.9),
        (BitFit(lr=3e-2), True, 0.75),  # biases of a random encoder can do little
        (Houlsby(lr=2e-2), True, 0.9),
        (Pfeiffer(lr=3e-2), False, 0.85),
        (Parallel(lr=1e-2), True, 0.9),
        (Lin(lr=2e-2), True, 0.9),
        (Ia3(lr=1e-1), False, 0.75),  # nor can factors
    ],
    ids=lambda one: getattr(one, "name", str(one)),
)
def test_every_tuning_learns_a_small_task(tiny_bert, reviews, tuning, head, share):
    from promptlab.methods.predict import Model

    one = member(reviews, "a", rows=32, head=head)
    (done,) = trained(tiny_bert, tuning, [one], steps=80, batch=16, head_lr=1e-1)
    model = Model(TASK, tiny_bert, Encoder(tiny_bert), one.pvp, tuning, done.state)
    gold = [TASK.labels.index(each.label) for each in reviews]
    assert (model.scores(reviews).argmax(1) == gold).mean() >= share


def test_dropout_is_off_unless_asked_for_and_then_one_stream_serves_the_stack(tiny_bert, reviews):
    members = three(reviews)
    quiet = [states(trained(tiny_bert, Lora(r=2), members)) for _ in range(2)]
    noisy = [states(trained(tiny_bert, Lora(r=2, dropout=0.3), members)) for _ in range(2)]
    for pair in (quiet, noisy):
        assert all(torch.equal(a[name], b[name]) for a, b in zip(*pair, strict=True) for name in a)
    assert any(not torch.equal(quiet[0][0][name], noisy[0][0][name]) for name in quiet[0][0])
    assert not tiny_bert.model.training


def test_training_leaves_torchs_own_random_stream_alone(tiny_bert, reviews):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    trained(tiny_bert, Lora(r=2, dropout=0.3), three(reviews))
    assert torch.equal(torch.rand(3), expected)
