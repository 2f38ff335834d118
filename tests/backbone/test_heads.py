import copy
import shutil
from pathlib import Path

import pytest
import torch
from torch.func import functional_call, stack_module_state, vmap
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertForMaskedLM,
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

from promptlab.backbone.backbone import load_backbone
from promptlab.backbone.checkpoint import quiet
from promptlab.backbone.device import generator
from promptlab.backbone.heads import CHAINS, default_pool, head_for, pool
from promptlab.backbone.layouts import LAYOUTS
from promptlab.errors import BackboneError, SettingError

FAMILIES = ("bert", "roberta", "distilbert", "albert", "modernbert", "gpt2", "llama")
SIZES = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48}
KIN = {
    "xlm-roberta": XLMRobertaConfig,
    "camembert": CamembertConfig,
    "electra": ElectraConfig,
    "mistral": MistralConfig,
    "qwen2": Qwen2Config,
    "qwen3": Qwen3Config,
    "smollm3": SmolLM3Config,
    "deberta-v2": DebertaV2Config,
    "gpt_neox": GPTNeoXConfig,
    "opt": OPTConfig,
    "phi": PhiConfig,
}
MASKED_KIN = ("xlm-roberta", "camembert", "electra", "deberta-v2")


@pytest.fixture(scope="module", params=[*FAMILIES, *KIN])
def backbone(request, folder_of, tmp_path_factory):
    """A backbone of each family, in double precision."""
    if request.param in FAMILIES:
        return load_backbone(str(folder_of(request.param)), device="cpu", dtype="float64")
    masked = request.param in MASKED_KIN
    like, folder = folder_of("roberta" if masked else "gpt2"), tmp_path_factory.mktemp(request.param)
    tokenizer = AutoTokenizer.from_pretrained(like)
    sizes = SIZES if masked else {**SIZES, "num_key_value_heads": 2}
    config = KIN[request.param](**sizes, vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id)
    with quiet():
        (AutoModelForMaskedLM if masked else AutoModelForCausalLM).from_config(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return load_backbone(str(folder), device="cpu", dtype="float64")


def padded(backbone, lengths=(9, 4, 6)):
    """Rows of unequal lengths, padded on the right with an id that no row holds."""
    ids = torch.randint(8, backbone.vocab, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(4))
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    return {"input_ids": torch.where(mask == 1, ids, backbone.pad_id), "attention_mask": mask}


def hidden(backbone, batch):
    with torch.no_grad():
        return backbone.body(**batch).last_hidden_state


def draw(backbone, labels=3, key="a", **options):
    return head_for(backbone, labels, **options).draw(generator(key), backbone.dtype)


# ---------------------------------------------------------------- equal to transformers' own classifiers


def test_a_heads_scores_are_those_of_the_architectures_own_classifier(backbone):
    with quiet():
        theirs = AutoModelForSequenceClassification.from_pretrained(
            backbone.folder, num_labels=3, dtype=torch.float64, pad_token_id=backbone.pad_id
        ).eval()
    shape, batch = head_for(backbone, 3, "last" if backbone.kind == "causal" else "cls"), padded(backbone)
    ours = shape.draw(generator("a"), torch.float64)
    weights = theirs.state_dict()
    prefixes = ("", f"{theirs.base_model_prefix}.")
    with torch.no_grad():
        for name, weight in ours.named_parameters():
            weight.copy_(next(weights[prefix + name] for prefix in prefixes if prefix + name in weights))
        expected = theirs(**batch).logits
        found = ours(pool(hidden(backbone, batch), batch["attention_mask"], shape.pool))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_a_head_holds_what_its_architecture_puts_above_the_body_and_no_more(backbone):
    with quiet():
        theirs = AutoModelForSequenceClassification.from_pretrained(backbone.folder, num_labels=5)
    above = {
        name.removeprefix(f"{theirs.base_model_prefix}."): weight.shape
        for name, weight in theirs.named_parameters()
        if not name.startswith(f"{theirs.base_model_prefix}.") or ".pooler." in name
    }
    head = draw(backbone, labels=5, how="last" if backbone.kind == "causal" else "cls")
    assert {name: weight.shape for name, weight in head.named_parameters()} == above


def test_modernberts_own_pooling_is_the_mean_where_its_config_says_so(float64, tmp_path):
    backbone = float64("modernbert")
    folder = Path(shutil.copytree(backbone.folder, tmp_path / "copy"))
    with quiet():
        theirs = AutoModelForSequenceClassification.from_pretrained(
            folder, num_labels=3, dtype=torch.float64, classifier_pooling="mean"
        ).eval()
    batch, ours = padded(backbone), draw(backbone, how="mean")
    ours.load_state_dict({name: theirs.state_dict()[name] for name in ours.state_dict()})
    with torch.no_grad():
        found = ours(pool(hidden(backbone, batch), batch["attention_mask"], "mean"))
        torch.testing.assert_close(found, theirs(**batch).logits, rtol=0, atol=1e-12)


# ---------------------------------------------------------------- what is drawn and what is copied


def test_a_pooler_comes_from_the_checkpoint(tiny_bert, tiny_albert):
    for backbone in (tiny_bert, tiny_albert):
        head = draw(backbone)
        for name, weight in backbone.pooler_weights.items():
            assert torch.equal(head.get_parameter(f"pooler.{name}"), weight)


def test_modernberts_dense_layer_and_norm_come_from_its_language_model(tiny_modernbert):
    head = draw(tiny_modernbert)
    assert torch.equal(head.head.dense.weight, tiny_modernbert.model.head.dense.weight)
    assert torch.equal(head.head.norm.weight, tiny_modernbert.model.head.norm.weight)


def test_changing_a_head_does_not_change_the_backbone_or_the_next_head(tiny_modernbert):
    shape = head_for(tiny_modernbert, 2)
    before, first = tiny_modernbert.model.head.dense.weight.clone(), shape.draw(generator("a"))
    with torch.no_grad():
        first.head.dense.weight.add_(1)
    assert torch.equal(tiny_modernbert.model.head.dense.weight, before)
    assert torch.equal(shape.draw(generator("a")).head.dense.weight, before)


def test_the_same_key_draws_the_same_head_and_another_key_another(backbone):
    shape = head_for(backbone, 3)
    one, same, other = (shape.draw(generator(key)) for key in ("a", "a", "b"))
    for (name, first), second in zip(one.state_dict().items(), same.state_dict().values(), strict=True):
        assert torch.equal(first, second), name
    drawn = [name for name, weight in one.named_parameters() if weight.dim() > 1 and name not in shape.given]
    assert drawn
    assert not any(torch.equal(one.get_parameter(name), other.get_parameter(name)) for name in drawn)


def test_a_head_is_the_same_numbers_in_every_precision(tiny_bert):
    shape = head_for(tiny_bert, 2)
    single, double = shape.draw(generator("a")), shape.draw(generator("a"), torch.float64)
    assert double.classifier.weight.dtype is torch.float64
    assert torch.equal(single.classifier.weight.double(), double.classifier.weight)


def test_new_matrices_have_the_models_own_spread_and_biases_start_at_zero(tiny_roberta):
    head = draw(tiny_roberta, labels=400)
    assert head.classifier.out_proj.weight.std().item() == pytest.approx(
        tiny_roberta.config.initializer_range, rel=0.05
    )
    assert not head.classifier.dense.bias.any()
    assert not head.classifier.out_proj.bias.any()


def test_drawing_leaves_the_global_random_numbers_alone(backbone):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    draw(backbone)
    assert torch.equal(torch.rand(2), expected)


def test_making_a_head_leaves_the_backbones_labels_alone(tiny_bert):
    before = copy.deepcopy(tiny_bert.config.to_dict())
    draw(tiny_bert, labels=7)
    assert tiny_bert.config.to_dict() == before


def test_a_head_wants_gradients_and_drops_nothing(backbone):
    head = draw(backbone)
    assert all(weight.requires_grad for weight in head.parameters())
    x = torch.randn(4, 32, dtype=torch.float64)
    assert torch.equal(head(x), head(x))


def test_a_shape_counts_its_weights_before_any_is_drawn(backbone):
    shape = head_for(backbone, 3)
    assert shape.parameters == sum(weight.numel() for weight in shape.draw(generator("a")).parameters())
    assert shape.labels == 3


def test_a_stack_of_heads_scores_each_member_as_it_would_alone(backbone):
    heads = [draw(backbone, key=key) for key in "abc"]
    pooled = torch.randn(3, 5, 32, dtype=torch.float64)
    weights, _ = stack_module_state(heads)
    stacked = vmap(lambda own, rows: functional_call(heads[0], own, (rows,)))(weights, pooled)
    alone = torch.stack([head(rows) for head, rows in zip(heads, pooled, strict=True)])
    torch.testing.assert_close(stacked, alone, rtol=0, atol=1e-12)


# ---------------------------------------------------------------- checkpoints without a pooler


@pytest.fixture
def poolerless(folder_of, tmp_path):
    """BERT, written without its pooler, as a masked language model on its own is."""
    folder = Path(shutil.copytree(folder_of("bert"), tmp_path / "poolerless"))
    with quiet():
        BertForMaskedLM.from_pretrained(folder).save_pretrained(folder)
    return load_backbone(str(folder), device="cpu")


def test_without_a_pooler_rows_are_averaged_and_only_the_classifier_is_new(poolerless):
    assert default_pool(poolerless) == "mean"
    shape = head_for(poolerless, 2)
    assert shape.pool == "mean"
    assert [name for name, _ in shape.draw(generator("a")).named_parameters()] == [
        "classifier.weight",
        "classifier.bias",
    ]


def test_without_a_pooler_the_first_token_gets_a_new_one_on_request(poolerless):
    shape = head_for(poolerless, 2, "cls")
    assert not shape.given
    assert shape.draw(generator("a")).pooler.dense.weight.std() > 0


def test_with_a_pooler_an_average_still_goes_through_it(tiny_bert):
    assert "pooler.dense.weight" in dict(draw(tiny_bert, how="mean").named_parameters())


def test_each_family_pools_as_its_own_classifier_does(backbone):
    assert default_pool(backbone) == ("last" if backbone.kind == "causal" else "cls")


# ---------------------------------------------------------------- pooling

HIDDEN = torch.arange(24.0).view(2, 4, 3)
RIGHT = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]])
LEFT = torch.tensor([[0, 1, 1, 1], [0, 0, 0, 1]])


@pytest.mark.parametrize("mask", [RIGHT, LEFT, RIGHT.bool(), LEFT.float()])
def test_pooling_sees_real_tokens_only(mask):
    rows = [HIDDEN[row][mask[row].bool()] for row in range(2)]
    assert torch.equal(pool(HIDDEN, mask, "cls"), torch.stack([row[0] for row in rows]))
    assert torch.equal(pool(HIDDEN, mask, "last"), torch.stack([row[-1] for row in rows]))
    assert torch.equal(pool(HIDDEN, mask, "mean"), torch.stack([row.mean(0) for row in rows]))


@pytest.mark.parametrize("how", ["cls", "last", "mean"])
def test_pooling_keeps_the_precision_and_passes_gradients_on(how):
    states = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    pooled = pool(states, RIGHT, how)
    assert pooled.dtype is torch.float64
    pooled.sum().backward()
    assert states.grad[1, 0].any()
    assert not states.grad[1, 1:].any()


def test_rows_of_low_precision_are_averaged_with_one_rounding_at_the_end():
    states = torch.randn(4, 37, 64, generator=torch.Generator().manual_seed(0)).bfloat16()
    exact = states.double().mean(1).bfloat16()
    assert torch.equal(pool(states, torch.ones(4, 37, dtype=torch.long), "mean"), exact)


def test_a_row_of_padding_alone_has_a_finite_mean():
    assert pool(HIDDEN, torch.zeros(2, 4), "mean").isfinite().all()


# ---------------------------------------------------------------- refusals


def test_an_unknown_pooling_is_refused_with_the_nearest_name(tiny_bert):
    with pytest.raises(
        SettingError, match=r"pool=maen: no such pooling. Did you mean 'mean'\? Write cls, mean or last"
    ):
        head_for(tiny_bert, 2, "maen")
    with pytest.raises(SettingError, match="pool=first: no such pooling"):
        pool(HIDDEN, RIGHT, "first")


def test_a_family_whose_head_is_unknown_is_refused_by_its_name(fresh):
    backbone = fresh("bert")
    backbone.config.model_type = "nystromformer"
    with pytest.raises(BackboneError, match="head of a 'nystromformer' model is not known here.* Known families: bert"):
        head_for(backbone, 2)


def test_every_family_with_an_anatomy_has_a_head():
    assert set(CHAINS) == set(LAYOUTS)
