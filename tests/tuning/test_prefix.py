"""Prefix tuning: P in every layer, directly and through an MLP that is let go."""

import json
import shutil

import checks
import pytest
import torch
from safetensors.torch import load_file, save_file

from promptlab import PromptClassifier
from promptlab.backbone.attention import activations
from promptlab.backbone.backbone import load_backbone
from promptlab.backbone.device import generator
from promptlab.backbone.encode import Encoder
from promptlab.errors import BackboneError, SettingError
from promptlab.methods.params import params_report
from promptlab.methods.predict import Model
from promptlab.registry import TUNINGS
from promptlab.tuning.lora import Lora
from promptlab.tuning.mix import Mix
from promptlab.tuning.prefix import Prefix

DIRECT, THROUGH, SMALLER = Prefix(n=3), Prefix(n=3, mid=6), Prefix(n=3, mid=6, embed=4, init="random")
QUICK = "prompt:steps=1+prefix:n=3"
EACH = [DIRECT, Prefix(n=3, init="random"), THROUGH, SMALLER]
FAMILIES = ["bert", "roberta", "distilbert", "albert", "modernbert", "gpt2", "llama", "qwen3", "mistral"]


def named(tuning):
    return f"mid={tuning.mid},init={tuning.init}"


def numbers(backbone, tuning):
    """Parameters that train, and that are stored."""
    with tuning.learn(backbone, True, [generator("m")]) as learnt:
        return sum(one[0].numel() for one in learnt.tensors.values()), learnt.state(0)["prefix"].numel()


@pytest.mark.parametrize("family", FAMILIES)
def test_it_lets_go_and_the_stored_prefix_answers_as_each_member_did(float64, reviews, family):
    backbone = float64(family)
    for tuning in (DIRECT, THROUGH):
        checks.let_go(backbone, tuning)
    if family not in checks.SINGLE:
        checks.applies(backbone, THROUGH, reviews)
        checks.applies(backbone, Prefix(n=3, shift=True), reviews)


@pytest.mark.parametrize("tuning", EACH, ids=named)
@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_a_stack_trains_each_member_as_alone(float64, reviews, tuning, family):
    checks.stacks(float64(family), tuning, reviews, head=family == "gpt2")


@pytest.mark.parametrize("tuning", EACH, ids=named)
@pytest.mark.parametrize("family", ["bert", "llama"])
def test_gradients_are_finite_differences(float64, reviews, tuning, family):
    checks.differentiates(float64(family), tuning, reviews)


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2"])
def test_checkpointing_and_packing_change_nothing(float64, reviews, family):
    backbone = float64(family)
    checks.recomputes(backbone, THROUGH, reviews)
    checks.packs(backbone, THROUGH, reviews)


@pytest.mark.parametrize("head", [False, True], ids=["cloze", "head"])
def test_it_learns_and_what_was_saved_predicts_as_before(tiny_bert, tiny_gpt2, reviews, head):
    for backbone in (tiny_bert, tiny_gpt2):
        for tuning, lr in ((DIRECT, 3e-2), (THROUGH, 1e-2)):
            checks.learns(backbone, tuning, reviews, lr, head=head)
            checks.reloads(backbone, tuning, reviews, head=head)


def test_on_bert_a_forward_is_plain_attention_over_more_keys(float64):
    backbone = float64("bert")
    with DIRECT.learn(backbone, True, [generator("m")]) as learnt:
        checks.moved(learnt)
        found, stored = backbone.body(torch.tensor([[5, 6, 7, 8]])).last_hidden_state[0].detach(), learnt.state(0)
    body = backbone.body
    x = body.embeddings(torch.tensor([[5, 6, 7, 8]]))[0]
    for block, (keys, values) in zip(body.encoder.layer, stored["prefix"], strict=True):
        attend = block.attention.self
        q, k, v = attend.query(x), torch.cat([keys, attend.key(x)]), torch.cat([values, attend.value(x)])
        heads = [(q[:, i : i + 8] @ k[:, i : i + 8].T / 8**0.5).softmax(-1) @ v[:, i : i + 8] for i in range(0, 32, 8)]
        x = block.attention.output(torch.cat(heads, -1), x)
        x = block.output(block.intermediate(x), x)
    torch.testing.assert_close(found, x, **checks.CLOSE)


def test_the_mlp_is_that_of_the_paper(float64):
    backbone = float64("bert")
    with SMALLER.learn(backbone, True, [generator("a"), generator("b")]) as learnt:
        rows, into, bias, out, last = (one[1].detach() for one in learnt.tensors.values())
        stored = learnt.state(1)["prefix"]
    columns = torch.tanh(rows @ into + bias) @ out + last  # (n, layers * 2 * width)
    for i in range(3):
        torch.testing.assert_close(stored[:, :, i], columns[i].view(2, 2, 32), **checks.CLOSE)


@pytest.mark.parametrize(("members", "batch"), [(1, 1), (2, 4)])
def test_the_mlp_runs_once_a_step_whatever_the_batch(tiny_bert, reviews, monkeypatch, members, batch):
    calls, real = [], torch.baddbmm
    monkeypatch.setattr(torch, "baddbmm", lambda *given: calls.append(given[1].shape) or real(*given))
    keys = [checks.member(reviews, str(i)) for i in range(members)]
    checks.trained(tiny_bert, THROUGH, keys, steps=1, batch=batch, packed=False)
    made = calls[: -2 * members]  # the rest ejects, once a member
    assert made == [(members, 3, 32), (members, 3, 6)]


@pytest.mark.parametrize("family", ["bert", "gpt2", "qwen3"])
def test_parameters_count_as_the_formulas_say(tiny, family):
    backbone, n, mid, d, layers = tiny(family), 5, 6, 32, 2
    size = 32 if family != "qwen3" else 2 * 16  # key-value heads, not heads
    stored = 2 * layers * size * n
    assert numbers(backbone, Prefix(n=5)) == (stored, stored)
    trained = n * d + (d + 1) * mid + (mid + 1) * 2 * layers * size
    assert numbers(backbone, Prefix(n=5, mid=6)) == (trained, stored)
    assert numbers(backbone, Prefix(n=5, mid=6, embed=4)) == (n * 4 + 5 * mid + (mid + 1) * 2 * layers * size, stored)


def test_counts_come_from_the_meta_device_too(fresh):
    backbone = fresh("gpt2")
    wanted = numbers(backbone, Prefix(n=5, mid=6))
    backbone.model.to("meta")
    backbone.device = torch.device("meta")
    with Prefix(n=5, mid=6).learn(backbone, True, [generator("m")]) as learnt:
        assert (sum(one.numel() for one in learnt.tensors.values()), learnt.state(0)["prefix"].numel()) == wanted


@pytest.mark.parametrize("mid", [0, 6])
def test_real_words_are_the_start_whatever_makes_the_prefix(float64, mid):
    backbone = float64("bert")
    ids = torch.tensor(backbone.tokenizer("good film", add_special_tokens=False)["input_ids"])
    with Prefix(n=3, mid=mid, text="good film").learn(backbone, True, [generator("m")]) as learnt:
        found = learnt.state(0)["prefix"]
    torch.testing.assert_close(found, activations(backbone.model, ids[[0, 1, 0]]), rtol=0, atol=0)


def test_without_a_text_each_member_draws_words_of_its_own(tiny_bert):
    def start(*keys):
        with DIRECT.learn(tiny_bert, True, [generator(key) for key in keys]) as learnt:
            return [learnt.state(i)["prefix"] for i in range(len(keys))]

    first, second = start("a", "b")
    assert torch.equal(start("b")[0], second)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("mid", [0, 6])
@pytest.mark.parametrize("folder", [True, False])
def test_training_goes_on_from_a_stored_prefix(float64, reviews, tmp_path, mid, folder):
    backbone = float64("bert")
    (done,) = checks.trained(backbone, THROUGH, [checks.member(reviews, "a", lr=1e-2)])
    file = tmp_path / "weights.safetensors"
    save_file({"0.prefix": done.state["prefix"], "weights": torch.ones(1)}, file)
    further = Prefix(n=3, mid=mid, start=str(tmp_path if folder else file))
    with further.learn(backbone, True, [generator("a"), generator("b")]) as learnt:
        assert all(torch.equal(learnt.state(i)["prefix"], done.state["prefix"]) for i in range(2))
    (again,) = checks.trained(backbone, further, [checks.member(reviews, "b", lr=1e-2)])
    assert not torch.equal(again.state["prefix"], done.state["prefix"])


def test_a_saved_classifier_predicts_equally_and_is_a_start(tiny_bert, reviews_task, reviews, tmp_path):
    def fitted(system):
        return PromptClassifier(reviews_task, method=system, backbone=tiny_bert).fit(reviews[:8])

    first = fitted("prompt:steps=2+prefix:n=3,mid=4")
    first.save_pretrained(tmp_path / "first")
    again = PromptClassifier.from_pretrained(tmp_path / "first")
    texts = [one.fields["text"] for one in reviews[8:16]]
    assert (again.predict_proba(texts) == first.predict_proba(texts)).all()
    assert again.n_learnt_ == 2 * 2 * 32 * 3
    fitted(f"prompt:steps=1+prefix:n=3,start={tmp_path / 'first'}")


@pytest.mark.parametrize("method", ["pet", "ipet:generations=1"])
def test_it_learns_under_ensembles_too(tiny_bert, reviews_task, reviews, method):
    more = "," if ":" in method else ":"
    system = f"{method}{more}repetitions=1,steps=2,student_steps=2+prefix:n=3,mid=4"
    taught = PromptClassifier(reviews_task, method=system, backbone=tiny_bert)
    taught.fit(reviews[:8], unlabeled=[one.unlabelled() for one in reviews[20:]])
    assert len(taught.predict([one.fields["text"] for one in reviews[8:12]])) == 4


def test_a_causal_backbone_answers_equally_with_and_without_its_cache(float64, reviews):
    from promptlab.backbone.continuation import continued

    backbone = float64("gpt2")
    with DIRECT.learn(backbone, True, [generator("m")]) as learnt:
        checks.moved(learnt)
        state = learnt.state(0)
    pattern = checks.TASK.pvps[1].pattern
    encoded = Encoder(backbone).cloze(pattern, reviews[:6], pieces=2)
    words = torch.tensor([[[[5, 6]], [[7, -1]]]]).numpy()
    with DIRECT.applied(backbone, state):
        cached, whole = (continued(backbone, encoded, words, cached=one).labels for one in (True, False))
    torch.testing.assert_close(torch.tensor(cached), torch.tensor(whole), rtol=0, atol=1e-6)


def test_it_goes_beside_another_tuning_and_neither_sees_the_other_go(float64):
    backbone = float64("bert")
    plain = checks.logits(backbone)
    with (
        Lora(r=2).learn(backbone, True, [generator("m")]) as low,
        DIRECT.learn(backbone, True, [generator("m")]) as one,
    ):
        checks.moved(low)
        both = checks.logits(backbone)
        states = low.state(0), one.state(0)
    with Lora(r=2).applied(backbone, states[0]), DIRECT.applied(backbone, states[1]):
        torch.testing.assert_close(checks.logits(backbone), both, **checks.CLOSE)
    assert torch.equal(checks.logits(backbone), plain)


def test_a_shifted_prefix_leaves_its_room_in_every_row(tiny_bert, reviews):
    long = [type(reviews[0])({"text": "film " * 200}, "positive")]
    pattern = checks.TASK.pvps[0].pattern
    plain = Encoder(tiny_bert)
    assert plain.cloze(pattern, long).lengths == [128]
    tuning = Prefix(n=5, shift=True)
    assert tuning.reading(tuning.reading(plain)).cloze(pattern, long).lengths == [123]
    assert Prefix(n=5).reading(plain).cloze(pattern, long).lengths == [128]


def test_it_does_not_merge(tiny_bert, reviews, tmp_path):
    from promptlab.methods.merge import write_merged

    (done,) = checks.trained(tiny_bert, DIRECT, [checks.member(reviews, "a")], steps=1)
    model = Model(checks.TASK, tiny_bert, Encoder(tiny_bert), checks.TASK.pvps[0], DIRECT, done.state)
    with pytest.raises(SettingError, match="stands beside the weights"):
        write_merged(model, tmp_path, "prompt+prefix")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"embed": "4"}, "embed=4 is read by an MLP"),
        ({"init": "zero"}, "init=zero cannot be"),
        ({"init": "random", "text": "good"}, "text= and init=random are two beginnings"),
        ({"start": "x", "text": "good"}, "text= and start= are two beginnings"),
    ],
)
def test_a_setting_that_cannot_be_says_what_to_write(settings, said):
    with pytest.raises(SettingError, match=said) as caught:
        TUNINGS.build("prefix", settings)
    assert "Write" in str(caught.value)


@pytest.mark.parametrize(
    ("tuning", "said"),
    [
        (Prefix(n=128), "n=128, but .* reads 128 tokens. Write n from 1 to 127"),
        (Prefix(n=2, text="a very good film"), "is 4 tokens, and n=2. Write n=4"),
        (Prefix(n=2, text=" "), "is 0 tokens"),
        (Prefix(start="nowhere"), "start=nowhere cannot be read"),
    ],
)
def test_what_the_backbone_cannot_have_is_refused_before_training(tiny_bert, tuning, said):
    with pytest.raises(SettingError, match=said) as caught, tuning.learn(tiny_bert, True, [generator("m")]):
        pass
    assert "Write" in str(caught.value)


def test_a_stored_prefix_of_another_shape_is_refused_with_both_shapes(tiny_bert, tmp_path):
    def refused(shape, said):
        save_file({"prefix": torch.zeros(shape)}, tmp_path / "one.safetensors")
        tuning = Prefix(n=3, start=str(tmp_path / "one.safetensors"))
        with pytest.raises(SettingError, match=said), tuning.learn(tiny_bert, True, [generator("m")]):
            pass

    refused((2, 2, 4, 32), "n=3, but the stored one has n=4")
    refused((6, 2, 3, 64), "the stored one is 6 x 2 x 3 x 64, but .* takes 2 x 2 x 3 x 32")


def saved(backbone, task, reviews, place, system):
    """The folder of what a system has learnt, two updates long."""
    rows = {"unlabeled": [one.unlabelled() for one in reviews[20:24]]} if system.startswith("pet") else {}
    PromptClassifier(task, method=system, backbone=backbone).fit(reviews[:8], **rows).save_pretrained(place)
    return place


def begun(backbone, tuning):
    with tuning.learn(backbone, True, [generator("m")]) as learnt:
        return learnt.state(0)["prefix" if isinstance(tuning, Prefix) else "prefix.prefix"]


def test_an_ensembles_prefixes_are_counted_as_they_are_saved(tiny_bert, reviews_task, reviews, tmp_path):
    place = saved(tiny_bert, reviews_task, reviews, tmp_path / "pet", "pet:student=false,steps=1+prefix:n=3")
    count = len(reviews_task.pvps) * 3  # repetitions
    file = place / "weights.safetensors"
    assert load_file(file)[f"{{0-{count - 1}}}.prefix"].shape == (count, 2, 2, 3, 32)
    for start in (place, file):
        with pytest.raises(SettingError, match=f"holds {count} prefixes, as an ensemble does. Write one that holds a"):
            begun(tiny_bert, Prefix(n=3, start=str(start)))


def test_what_learnt_no_prefix_is_no_start(tiny_bert, reviews_task, reviews, tmp_path):
    place = saved(tiny_bert, reviews_task, reviews, tmp_path / "lora", "prompt:steps=1+lora:r=2")
    with pytest.raises(SettingError, match="holds no prefix. Write a model that learnt one"):
        begun(tiny_bert, Prefix(n=3, start=str(place)))


def test_a_prefix_of_another_backbone_of_that_shape_is_no_start(tiny_bert, reviews_task, reviews, tmp_path, folder_of):
    other = shutil.copytree(folder_of("bert"), tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "layer_norm_eps": 1e-6}))
    place = saved(load_backbone(str(other), device="cpu"), reviews_task, reviews, tmp_path / "one", QUICK)
    for start in (place, place / "weights.safetensors"):
        for tuning in (Prefix(n=3, start=str(start)), Mix("prefix+lora", n=3, start=str(start))):
            with pytest.raises(BackboneError, match=f"learnt on .*other .*, and {tiny_bert.name} .* is another model"):
                begun(tiny_bert, tuning)
    alone = shutil.copy(place / "weights.safetensors", tmp_path / "alone.safetensors")  # says nothing of a backbone
    assert torch.equal(begun(tiny_bert, Prefix(n=3, start=str(alone))), load_file(alone)["0.prefix"])


def test_the_backbone_it_was_learnt_on_and_a_blank_one_take_it(tiny_bert, reviews_task, reviews, tmp_path):
    place = saved(tiny_bert, reviews_task, reviews, tmp_path / "one", QUICK)
    kept = load_file(place / "weights.safetensors")["0.prefix"]
    assert torch.equal(begun(tiny_bert, Prefix(n=3, start=str(place))), kept)
    [counts] = params_report(tiny_bert.name, [f"prefix:n=3,start={place}"])
    assert counts.stored == kept.numel()
