import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.checkpoint import quiet


def batch(backbone: Backbone, rows=2, tokens=7):
    ids = torch.randint(8, backbone.vocab, (rows, tokens), generator=torch.Generator().manual_seed(1))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def test_a_backbone_gives_the_logits_that_plain_transformers_gives(each, folder_of):
    auto = AutoModelForMaskedLM if each.kind == "masked" else AutoModelForCausalLM
    with quiet():
        plain = auto.from_pretrained(each.folder).eval()
    with torch.inference_mode():
        assert torch.equal(each.model(**batch(each)).logits, plain(**batch(each)).logits)


def test_a_hook_on_the_body_that_keeps_chosen_positions_keeps_the_heads_scores_there(each, float64):
    backbone, chosen = float64(each), torch.tensor([[1, 4], [6, 0]])

    def narrow(module, inputs, output):
        output.last_hidden_state = output.last_hidden_state[torch.arange(2)[:, None], chosen]
        return output

    with torch.inference_mode():
        whole = backbone.model(**batch(backbone)).logits
        handle = backbone.body.register_forward_hook(narrow)
        narrowed = backbone.model(**batch(backbone)).logits
        handle.remove()
    assert narrowed.shape == (2, 2, backbone.vocab)
    torch.testing.assert_close(narrowed, whole[torch.arange(2)[:, None], chosen], rtol=0, atol=1e-12)


def test_five_families_fill_in_words_and_two_go_on_writing(tiny):
    kinds = {family: tiny(family).kind for family in ("bert", "roberta", "distilbert", "albert", "modernbert")}
    assert set(kinds.values()) == {"masked"}
    assert tiny("gpt2").kind == tiny("llama").kind == "causal"


def test_a_backbone_knows_its_sizes(each, fresh):
    own = fresh(each)  # transformers leaves hooks on a model whose hidden states were asked for
    out = own.model(**batch(own), output_hidden_states=True)
    assert out.hidden_states[-1].shape[-1] == each.width == 32
    assert out.logits.shape[-1] == each.vocab
    assert len(out.hidden_states) - 1 == each.layers == 2


def test_a_backbone_is_frozen_and_in_evaluation_mode(each):
    assert not any(weight.requires_grad for weight in each.model.parameters())
    assert not any(module.training for module in each.model.modules())


def test_the_longest_row_fits_and_one_token_more_does_not(each):
    assert each.max_length == 128
    each.model(**batch(each, rows=1, tokens=each.max_length))
    if each.config.model_type in ("modernbert", "llama"):  # their positions are computed, not looked up
        return
    with pytest.raises((IndexError, RuntimeError)):
        each.model(**batch(each, rows=1, tokens=each.max_length + 1))


def test_every_token_of_the_tokenizer_has_an_embedding(each):
    assert len(each.tokenizer) <= each.vocab


def test_every_word_the_tests_ask_for_is_one_token_after_a_space(each):
    for word in ("great", "terrible", "good", "bad", "yes", "no", "world", "sports", "business", "tech"):
        spaced = each.tokenizer(f"was {word}", add_special_tokens=False)["input_ids"]
        assert len(spaced) == 2, word


def test_padding_without_a_padding_token_is_id_0(tiny_llama, tiny_roberta):
    assert tiny_llama.tokenizer.pad_token_id is None
    assert tiny_llama.pad_id == 0
    assert tiny_roberta.pad_id == tiny_roberta.tokenizer.pad_token_id == 1


def test_tied_embeddings_are_one_tensor_and_untied_ones_two(each):
    output = each.model.get_output_embeddings().weight
    assert (output is each.model.get_input_embeddings().weight) == (each.config.model_type != "llama")


def test_only_a_checkpoint_that_holds_a_pooler_says_so(each):
    assert each.has_pooler_weights == (each.config.model_type in ("bert", "albert"))


def test_attention_goes_through_the_fused_kernel(each):
    assert each.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_weights_come_in_the_format_asked_for(fresh, dtype):
    backbone = fresh("modernbert", dtype=dtype)
    assert backbone.dtype is getattr(torch, dtype)
    assert {weight.dtype for weight in backbone.model.parameters()} == {backbone.dtype}
