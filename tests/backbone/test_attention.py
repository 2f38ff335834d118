"""Keys and values before an attention's own: every attention module sees them, and what it then computes."""

from collections import Counter

import pytest
import torch
from families import INSIDE, OUTSIDE, made
from torch.nn import functional
from transformers import DynamicCache

from promptlab.backbone import attention
from promptlab.backbone.anatomy import unroll
from promptlab.backbone.attention import activations, attentions, for_rows, preceded
from promptlab.backbone.device import generator
from promptlab.errors import BackboneError, SettingError

IDS = torch.tensor([[5, 6, 7, 8, 9], [10, 11, 12, 0, 0]])
CAUSAL = ("gpt2", "llama", "mistral", "qwen3", "opt")
REAL = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])


def asked(model, ids=IDS, real=REAL, **more):
    """The model's logits for ids, and for some others behind a decoder."""
    decoder = {"decoder_input_ids": ids[:, :4]} if model.config.is_encoder_decoder else {}
    return model(input_ids=ids, attention_mask=real, **decoder, **more).logits


def columns(model, n=3, members=1):
    """Something to stand before each attention module: ``(members, 2, n, key width)`` by path."""
    found, dtype = attentions(model), model.dtype
    draw = generator("columns")
    return {path: torch.randn(members, 2, n, one.size, generator=draw).to(dtype) for path, one in found.items()}


def given(model, pairs):
    found = attentions(model)
    return {path: lambda k, v, path=path: for_rows(pairs[path], found[path], k) for path in pairs}


@pytest.mark.parametrize("family", INSIDE)
def test_a_prefix_acts_in_every_attention_module(family):
    model = made(family)
    plain, pairs = asked(model), columns(model)
    wanted = 6 if model.config.is_encoder_decoder else 2  # encoder, decoder and cross: two blocks each
    assert len(pairs) == wanted
    for path in pairs:
        with preceded(model, given(model, {path: pairs[path]})):
            assert not torch.allclose(asked(model)[0], plain[0], atol=1e-6), path
    assert torch.equal(asked(model), plain)


@pytest.mark.parametrize("family", OUTSIDE)
def test_an_architecture_outside_the_interface_is_refused_by_name(family):
    model = made(family)
    before = model.config._attn_implementation
    with pytest.raises(BackboneError, match=f"a '{model.config.model_type}' model does not attend through"):
        attentions(model)
    assert model.config._attn_implementation == before


@pytest.mark.parametrize("family", INSIDE)
def test_sdpa_and_eager_say_the_same(family):
    model = made(family).double()
    other = made(family).double()
    other.set_attn_implementation("eager")
    pairs = columns(model)
    with preceded(model, given(model, pairs)), preceded(other, given(other, pairs)):
        one, two = (answer[text(model)] for answer in (asked(model), asked(other)))
    torch.testing.assert_close(one, two, rtol=0, atol=1e-4)  # eager softmaxes of some families are of single precision


def text(model):
    """Where a row has text: what stands at padding is no one's answer."""
    return REAL.bool()[:, :4] if model.config.is_encoder_decoder else REAL.bool()


@pytest.mark.parametrize("family", INSIDE)
@pytest.mark.parametrize("kind", ["sdpa", "eager"])
def test_padding_changes_nothing(family, kind):
    model = made(family).double()
    model.set_attn_implementation(kind)
    with preceded(model, given(model, columns(model))):
        together, alone = asked(model), asked(model, IDS[1:, :3], REAL[1:, :3])
    atol = 1e-10 if kind == "sdpa" else 1e-4
    torch.testing.assert_close(together[1, :3], alone[0], rtol=0, atol=atol)


@pytest.mark.parametrize("family", ["gpt2", "llama", "mistral", "bert"])
def test_a_row_without_padding_gets_a_mask_where_the_kernel_would_have_done_without(family):
    model = made(family).double()
    with preceded(model, given(model, columns(model))):
        bare = model(input_ids=IDS[:1]).logits
        padded = model(
            input_ids=functional.pad(IDS[:1], (0, 2)), attention_mask=functional.pad(REAL[:1], (0, 2))
        ).logits
        torch.testing.assert_close(bare, padded[:, :5], rtol=0, atol=1e-10)
        if family != "bert":  # a causal model sees nothing of what follows
            torch.testing.assert_close(model(input_ids=IDS[:1, :3]).logits, bare[:, :3], rtol=0, atol=1e-10)


def test_a_causal_module_called_without_a_mask_sees_nothing_that_follows():
    model = made("gpt2").double()
    path, x = next(iter(attentions(model))), torch.randn(1, 5, 32, generator=generator("x"), dtype=torch.float64)
    attend, mask = model.get_submodule(path), torch.ones(5, 5, dtype=torch.bool).tril()[None, None]
    with preceded(model, given(model, {path: columns(model)[path]})):
        torch.testing.assert_close(attend(x)[0], attend(x, attention_mask=mask)[0], rtol=0, atol=1e-10)


def test_on_gpt2_it_is_what_a_cache_of_those_keys_does_at_the_texts_own_positions():
    model = made("gpt2").double()
    pairs = columns(model)
    cache = DynamicCache()
    for layer, pair in enumerate(pairs.values()):
        keys, values = pair.view(2, 3, 4, 8).transpose(1, 2)
        cache.update(keys[None], values[None], layer)
    positions = torch.arange(5)[None]
    with preceded(model, given(model, pairs)):
        ours = model(input_ids=IDS[:1]).logits
    theirs = model(input_ids=IDS[:1], position_ids=positions, cache=cache, attention_mask=torch.ones(1, 8)).logits
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


def test_on_bert_it_is_a_softmax_over_more_keys():
    model = made("bert", layers=1).double()
    (path,), pair = attentions(model), columns(model)[next(iter(attentions(model)))][0]
    attend = model.get_submodule(path)
    x = torch.randn(1, 5, 32, generator=generator("x"), dtype=torch.float64)
    with preceded(model, given(model, {path: pair[None]})):
        found = attend(x)[0][0]
    q, k, v = (module(x[0]) for module in (attend.query, attend.key, attend.value))
    k, v = torch.cat([pair[0], k]), torch.cat([pair[1], v])
    heads = [slice(8 * i, 8 * i + 8) for i in range(4)]
    plain = [(q[:, one] @ k[:, one].T / 8**0.5).softmax(-1) @ v[:, one] for one in heads]
    torch.testing.assert_close(found, torch.cat(plain, -1), rtol=0, atol=1e-10)


@pytest.mark.parametrize("family", ["mistral", "modernbert"])
def test_a_sliding_window_always_sees_the_prefix(family):
    model = made(family)
    long = torch.arange(40)[None] % 20 + 5  # far longer than the window of eight
    path = list(attentions(model))[-1]
    pairs = {path: columns(model)[path]}
    plain = model(input_ids=long).logits
    with preceded(model, given(model, pairs)):
        change = (model(input_ids=long).logits - plain).abs().amax(-1)
    assert change.min() > 1e-5


def test_t5s_position_bias_is_zero_before_the_text():
    model = made("t5").double()
    path = "encoder.block.0.layer.0.SelfAttention"
    attend, pair = model.get_submodule(path), columns(model)[path][0]
    x = torch.randn(1, 5, 32, generator=generator("x"), dtype=torch.float64)
    with preceded(model, given(model, {path: pair[None]})):
        found = attend(x)[0][0]
    q, k, v = (module(x[0]) for module in (attend.q, attend.k, attend.v))
    k, v = torch.cat([pair[0], k]), torch.cat([pair[1], v])
    bias = functional.pad(attend.compute_bias(5, 5)[0], (3, 0))
    heads = [slice(8 * i, 8 * i + 8) for i in range(4)]
    plain = [(q[:, one] @ k[:, one].T + bias[i]).softmax(-1) @ v[:, one] for i, one in enumerate(heads)]
    torch.testing.assert_close(found, attend.o(torch.cat(plain, -1)), rtol=0, atol=1e-10)


@pytest.mark.parametrize("family", ["gpt2", "llama", "mistral", "t5", "bart"])
def test_generation_with_a_cache_says_what_reading_everything_again_says(family):
    model = made(family).double()
    call = {"input_ids": IDS[:1], "attention_mask": REAL[:1], "do_sample": False, "max_new_tokens": 12}
    call |= {"output_logits": True, "return_dict_in_generate": True, "eos_token_id": None, "forced_eos_token_id": None}
    with preceded(model, given(model, columns(model))):
        cached, whole = (model.generate(**call, use_cache=use, pad_token_id=0) for use in (True, False))
    assert torch.equal(cached.sequences, whole.sequences)
    torch.testing.assert_close(torch.stack(cached.logits), torch.stack(whole.logits), rtol=0, atol=1e-10)


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "t5"])
def test_rows_of_a_stack_see_their_own_members_columns(family):
    model = made(family).double()
    pairs = columns(model, members=2)
    with preceded(model, given(model, pairs)):
        together = asked(model, IDS.repeat(2, 1), REAL.repeat(2, 1))
    for member in range(2):
        own = {path: pair[member : member + 1] for path, pair in pairs.items()}
        with preceded(model, given(model, own)):
            rows = together[2 * member : 2 * member + 2]
            torch.testing.assert_close(rows[text(model)], asked(model)[text(model)], rtol=0, atol=1e-10)


@pytest.mark.parametrize("family", sorted(set(INSIDE) - {"albert"}))  # which transformers checkpoints not
def test_gradient_checkpointing_changes_nothing(family):
    def gradients(checkpointed):
        model = made(family).double()
        if checkpointed:
            model.activation_checkpointing_enable()
        model.train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        pairs = {path: pair.requires_grad_(True) for path, pair in columns(model).items()}
        call, passed = {"use_cache": False} if family in CAUSAL else {}, []
        for path in pairs:
            model.get_submodule(path).register_forward_pre_hook(lambda *_, path=path: passed.append(path))
        with preceded(model, given(model, pairs)):
            asked(model, **call).square().sum().backward()
        assert Counter(passed) == dict.fromkeys(pairs, 2 if checkpointed else 1)
        return [pair.grad for pair in pairs.values()]

    for one, other in zip(gradients(False), gradients(True), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_half_precision_keys_take_columns_of_single_precision():
    model = made("llama").bfloat16()
    pairs = {path: pair.float() for path, pair in columns(model).items()}
    with preceded(model, given(model, pairs)):
        assert asked(model).dtype == torch.bfloat16


def test_albert_rolled_up_is_refused_and_unrolled_is_not():
    rolled = made("albert", unrolled=False)
    with pytest.raises(BackboneError, match="serves 2 layers"):
        attentions(rolled)
    unroll(rolled)
    assert len(attentions(rolled)) == 2


def test_an_attention_that_cannot_be_wrapped_is_refused():
    model = made("bert")
    model.config._attn_implementation = "flex_attention"
    with pytest.raises(BackboneError, match="attends with flex_attention.*Load it with"), preceded(model, {}):
        pass
    assert model.config._attn_implementation == "flex_attention"


def test_afterwards_the_model_attends_as_before_even_after_an_error():
    model = made("t5")
    implementations = [one.config._attn_implementation for one in (model, model.encoder, model.decoder)]
    attributes = [set(vars(module)) for module in model.modules()]
    with pytest.raises(ZeroDivisionError), preceded(model, given(model, columns(model))):
        raise ZeroDivisionError
    assert [one.config._attn_implementation for one in (model, model.encoder, model.decoder)] == implementations
    assert [set(vars(module)) for module in model.modules()] == attributes


def test_blocks_may_be_nested():
    model = made("bert").double()
    pairs = columns(model, n=4)
    left, right = ({path: pair[:, :, part] for path, pair in pairs.items()} for part in (slice(2), slice(2, 4)))
    with preceded(model, given(model, pairs)):
        whole = asked(model)
    with preceded(model, given(model, right)):
        with preceded(model, given(model, left)):
            torch.testing.assert_close(asked(model), whole, rtol=0, atol=1e-10)
        assert not torch.allclose(asked(model), whole)


def test_rows_that_are_no_multiple_of_the_members_are_refused():
    model = made("bert")
    with (
        preceded(model, given(model, columns(model, members=3))),
        pytest.raises(SettingError, match="2 rows are no multiple of 3 members"),
    ):
        asked(model)


def test_the_probe_runs_on_the_meta_device():
    for family in INSIDE:
        attention._FOUND.clear()
        assert attentions(made(family).to("meta")) == attentions(made(family))


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2", "llama", "modernbert"])
def test_activations_of_words_are_the_keys_that_stand_in_a_cache(family):
    model = made(family).double()
    ids = IDS[0]
    found = activations(model, ids)
    heads = next(iter(attentions(model).values()))
    assert found.shape == (2, 2, 5, heads.size)
    if family in ("gpt2", "llama"):
        cache = DynamicCache()
        model(input_ids=ids[None], cache=cache, use_cache=True)
        wanted = torch.stack([torch.stack([layer.keys[0], layer.values[0]]) for layer in cache.layers])
        torch.testing.assert_close(found, wanted.transpose(2, 3).flatten(3), rtol=0, atol=0)


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2", "llama", "modernbert", "albert", "opt"])
def test_a_shift_counts_the_prefix_as_tokens(family):
    model = made(family).double()
    first = 2 if family == "roberta" else 0
    positions = torch.arange(5)[None] + first
    with preceded(model, given(model, columns(model)), shift=3):
        ours = model(input_ids=IDS[:1]).logits
    with preceded(model, given(model, columns(model))):
        by_hand = model(input_ids=IDS[:1], position_ids=positions + 3).logits
        unmoved = model(input_ids=IDS[:1]).logits
    torch.testing.assert_close(ours, by_hand, rtol=0, atol=1e-10)
    assert not torch.allclose(ours, unmoved)


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_a_shift_counts_the_prefix_in_those_halves_that_have_one(half):
    model, moved = made("bart").double(), made("bart").double()
    weight = getattr(moved.model, half).embed_positions.weight
    weight.copy_(weight.roll(-3, 0))  # what stood at position 3 stands at 0
    pairs = {path: one for path, one in columns(model).items() if f".{half}." in path}
    with preceded(model, given(model, pairs), shift=3), preceded(moved, given(moved, pairs)):
        shifted, by_hand = asked(model), asked(moved)
    with preceded(model, given(model, pairs)):
        assert not torch.allclose(asked(model), shifted, atol=1e-3)
    torch.testing.assert_close(shifted, by_hand, rtol=0, atol=1e-10)


def test_a_model_without_numbered_positions_takes_no_shift():
    model = made("t5")
    with (
        pytest.raises(BackboneError, match="positions of a 't5' model cannot be shifted: no module of its own is told"),
        preceded(model, {}, shift=2),
    ):
        pass
