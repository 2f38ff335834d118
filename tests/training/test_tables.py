"""A low-rank difference of the word embeddings learns as what it is folded into answers, however a model reads them."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer, DebertaV2Config, GemmaConfig

from promptlab.backbone.backbone import load_backbone
from promptlab.backbone.checkpoint import quiet
from promptlab.backbone.device import generator
from promptlab.errors import SettingError
from promptlab.training.learners import LowRankModel
from promptlab.tuning.lora import Lora

SIZES = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
    "max_position_embeddings": 128, "initializer_range": 0.1,
}  # fmt: skip


@pytest.fixture
def other(folder_of, tmp_path):
    """other("gpt2", kind, config class): a tiny model of another family with a tokenizer of the first."""

    def get(like, kind, config, **own):
        tokenizer = AutoTokenizer.from_pretrained(folder_of(like))
        ids = {"pad_token_id": tokenizer.pad_token_id, "bos_token_id": 0, "eos_token_id": 0}
        with quiet(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            kind.from_config(config(**SIZES, **ids, **own, vocab_size=len(tokenizer))).save_pretrained(tmp_path)
        tokenizer.save_pretrained(tmp_path)
        return load_backbone(str(tmp_path), device="cpu", dtype="float64")

    return get


def apart(backbone):
    """How far what learns is from what it folds into."""
    learner, ids = LowRankModel(Lora(r=2)), torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])
    with torch.no_grad(), learner.learning(backbone, generator("m")) as tensors:
        for name, one in tensors.items():
            one.add_(0.1 * torch.randn(one.shape, generator=generator(name), dtype=torch.float64))
        learning = backbone.model(input_ids=ids).logits
        state = {name: one.detach().clone() for name, one in tensors.items()}
    with torch.no_grad(), learner.holding(backbone, state):
        return float((backbone.model(input_ids=ids).logits - learning).abs().max())


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2", "llama"])
def test_plain_tables_learn_as_they_are_folded(float64, family):
    assert apart(float64(family)) < 1e-10


def test_a_table_whose_vectors_are_multiplied_does_too(other):
    backbone = other("gpt2", AutoModelForCausalLM, GemmaConfig, num_key_value_heads=2, head_dim=8)
    assert float(backbone.model.get_input_embeddings().embed_scale) > 5
    assert apart(backbone) < 1e-10


def test_a_head_that_reads_the_table_itself_is_refused_before_anything_learns(other):
    own = {"relative_attention": True, "position_buckets": 8, "share_att_key": True, "pos_att_type": ["p2c", "c2p"]}
    backbone = other("roberta", AutoModelForMaskedLM, DebertaV2Config, legacy=False, **own)
    with (
        pytest.raises(SettingError, match=r"reads its word embeddings in a way .* Write -t full"),
        LowRankModel(Lora(r=2)).learning(backbone, generator("m")),
    ):
        pass
    assert not any(one._forward_hooks for one in backbone.model.modules())
