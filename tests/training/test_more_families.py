"""Families beyond those of conftest.py: each loads, trains, saves and answers as any other."""

import numpy as np
import pytest
import torch

from promptlab.backbone import backbone as backbone_module
from promptlab.backbone.backbone import load_backbone
from promptlab.backbone.batches import pad
from promptlab.backbone.device import generator
from promptlab.backbone.encode import Encoder
from promptlab.backbone.score import slot_logits
from promptlab.classifier import PromptClassifier
from promptlab.errors import BackboneError, SettingError
from promptlab.language.example import Example
from promptlab.language.task import Task
from promptlab.methods.method import Job
from promptlab.methods.zero_shot import ZeroShot
from promptlab.training.learners import LowRankModel
from promptlab.training.loop import train
from promptlab.training.member import Member, Recipe
from promptlab.tuning.adamix import AdaMixLora
from promptlab.tuning.bitfit import BitFit
from promptlab.tuning.ia3 import Ia3
from promptlab.tuning.lora import Lora
from promptlab.tuning.pfeiffer import Pfeiffer
from promptlab.tuning.prefix import Prefix

TASK = Task.from_parts(
    patterns=["{text} It was {mask}."], verbalizer={"negative": "terrible", "positive": ["great", "good"]}
)
FAMILIES = ("electra", "deberta-v2", "ernie", "gpt_neox", "opt", "phi")  # ernie has no layout: probed


@pytest.fixture(scope="module")
def folder(folder_of):
    """folder("opt"): a tiny model with a tokenizer of its kind, by its path's name."""
    return lambda family: str(folder_of(family))


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


def member(reviews, key, head):
    rows = reviews[:6]
    targets = np.array([TASK.labels.index(one.label) for one in rows])
    return Member(key, rows, targets, 2, ("text",), None if head else TASK.pvps[0])


def trained(backbone, tuning, members, steps):
    recipe = Recipe(steps=steps, batch=6, budget=10**6, warmup=0.0, head_lr=1e-2)
    return list(train(backbone, tuning, members, recipe, Encoder(backbone)))


@pytest.mark.parametrize("tuning", [Lora(r=2, lr=1e-2), BitFit(lr=1e-2)], ids=lambda one: one.name)
@pytest.mark.parametrize("head", [False, True], ids=["prompt", "finetune"])
def test_three_steps_make_the_loss_fall_and_leave_the_backbone_as_it_was(folder, reviews, family, tuning, head):
    if family == "ernie" and head:
        pytest.skip("a probed family has no head")
    backbone = load_backbone(folder(family), device="cpu", dtype="float64")
    before = {name: one.clone() for name, one in backbone.model.state_dict().items()}
    (first,), (third,) = (trained(backbone, tuning, [member(reviews, "a", head)], steps) for steps in (1, 4))
    assert third.facts["loss"] < first.facts["loss"]
    assert all(torch.equal(one, before[name]) for name, one in backbone.model.state_dict().items())


@pytest.mark.parametrize("tuning", [Lora(r=2), BitFit()], ids=lambda one: one.name)
def test_members_train_as_they_would_alone_side_by_side_or_in_turn(folder, reviews, family, tuning):
    backbone = load_backbone(folder(family), device="cpu", dtype="float64")
    members = [member(reviews, key, head=False) for key in "ab"]
    together = trained(backbone, tuning, members, 3)
    assert len(together[0].facts["stack"]) == (1 if family == "deberta-v2" else 2)
    for one, own in zip(together, members, strict=True):
        (alone,) = trained(backbone, tuning, [own], 3)
        for name, tensor in alone.state.items():
            torch.testing.assert_close(one.state[name], tensor, rtol=0, atol=1e-10)


REACHING = [Lora(r=2), Lora(r=2, targets="all"), Ia3(), AdaMixLora(r=2, experts=2, consistency=0), Pfeiffer(r=2)]


@pytest.mark.parametrize("tuning", REACHING, ids=lambda one: f"{one.name}-{getattr(one, 'targets', '')}")
def test_what_is_applied_answers_as_what_is_beside_the_weights(folder, family, tuning):
    backbone = load_backbone(folder(family), device="cpu", dtype="float64")
    ids = torch.tensor([[5, 6, 7, 8, 9], [10, 11, 12, 13, 14]])
    with tuning.learn(backbone, True, [generator("m")]) as learnt, torch.no_grad():
        for name, tensor in learnt.tensors.items():
            tensor.add_(0.3 * torch.randn(tensor.shape, generator=generator(name), dtype=torch.float64))
        beside, state = backbone.model(input_ids=ids).logits, learnt.state(0)
    with tuning.applied(backbone, state), torch.no_grad():
        torch.testing.assert_close(backbone.model(input_ids=ids).logits, beside, rtol=0, atol=1e-10)


@pytest.mark.parametrize("head", [False, True])
def test_a_prefix_learns_where_the_head_calls_a_part_of_the_body(folder, reviews, head):
    backbone = load_backbone(folder("opt"), device="cpu", dtype="float64")
    (first,), (third,) = (trained(backbone, Prefix(n=2), [member(reviews, "a", head)], steps) for steps in (1, 4))
    assert third.facts["loss"] < first.facts["loss"]


def test_two_passes_do_not_share_relative_positions(folder):
    backbone = load_backbone(folder("deberta-v2"), device="cpu")
    with pytest.raises(SettingError, match="relative positions.*Write consistency=0, or adamix"):
        AdaMixLora().learn(backbone, True, [generator("m")])


def test_on_gpt_neox_q_and_v_of_every_head_learn_and_k_stays(folder):
    backbone = load_backbone(folder("gpt_neox"), device="cpu", dtype="float64")
    block, x = backbone.anatomy.blocks[0], torch.randn(2, 3, 32, generator=generator("x"), dtype=torch.float64)
    fused = block.query.module
    with Lora(r=2, alpha=2).learn(backbone, True, [generator("m")]) as learnt, torch.no_grad():
        for tensor in learnt.tensors.values():
            tensor.add_(0.5)
        changed = fused(x)
        factors = [[learnt.tensors[f"{one.name}.{part}"][0] for part in "AB"] for one in (block.query, block.value)]
        q, v = (down @ up for down, up in factors)
    by_head = torch.zeros(4, 3, 8, 32, dtype=torch.float64)  # head, q k v, features of a head, inputs
    by_head[:, 0], by_head[:, 2] = q.T.view(4, 8, 32), v.T.view(4, 8, 32)
    expected = torch.nn.functional.linear(x, fused.weight + by_head.view(96, 32), fused.bias)
    torch.testing.assert_close(changed, expected, rtol=0, atol=1e-12)


def test_products_over_gpt_neoxs_heads_are_written_as_one(folder):
    backbone = load_backbone(folder("gpt_neox"), device="cpu", dtype="float64")
    learner, own = LowRankModel(Lora(r=2, targets="all")), dict(backbone.model.named_parameters())
    with learner.learning(backbone, generator("m")) as tensors, torch.no_grad():
        state = {name: one + 0.1 * torch.randn(one.shape, generator=generator(name)) for name, one in tensors.items()}
    before, factors = {name: one.clone() for name, one in own.items()}, learner.factors(backbone, state)
    with learner.holding(backbone, state), torch.no_grad():
        for name, (left, right) in factors.items():
            where = name.partition("@")[0]
            torch.testing.assert_close(left @ right, own[where] - before[where], rtol=0, atol=1e-10)
    assert sum("query_key_value" in name for name in factors) == backbone.layers


@pytest.mark.parametrize("method", ["prompt:steps=2+lora:r=2", "finetune:steps=2+bitfit"])
def test_what_was_saved_answers_the_same(folder, reviews, reviews_task, family, method, tmp_path):
    if family == "ernie" and method.startswith("finetune"):
        pytest.skip("a probed family has no head")
    backbone = load_backbone(folder(family), device="cpu")
    classifier = PromptClassifier(reviews_task, method=method, backbone=backbone).fit(reviews[:6])
    classifier.save_pretrained(tmp_path / "saved")
    again = PromptClassifier.from_pretrained(tmp_path / "saved", backbone=backbone)
    np.testing.assert_allclose(again.predict_proba(reviews[20:24]), classifier.predict_proba(reviews[20:24]), atol=1e-6)


def test_untrained_each_scores_words_where_they_are_asked_for(folder, reviews, family):
    backbone = load_backbone(folder(family), device="cpu", dtype="float64")
    ((_, predictor),) = ZeroShot().fit(backbone, None, [Job(TASK, ())])
    rows = Encoder(backbone).cloze(TASK.pvps[0].pattern, reviews[:5])
    words = [backbone.tokenizer.convert_tokens_to_ids(f"\u0120{word}") for word in ("terrible", "great", "good")]
    for scores, ids, (slot,) in zip(predictor.scores(reviews[:5]), rows.ids, rows.slots, strict=True):
        with torch.no_grad():
            said = backbone.model(input_ids=torch.tensor([ids])).logits[0, slot].log_softmax(-1)[words]
        np.testing.assert_allclose(scores, [said[0], said[1:].mean()], atol=1e-9)


def test_a_head_that_reads_past_the_body_is_refused(folder, monkeypatch):
    backbone = load_backbone(folder("opt"), device="cpu")
    rows = Encoder(backbone).cloze(TASK.pvps[0].pattern, [Example({"text": "a film"})])
    monkeypatch.setattr(backbone_module, "_TRUNKS", {})
    with pytest.raises(BackboneError, match="head of a 'opt' model does not read what its body says"):
        slot_logits(backbone, pad(rows, [0], backbone))


def test_a_backbone_whose_parts_are_unknown_trains_its_members_in_turn(fresh):
    known, unknown = fresh("bert"), fresh("gpt2")
    unknown.model.config.model_type = "other"  # its matrices are fused: probing cannot tell them
    assert (known.stackable, unknown.stackable) == (True, False)
