import copy
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import (
    AlbertConfig,
    AttentionInterface,
    AttentionMaskInterface,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    CamembertConfig,
    DebertaV2Config,
    ElectraConfig,
    GPTNeoXConfig,
    MistralConfig,
    OPTConfig,
    PhiConfig,
    Qwen2Config,
    Qwen3Config,
    SmolLM3Config,
    XLMRobertaConfig,
)
from transformers.activations import ACT2FN
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from promptlab.backbone.anatomy import Block, Projection, anatomy_of, unroll
from promptlab.backbone.layouts import LAYOUTS

ROLES = ("query", "key", "value", "attention_out", "ffn_in", "ffn_out", "ffn_gate")
SIZES = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
}
KIN = {
    "xlm-roberta": XLMRobertaConfig(**SIZES),
    "camembert": CamembertConfig(**SIZES),
    "electra": ElectraConfig(**SIZES, embedding_size=16),
    "mistral": MistralConfig(**SIZES, num_key_value_heads=2, head_dim=16),
    "qwen2": Qwen2Config(**SIZES, num_key_value_heads=1),
    "qwen3": Qwen3Config(**SIZES, num_key_value_heads=2, head_dim=16),
    "smollm3": SmolLM3Config(**SIZES, num_key_value_heads=2, pad_token_id=0),
    "deberta-v2": DebertaV2Config(
        **SIZES,
        relative_attention=True,
        position_buckets=8,
        share_att_key=True,
        pos_att_type=["p2c", "c2p"],
        norm_rel_ebd="layer_norm",
    ),
    "gpt_neox": GPTNeoXConfig(**SIZES),
    "opt": OPTConfig(**{**SIZES, "ffn_dim": 48, "init_std": 0.2}),
    "phi": PhiConfig(**SIZES, qk_layernorm=True, pad_token_id=0),
}
MASKED_KIN = ("xlm-roberta", "camembert", "electra", "deberta-v2")
ENCODER_DECODERS = {"t5", "bart"}  # test_encoder_decoders.py
FAMILIES = ("bert", "roberta", "distilbert", "albert", "modernbert", "gpt2", "llama")


@pytest.fixture(scope="module", params=[*FAMILIES, *KIN])
def model(request, fresh):
    """A model of each family, in double precision."""
    if request.param in FAMILIES:
        return fresh(request.param, dtype="float64").model
    config = KIN[request.param]
    auto = AutoModelForMaskedLM if request.param in MASKED_KIN else AutoModelForCausalLM
    torch.manual_seed(0)
    return auto.from_config(config).double().eval()


def ids_for(model, tokens=9):
    return torch.randint(5, model.config.vocab_size, (2, tokens), generator=torch.Generator().manual_seed(3))


def run(model):
    with torch.no_grad():
        return model.base_model(ids_for(model)).last_hidden_state


@contextmanager
def recorded(*modules: nn.Module) -> Iterator[list[tuple[nn.Module, torch.Tensor, torch.Tensor]]]:
    """Calls of these modules in their order: module, input, output."""
    calls: list = []
    hooks = [
        module.register_forward_hook(lambda m, x, y: calls.append((m, x[0] if x else None, y))) for module in modules
    ]
    yield calls
    for hook in hooks:
        hook.remove()


@contextmanager
def attended(model) -> Iterator[list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]]:
    """The queries, keys and values that reach the attention, ``(rows, tokens, features)`` each, a triple a block."""
    seen: list = []

    def spy(module, query, key, value, mask, **options):
        seen.append(tuple(x.transpose(1, 2).flatten(2) for x in (query, key, value)))
        return sdpa_attention_forward(module, query, key, value, mask, **options)

    AttentionInterface.register("spy", spy)
    AttentionMaskInterface.register("spy", sdpa_mask)
    model.set_attn_implementation("spy")
    yield seen
    model.set_attn_implementation("sdpa")


def projections(block: Block) -> dict[str, Projection]:
    return {role: found for role in ROLES if (found := getattr(block, role)) is not None}


def applied(projection: Projection, x: torch.Tensor) -> torch.Tensor:
    return F.linear(x, projection.weight, projection.bias)


# ---------------------------------------------------------------- the projections are what they are called


@pytest.mark.parametrize("role", ["query", "key", "value"])
def test_query_key_and_value_reproduce_what_reaches_the_attention(model, role):
    blocks = anatomy_of(model).blocks
    if model.config.model_type == "deberta-v2":
        pytest.skip("its attention is its own")
    at = ("query", "key", "value").index(role)
    with attended(model) as seen, recorded(*(getattr(block, role).module for block in blocks)) as calls:
        run(model)
    rotated = role != "value" and hasattr(model.base_model, "rotary_emb")
    normed = role != "value" and model.config.model_type in ("qwen3", "phi")
    scale = (32 // 4) ** -0.5 if (role, model.config.model_type) == ("query", "opt") else 1.0
    assert len(seen) == len(calls) == len(blocks)
    for block, triple, (_, x, _) in zip(blocks, seen, calls, strict=True):
        ours = applied(getattr(block, role), x)
        if normed:  # a norm over each head stands between
            norm = next(norm for name, norm in block.norms if f".self_attn.{role[0]}_" in name)
            ours = norm(ours.unflatten(-1, (-1, len(norm.weight)))).flatten(-2)
        upto = 1 if rotated else None  # at position 0 a rotation turns nothing
        atol = 1e-6 if rotated else 1e-12  # ModernBERT turns in float32 whatever comes in
        torch.testing.assert_close(scale * ours[:, :upto], triple[at][:, :upto], rtol=0, atol=atol)


def test_attention_out_reads_the_heads_and_writes_the_width(model):
    for block in anatomy_of(model).blocks:
        heads = model.config.num_attention_heads
        assert block.attention_out.inputs == block.query.width == heads * (block.query.width // heads)
        assert block.attention_out.width == block.query.inputs == model.config.hidden_size


def test_the_feed_forward_parts_reproduce_its_inner_units(model):
    config, blocks = model.config, anatomy_of(model).blocks
    name = next(
        getattr(config, key)
        for key in ("hidden_act", "activation_function", "activation", "hidden_activation")
        if hasattr(config, key)
    )
    modules = [part for block in blocks for part in (block.ffn_in.module, block.ffn_out.module)]
    with recorded(*modules) as calls:
        run(model)
    for block, (_, x, _), (_, inner, _) in zip(blocks, calls[::2], calls[1::2], strict=True):
        up = applied(block.ffn_in, x)
        ours = ACT2FN[name](up) if block.ffn_gate is None else ACT2FN[name](applied(block.ffn_gate, x)) * up
        torch.testing.assert_close(ours, inner, rtol=0, atol=1e-12)


def test_a_slice_of_the_modules_output_is_the_projection(model):
    for block in anatomy_of(model).blocks:
        for role, projection in projections(block).items():
            x = torch.randn(3, projection.inputs, dtype=torch.float64)
            ours = projection.take(projection.module(x))
            torch.testing.assert_close(ours, applied(projection, x), rtol=0, atol=1e-12, msg=role)


def test_spreading_undoes_taking_and_adding_reaches_the_projections_rows_alone(model):
    for projection in projections(anatomy_of(model).blocks[0]).values():
        outputs = torch.randn(3, *projection.module(torch.randn(1, projection.inputs).double()).shape[1:]).double()
        kept = projection.spread(projection.take(outputs))
        assert torch.equal(projection.take(kept), projection.take(outputs))
        assert (kept != 0).sum() == projection.take(outputs).numel()
        whole = torch.zeros_like(projection.module.weight)
        projection.add_to(whole, torch.ones(projection.width, projection.inputs).double())
        features = whole.sum(0 if projection.transposed else 1) / projection.inputs
        assert torch.equal(projection.spread(torch.ones(projection.width).double()), features)


def test_the_projections_of_a_block_are_all_its_matrices_and_none_twice(model):
    for block in anatomy_of(model).blocks:
        matrices = sum(weight.numel() for weight in block.module.parameters() if weight.dim() == 2)
        assert sum(found.width * found.inputs for found in projections(block).values()) == matrices
        places = {(id(found.module), found.start) for found in projections(block).values()}
        assert len(places) == len(projections(block))


def test_key_value_heads_that_are_fewer_make_keys_and_values_narrower(model):
    config, block = model.config, anatomy_of(model).blocks[0]
    fewer = config.num_attention_heads // (getattr(config, "num_key_value_heads", None) or config.num_attention_heads)
    assert block.key.width == block.value.width == block.query.width // fewer


def test_only_gated_feed_forwards_have_a_gate(model):
    gated = {"modernbert", "llama", "mistral", "qwen2", "qwen3", "smollm3"}
    assert (anatomy_of(model).blocks[0].ffn_gate is not None) == (model.config.model_type in gated)


def test_what_is_written_to_a_projection_changes_its_part_of_the_module_and_no_other(tiny_gpt2):
    block = copy.deepcopy(anatomy_of(tiny_gpt2.model).blocks[0])
    query, value = block.query.weight.clone(), block.value.weight.clone()
    with torch.no_grad():
        block.value.weight.add_(1)
        block.value.bias.add_(1)
    assert torch.equal(block.query.weight, query)
    assert torch.equal(block.value.module.weight[:, 64:], value.T + 1)
    assert not block.value.whole
    assert block.attention_out.whole


def test_a_projection_without_bias_has_none(tiny_llama, tiny_bert):
    assert tiny_llama.anatomy.blocks[0].query.bias is None
    assert tiny_bert.anatomy.blocks[0].query.bias.shape == (32,)


# ---------------------------------------------------------------- blocks and norms


def test_every_name_leads_to_its_module(model):
    anatomy = anatomy_of(model)
    for block in anatomy.blocks:
        assert model.get_submodule(block.name) is block.module
        for projection in projections(block).values():
            assert model.get_submodule(projection.name.split("[")[0]) is projection.module
        for name, norm in block.norms:
            assert model.get_submodule(name) is norm


def test_no_two_projections_have_one_name(model):
    names = [projection.name for block in anatomy_of(model).blocks for projection in projections(block).values()]
    assert len(set(names)) == len(names)


def test_names_follow_the_model_whether_it_has_a_head_or_not(model):
    body = model.base_model
    for with_head, without in zip(anatomy_of(model).blocks, anatomy_of(body).blocks, strict=True):
        assert with_head.name == f"{model.base_model_prefix}.{without.name}"
        assert body.get_submodule(without.name) is with_head.module


def test_each_block_runs_once_and_in_order(model):
    blocks = [block.module for block in anatomy_of(model).blocks]
    with recorded(*blocks) as calls:
        run(model)
    assert [module for module, *_ in calls] == blocks


def test_norms_are_all_there_and_in_the_order_of_the_forward(model):
    anatomy = anatomy_of(model)
    norms = [module for module in model.base_model.modules() if type(module).__name__.endswith("Norm")]
    with recorded(*norms) as calls:
        run(model)
    ours = [norm for block in anatomy.blocks for _, norm in block.norms]
    last = [anatomy.final_norm[1]] if anatomy.final_norm else []
    ran = [module for module, *_ in calls]
    assert ran[len(ran) - len(ours) - len(last) :] == ours + last  # what ran before belongs to the embeddings
    assert len(ran) - len(ours) - len(last) == sum(
        ("embeddings" in name or name == "encoder.LayerNorm") and "Norm" in type(m).__name__
        for name, m in model.base_model.named_modules()
    )


def test_the_final_norms_output_is_the_last_hidden_state(model):
    anatomy = anatomy_of(model)
    if anatomy.final_norm is None:
        assert model.config.model_type in (
            "bert",
            "roberta",
            "xlm-roberta",
            "camembert",
            "electra",
            "deberta-v2",
            "distilbert",
            "albert",
        )
        return
    with recorded(anatomy.final_norm[1]) as calls:
        hidden = run(model)
    assert torch.equal(calls[-1][2], hidden)
    assert model.get_submodule(anatomy.final_norm[0]) is anatomy.final_norm[1]


def test_known_families_go_through_the_body_in_one_batch_but_for_deberta(model):
    assert anatomy_of(model).stackable == (model.config.model_type != "deberta-v2")
    assert anatomy_of(model).family == model.config.model_type


def test_every_layout_is_tested_here(model):
    assert set(LAYOUTS) == {*FAMILIES, *KIN, *ENCODER_DECODERS}


def test_the_anatomy_needs_no_weights():
    with torch.device("meta"):
        model = AutoModelForMaskedLM.from_config(AlbertConfig(**SIZES, embedding_size=16))
    unroll(model)
    assert [block.query.width for block in anatomy_of(model).blocks] == [32, 32]


def test_only_alberts_weights_are_shared_between_blocks(model):
    shared = {found.shared for block in anatomy_of(model).blocks for found in projections(block).values()}
    assert shared == {model.config.model_type == "albert"}
