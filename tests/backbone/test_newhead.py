import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import gelu, layer_norm
from transformers import AutoModel

from promptlab.backbone.backbone import load_backbone
from promptlab.backbone.checkpoint import quiet
from promptlab.backbone.newhead import grow_head
from promptlab.backbone.predict import head_logits
from promptlab.training import adapt as training
from promptlab.training.adapt import Settings, adapt

SQUARE = {
    "bert": "cls.predictions.transform.dense",
    "roberta": "lm_head.dense",
    "distilbert": "vocab_transform",
    "modernbert": "head.dense",
}
NORM = {
    "bert": "cls.predictions.transform.LayerNorm",
    "roberta": "lm_head.layer_norm",
    "distilbert": "vocab_layer_norm",
    "modernbert": "head.norm",
}
BIASED = (*SQUARE, "albert")
TEXTS = [f"the {word} film was a good film" for word in ["fine", "slow", "warm"] * 30]


@pytest.fixture(scope="module")
def headless_folder(folder_of, tmp_path_factory):
    """headless_folder("bert"): the tiny model without its language-model head."""
    made = {}

    def get(family):
        if family not in made:
            made[family] = Path(shutil.copytree(folder_of(family), tmp_path_factory.mktemp("headless") / family))
            with quiet():
                AutoModel.from_pretrained(made[family]).save_pretrained(made[family])
        return made[family]

    return get


@pytest.fixture
def headless(headless_folder):
    """headless("bert"): loaded in float64 with a head newly drawn."""

    def get(family):
        found = load_backbone(str(headless_folder(family)), device="cpu", dtype="float64", allow_new_head=True)
        assert found.new_head
        return found

    return get


def counted(backbone):
    return np.random.default_rng(0).integers(0, 50, size=backbone.vocab)


def unigram(counts):
    return torch.from_numpy((counts + 1) / (counts + 1).sum())


@pytest.mark.parametrize("family", SQUARE)
def test_the_square_matrix_of_the_head_is_the_identity(headless, family):
    backbone = headless(family)
    dense = backbone.model.get_submodule(SQUARE[family])
    assert not torch.equal(dense.weight, torch.eye(32, dtype=torch.float64))
    grow_head(backbone, counted(backbone))
    assert torch.equal(dense.weight, torch.eye(32, dtype=torch.float64))
    assert dense.bias is None or not dense.bias.any()


def test_a_matrix_that_changes_the_width_stays_as_it_was_drawn(headless):
    backbone = headless("albert")
    dense = backbone.model.predictions.dense
    before = dense.weight.clone()
    grow_head(backbone, counted(backbone))
    assert torch.equal(dense.weight, before)
    assert not dense.bias.any()


@pytest.mark.parametrize("family", BIASED)
def test_the_output_bias_is_the_log_of_how_often_each_token_stands_in_the_text(headless, family):
    backbone = headless(family)
    counts = counted(backbone)
    grow_head(backbone, counts)
    bias = backbone.model.get_output_embeddings().bias
    torch.testing.assert_close(bias.softmax(0), unigram(counts), rtol=1e-12, atol=0)
    assert abs(float(bias.mean())) < 1e-12


@pytest.mark.parametrize("family", BIASED)
def test_a_new_head_says_the_commonest_tokens_where_a_state_says_nothing(headless, family):
    backbone = headless(family)
    counts = counted(backbone)
    grow_head(backbone, counts)
    said = head_logits(backbone, torch.zeros(2, 32, dtype=torch.float64)).softmax(-1)
    torch.testing.assert_close(said, unigram(counts).expand(2, -1), rtol=1e-9, atol=0)


@pytest.mark.parametrize("family", SQUARE)
def test_a_new_head_says_what_stands_near_the_state_and_how_common_it_is(headless, family):
    backbone = headless(family)
    counts = counted(backbone)
    grow_head(backbone, counts)
    table = backbone.model.get_input_embeddings().weight
    states = 3 * torch.randn(5, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    (eps,) = {module.eps for name, module in backbone.model.named_modules() if name in NORM.values()}
    expected = layer_norm(gelu(states), (32,), eps=eps) @ table.T + unigram(counts).log()
    found = head_logits(backbone, states)
    torch.testing.assert_close(found.softmax(-1), expected.softmax(-1), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_nothing_below_the_head_is_touched(headless, family):
    backbone = headless(family)
    below = {id(one) for one in backbone.body.parameters()}
    before = {name: one.clone() for name, one in backbone.model.named_parameters() if id(one) in below}
    grow_head(backbone, counted(backbone))
    after = dict(backbone.model.named_parameters())
    assert before and [name for name, one in before.items() if not torch.equal(one, after[name])] == []
    assert not any(one.requires_grad for one in after.values())


def test_output_embeddings_of_their_own_begin_as_a_copy_of_the_inputs(headless):
    backbone = headless("llama")
    table, output = backbone.model.get_input_embeddings().weight, backbone.model.lm_head
    assert output.weight is not table and output.bias is None
    assert not torch.equal(output.weight, table)
    grow_head(backbone, counted(backbone))
    assert torch.equal(output.weight, table)
    assert output.weight.data_ptr() != table.data_ptr()


def test_training_starts_a_new_head_from_the_counts_of_its_text(headless_folder, tmp_path, monkeypatch):
    grown, real = [], training.grow_head
    monkeypatch.setattr(training, "grow_head", lambda backbone, counts: grown.append(counts) or real(backbone, counts))
    how = Settings(length=8, batch=64, tokens=500)
    folder = headless_folder("bert")
    about = adapt(TEXTS, str(folder), tmp_path / "out", how, device="cpu", new_head=True)
    tokenizer = load_backbone(str(folder), device="cpu", allow_new_head=True).tokenizer
    (counts,) = grown
    plain = np.bincount(np.concatenate(tokenizer(TEXTS, add_special_tokens=False)["input_ids"]), minlength=len(counts))
    assert counts.tolist() == plain.tolist()
    assert counts[tokenizer.convert_tokens_to_ids("film")] == 180
    # it knows from the start what one knows who has only counted: near the text's entropy, far below ln(vocabulary)
    assert about["curve"][0]["loss"] < np.log(len(counts)) - 1
    assert load_backbone(str(tmp_path / "out"), device="cpu").new_head is False


def test_a_head_that_is_there_is_kept_whether_a_new_one_is_allowed_or_not(folder_of, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "grow_head", None)
    how, folder, found = Settings(length=8, batch=64, tokens=200), str(folder_of("bert")), []
    for new_head in (False, True):
        about = adapt(TEXTS, folder, tmp_path / str(new_head), how, device="cpu", new_head=new_head)
        found.append([one["loss"] for one in about["curve"]])
    assert found[0] == found[1]
