"""What is written in PEFT's format answers there as here, and what PEFT wrote answers here as there."""

import json
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from promptlab.backbone.device import generator
from promptlab.backbone.encode import Encoder
from promptlab.backbone.heads import default_pool, head_for
from promptlab.errors import BackboneError, OutputError, SettingError
from promptlab.language.task import Task
from promptlab.methods.predict import Model
from promptlab.tuning.bitfit import BitFit
from promptlab.tuning.lora import Lora
from promptlab.tuning.peft_format import CONFIG, WEIGHTS, export_peft, import_peft

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")  # PEFT asks the old name

TASK = Task.from_parts(
    patterns=["{text} It was {mask}."], verbalizer={"negative": "terrible", "positive": "great", "none": "fine"}
)
TOKENS = ((5, 6, 7, 8, 9, 10), (11, 12, 13, 14, 15, 16))
CLOSE = {"rtol": 0, "atol": 1e-5}
FAMILIES = ("bert", "roberta", "distilbert", "modernbert", "gpt2", "llama")


def learnt(backbone, tuning, head=0):
    """A state far from its start, with a head of as many labels."""
    made = generator("a member")
    with tuning.learn(backbone, not head, [made]) as found:
        state = found.state(0)
    if head:
        drawn = head_for(backbone, head, default_pool(backbone)).draw(made)
        state |= {f"head.{name}": one.detach() for name, one in drawn.named_parameters() if "pooler" not in name}
    return {name: one + 0.3 * torch.randn(one.shape, generator=made) for name, one in state.items()}


def here(backbone, tuning, state):
    inside = {name: one for name, one in state.items() if not name.startswith("head.")}
    with torch.no_grad(), tuning.applied(backbone, inside):
        return backbone.model(input_ids=torch.tensor(TOKENS)).logits


def there(model, tokens=TOKENS):
    """What a model of PEFT's says at the real tokens: those of a soft prompt left out."""
    with torch.no_grad():
        logits = model.eval()(
            input_ids=torch.tensor(tokens), attention_mask=torch.ones(len(tokens), len(tokens[0]))
        ).logits
    return logits[:, -len(tokens[0]) :] if logits.dim() == 3 else logits


def loaded(fresh, backbone, folder):
    """A plain model with PEFT's reading of the folder around it."""
    return peft.PeftModel.from_pretrained(fresh(backbone).model, str(folder))


def classifier(backbone, labels):
    """The same backbone as transformers' own classifier."""
    model = AutoModelForSequenceClassification.from_pretrained(backbone.name, num_labels=labels).eval()
    model.config.pad_token_id = backbone.tokenizer.pad_token_id
    return model


def goes_there(fresh, backbone, tuning, folder):
    """Written here, read by PEFT: equal outputs."""
    state = learnt(backbone, tuning)
    export_peft(folder, backbone, tuning, state)
    found = there(loaded(fresh, backbone, folder))
    torch.testing.assert_close(found, here(backbone, tuning, state), **CLOSE)
    plain = there(fresh(backbone).model)
    assert (found - plain).abs().max() > 1e-2
    return json.loads((folder / CONFIG).read_text()), state


def comes_here(fresh, backbone, config, folder):
    """Written by PEFT, read here: equal outputs."""
    model = peft.get_peft_model(fresh(backbone).model, config)
    with torch.no_grad():
        for name, one in model.named_parameters():
            if one.requires_grad:
                one.add_(0.3 * torch.randn(one.shape, generator=generator(name)))
    model.save_pretrained(str(folder))
    tuning, state = import_peft(folder, backbone)
    torch.testing.assert_close(here(backbone, tuning, state), there(model), **CLOSE)
    return tuning, state


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


@pytest.mark.parametrize("family", ["roberta", "distilbert", "modernbert", "gpt2"])
def test_a_classification_head_goes_along_and_comes_back(tiny, reviews, tmp_path, family):
    backbone, tuning = tiny(family), Lora(r=2)
    state = learnt(backbone, tuning, head=3)
    export_peft(tmp_path, backbone, tuning, state)
    assert json.loads((tmp_path / CONFIG).read_text())["task_type"] == "SEQ_CLS"
    pool = default_pool(backbone)
    model = Model(TASK, backbone, Encoder(backbone), None, tuning, state, pool=pool)
    wanted = torch.tensor(model.scores(reviews[:2]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a head that the checkpoint lacks is what is wanted
        theirs = peft.PeftModel.from_pretrained(classifier(backbone, 3), str(tmp_path))
    ids = model.encoder.plain(reviews[:2], ("text",)).ids
    found = torch.cat([there(theirs, (tuple(row),)) for row in ids])
    torch.testing.assert_close(found, wanted.to(found), **CLOSE)
    again, back = import_peft(tmp_path, backbone)
    assert again.r == 2
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
