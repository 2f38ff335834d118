"""Prompt tuning: what is written where, how it starts, how it learns."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from promptlab import PromptClassifier
from promptlab.backbone.device import generator
from promptlab.backbone.encode import Encoder
from promptlab.backbone.marks import embedding_of
from promptlab.errors import DataError, SettingError
from promptlab.language.example import Example
from promptlab.language.task import Task
from promptlab.training.loop import step_losses, train
from promptlab.training.member import Member, Recipe, Rows
from promptlab.tuning.lora import Lora
from promptlab.tuning.prelayer import Prelayer
from promptlab.tuning.soft import Soft

WORDS = {"negative": ["terrible", "bad"], "positive": ["great", "good"]}
TASK = Task.from_parts(
    patterns=["{text} It was {mask}", "{soft:It was} {text} so {soft:2} {mask}", "{text}{soft:3} {mask}"],
    verbalizer=WORDS,
)
BOTH = [Soft(n=3), Prelayer(n=3)]
IPET = "ipet:steps=2,student_steps=2,repetitions=1,generations=1"
FAMILIES = ["bert", "roberta", "albert", "modernbert", "gpt2", "llama"]


def named(one):
    return getattr(one, "name", str(one))


def member(reviews, key="a", pvp=0, rows=8, **rates):
    chosen = reviews[:rows]
    targets = np.array([TASK.labels.index(one.label) for one in chosen])
    asked = None if pvp is None else TASK.pvps[pvp]
    return Member(
        key, chosen, targets, 2, ("text",), asked, unlabelled=[one.unlabelled() for one in reviews[20:]], **rates
    )


def trained(backbone, tuning, members, **recipe):
    settings = {"steps": 3, "batch": 5, "budget": 10**6, **recipe}
    return list(train(backbone, tuning, members, Recipe(**settings), Encoder(backbone)))


def started(backbone, tuning, pvp=None, key="a"):
    encoder = tuning.reading(Encoder(backbone))
    with tuning.begin(encoder, [pvp], [generator(key)]) as learnt:
        return learnt.state(0)


# ---------------------------------------------------------------- training


@pytest.mark.parametrize("tuning", BOTH, ids=named)
@pytest.mark.parametrize("family", ["bert", "roberta", "albert", "gpt2", "llama"])
def test_a_stack_of_other_patterns_trains_each_member_as_alone(float64, reviews, tuning, family):
    backbone = float64(family)
    members = [
        member(reviews, "a", 0, lr=1e-2),
        member(reviews, "b", 1, rows=3, lr=3e-3, weight_decay=0.1),
        member(reviews, "c", 2),
    ]
    found = trained(backbone, tuning, members)
    assert [len(one) for done in found for one in done.state.values()][:: len(found[0].state)] == [3, 4, 3]
    for together, one in zip(found, members, strict=True):
        (alone,) = trained(backbone, tuning, [one])
        assert alone.state.keys() == together.state.keys()
        for name in alone.state:
            torch.testing.assert_close(together.state[name], alone.state[name], rtol=0, atol=1e-10)


@pytest.mark.parametrize("tuning", BOTH, ids=named)
@pytest.mark.parametrize("pvp", [None, 0, 1])
@pytest.mark.parametrize("family", FAMILIES)
def test_three_steps_let_the_loss_fall(tiny, reviews, tuning, pvp, family):
    backbone = tiny(family)
    one = member(reviews, pvp=pvp, lr=3e-2)
    losses = [trained(backbone, tuning, [one], steps=steps, batch=8, warmup=0.0)[0].facts["loss"] for steps in (1, 4)]
    assert losses[1] < losses[0]


@pytest.mark.parametrize("tuning", BOTH, ids=named)
@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2"])
def test_packed_rows_train_as_padded_ones(float64, reviews, tuning, family):
    backbone = float64(family)
    for pvp in (None, 1):
        members = [member(reviews, "a", pvp), member(reviews, "b", pvp)]
        packed, padded = (trained(backbone, tuning, members, packed=packed) for packed in (True, False))
        for one, other in zip(packed, padded, strict=True):
            for name in one.state:
                torch.testing.assert_close(one.state[name], other.state[name], rtol=0, atol=1e-8)


@pytest.mark.parametrize("tuning", BOTH, ids=named)
def test_the_auxiliary_loss_never_asks_for_a_soft_token(float64, reviews, tuning):
    backbone = float64("bert")
    recipe = Recipe(steps=1, batch=2, mlm=0.5, mlm_batch=20)
    rows = Rows(member(reviews, pvp=1), recipe, backbone, tuning.reading(Encoder(backbone)))
    for _ in range(5):
        step = rows.next()
        assert all(sorted(one for one in ids if one < 0) == [-4, -3, -2, -1] for ids in step.rows.ids)
        assert all(token >= 0 for tokens in step.masked for token in tokens)
    members = [member(reviews, "a", 0), member(reviews, "b", 1)]
    for together, one in zip(trained(backbone, tuning, members, mlm=0.3, mlm_batch=3), members, strict=True):
        (alone,) = trained(backbone, tuning, [one], mlm=0.3, mlm_batch=3)
        for name in alone.state:
            torch.testing.assert_close(together.state[name], alone.state[name], rtol=0, atol=1e-10)


def losses(backbone, tuning, members):
    recipe = Recipe(steps=1, batch=3, packed=False)
    encoder = tuning.reading(Encoder(backbone))
    rows = [Rows(one, recipe, backbone, encoder) for one in members]
    steps = [one.next() for one in rows]
    return lambda: step_losses(backbone, rows, steps, recipe, None)


@pytest.mark.parametrize("tuning", BOTH, ids=named)
@pytest.mark.parametrize("family", ["bert", "albert", "gpt2"])
def test_gradients_are_finite_differences(float64, reviews, tuning, family):
    backbone, members = float64(family), [member(reviews, "a", 1), member(reviews, "b", 0)]
    pvps, encoder = [one.pvp for one in members], tuning.reading(Encoder(backbone))
    with tuning.begin(encoder, pvps, [generator("a"), generator("b")]) as learnt:
        loss = losses(backbone, tuning, members)
        found = torch.autograd.grad(loss().sum(), list(learnt.tensors.values()))
        for tensor, gradient in zip(learnt.tensors.values(), found, strict=True):
            assert gradient[1, 3].abs().max() == 0  # the second member has three tokens, the first four
            for place in ((0, 0, 1), (0, 3, 5), (1, 2, 7)):
                ends = []
                for step in (1e-5, -2e-5, 1e-5):
                    with torch.no_grad():
                        tensor[place] += step
                        ends.append(float(loss().sum()))
                assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(float(gradient[place]), abs=1e-7)


@pytest.mark.parametrize("tuning", BOTH, ids=named)
@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_gradient_checkpointing_changes_nothing(float64, reviews, tuning, family):
    backbone, members, passed = float64(family), [member(reviews, "a", 1)], []
    drops = [one for one in backbone.model.modules() if isinstance(one, torch.nn.Dropout)]
    with tuning.begin(tuning.reading(Encoder(backbone)), [members[0].pvp], [generator("a")]) as learnt:
        loss, leaves = losses(backbone, tuning, members), learnt.tensors
        plain = torch.autograd.grad(loss().sum(), list(leaves.values()))
        for one in drops:
            one.p = 0.0
        backbone.model.activation_checkpointing_enable({"use_reentrant": False})
        backbone.model.train()
        backbone.anatomy.blocks[-1].query.module.register_forward_pre_hook(lambda *_: passed.append(1))
        again = torch.autograd.grad(loss().sum(), list(leaves.values()))
    assert len(passed) == 2, "the last block was not computed again"
    for one, other in zip(plain, again, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


# ---------------------------------------------------------------- what is written where


def with_soft(backbone, state, ids):
    """The row's word embeddings with the member's own at the marks, ``(1, tokens, embedding width)``."""
    found = embedding_of(backbone)(torch.tensor([ids]).clamp_min(0))
    for place, token in enumerate(ids):
        if token < 0:
            found[0, place] = state["soft.P"][-1 - token]
    return found


@pytest.mark.parametrize("pvp", [0, 1])
@pytest.mark.parametrize("family", ["bert", "albert", "gpt2", "llama"])
def test_it_is_a_forward_of_the_embeddings_by_hand(float64, reviews, pvp, family):
    backbone, tuning, one = float64(family), Soft(n=3), member(reviews, pvp=pvp)
    (done,) = trained(backbone, tuning, [one])
    encoded = tuning.reading(Encoder(backbone)).cloze(one.pvp.pattern, reviews[:3])
    for ids, (slot,) in zip(encoded.ids, encoded.slots, strict=True):
        assert min(ids) < 0
        with torch.no_grad():
            wanted = backbone.model(inputs_embeds=with_soft(backbone, done.state, ids)).logits[0, slot]
            with tuning.applied(backbone, done.state):
                found = backbone.model(input_ids=torch.tensor([ids])).logits[0, slot]
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6 if family == "llama" else 1e-10)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_prelayer_is_a_loop_over_the_blocks_by_hand(float64, reviews, family):
    backbone, tuning, one = float64(family), Prelayer(n=3), member(reviews, pvp=1)
    (done,) = trained(backbone, tuning, [one])
    encoded = tuning.reading(Encoder(backbone)).cloze(one.pvp.pattern, reviews[:3])
    for ids, (slot,) in zip(encoded.ids, encoded.slots, strict=True):
        tokens = torch.tensor([ids]).clamp_min(0)
        with torch.no_grad():
            if family == "bert":
                states = backbone.body.embeddings(input_ids=tokens)
            else:
                states = backbone.body.wte(tokens) + backbone.body.wpe.weight[: len(ids)]
            for i, block in enumerate(backbone.anatomy.blocks):
                for place, token in enumerate(ids):
                    if token < 0:
                        states[0, place] = done.state[f"{block.name}.P"][-1 - token]
                made = block.module(states, attention_mask=_mask(family, len(ids)))
                states = made[0] if isinstance(made, tuple) else made
                assert states.shape == (1, len(ids), 32), i
            head = backbone.model.cls if family == "bert" else lambda x: backbone.model.lm_head(backbone.body.ln_f(x))
            wanted = head(states)[0, slot]
            with tuning.applied(backbone, done.state):
                found = backbone.model(input_ids=torch.tensor([ids])).logits[0, slot]
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-10)


def _mask(family, length):
    return None if family == "bert" else torch.ones(length, length).tril().bool()[None, None]


@pytest.mark.parametrize("tuning", BOTH, ids=named)
def test_afterwards_the_backbone_is_what_it_was(each, reviews, tuning):
    before = {name: tensor.clone() for name, tensor in each.model.state_dict().items()}
    trained(each, tuning, [member(reviews)])
    with tuning.applied(each, started(each, tuning)):
        assert "forward" in vars(embedding_of(each))
    assert "forward" not in vars(embedding_of(each))
    assert not any(one._forward_pre_hooks or one._forward_hooks for one in each.model.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in each.model.state_dict().items())
    assert not any(weight.requires_grad for weight in each.model.parameters())


# ---------------------------------------------------------------- kept


def scores(backbone, source, tuning=None, state=None, rows=None):
    """Label scores of rows in a pattern, under a tuning or plain."""
    from promptlab.methods.predict import Model

    task = Task.from_parts(patterns=[source], verbalizer=WORDS)
    return Model(task, backbone, Encoder(backbone), task.pvps[0], tuning, state or {}).scores(rows)


@pytest.mark.parametrize("tuning", [Soft(n=126), Prelayer(n=126)], ids=named)
def test_soft_tokens_that_leave_no_room_are_refused_before_training(tiny_bert, reviews, tuning):
    with pytest.raises(DataError, match="with its 126 soft tokens"):
        trained(tiny_bert, tuning, [member(reviews)])
    if isinstance(tuning, Prelayer):
        with pytest.raises(SettingError, match="leave no room"):
            tuning.learn(tiny_bert, True, [generator("m")])


@pytest.mark.parametrize("tuning", ["soft:n=3", "prelayer:n=3,place=front"])
@pytest.mark.parametrize(
    "method", ["prompt:steps=3,patterns=all", "finetune:steps=3", "pet:steps=2,student_steps=2", IPET]
)
@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_saved_and_read_again_it_answers_as_before(tiny, reviews, tmp_path, tuning, method, family):
    clf = PromptClassifier(
        patterns=["{text} It was {mask}", "{text} {soft:It was} so {soft:2} {mask}"], verbalizer=WORDS, method=method,
        tuning=tuning, backbone=tiny(family), random_state=0,
    ).fit(reviews[:8], unlabeled=[one.unlabelled() for one in reviews[8:14]])  # fmt: skip
    clf.save_pretrained(tmp_path / "model")
    again = PromptClassifier.from_pretrained(tmp_path / "model", backbone=tiny(family))
    assert (again.predict_proba(reviews) == clf.predict_proba(reviews)).all()


@pytest.mark.parametrize("tuning", BOTH, ids=named)
def test_the_numbers_that_are_kept(tiny_albert, tiny_bert, reviews, tuning):
    for backbone, each in (
        (tiny_bert, 32 if tuning.name == "soft" else 64),
        (tiny_albert, 16 if tuning.name == "soft" else 64),
    ):
        for pvp, places in ((None, 3), (0, 3), (1, 4)):
            state = trained(backbone, tuning, [member(reviews, pvp=pvp)], steps=1)[0].state
            assert sum(one.numel() for name, one in state.items() if not name.startswith("head.")) == places * each


@pytest.mark.parametrize("tuning", BOTH, ids=named)
def test_it_is_refused_to_merge(tiny_bert, reviews, tmp_path, tuning):
    clf = PromptClassifier(
        patterns=["{text} It was {mask}"], verbalizer=WORDS, method="prompt:steps=1", tuning=f"{tuning.name}:n=2",
        backbone=tiny_bert,
    ).fit(reviews[:8])  # fmt: skip
    with pytest.raises(SettingError, match="beside the weights"):
        clf.save_pretrained(tmp_path / "plain", merge=True)


def test_a_row_with_more_soft_tokens_than_were_learnt_is_told(tiny_bert, reviews):
    state = started(tiny_bert, Soft(n=3))
    with pytest.raises(SettingError, match="5 soft tokens, but 3 were learnt"):
        scores(tiny_bert, "{text} {soft:5} {mask}", Soft(n=3), state, reviews[:2])


def test_shown_it_says_where_soft_tokens_stand(tiny_bert, reviews):
    def shown(source):
        clf = PromptClassifier(
            patterns=[source], verbalizer=WORDS, method="prompt:steps=1", tuning="soft:n=1", backbone=tiny_bert
        ).fit(reviews[:8])
        return next(iter(clf.show("a dull film")))

    assert shown("{text} It was {mask}")["text"] == "[soft 1] a dull film It was ▁▁▁"
    row = shown("{soft:2} {text} {soft:It was} {mask}")
    assert row["text"] == "[soft 1-2] a dull film [soft 3-4] ▁▁▁"
    assert row["read"] == "[CLS] [soft 1-2] a dull film [soft 3-4] [MASK] [SEP]"


def test_other_tunings_read_slots_as_their_words_or_leave_them_out(tiny_bert, reviews):
    plain = Lora(r=2).reading(Encoder(tiny_bert))
    assert all(min(ids) >= 0 for ids in plain.cloze(TASK.pvps[1].pattern, reviews).ids)
    assert plain.shown(TASK.pvps[1].pattern).fill(Example({"text": "x"}), mask="_") == "It was x so _"


@pytest.mark.parametrize("tuning", BOTH, ids=named)
@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_label_words_of_several_tokens_keep_members_apart_too(float64, reviews, tuning, family):
    backbone = float64(family)
    long = Task.from_parts(patterns=["{text} {soft:2} {mask}"], verbalizer={"negative": "gruesome", "positive": "good"})
    members = [replace(member(reviews, "a"), pvp=long.pvps[0]), member(reviews, "b", 1)]
    for together, one in zip(trained(backbone, tuning, members), members, strict=True):
        (alone,) = trained(backbone, tuning, [one])
        for name in alone.state:
            torch.testing.assert_close(together.state[name], alone.state[name], rtol=0, atol=1e-10)
    answers = scores(backbone, "{text} {soft:2} {mask}", tuning, trained(backbone, tuning, members)[0].state, reviews)
    assert np.isfinite(answers).all()
