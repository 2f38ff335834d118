"""What is written in PEFT's format answers there as here, and what PEFT wrote answers here as there."""

import json
import warnings

import pytest
import torch
from interchange import close, comes_here, goes_there, learnt, peft, there
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from promptlab.backbone.encode import Encoder
from promptlab.backbone.heads import default_pool
from promptlab.errors import BackboneError, OutputError, SettingError
from promptlab.language.task import Task
from promptlab.methods.predict import Model
from promptlab.tuning.bitfit import BitFit
from promptlab.tuning.ia3 import Ia3
from promptlab.tuning.lora import Lora
from promptlab.tuning.peft_format import CONFIG, WEIGHTS, export_peft, import_peft
from promptlab.tuning.prefix import Prefix
from promptlab.tuning.soft import Soft

pytestmark = [  # PEFT says the old names
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.past_key_values.:FutureWarning"),
]

TASK = Task.from_parts(
    patterns=["{text} It was {mask}."], verbalizer={"negative": "terrible", "positive": "great", "none": "fine"}
)
CACHED = ("bert", "roberta", "gpt2", "llama")  # PEFT's prefix goes in through the cache
FAMILIES = ("bert", "roberta", "distilbert", "modernbert", "gpt2", "llama")


def classifier(backbone, labels):
    """The same backbone as transformers' own classifier."""
    model = AutoModelForSequenceClassification.from_pretrained(backbone.name, num_labels=labels).eval()
    model.config.pad_token_id = backbone.tokenizer.pad_token_id
    return model


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("targets", ["q+v", "q+k+o", "all"])
def test_lora_goes_to_peft_and_comes_back(tiny, fresh, tmp_path, family, targets):
    backbone, tuning = tiny(family), Lora(r=3, alpha=5, targets=targets)
    config, state = goes_there(fresh, backbone, tuning, tmp_path)
    again, found = import_peft(tmp_path, backbone)
    assert (again.r, again.alpha, set(again.targets.split("+"))) == (3, pytest.approx(5), _roles(backbone, targets))
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state)
    assert {"peft_type", "r", "lora_alpha", "target_modules"} <= config.keys()


def _roles(backbone, targets):
    gated = backbone.anatomy.blocks[0].ffn_gate is not None
    return set(targets.split("+")) if targets != "all" else set("q k v o in out".split()) | {"gate"} & {"gate" * gated}


def test_a_fused_projection_is_written_with_twice_the_rank_and_blocks(tiny_gpt2, fresh, tmp_path):
    config, _ = goes_there(fresh, tiny_gpt2, Lora(r=3, alpha=5), tmp_path)
    assert (config["r"], config["lora_alpha"], config["target_modules"], config["fan_in_fan_out"]) == (
        6,
        10,
        ["c_attn"],
        True,
    )
    up = load_file(tmp_path / WEIGHTS)["base_model.model.transformer.h.0.attn.c_attn.lora_B.weight"]
    assert up.shape == (96, 6)
    for rows, columns in ((slice(0, 32), slice(3, 6)), (slice(32, 64), slice(0, 6)), (slice(64, 96), slice(0, 3))):
        assert up[rows, columns].abs().max() == 0


@pytest.mark.parametrize(
    ("family", "settings", "targets"),
    [
        ("bert", {"target_modules": ["query", "value"]}, "q+v"),
        (
            "bert",
            {"target_modules": ["query", "key"], "rank_pattern": {"key": 5}, "alpha_pattern": {"query": 3}},
            "q+k",
        ),
        ("bert", {"target_modules": ["query"], "layers_to_transform": [1]}, "q"),
        ("bert", {"target_modules": ["query"], "use_rslora": True}, "q"),
        ("gpt2", {"target_modules": ["c_attn"], "fan_in_fan_out": True}, "q+k+v"),
        ("llama", {"target_modules": "all-linear"}, "q+k+v+o+in+gate+out"),
    ],
)
def test_lora_of_peft_comes_here(tiny, fresh, tmp_path, family, settings, targets):
    tuning, _ = comes_here(fresh, tiny(family), peft.LoraConfig(r=3, lora_alpha=7, **settings), tmp_path)
    assert tuning.targets == targets


OTHERS = [
    *((Ia3(), family) for family in FAMILIES),
    *((Soft(n=3, place="front"), family) for family in FAMILIES),
    *((Prefix(n=3, shift=True), family) for family in CACHED),
]


@pytest.mark.parametrize(("tuning", "family"), OTHERS, ids=lambda one: getattr(one, "name", one))
def test_the_others_go_to_peft_and_come_back(tiny, fresh, tmp_path, family, tuning):
    backbone = tiny(family)
    _, state = goes_there(fresh, backbone, tuning, tmp_path)
    again, found = import_peft(tmp_path, backbone)
    assert again.name == tuning.name
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state)


def task(family):
    return "CAUSAL_LM" if family in ("gpt2", "llama") else "FEATURE_EXTRACTION"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prompt_of_peft_comes_here(tiny, fresh, tmp_path, family):
    sizes = {"num_attention_heads": 4, "num_layers": 2, "token_dim": 32} if family == "distilbert" else {}
    config = peft.PromptTuningConfig(task_type=task(family), num_virtual_tokens=4, **sizes)
    tuning, _ = comes_here(fresh, tiny(family), config, tmp_path)
    assert tuning == Soft(n=4, place="front")


@pytest.mark.parametrize("family", CACHED)
@pytest.mark.parametrize("projected", [False, True])
def test_a_prefix_of_peft_comes_here_and_counts_as_tokens(tiny, fresh, tmp_path, family, projected):
    more = {"encoder_hidden_size": 5, "prefix_projection": True} if projected else {}
    config = peft.PrefixTuningConfig(task_type=task(family), num_virtual_tokens=4, **more)
    tuning, _ = comes_here(fresh, tiny(family), config, tmp_path)
    assert tuning == Prefix(n=4, shift=True)


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "gpt2", "llama"])
def test_the_ia3_that_peft_takes_by_itself_comes_here(tiny, fresh, tmp_path, family):
    targets = {"distilbert": (["k_lin", "v_lin", "out_lin", "ffn.lin2"], ["out_lin", "ffn.lin2"])}.get(
        family, (None, None)
    )
    config = peft.IA3Config(target_modules=targets[0], feedforward_modules=targets[1], fan_in_fan_out=family == "gpt2")
    comes_here(fresh, tiny(family), config, tmp_path)


@pytest.mark.parametrize(
    ("family", "targets", "said"),
    [
        (
            "llama",
            ["q_proj"],
            "multiplies what .*self_attn.q_proj puts out.*=.'mlp.down_proj', 'self_attn.k_proj'",
        ),
        ("llama", ["o_proj"], "self_attn.o_proj"),
        ("bert", ["intermediate.dense"], "intermediate.dense"),
    ],
)
def test_factors_that_cannot_be_moved_are_refused_by_name(tiny, fresh, tmp_path, family, targets, said):
    config = peft.IA3Config(target_modules=targets, feedforward_modules=[])
    with pytest.raises(SettingError, match=said):
        comes_here(fresh, tiny(family), config, tmp_path)


def test_a_prompt_goes_along_with_a_head_on_decoders_only(tiny, reviews, tmp_path):
    tuning = Soft(n=3)
    with_head(tiny("gpt2"), tuning, reviews, tmp_path / "gpt2")
    with pytest.raises(SettingError, match="stand before the whole row.*place=front"):
        with_head(tiny("roberta"), tuning, reviews, tmp_path / "roberta")
    with pytest.raises(SettingError, match="reads the first soft token in place of .CLS."):
        with_head(tiny("roberta"), Soft(n=3, place="front"), reviews, tmp_path / "roberta")


def test_the_others_take_a_head_along_too(tiny, reviews, tmp_path):
    with_head(tiny("roberta"), Ia3(), reviews, tmp_path / "ia3")
    with_head(tiny("gpt2"), Prefix(n=2, shift=True), reviews, tmp_path / "prefix")
    with pytest.raises(SettingError, match="classifier of an encoder takes no prefix"):
        with_head(tiny("roberta"), Prefix(n=2, shift=True), reviews, tmp_path / "none")


@pytest.mark.parametrize("family", ["distilbert", "modernbert"])
def test_a_prefix_that_peft_cannot_give_to_the_model_is_refused(tiny, tmp_path, family):
    tuning = Prefix(n=3, shift=True)
    with pytest.raises(SettingError, match=f"through the cache, and .*{family}.* has none"):
        export_peft(tmp_path, tiny(family), tuning, learnt(tiny(family), tuning))


def test_a_prefix_that_does_not_count_as_tokens_is_refused(tiny_bert, tmp_path):
    with pytest.raises(SettingError, match="counts as tokens.*prefix:shift=true"):
        export_peft(tmp_path, tiny_bert, Prefix(n=3), learnt(tiny_bert, Prefix(n=3)))


@pytest.mark.parametrize("tuning", [Soft(n=3, place="front"), Prefix(n=3, shift=True)], ids=lambda one: one.name)
def test_a_prompt_of_another_width_is_refused(tiny_bert, fresh, tmp_path, tuning):
    goes_there(fresh, tiny_bert, tuning, tmp_path)
    save_file({"prompt_embeddings": torch.zeros(3, 7)}, tmp_path / WEIGHTS)
    with pytest.raises(BackboneError, match=r"does not fit .*\[3, 7\]"):
        import_peft(tmp_path, tiny_bert)


@pytest.mark.parametrize("family", ["roberta", "distilbert", "modernbert", "gpt2"])
def test_a_classification_head_goes_along_and_comes_back(tiny, reviews, tmp_path, family):
    with_head(tiny(family), Lora(r=2), reviews, tmp_path)


def with_head(backbone, tuning, reviews, folder):
    """Written with its head, read by PEFT around transformers' own classifier: equal scores; and back here."""
    state = learnt(backbone, tuning, head=3)
    export_peft(folder, backbone, tuning, state)
    assert json.loads((folder / CONFIG).read_text())["task_type"] == "SEQ_CLS"
    model = Model(TASK, backbone, Encoder(backbone), None, tuning, state, pool=default_pool(backbone))
    wanted = torch.tensor(model.scores(reviews[:2]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a head that the checkpoint lacks is what is wanted
        theirs = peft.PeftModel.from_pretrained(classifier(backbone, 3), str(folder))
    found = torch.cat([there(theirs, (tuple(row),)) for row in Encoder(backbone).plain(reviews[:2], ("text",)).ids])
    close(found, wanted.to(found))
    _, back = import_peft(folder, backbone)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)


def test_blocks_that_share_their_weights_are_refused_by_name(tiny_albert, tmp_path):
    tuning = Lora(r=2)
    with pytest.raises(SettingError, match=r"share albert.encoder.*query, while each has a difference of its own"):
        export_peft(tmp_path / "a", tiny_albert, tuning, learnt(tiny_albert, tuning))
    assert not (tmp_path / "a").exists()


def test_a_tuning_without_a_place_in_peft_is_refused_by_name(tiny_bert, tmp_path):
    with pytest.raises(SettingError, match="no place for bitfit"):
        export_peft(tmp_path, tiny_bert, BitFit(), learnt(tiny_bert, BitFit()))


def test_another_backbone_is_refused_and_said_which(tiny_bert, tiny_roberta, fresh, tmp_path):
    goes_there(fresh, tiny_bert, Lora(r=2), tmp_path / "ours")
    with pytest.raises(
        BackboneError, match=rf"learnt on .*{tiny_bert.fingerprint[:12]}.*{tiny_roberta.name}.* another"
    ):
        import_peft(tmp_path / "ours", tiny_roberta)
    comes_here(fresh, tiny_bert, peft.LoraConfig(r=2, target_modules=["query"]), tmp_path / "theirs")
    with pytest.raises(BackboneError, match=r"learnt on .*bert.*another model"):
        import_peft(tmp_path / "theirs", tiny_roberta)
    with pytest.raises(BackboneError, match=r"does not fit .*roberta.*bert.encoder.layer.0"):
        import_peft(tmp_path / "theirs", tiny_roberta, allow_other_backbone=True)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "bias"),
        ({"something_new": 3}, "something_new"),
        ({"init_lora_weights": "pissa"}, "pissa changed the backbone"),
        ({"peft_type": "LOHA"}, "holds a LOHA"),
    ],
)
def test_a_variant_that_nothing_here_computes_is_refused_by_name(tiny_bert, fresh, tmp_path, settings, said):
    config, _ = goes_there(fresh, tiny_bert, Lora(r=2), tmp_path)
    (tmp_path / CONFIG).write_text(json.dumps({**config, **settings}))
    with pytest.raises(SettingError, match=said):
        import_peft(tmp_path, tiny_bert)


@pytest.mark.parametrize(
    ("name", "shape", "error", "said"),
    [
        (
            "base_model.model.cls.predictions.transform.dense.lora_A.weight",
            (2, 32),
            SettingError,
            "not lora_A and lora_B",
        ),
        ("base_model.model.bert.embeddings.word_embeddings.lora_embedding_A", (2, 9), SettingError, "no plain LoRA"),
        ("base_model.model.bert.pooler.dense.weight", (32, 32), None, ""),
        ("base_model.model.cls.predictions.bias", (9,), SettingError, "also changes cls.predictions.bias"),
    ],
)
def test_tensors_that_have_no_place_here_are_refused(tiny_bert, fresh, tmp_path, name, shape, error, said):
    goes_there(fresh, tiny_bert, Lora(r=2), tmp_path)
    save_file({**load_file(tmp_path / WEIGHTS), name: torch.zeros(shape)}, tmp_path / WEIGHTS)
    if error is None:
        assert "head.pooler.dense.weight" in import_peft(tmp_path, tiny_bert)[1]
        return
    with pytest.raises(error, match=said):
        import_peft(tmp_path, tiny_bert)


def test_files_that_are_missing_or_damaged_say_so(tiny_bert, tmp_path):
    with pytest.raises(OutputError, match="holds no adapter"):
        import_peft(tmp_path, tiny_bert)
    (tmp_path / CONFIG).write_text("{}")
    with pytest.raises(OutputError, match=WEIGHTS):
        import_peft(tmp_path, tiny_bert)
