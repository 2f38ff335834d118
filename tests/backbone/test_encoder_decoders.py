"""T5 and BART: the encoder's blocks, the decoder's, and what lies across."""

import pytest
import torch
from torch.nn import functional as F
from transformers import BartConfig, BartForConditionalGeneration, T5Config, T5ForConditionalGeneration

from promptlab.backbone.anatomy import anatomy_of

T5 = {"vocab_size": 60, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_decoder_layers": 3, "num_heads": 4}
BART = {
    "vocab_size": 60, "d_model": 32, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 40, "pad_token_id": 0,
}  # fmt: skip
MODELS = {
    "t5": lambda: T5ForConditionalGeneration(T5Config(**T5)),
    "t5-gated": lambda: T5ForConditionalGeneration(T5Config(**T5, feed_forward_proj="gated-gelu")),
    "bart": lambda: BartForConditionalGeneration(BartConfig(**BART)),
}


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    torch.manual_seed(0)
    return MODELS[request.param]().double().eval()


def parts_of(block):
    cross = block.cross and (block.cross.query, block.cross.key, block.cross.value, block.cross.attention_out)
    own = (block.query, block.key, block.value, block.attention_out, block.ffn_in, block.ffn_out, block.ffn_gate)
    return [part for part in (*own, *(cross or ())) if part]


def called(model, modules):
    seen = []

    def note(module, x, y):
        seen.append((module, x[0] if x else None, y))

    hooks = [module.register_forward_hook(note) for module in modules]
    ids = torch.arange(5, 15).view(2, 5)
    with torch.no_grad():
        model(input_ids=ids, decoder_input_ids=ids[:, :3])
    for hook in hooks:
        hook.remove()
    return seen


def test_the_encoders_blocks_come_first_and_the_decoders_attend_across(model):
    anatomy = anatomy_of(model)
    assert [block.cross is None for block in anatomy.blocks] == [True, True, False, False, False]
    assert anatomy.decoder == anatomy.blocks[2:]
    blocks = [block.module for block in anatomy.blocks]
    assert [module for module, *_ in called(model, blocks)] == blocks


def test_every_projection_is_called_once_and_is_what_its_weight_says(model):
    for block in anatomy_of(model).blocks:
        parts = parts_of(block)
        found = called(model, [part.module for part in parts])
        assert {id(module) for module, *_ in found} == {id(part.module) for part in parts}
        assert len(found) == len(parts)
        by_module = {id(part.module): part for part in parts}
        for module, x, y in found:
            part = by_module[id(module)]
            torch.testing.assert_close(F.linear(x, part.weight, part.bias), y, rtol=0, atol=1e-12)
            assert model.get_submodule(part.name) is module


def test_keys_and_values_across_read_the_encoders_five_tokens_and_queries_the_decoders_three(model):
    for block in anatomy_of(model).decoder:
        cross = block.cross
        for part, tokens in ((cross.query, 3), (cross.key, 5), (cross.value, 5), (cross.attention_out, 3)):
            ((_, x, _),) = called(model, [part.module])
            assert x.shape == (2, tokens, 32)


def test_the_projections_of_a_block_are_all_its_matrices(model):
    for block in anatomy_of(model).blocks:
        parts = parts_of(block)
        matrices = [one.weight for one in block.module.modules() if isinstance(one, torch.nn.Linear)]
        assert {id(part.module.weight) for part in parts} == set(map(id, matrices))


def test_only_the_gated_t5_has_a_gate_which_stands_under_the_activation(model):
    gated = getattr(model.config, "is_gated_act", False)
    for block in anatomy_of(model).blocks:
        assert (block.ffn_gate is not None) == bool(gated)
        assert block.ffn_in.name.endswith("wi_1" if gated else ("wi" if model.config.model_type == "t5" else "fc1"))


def test_norms_are_in_the_order_of_the_forward_and_t5_has_one_above_each_half(model):
    anatomy = anatomy_of(model)
    for block in anatomy.blocks:
        norms = [norm for _, norm in block.norms]
        assert len(norms) == (3 if block.cross else 2)
        assert [module for module, *_ in called(model, norms)] == norms
    if model.config.model_type == "t5":
        assert (anatomy.encoder_norm[0], anatomy.final_norm[0]) == (
            "encoder.final_layer_norm",
            "decoder.final_layer_norm",
        )
    else:
        assert anatomy.encoder_norm is anatomy.final_norm is None
