import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForMaskedLM,
    BertForPreTraining,
    BertForSequenceClassification,
    BertModel,
    GPT2Model,
    LlamaModel,
    ViTConfig,
)
from transformers.utils import logging as transformers_logging

from promptlab.backbone.backbone import load_backbone
from promptlab.backbone.checkpoint import quiet
from promptlab.errors import BackboneError, SettingError


@pytest.fixture
def copy_of(folder_of: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """copy_of("bert"): a folder of one's own, to be broken."""
    return lambda family: Path(shutil.copytree(folder_of(family), tmp_path / family))


def edit(folder, file="config.json", **values):
    """Changes entries of a JSON file; None removes one."""
    content = {**json.loads((folder / file).read_text()), **values}
    (folder / file).write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def edit_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    save_file(change(weights), folder / "model.safetensors", metadata={"format": "pt"})


def saved_as(cls, folder):
    """Writes the folder's model again as another class of its family: what only the first had is lost."""
    with quiet():
        cls.from_pretrained(folder).save_pretrained(folder)
    return folder


def refusal(folder, error=BackboneError, **options) -> str:
    with pytest.raises(error) as caught:
        load_backbone(str(folder), device="cpu", **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


# ---------------------------------------------------------------- what the files say of length and format


def test_a_tokenizer_that_stops_earlier_than_the_model_sets_the_length(copy_of):
    folder = copy_of("bert")
    edit(folder, "tokenizer_config.json", model_max_length=40)
    assert load_backbone(str(folder), device="cpu").max_length == 40


def test_auto_is_float32_on_a_cpu_whatever_the_config_says(copy_of):
    folder = copy_of("bert")
    edit(folder, dtype="bfloat16")
    assert load_backbone(str(folder), device="cpu").dtype is torch.float32


# ---------------------------------------------------------------- its fingerprint


def test_the_same_files_elsewhere_have_the_same_fingerprint(tiny_bert, copy_of):
    assert load_backbone(str(copy_of("bert")), device="cpu").fingerprint == tiny_bert.fingerprint


def test_one_changed_weight_changes_the_fingerprint(tiny_bert, copy_of):
    folder = copy_of("bert")
    edit_weights(folder, lambda weights: {**weights, "cls.predictions.bias": weights["cls.predictions.bias"] + 1e-3})
    assert load_backbone(str(folder), device="cpu").fingerprint != tiny_bert.fingerprint


def test_a_note_beside_the_weights_does_not_change_the_fingerprint(tiny_bert, copy_of):
    folder = copy_of("bert")
    (folder / "README.md").write_text("read me")
    assert load_backbone(str(folder), device="cpu").fingerprint == tiny_bert.fingerprint


# ---------------------------------------------------------------- which head it takes


def test_a_bert_saved_as_a_decoder_is_causal(copy_of):
    folder = copy_of("bert")
    edit(folder, architectures=["BertLMHeadModel"], is_decoder=True)
    assert load_backbone(str(folder), device="cpu").kind == "causal"


def test_the_kind_may_be_chosen_where_the_family_knows_both(copy_of):
    folder = copy_of("bert")
    edit(folder, is_decoder=True)
    assert load_backbone(str(folder), device="cpu", kind="causal").kind == "causal"


def test_a_kind_that_the_family_has_no_head_for_is_refused(folder_of):
    assert "(gpt2) can have no masked head. Write kind=causal." in refusal(folder_of("gpt2"), kind="masked")


def test_an_unknown_kind_is_refused(folder_of):
    message = refusal(folder_of("bert"), SettingError, kind="maksed")
    assert message == "kind=maksed: no such kind. Write masked, causal or seq2seq."


def test_a_config_that_does_not_name_its_architecture_goes_by_its_type(copy_of):
    for family, kind in (("roberta", "masked"), ("llama", "causal")):
        folder = copy_of(family)
        edit(folder, architectures=None)
        assert load_backbone(str(folder), device="cpu").kind == kind


# ---------------------------------------------------------------- heads that are missing


@pytest.mark.parametrize(
    ("family", "cls", "lacks"),
    [
        ("bert", BertModel, "cls.predictions."),
        ("bert", BertForSequenceClassification, "cls.predictions."),
        ("llama", LlamaModel, "lm_head.weight"),
    ],
)
def test_a_checkpoint_without_a_language_model_head_is_refused_by_the_weights_it_lacks(copy_of, family, cls, lacks):
    message = refusal(saved_as(cls, copy_of(family)))
    assert "has no language-model head" in message
    assert lacks in message
    assert "--allow-new-head" in message


def test_a_new_head_is_drawn_on_request_and_is_the_same_each_time(copy_of):
    folder = str(saved_as(BertModel, copy_of("bert")))
    torch.manual_seed(1)
    one = load_backbone(folder, device="cpu", allow_new_head=True)
    torch.manual_seed(2)
    two = load_backbone(folder, device="cpu", allow_new_head=True)
    assert one.new_head
    for (name, first), second in zip(one.model.named_parameters(), two.model.parameters(), strict=True):
        assert torch.equal(first, second), name


def test_loading_leaves_the_global_random_numbers_alone(copy_of):
    folder = str(saved_as(BertModel, copy_of("bert")))
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load_backbone(folder, device="cpu", allow_new_head=True)
    assert torch.equal(torch.rand(3), expected)


def test_a_whole_checkpoint_has_no_new_head(each):
    assert not each.new_head


def test_a_bare_body_whose_head_is_its_embeddings_is_whole(copy_of):
    folder = saved_as(GPT2Model, copy_of("gpt2"))
    assert not load_backbone(str(folder), device="cpu").new_head


def test_a_sentence_encoder_keeps_its_pooler_beside_the_new_head(copy_of):
    folder = saved_as(BertModel, copy_of("bert"))
    backbone = load_backbone(str(folder), device="cpu", allow_new_head=True)
    assert set(backbone.pooler_weights) == {"dense.weight", "dense.bias"}


def test_a_new_head_is_no_excuse_for_a_body_that_lacks_weights(copy_of):
    folder = copy_of("bert")
    lost = "bert.encoder.layer.1.output.dense.weight"
    edit_weights(folder, lambda weights: {key: value for key, value in weights.items() if key != lost})
    assert f"lack {lost}, which its config.json asks for" in refusal(folder, allow_new_head=True)


# ---------------------------------------------------------------- files that are damaged, or do not belong together


def test_a_config_that_is_no_json_is_refused(copy_of):
    folder = copy_of("bert")
    (folder / "config.json").write_text("{")
    assert "config.json is no JSON" in refusal(folder)


def test_a_config_that_is_no_object_is_refused(copy_of):
    folder = copy_of("bert")
    (folder / "config.json").write_text("[]")
    assert "config.json holds a list, not an object" in refusal(folder)


def test_a_binary_config_is_refused(copy_of):
    folder = copy_of("bert")
    (folder / "config.json").write_bytes(bytes(range(256)))
    assert "config.json is no JSON" in refusal(folder)


@pytest.mark.parametrize("values", [{"model_type": None}, {"model_type": "bret"}, {"hidden_size": "wide"}])
def test_a_config_that_transformers_does_not_understand_is_refused(copy_of, values):
    folder = copy_of("bert")
    edit(folder, **values)
    message = refusal(folder)
    assert "config.json is not understood" in message
    assert next(iter(values)) in message or "bret" in message


def test_a_config_of_other_sizes_than_the_weights_is_refused(copy_of):
    folder = copy_of("bert")
    edit(folder, intermediate_size=64)
    message = refusal(folder)
    assert "bert.encoder.layer.0.intermediate.dense.bias is (48,), not (64,)" in message


@pytest.mark.parametrize("content", [b"", b"not a tensor in sight", bytes(range(256)) * 64])
def test_weights_that_are_no_safetensors_are_refused(copy_of, content):
    folder = copy_of("bert")
    (folder / "model.safetensors").write_bytes(content)
    assert "cannot be loaded" in refusal(folder)


def test_weights_that_were_cut_off_are_refused(copy_of):
    folder = copy_of("bert")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    assert "the weights of" in refusal(folder)


def sharded(folder):
    with quiet():
        model = BertForPreTraining.from_pretrained(folder)
        (folder / "model.safetensors").unlink()
        model.save_pretrained(folder, max_shard_size="30KB")
    edit(folder, architectures=["BertForMaskedLM"])
    return folder


def test_weights_in_several_files_load_as_from_one(copy_of, tiny_bert):
    backbone = load_backbone(str(sharded(copy_of("bert"))), device="cpu")
    assert len(list(backbone.folder.glob("*.safetensors"))) > 2
    for name, weight in backbone.model.state_dict().items():
        assert torch.equal(weight, tiny_bert.model.state_dict()[name]), name
    assert sorted(backbone.pooler_weights) == ["dense.bias", "dense.weight"]


def test_weights_of_which_one_file_is_missing_are_refused(copy_of):
    folder = sharded(copy_of("bert"))
    lost = sorted(folder.glob("*.safetensors"))[1]
    lost.unlink()
    assert lost.name in refusal(folder)


def test_a_config_that_may_not_be_read_is_refused(copy_of, monkeypatch):
    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", denied)
    assert "config.json cannot be read: Permission denied. Check its permissions." in refusal(copy_of("bert"))


def test_a_config_nested_without_end_is_refused(copy_of):
    folder = copy_of("bert")
    (folder / "config.json").write_text("[" * 200_000)
    assert "config.json is no JSON" in refusal(folder)


def test_a_tokenizer_that_cannot_be_read_is_refused(copy_of):
    folder = copy_of("bert")
    (folder / "tokenizer.json").write_text('{"version": "1.0"}')
    assert "cannot be loaded: it lacks 'added_tokens'" in refusal(folder)


def test_a_tokenizer_of_another_model_is_refused(copy_of, folder_of):
    folder = copy_of("bert")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folder_of("roberta") / file, folder / file)
    assert "knows 812 tokens, the model only 191" in refusal(folder)


def test_a_masked_model_whose_tokenizer_has_no_mask_is_refused(copy_of, folder_of):
    folder = copy_of("modernbert")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folder_of("gpt2") / file, folder / file)
    assert "has no mask token" in refusal(folder)


def test_weights_that_part_what_the_config_ties_are_refused(copy_of):
    folder = copy_of("gpt2")

    def part(weights):
        return {**weights, "lm_head.weight": weights["transformer.wte.weight"] + 1}

    edit_weights(folder, part)
    assert "ties the output embeddings to the input's, but its weights hold two" in refusal(folder)
    edit(folder, tie_word_embeddings=False)
    backbone = load_backbone(str(folder), device="cpu")
    assert backbone.model.lm_head.weight is not backbone.model.transformer.wte.weight


def test_a_model_that_reads_no_text_is_refused(copy_of):
    folder = copy_of("bert")
    ViTConfig().save_pretrained(folder)
    assert "is of type 'vit', for which transformers knows no language-model head" in refusal(folder)


def test_a_model_with_code_of_its_own_is_not_run_unasked(copy_of):
    folder = copy_of("bert")
    (folder / "own.py").write_text("raise SystemExit('this ran')")
    edit(folder, model_type="own", auto_map={"AutoConfig": "own.Config", "AutoModelForMaskedLM": "own.Model"})
    assert "brings code of its own" in refusal(folder)


# ---------------------------------------------------------------- quiet


@pytest.fixture
def said(capfd):
    """What transformers said since it was last asked: in its log, and on both streams."""
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    transformers_logging.add_handler(handler)

    def get():
        texts = [record.getMessage() for record in records] + [text for text in capfd.readouterr() if text]
        records.clear()
        return texts

    yield get
    transformers_logging.remove_handler(handler)


def test_loading_says_nothing(copy_of, said):
    load_backbone(str(saved_as(BertModel, copy_of("bert"))), device="cpu", allow_new_head=True)
    refusal(saved_as(LlamaModel, copy_of("llama")))
    assert said() == []


def test_transformers_itself_would_have_said_something(copy_of, said):
    AutoModelForMaskedLM.from_pretrained(saved_as(BertModel, copy_of("bert")))
    assert "LOAD REPORT" in " ".join(said())


@pytest.mark.parametrize("level", [logging.INFO, logging.ERROR])
def test_loading_leaves_the_users_own_settings_of_transformers_as_they_were(folder_of, level):
    before, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(level)
    try:
        load_backbone(str(folder_of("bert")), device="cpu")
        refusal("./nowhere")
        assert transformers_logging.get_verbosity() == level
        assert transformers_logging.is_progress_bar_enabled() == bars
    finally:
        transformers_logging.set_verbosity(before)


def test_the_users_hook_for_progress_bars_is_given_back():
    def mine(factory, args, kwargs):
        return factory(*args, **kwargs)

    before = transformers_logging.set_tqdm_hook(mine)
    try:
        with pytest.raises(ValueError, match="inside"), quiet():
            raise ValueError("inside")
        assert transformers_logging.set_tqdm_hook(mine) is mine
    finally:
        transformers_logging.set_tqdm_hook(before)
