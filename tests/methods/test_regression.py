"""Labels that are numbers: a head's one output, or a place between two label words (LM-BFF, section 4.2)."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr

from promptlab.backbone.encode import Encoder
from promptlab.errors import DataError, SettingError
from promptlab.language.example import Example
from promptlab.language.library import read_task
from promptlab.methods.finetune import Finetune
from promptlab.methods.in_context import InContextLearning
from promptlab.methods.ipet import Ipet
from promptlab.methods.members import cloze_member, head_member
from promptlab.methods.method import Job, restore
from promptlab.methods.pet import Pet
from promptlab.methods.predict import Model
from promptlab.methods.probe import Probe
from promptlab.methods.prompt import Prompt
from promptlab.methods.shown import show, show_untrained
from promptlab.methods.zero_shot import ZeroShot
from promptlab.training.loop import step_losses, train
from promptlab.training.member import Recipe, Rows
from promptlab.tuning.full import Full
from promptlab.tuning.lora import Lora
from promptlab.tuning.words import Words

GRADES = read_task(
    "{task: grades, inputs: [text], labels: {range: [1, 5]}, verbalizers: {default: {low: terrible, high: great}, "
    "long: {low: [terrible, bad], high: very good}}, patterns: {was: '{text} It was {mask}.', "
    "just: 'Just {mask}! {text}', all: '{text} All in all, it was {mask}.', "
    "long: {pattern: '{text} It was {mask}', verbalizer: long}, found: '{text} {soft:2} {mask}.'}}".replace(
        "all: '", "whole: '"
    )
)
GOOD, BAD = "brilliant funny lovely warm great".split(), "awful boring dull poor terrible".split()


@pytest.fixture(scope="module")
def graded():
    """Films of two words; each good one is worth two."""
    words = [(a, b) for i in range(5) for a, b in ((GOOD[i], GOOD[i - 1]), (GOOD[i], BAD[i - 1]), (BAD[i], BAD[i - 2]))]
    worth = {word: 2 for word in GOOD}
    return [
        Example({"text": f"the film is {a} and {b}"}, f"{1 + worth.get(a, 0) + worth.get(b, 0):.3f}") for a, b in words
    ]


def fit(method, backbone, task, rows, tuning=None, seed=0, **more):
    tuning = (tuning or Lora(r=2, lr=1e-2)) if method.learns else None
    [(_, predictor)] = method.fit(backbone, tuning, [Job(task, rows, seed=seed, **more)])
    return predictor


def correlation(predictor, rows):
    return pearsonr(predictor.scores(rows)[:, 0], [float(one.label) for one in rows]).statistic


# the losses in plain lines


def loss(backbone, member, **recipe):
    rows = [Rows(member, Recipe(steps=1, batch=len(member.examples), **recipe), backbone, Encoder(backbone))]
    step = rows[0].next()
    return step, lambda head=None: step_losses(backbone, rows, [step], rows[0].recipe, head)[0]


@pytest.mark.parametrize("labels", [["1", "5", "2.5", "4"], ["1"], ["5"]], ids=str)
def test_through_two_words_the_loss_is_the_divergence_of_their_shares(float64, labels):
    backbone = float64("bert")
    rows = [Example({"text": f"a {word} film"}, label) for word, label in zip(GOOD, labels, strict=False)]
    step, found = loss(backbone, cloze_member(Job(GRADES, rows), GRADES.pvps[0], "x"), temperature=1.0)
    each, tokenizer = [], backbone.tokenizer
    for ids, target in zip(step.rows.ids, step.targets.tolist(), strict=True):
        logits = backbone.model(torch.tensor([ids])).logits[0, ids.index(tokenizer.mask_token_id)]
        low, high = logits[tokenizer.convert_tokens_to_ids(["terrible", "great"])]
        p = 1 / (1 + torch.exp(low - high))
        w = target[1]
        kl = 0.0 if w == 0 else w * (np.log(w) - torch.log(p))
        kl += 0.0 if w == 1 else (1 - w) * (np.log(1 - w) - torch.log(1 - p))
        each.append(kl)
    assert sorted(target[1] for target in step.targets.tolist()) == sorted((float(y) - 1) / 4 for y in labels)
    torch.testing.assert_close(found(), torch.stack(each).mean(), rtol=0, atol=1e-10)


def test_a_heads_loss_is_the_squared_error_of_its_one_output(float64, graded):
    backbone = float64("bert")
    member = head_member(Job(GRADES, graded[:4]), "x")
    assert member.targets.tolist() == [(float(one.label) - 3) / 2 for one in graded[:4]]
    assert (member.labels, {-1.0, 1.0} <= set(head_member(Job(GRADES, graded), "x").targets)) == (1, True)
    step, found = loss(backbone, member)
    fixed = torch.tensor([[0.3], [-0.2], [0.9], [1.4]], dtype=torch.float64)
    by_hand = sum((float(z) - y) ** 2 for z, y in zip(fixed, step.targets.tolist(), strict=True)) / 4
    assert float(found(lambda pooled: fixed)) == pytest.approx(by_hand, abs=1e-12)


@pytest.mark.parametrize("kind", ["cloze", "long", "head"])
def test_a_stack_of_numbers_trains_each_member_as_alone(float64, graded, kind):
    backbone, pvp = float64("bert"), GRADES.pvp("long" if kind == "long" else "was")
    jobs = [Job(GRADES, graded[i:], seed=i) for i in range(2)]
    members = [head_member(job, "x") if kind == "head" else cloze_member(job, pvp, "x") for job in jobs]
    recipe = Recipe(steps=3, batch=4, budget=10**6, temperature=1.0)

    def trained(some):
        return [one.state for one in train(backbone, Lora(r=2, lr=1e-2), some, recipe, Encoder(backbone))]

    for together, one in zip(trained(members), members, strict=True):
        [alone] = trained([one])
        for name, tensor in alone.items():
            torch.testing.assert_close(together[name], tensor, rtol=0, atol=1e-10)


# answers


def test_the_answer_lies_where_the_high_words_share_of_the_two_says(tiny_bert, graded):
    model = Model(GRADES, tiny_bert, Encoder(tiny_bert), GRADES.pvps[0])
    tokenizer, found = tiny_bert.tokenizer, model.scores(graded[:3])
    for example, value in zip(graded, found, strict=False):
        text = f"{example.fields['text']} It was [MASK]."
        inputs = tokenizer(text, return_tensors="pt")
        logits = tiny_bert.model(**inputs).logits[0, inputs.input_ids[0].tolist().index(tokenizer.mask_token_id)]
        p = logits[tokenizer.convert_tokens_to_ids(["terrible", "great"])].softmax(-1)[1]
        assert float(value[0]) == pytest.approx(1 + 4 * float(p), abs=1e-4)
    assert found.shape == (3, 1)


def test_a_head_says_the_middle_at_0_and_stays_in_the_range():
    model = object.__new__(Model)
    model.task, model.pvp = GRADES, None
    assert model.answers(np.array([[0.0], [1.0], [-1.0], [0.5], [7.0], [-3.0]])).tolist() == [
        [3],
        [5],
        [1],
        [4],
        [5],
        [1],
    ]
    assert np.isnan(model.answers(np.array([[np.nan]]))).all()  # a frozen member is not hidden


@pytest.mark.parametrize("tuning", [Lora(r=2, lr=2e-2), Full(lr=3e-3)], ids=["lora", "full"])
@pytest.mark.parametrize(
    "method", [Prompt(steps=60), Finetune(steps=100, head_lr=5e-2), Prompt(steps=60, patterns="long")], ids=str
)
def test_a_small_task_of_numbers_is_learnt(tiny_bert, graded, method, tuning):
    predictor = fit(method, tiny_bert, GRADES, graded, tuning)
    assert correlation(predictor, graded) > 0.85
    assert ((predictor.scores(graded) >= 1) & (predictor.scores(graded) <= 5)).all()


def test_a_causal_backbone_learns_numbers_too(tiny_gpt2, graded):
    task = replace(GRADES, pvps=(GRADES.pvp("was"), GRADES.pvp("whole")))
    assert correlation(fit(Prompt(steps=60, patterns="all"), tiny_gpt2, task, graded, Lora(r=2, lr=2e-2)), graded) > 0.8


def test_several_patterns_answer_with_the_mean_of_their_numbers(tiny_bert, graded):
    both = fit(Prompt(steps=3, patterns="was+just"), tiny_bert, GRADES, graded)
    each = [member.scores(graded) for member in both.members]
    np.testing.assert_allclose(both.scores(graded), sum(each) / 2, atol=1e-12)


def test_words_are_searched_by_the_same_loss(tiny_bert, graded):
    predictor = fit(Prompt(steps=4, patterns="found"), tiny_bert, GRADES, graded, Words(n=2, candidates=5))
    assert predictor.scores(graded).shape == (15, 1)


def test_the_auxiliary_loss_goes_beside_numbers(tiny_bert, graded):
    pool = [one.unlabelled() for one in graded]
    method = Prompt(steps=3, mlm=0.1, mlm_batch=2)
    assert np.isfinite(fit(method, tiny_bert, GRADES, graded, unlabelled=pool).scores(graded)).all()


def test_zero_shot_answers_with_a_number_untrained(tiny_bert, tiny_gpt2, graded):
    for backbone in (tiny_bert, tiny_gpt2):
        predictor = fit(ZeroShot(), backbone, GRADES, [])
        plain = Model(GRADES, backbone, Encoder(backbone), GRADES.pvps[0]).scores(graded)
        np.testing.assert_allclose(predictor.scores(graded), plain, atol=1e-5)


def test_a_probe_is_ridge_regression_on_frozen_features(tiny_bert, graded):
    from sklearn.linear_model import Ridge

    predictor = fit(Probe(C=100.0), tiny_bert, GRADES, graded)
    features = predictor.features(graded)
    plain = Ridge(alpha=1 / 100.0).fit(features, [float(one.label) for one in graded])
    np.testing.assert_allclose(predictor.scores(graded)[:, 0], np.clip(plain.predict(features), 1, 5), atol=1e-6)
    assert correlation(predictor, graded) > 0.7


@pytest.mark.parametrize(
    "method", [Prompt(steps=3), Finetune(steps=3), Probe(), ZeroShot()], ids=lambda one: type(one).__name__
)
def test_what_answers_with_numbers_is_saved_and_restored_to_the_bit(tiny_bert, graded, method):
    predictor = fit(method, tiny_bert, GRADES, graded).keep()
    again = restore(GRADES, tiny_bert, predictor.saved())
    np.testing.assert_array_equal(again.scores(graded), predictor.scores(graded))


def test_what_was_read_is_shown_with_its_number(tiny_bert, graded):
    for method in (Prompt(steps=2), Finetune(steps=2)):
        predictor = fit(method, tiny_bert, GRADES, graded)
        shown = show(predictor, graded[:2])
        assert [text["label"] for text in shown.texts] == pytest.approx(predictor.scores(graded[:2])[:, 0].tolist())
        assert shown.texts[0]["probabilities"] is None
        assert f"  {shown.texts[0]['label']:.2f}" in str(shown)
    untrained = show_untrained(GRADES, tiny_bert, graded[:1], patterns="was")
    assert set(untrained.texts[0]["patterns"][0]["probabilities"]) == {"low", "high"}


# refusals


@pytest.mark.parametrize("method", [Pet(), Ipet(), InContextLearning()], ids=lambda one: type(one).__name__)
def test_other_methods_refuse_numbers_by_name(tiny_bert, graded, method):
    with pytest.raises(SettingError, match=r"grades: its labels are numbers \(regression\).*Write prompt, finetune"):
        fit(method, tiny_bert, GRADES, graded, unlabelled=[one.unlabelled() for one in graded])


@pytest.mark.parametrize("kind", ["contextual", "pmi", "batch"])
def test_calibration_has_no_place_beside_numbers(tiny_bert, graded, kind):
    for method in (ZeroShot(calibration=kind), Prompt(steps=1, calibration=kind)):
        with pytest.raises(SettingError, match=f"calibration={kind} shifts label scores, and grades answers with numb"):
            fit(method, tiny_bert, GRADES, graded, unlabelled=graded)


@pytest.mark.parametrize("method", [Prompt(steps=1), Finetune(steps=1), Probe()], ids=lambda one: type(one).__name__)
def test_a_number_that_cannot_be_is_refused_with_its_row(tiny_bert, graded, method):
    for label in ("0.5", "5.5", "high", "nan", None):
        rows = [graded[0], replace(graded[1], label=label)]
        with pytest.raises(DataError, match=r"labelled row 2: .*number from 1 to 5"):
            fit(method, tiny_bert, GRADES, rows)
    with pytest.raises(DataError, match=r"there are none\. Give -k total:1 or more"):
        fit(method, tiny_bert, GRADES, [])
