"""ALBERT, unrolled: a module a block, the same weights."""

from contextlib import contextmanager

import pytest
import torch
from torch import nn
from transformers import AlbertConfig, AlbertForMaskedLM, AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from promptlab.backbone.anatomy import anatomy_of, rolled_state, unroll

SIZES = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
}


def ids_for(model, tokens=9):
    return torch.randint(5, model.config.vocab_size, (2, tokens), generator=torch.Generator().manual_seed(3))


@contextmanager
def recorded(*modules: nn.Module):
    """Modules as they are called."""
    calls = []
    hooks = [module.register_forward_hook(lambda m, x, y: calls.append(m)) for module in modules]
    yield calls
    for hook in hooks:
        hook.remove()


def albert(**changes) -> AlbertForMaskedLM:
    torch.manual_seed(0)
    return AlbertForMaskedLM(AlbertConfig(**{**SIZES, "embedding_size": 16, **changes})).eval()


SHARINGS = [
    {"num_hidden_layers": 3},
    {"num_hidden_layers": 4, "num_hidden_groups": 2},
    {"num_hidden_layers": 3, "num_hidden_groups": 2},
    {"num_hidden_layers": 2, "inner_group_num": 2},
]


@pytest.mark.parametrize("sharing", SHARINGS)
def test_an_unrolled_albert_gives_the_same_outputs_to_the_bit(sharing):
    model = albert(**sharing)
    with torch.no_grad():
        before = model(ids_for(model)).logits
        unroll(model)
        assert torch.equal(model(ids_for(model)).logits, before)


@pytest.mark.parametrize("sharing", SHARINGS)
def test_an_unrolled_albert_has_a_module_a_block_and_counts_its_weights_once(sharing):
    model = albert(**sharing)
    before = sum(weight.numel() for weight in model.parameters())
    unroll(model)
    blocks = [block.module for block in anatomy_of(model).blocks]
    assert len(set(map(id, blocks))) == sharing["num_hidden_layers"] * sharing.get("inner_group_num", 1)
    assert sum(weight.numel() for weight in model.parameters()) == before
    with recorded(*blocks) as calls:
        model(ids_for(model))
    assert calls == blocks


def test_a_hook_on_one_block_of_an_unrolled_albert_leaves_the_others_alone():
    model = albert(num_hidden_layers=3)
    unroll(model)
    first, second, _ = (block.module for block in anatomy_of(model).blocks)
    seen = []
    first.register_forward_hook(lambda *_: seen.append("first"))
    model(ids_for(model))
    assert seen == ["first"]
    assert first.attention.query.weight is second.attention.query.weight


def test_training_an_unrolled_albert_moves_all_its_blocks_together():
    rolled, unrolled = albert(num_hidden_layers=3), albert(num_hidden_layers=3)
    unroll(unrolled)
    for model in (rolled, unrolled):
        model(ids_for(model)).logits.square().mean().backward()
    one = rolled.albert.encoder.albert_layer_groups[0].albert_layers[0].ffn.weight.grad
    torch.testing.assert_close(anatomy_of(unrolled).blocks[2].ffn_in.module.weight.grad, one)


def test_unrolling_twice_changes_nothing_more():
    model = albert(num_hidden_layers=3)
    unroll(model)
    groups = list(model.albert.encoder.albert_layer_groups)
    unroll(model)
    assert list(model.albert.encoder.albert_layer_groups) == groups


def test_unrolling_leaves_the_config_that_is_saved_as_it_was():
    model = albert(num_hidden_layers=3)
    before = model.config.to_dict()
    unroll(model)
    assert model.config.to_dict() == before


@pytest.mark.parametrize("sharing", SHARINGS)
def test_the_rolled_state_of_an_unrolled_albert_fits_a_plain_one(sharing):
    model, plain = albert(**sharing), albert(**sharing)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    unroll(model)
    plain.load_state_dict(rolled_state(model))
    with torch.no_grad():
        assert torch.equal(model(ids_for(model)).logits, plain(ids_for(plain)).logits)


def test_the_rolled_state_of_other_families_is_their_state(tiny_bert):
    assert set(rolled_state(tiny_bert.model)) == set(tiny_bert.model.state_dict())


def test_an_unrolled_albert_follows_a_change_of_the_attention_in_every_block():
    model, seen = albert(num_hidden_layers=3), []
    unroll(model)

    def spy(*triple, **options):
        seen.append(triple)
        return sdpa_attention_forward(*triple, **options)

    AttentionInterface.register("spy", spy)
    AttentionMaskInterface.register("spy", sdpa_mask)
    model.set_attn_implementation("spy")
    model(ids_for(model))
    assert len(seen) == 3


def test_other_families_are_not_unrolled(tiny_bert):
    before = list(tiny_bert.model.modules())
    unroll(tiny_bert.model)
    assert list(tiny_bert.model.modules()) == before
