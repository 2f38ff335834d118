"""A backbone trained on text: losses and gradients, what learns, and what is written."""

import json
import shutil
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

from promptlab.backbone import predict
from promptlab.backbone.backbone import load_backbone
from promptlab.backbone.batches import Batch
from promptlab.backbone.checkpoint import quiet
from promptlab.backbone.passages import read_passages
from promptlab.training import adapted
from promptlab.training.adapt import Settings, adapt
from promptlab.training.asking import Asker
from promptlab.training.feed import Feed, held_out
from promptlab.training.learners import LowRankModel, Whole
from promptlab.training.optim import AdamW
from promptlab.tuning.full import Full
from promptlab.tuning.lora import Lora

ADJECTIVES = "brilliant fine funny good lovely awful bad boring dull poor".split()
RANDOM = np.random.default_rng(0)
TEXTS = [
    f"the {RANDOM.choice(['film', 'story', 'plot', 'music'])} was {RANDOM.choice(ADJECTIVES)} and the ending is "
    f"{RANDOM.choice(ADJECTIVES)}"
    for _ in range(240)
]
FULL, LOW = "full", "lora:r=4,targets=all"
SHORT = {"tokens": 1200, "length": 16, "batch": 128, "every": 1e6}  # ten steps
FAMILIES = ("bert", "roberta", "distilbert", "albert", "modernbert", "gpt2", "llama", "untied bert")
LEARNERS = [Whole(Full()), LowRankModel(Lora(r=3, targets="all"))]


def each_of(families):
    """Every family with both learners, but for ALBERT, whose shared blocks no low-rank differences fold into."""
    able = [(one, learner) for one in families for learner in LEARNERS if (one, learner) != ("albert", LEARNERS[1])]
    ids = [f"{family}-{type(learner).__name__}" for family, learner in able]
    return pytest.mark.parametrize(("family", "learner"), able, ids=ids)


def run(folder, out, tuning=FULL, options=None, **settings):
    how = Settings(tuning, **{**SHORT, **settings})
    return adapt(TEXTS, str(folder), out, how, device="cpu", **(options or {}))


def plain(folder, kind, **options):
    auto = AutoModelForMaskedLM if kind == "masked" else AutoModelForCausalLM
    with quiet():
        return auto.from_pretrained(folder, **options).eval()


def noisy(tensors):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for one in tensors.values():
            one.add_(0.05 * torch.randn(one.shape, generator=generator, dtype=torch.float64).to(one))


def asked_batch(backbone):
    """Three rows of unequal length, and for some of their places what is to be said."""
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(4, backbone.vocab, (3, 9), generator=generator)
    mask = (torch.arange(9) < torch.tensor([9, 7, 4])[:, None]).long()
    asked = (torch.rand(3, 9, generator=generator) < 0.6) & mask.bool()
    said = torch.randint(backbone.vocab, (int(asked.sum()),), generator=generator)
    inputs = {"input_ids": ids, "attention_mask": mask}
    return Batch(inputs, torch.zeros(3, 0, dtype=torch.long)), asked, said


@pytest.fixture(scope="module")
def untied_folder(folder_of, tmp_path_factory):
    """The tiny BERT with output embeddings of its own."""
    folder = Path(shutil.copytree(folder_of("bert"), tmp_path_factory.mktemp("untied") / "bert"))
    config = {**json.loads((folder / "config.json").read_text()), "tie_word_embeddings": False}
    (folder / "config.json").write_text(json.dumps(config))
    weights = load_file(folder / "model.safetensors")
    table = weights["bert.embeddings.word_embeddings.weight"]
    weights["cls.predictions.decoder.weight"] = table + 0.1 * torch.linspace(-1, 1, table.numel()).view_as(table)
    weights["cls.predictions.decoder.bias"] = weights["cls.predictions.bias"].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture
def double(folder_of, untied_folder):
    """double("bert"): one's own in float64."""

    def get(family):
        folder = untied_folder if family.startswith("untied") else folder_of(family)
        return load_backbone(str(folder), device="cpu", dtype="float64")

    return get


@pytest.fixture(scope="module")
def trained(folder_of, tmp_path_factory):
    """trained("bert", FULL, True): folder, note, last checkpoint and weights at the moment of writing."""
    made = {}

    def get(family, tuning, difference):
        if (family, tuning, difference) not in made:
            found = SimpleNamespace(out=tmp_path_factory.mktemp("adapted") / family)
            real = adapted.write

            def write(sitting, backbone, *rest):
                found.checkpoint = load_file(sitting.checkpoint)
                found.weights = {name: one.detach().clone() for name, one in backbone.model.named_parameters()}
                return real(sitting, backbone, *rest)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(adapted, "write", write)
                found.about = run(folder_of(family), found.out, tuning, tokens=4000, options={"difference": difference})
            made[family, tuning, difference] = found
        return made[family, tuning, difference]

    return get


both_tunings = pytest.mark.parametrize("tuning", [FULL, LOW], ids=["full", "lora"])
two_families = pytest.mark.parametrize("family", ["bert", "gpt2"])


# ---------------------------------------------------------------- losses and gradients


@pytest.mark.parametrize("chunk", [0, 3], ids=["place by place", "three places"])
@each_of(FAMILIES)
def test_loss_and_gradients_are_those_of_cross_entropy_over_all_logits(double, monkeypatch, family, learner, chunk):
    backbone = double(family)
    assert (backbone.model.get_output_embeddings().weight is backbone.model.get_input_embeddings().weight) == (
        family not in ("llama", "untied bert")
    )
    monkeypatch.setattr(predict, "CHUNK_BYTES", 4 * backbone.vocab * chunk)
    batch, asked, said = asked_batch(backbone)
    with learner.learning(backbone, torch.Generator().manual_seed(0)) as tensors:
        noisy(tensors)
        loss = cross_entropy(backbone.model(**batch.inputs).logits[asked], said, reduction="sum")
        expected = torch.autograd.grad(loss, list(tensors.values()), allow_unused=True)
        for _ in range(2):  # the second call adds to the first
            found = predict.learn_from(backbone, batch, asked, said, 0.25)
        assert float(found) == pytest.approx(float(loss.detach()), rel=1e-6)
        moved = 0
        for (name, tensor), grad in zip(tensors.items(), expected, strict=True):
            if grad is None:
                assert tensor.grad is None, name
                continue
            moved += bool(grad.abs().max() > 1e-6)
            torch.testing.assert_close(
                tensor.grad, 0.5 * grad, rtol=1e-9, atol=1e-11, msg=lambda text, n=name: n + text
            )
        assert moved > 0.8 * len(tensors)


def test_only_asked_places_go_through_the_head_a_chunk_at_a_time(tiny_bert, monkeypatch):
    monkeypatch.setattr(predict, "CHUNK_BYTES", 4 * tiny_bert.vocab * 4 + 3)
    sizes, real = [], predict.head_logits
    monkeypatch.setattr(predict, "head_logits", lambda b, states: sizes.append(len(states)) or real(b, states))
    batch, asked, said = asked_batch(tiny_bert)
    predict.judge(tiny_bert, batch, asked, said)
    whole, rest = divmod(len(said), 4)
    assert sizes == [4] * whole + [rest] * (rest > 0)
    assert whole > 1


def test_a_batch_that_asks_nothing_teaches_nothing(double):
    backbone = double("gpt2")  # one token and none before it: nothing to say
    batch = Batch({"input_ids": torch.tensor([[7]]), "attention_mask": torch.tensor([[1]])}, torch.zeros(1, 0))
    with LEARNERS[0].learning(backbone, torch.Generator()) as tensors:
        nothing = torch.zeros(1, 1, dtype=torch.bool)
        assert float(predict.learn_from(backbone, batch, nothing, torch.zeros(0, dtype=torch.long), 1.0)) == 0
        assert all(one.grad is None or not one.grad.any() for one in tensors.values())
        assert AdamW(LEARNERS[0].groups(backbone, tensors)).norms().tolist() == [0.0]


def test_an_error_in_the_head_leaves_the_model_whole(double):
    backbone = double("bert")
    with pytest.raises(RuntimeError):
        predict.head_logits(backbone, torch.zeros(2, 5, dtype=torch.float64))
    assert "forward" not in vars(backbone.body)
    assert backbone.model(input_ids=torch.tensor([[4, 5]])).logits.shape == (1, 2, backbone.vocab)


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
def test_what_is_judged_is_what_plain_transformers_says(folder_of, double, family):
    backbone = double(family)
    passages = read_passages(TEXTS[:80], backbone, 16)
    rows = held_out(len(passages))
    asker, losses, right = Asker(backbone, passages), [], []
    model = plain(folder_of(family), backbone.kind, dtype=torch.float64)
    for row, one in zip(rows, asker.questions(rows, np.random.default_rng(0)), strict=True):
        ids = torch.from_numpy(passages.row(row).ids)
        if backbone.kind == "causal":
            logits, gold = model(input_ids=ids[None]).logits[0, :-1], ids[1:]
        else:
            asked = torch.from_numpy(one.asked)
            logits, gold = model(input_ids=torch.from_numpy(one.ids)[None]).logits[0][asked], ids[asked]
        losses += cross_entropy(logits, gold, reduction="none").tolist()
        right += (logits.argmax(-1) == gold).tolist()
    found = asker.judged(rows)
    assert found == {"loss": pytest.approx(np.mean(losses), rel=1e-9), "accuracy": np.mean(right)}


# ---------------------------------------------------------------- what learns


@each_of(["bert", "albert", "gpt2", "llama"])
def test_learning_leaves_the_backbone_as_it_was(tiny, family, learner):
    backbone = tiny(family)
    before = {name: (one.data_ptr(), one.detach().clone()) for name, one in backbone.model.named_parameters()}
    for wrong in (False, True):
        with suppress(KeyError), learner.learning(backbone, torch.Generator()) as tensors:
            noisy(tensors)
            predict.learn_from(backbone, *asked_batch(backbone), 1.0)
            if wrong:
                raise KeyError
        for name, one in backbone.model.named_parameters():
            assert (one.data_ptr(), one.requires_grad, one.grad) == (before[name][0], False, None)
            assert torch.equal(one, before[name][1])
        assert not any(module._forward_hooks for module in backbone.model.modules())


@each_of(FAMILIES)
def test_what_is_held_answers_as_what_learnt(double, family, learner):
    backbone = double(family)
    batch, _, _ = asked_batch(backbone)
    first = backbone.model(**batch.inputs).logits
    with learner.learning(backbone, torch.Generator().manual_seed(0)) as tensors:
        noisy(tensors)
        expected = backbone.model(**batch.inputs).logits.detach()
        state = {name: one.detach().clone() for name, one in tensors.items()}
    with learner.holding(backbone, state):
        torch.testing.assert_close(backbone.model(**batch.inputs).logits, expected, rtol=0, atol=1e-10)
    assert torch.equal(backbone.model(**batch.inputs).logits, first)
    assert (expected - first).abs().max() > 0.1


@two_families
def test_every_step_is_that_of_plain_torch_code(folder_of, tmp_path, double, family):
    tuning = "full:lr=0.01,weight_decay=0.2"
    settings = {"tokens": 700, "seed": 3, "warmup": 0.4, "mask_rate": 0.3}
    about = run(folder_of(family), tmp_path / "out", tuning, options={"dtype": "float64"}, **settings)
    backbone = double(family)
    passages = read_passages(TEXTS, backbone, 16)
    model = plain(folder_of(family), backbone.kind, dtype=torch.float64)
    matrices, vectors = ([one for one in model.parameters() if (one.dim() > 1) is wide] for wide in (True, False))
    optimiser = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.2}, {"params": vectors, "weight_decay": 0}])
    rows = np.setdiff1d(np.arange(len(passages)), held_out(len(passages)))
    feed, asker, tokens, steps = Feed(rows, passages.lengths, 128, 3), Asker(backbone, passages, 0.3), 0, 0
    special = {"bert": 2, "gpt2": 0}[family]  # around a row, and no text
    while tokens < 700:
        questions = asker.questions(feed.next(), np.random.default_rng([3, steps]))
        optimiser.zero_grad()
        total = sum(
            cross_entropy(
                model(input_ids=torch.from_numpy(one.ids)[None]).logits[0][one.asked],
                torch.from_numpy(one.said[one.asked]),
                reduction="sum",
            )
            for one in questions
        )
        (total / sum(one.asked.sum() for one in questions)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        done = min(1.0, (tokens + 64) / 700)
        for group in optimiser.param_groups:
            group["lr"] = 0.01 * (done / 0.4 if done < 0.4 else 1 if done < 0.5 else 2 - 2 * done)
        optimiser.step()
        tokens, steps = tokens + sum(len(one.ids) - special for one in questions), steps + 1
    assert (about["tokens"], about["steps"]) == (tokens, steps)
    stored = dict(plain(tmp_path / "out", backbone.kind, dtype=torch.float64).named_parameters())
    for name, one in model.named_parameters():
        torch.testing.assert_close(stored[name], one, rtol=0, atol=1e-9)


# ---------------------------------------------------------------- what is written


def low_rank_sum(own, checkpoint, scale, transposed):
    """W + scale A B for every pair of a checkpoint, and the small weights as they are, in float64."""
    whole = {name: one.detach().double().clone() for name, one in own.items()}
    learnt = {key[2:]: one.double() for key, one in checkpoint.items() if key.startswith("w.")}
    for name, down in learnt.items():
        path, part, role = name[:-2].partition("[")
        if name in whole:
            whole[name] = down
        elif name.endswith(".A"):
            product = scale * (down[0] @ learnt[f"{name[:-1]}B"][0])
            start = ["query", "key", "value"].index(role.rstrip("]")) * product.shape[1] if part else 0
            where = next(iter(whole)) if path == "word embeddings" else f"{path}.weight"
            place = whole[where] if transposed or path == "word embeddings" else whole[where].T
            place[:, start : start + product.shape[1]] += product
    return whole


@both_tunings
@two_families
def test_training_brings_the_held_out_loss_down(trained, family, tuning):
    about = trained(family, tuning, False).about
    first, last = about["curve"][0], about["curve"][-1]
    assert first["tokens"] == 0
    assert last["tokens"] == about["tokens"]
    assert 4000 <= about["tokens"] < 4128
    assert last["loss"] < first["loss"] - 1
    assert last["accuracy"] > first["accuracy"] + 0.2


@both_tunings
@two_families
def test_a_whole_model_is_the_trained_one_for_plain_transformers_too(trained, family, tuning):
    done = trained(family, tuning, False)
    backbone, weights = load_backbone(str(done.out), device="cpu"), done.weights
    assert backbone.kind == done.about["kind"]
    assert sorted(path.name for path in done.out.iterdir()) == done.about["files"]
    ours, theirs = backbone.model, plain(done.out, backbone.kind)
    for model in (ours, theirs):
        found = dict(model.named_parameters())
        assert found.keys() == weights.keys()
        assert [name for name in weights if not torch.equal(found[name], weights[name])] == []
    passages = read_passages(TEXTS, backbone, 16)
    judged = Asker(backbone, passages).judged(held_out(len(passages)))
    last = done.about["curve"][-1]
    assert judged == {"loss": pytest.approx(last["loss"], abs=1e-4), "accuracy": last["accuracy"]}


@both_tunings
@two_families
def test_the_written_weights_are_what_the_last_checkpoint_adds_up_to(trained, folder_of, family, tuning):
    done = trained(family, tuning, False)
    own = dict(plain(folder_of(family), done.about["kind"]).named_parameters())
    if tuning == FULL:
        expected = {key[2:]: one.double() for key, one in done.checkpoint.items() if key.startswith("w.")}
    else:
        expected = low_rank_sum(own, done.checkpoint, 16 / 4, family == "gpt2")
    assert expected.keys() == done.weights.keys()
    for name, one in done.weights.items():
        torch.testing.assert_close(one.double(), expected[name], rtol=1e-6, atol=1e-6)
    moved = {name for name, one in done.weights.items() if not torch.equal(one, own[name])}
    still = set(own) - moved
    tables = {"bert": {"position_embeddings", "token_type_embeddings"}, "gpt2": {"wpe"}}[family]
    assert {name.split(".")[-2] for name in still} == (tables if tuning == LOW else set())


@both_tunings
@two_families
def test_a_difference_is_the_trained_model_to_its_stored_precision(trained, folder_of, family, tuning):
    done, whole = trained(family, tuning, True), trained(family, tuning, False)
    assert all(torch.equal(one, whole.weights[name]) for name, one in done.weights.items())  # the same training
    base = dict(plain(folder_of(family), done.about["kind"]).named_parameters())
    stored = dict(load_backbone(str(done.out), device="cpu").model.named_parameters())
    parts, counts = load_file(done.out / "difference.safetensors"), {"int8": 0, "low rank": 0}
    for name, one in done.weights.items():
        change = (one - base[name]).abs().detach()
        bound = 2**-11 * change + 2**-25  # vectors: float16
        if f"{name}.q" in parts:
            assert parts[f"{name}.q"].dtype == torch.int8
            bound, counts["int8"] = change.amax(1, keepdim=True) / 127 / 2, counts["int8"] + 1
        for key in [key for key in parts if key.endswith(".U") and key[:-2].partition("@")[0] == name]:
            left, right = parts[key].float().abs(), parts[f"{key[:-1]}V"].float().abs()
            assert (parts[key].dtype, left.shape[1], right.shape[0]) == (torch.float16, 4, 4)
            row, column = map(int, (key[:-2].partition("@")[2] or "0,0").split(","))
            fine = 2**-10 * (left @ right) + 2**-25 * (left.sum(1, keepdim=True) + right.sum(0))
            bound[row : row + len(left), column : column + right.shape[1]] = fine
            counts["low rank"] += 1
        assert ((stored[name] - one).abs() <= 1.01 * bound + 1e-6 * one.abs()).all(), name
    matrices = sum(one.dim() > 1 for one in done.weights.values())
    lora = {"int8": 3 if family == "bert" else 1, "low rank": 1 + 2 * 6}
    assert counts == ({"int8": matrices, "low rank": 0} if tuning == FULL else lora)


@both_tunings
@two_families
def test_a_difference_answers_nearly_as_the_trained_model_does(trained, family, tuning):
    done = trained(family, tuning, True)
    assert {path.name for path in done.out.iterdir()} == set(done.about["files"])
    assert [name for name in done.about["files"] if name.endswith(".safetensors")] == ["difference.safetensors"]
    backbone = load_backbone(str(done.out), device="cpu")
    passages = read_passages(TEXTS, backbone, 16)
    judged = Asker(backbone, passages).judged(held_out(len(passages)))
    assert judged == done.about["stored"]
    assert judged["loss"] == pytest.approx(done.about["curve"][-1]["loss"], abs=5e-3)


@pytest.mark.parametrize("second", [FULL, LOW], ids=["full", "lora"])
@both_tunings
def test_a_difference_made_over_a_difference_holds_both(trained, tmp_path, tuning, second):
    first = trained("bert", tuning, True)
    about = run(first.out, tmp_path / "out", second, options={"difference": True})
    assert about["base"]["sha256"] == first.about["base"]["sha256"]
    assert about["curve"][0]["loss"] == first.about["stored"]["loss"]
    assert about["stored"]["loss"] == pytest.approx(about["curve"][-1]["loss"], abs=5e-3)
    kinds = {key.rpartition(".")[2] for key in load_file(tmp_path / "out" / "difference.safetensors")}
    assert kinds == {"q", "s", "plus"}  # products would lack the first difference
