"""Prefix tuning against PEFT: equal columns in, equal outputs out, once the positions are shifted as PEFT's are."""

import pytest
import torch
from families import made

from promptlab.backbone.attention import attentions, for_rows, preceded

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # PEFT asks transformers by older names

IDS = torch.tensor([[5, 6, 7, 8, 9]])


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2", "llama", "opt"])
def test_outputs_equal_pefts_with_the_shift_and_differ_without(family):
    model = made(family).double()
    heads = attentions(model)
    size = next(iter(heads.values())).size
    kind = "CAUSAL_LM" if family in ("gpt2", "llama", "opt") else "FEATURE_EXTRACTION"
    config = peft.PrefixTuningConfig(
        task_type=kind, num_virtual_tokens=3, num_layers=2, token_dim=32, num_attention_heads=4
    )
    wrapped = peft.get_peft_model(made(family), config).eval().double()
    theirs = wrapped(input_ids=IDS, attention_mask=torch.ones_like(IDS)).logits
    stored = wrapped.prompt_encoder["default"].embedding.weight.detach().view(3, 2, 2, size).permute(1, 2, 0, 3)
    given = {
        path: lambda keys, values, pair=pair, one=heads[path]: for_rows(pair[None], one, keys)
        for path, pair in zip(heads, stored, strict=True)
    }
    with preceded(model, given, shift=3):
        torch.testing.assert_close(model(input_ids=IDS).logits, theirs, rtol=0, atol=1e-10)
    with preceded(model, given):
        assert not torch.allclose(model(input_ids=IDS).logits, theirs, atol=1e-3)


def test_in_an_encoder_decoder_outputs_equal_pefts_whose_prefix_stands_before_the_decoders_own_tokens():
    model = made("bart").double()
    config = peft.PrefixTuningConfig(
        task_type="SEQ_2_SEQ_LM", num_virtual_tokens=3, num_layers=2, token_dim=32, num_attention_heads=4
    )
    wrapped = peft.get_peft_model(made("bart"), config).eval().double()
    rows = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS), "decoder_input_ids": IDS[:, :3]}
    theirs, layers = wrapped(**rows).logits, wrapped.get_prompt(1).self_attention_cache.layers
    given = {
        f"model.decoder.layers.{at}.self_attn": lambda keys, values, layer=layer: (layer.keys, layer.values)
        for at, layer in enumerate(layers)
    }
    with preceded(model, given, shift=3):
        torch.testing.assert_close(model(**rows).logits, theirs, rtol=0, atol=1e-10)
    with preceded(model, given):
        assert not torch.allclose(model(**rows).logits, theirs, atol=1e-3)
