"""Families without a layout: what probing finds is what a layout says, and what it cannot hold to is refused."""

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    BloomConfig,
    ConvBertConfig,
    DebertaV2Config,
    Gemma2Config,
    GlmConfig,
    GPTJConfig,
    GPTNeoConfig,
    MBartConfig,
    MixtralConfig,
    MPNetConfig,
    XLMConfig,
)

from promptlab.backbone.anatomy import LAYOUTS, anatomy_of, unroll
from promptlab.errors import BackboneError

SIZES = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
SMALL = {"vocab_size": 60, "n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 4}
FOUND = {  # query, output of the attention, into and out of the feed-forward, norms, the last norm
    "gpt_neo": (
        GPTNeoConfig(
            vocab_size=60, hidden_size=32, num_layers=2, num_heads=4, attention_types=[[["global", "local"], 1]]
        ),
        ("attn.attention.q_proj", "attn.attention.out_proj", "mlp.c_fc", "mlp.c_proj"),
        ("ln_1", "ln_2"), "transformer.ln_f",
    ),
    "gptj": (
        GPTJConfig(**SMALL, rotary_dim=4),
        ("attn.q_proj", "attn.out_proj", "mlp.fc_in", "mlp.fc_out"), ("ln_1",), "transformer.ln_f",
    ),
    "gemma2": (
        Gemma2Config(**SIZES, num_key_value_heads=2, head_dim=16),
        ("self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj"),
        (
            "input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm",
        ),
        "model.norm",
    ),
    "mpnet": (
        MPNetConfig(**SIZES),
        ("attention.attn.q", "attention.attn.o", "intermediate.dense", "output.dense"),
        ("attention.LayerNorm", "output.LayerNorm"), None,
    ),
}  # fmt: skip
REFUSED = {
    "bloom": (BloomConfig(vocab_size=60, hidden_size=32, n_layer=2, n_head=4), "called query or q_proj or q_lin, and"),
    "convbert": (ConvBertConfig(**SIZES, embedding_size=32), "0 matrices beside attention.self.query"),
    "glm": (GlmConfig(**SIZES, num_key_value_heads=2, pad_token_id=0), "gate_up_proj holds the gate too"),
    "mbart": (
        MBartConfig(vocab_size=60, d_model=32, encoder_layers=1, decoder_layers=1, pad_token_id=0),
        "it is an encoder-decoder",
    ),
    "mixtral": (MixtralConfig(**SIZES, num_local_experts=2, pad_token_id=0), "nothing is no feed-forward"),
    "xlm": (XLMConfig(vocab_size=60, emb_dim=32, n_layers=2, n_heads=4, pad_index=2), "nothing is no feed-forward"),
}


def built(config, device="cpu"):
    masked = config.model_type in ("mpnet", "convbert", "deberta-v2", "xlm")
    auto = AutoModelForMaskedLM if masked else AutoModelForCausalLM
    auto = AutoModelForSeq2SeqLM if config.is_encoder_decoder else auto
    with torch.device(device):
        return auto.from_config(config).eval()


def named(anatomy):
    blocks = [
        [part.name for part in (one.query, one.key, one.value, one.attention_out, one.ffn_in, one.ffn_out)]
        + [one.ffn_gate and one.ffn_gate.name, [name for name, _ in one.norms]]
        for one in anatomy.blocks
    ]
    return blocks, anatomy.final_norm and anatomy.final_norm[0]


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "llama", "qwen3", "mistral", "albert"])
def test_probing_finds_what_the_layout_of_a_known_family_says(fresh, family, monkeypatch):
    model = fresh(family).model
    expected = anatomy_of(model)
    monkeypatch.delitem(LAYOUTS, family)
    assert named(anatomy_of(model)) == named(expected)


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("family", FOUND)
def test_the_parts_of_an_unknown_family_are_found_with_weights_and_without(family, device):
    config, parts, norms, final = FOUND[family]
    anatomy = anatomy_of(built(config, device))
    assert len(anatomy.blocks) == 2
    for block in anatomy.blocks:
        found = (block.query, block.attention_out, block.ffn_in, block.ffn_out)
        assert tuple(one.name.removeprefix(f"{block.name}.") for one in found) == parts
        assert tuple(name.removeprefix(f"{block.name}.") for name, _ in block.norms) == norms
    assert (anatomy.final_norm and anatomy.final_norm[0]) == final
    assert anatomy.stackable


@pytest.mark.parametrize("family", REFUSED)
def test_what_cannot_be_told_is_refused_with_its_reason(family):
    config, reason = REFUSED[family]
    with pytest.raises(BackboneError, match=f"the parts of a '{family}' model are not known here.*{reason}") as caught:
        anatomy_of(built(config))
    assert "Known families: " in str(caught.value)


def test_a_projection_that_is_called_twice_is_refused(monkeypatch):
    deberta = DebertaV2Config(**SIZES, relative_attention=True, share_att_key=True, pos_att_type=["c2p"])
    monkeypatch.delitem(LAYOUTS, "deberta-v2")
    with pytest.raises(BackboneError, match="its query is called 2 times in a forward, not once"):
        anatomy_of(built(deberta))


def test_probing_leaves_no_hook_behind_and_the_random_stream_alone():
    model = built(FOUND["gptj"][0])
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    anatomy_of(model)
    assert torch.equal(torch.rand(2), expected)
    assert not any(module._forward_hooks for module in model.modules())


def test_a_near_name_is_suggested():
    config = BloomConfig(vocab_size=60, hidden_size=32, n_layer=1, n_head=4)
    model = built(config)
    model.config.model_type = "robert"
    with pytest.raises(BackboneError, match="Did you mean 'roberta'"):
        anatomy_of(model)
    unroll(model)
