"""A classifier saved as PEFT's adapter comes back here, and is read by PEFT."""

import json

import numpy as np
import pytest

from promptlab.backbone.identity import ABOUT
from promptlab.classifier import PromptClassifier
from promptlab.errors import BackboneError, SettingError

TEXTS = ["a good film", "a bad film", "a very slow and boring story about two actors"]


@pytest.fixture
def fitted(reviews_task, reviews):
    def fit(backbone, method, **settings):
        classifier = PromptClassifier(reviews_task, method=method, backbone=backbone, **settings)
        return classifier.fit(reviews[:8], unlabeled=reviews[8:16])

    return fit


@pytest.mark.parametrize(
    ("family", "method"),
    [
        ("bert", "prompt:steps=2,patterns=p1+lora:r=2,lr=0.1"),
        ("gpt2", "prompt:steps=2,patterns=p1+lora:r=2,lr=0.1,targets=all"),
        ("roberta", "finetune:steps=2+lora:r=2,lr=0.1"),
        ("roberta", "pet:repetitions=1,steps=1,student_steps=2,student_batch=4+lora:r=2,lr=0.1"),
    ],
)
def test_what_comes_back_answers_the_same_to_the_bit(fitted, tiny, tmp_path, family, method):
    classifier = fitted(tiny(family), method)
    classifier.save_pretrained(tmp_path / "saved", format="peft")
    files = {path.name for path in (tmp_path / "saved").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", ABOUT} <= files
    assert "weights.safetensors" not in files
    again = PromptClassifier.from_pretrained(tmp_path / "saved", device="cpu")
    assert np.array_equal(again.predict_proba(TEXTS), classifier.predict_proba(TEXTS))
    assert again.n_learnt_ == classifier.n_learnt_
    again.save_pretrained(tmp_path / "saved")
    assert {path.name for path in (tmp_path / "saved").iterdir()} >= {"weights.safetensors"}


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")
def test_peft_reads_the_folder(fitted, fresh, tmp_path):
    peft = pytest.importorskip("peft")
    fitted(fresh("bert"), "prompt:steps=2,patterns=p1", tuning="lora:r=2").save_pretrained(
        tmp_path / "saved", format="peft"
    )
    model = peft.PeftModel.from_pretrained(fresh("bert").model, str(tmp_path / "saved"))
    assert sum(one.numel() for name, one in model.named_parameters() if "lora_" in name) == 2 * 2 * 2 * 64


def test_another_backbone_is_refused_and_said_which(fitted, tiny, tmp_path):
    fitted(tiny("bert"), "prompt:steps=1,patterns=p1", tuning="lora:r=2").save_pretrained(
        tmp_path / "saved", format="peft"
    )
    with pytest.raises(BackboneError, match="learnt on .*bert.* is another model"):
        PromptClassifier.from_pretrained(tmp_path / "saved", backbone=tiny("roberta"))


def test_a_name_that_is_pushed_says_no_folder_of_this_machine(fitted, tiny, tmp_path):
    classifier = fitted(tiny("bert"), "prompt:steps=1,patterns=p1", tuning="lora:r=2")
    classifier._save(tmp_path / "saved", False, None, "somebody/model", "peft")
    config = json.loads((tmp_path / "saved" / "adapter_config.json").read_text())
    assert "/" not in config["base_model_name_or_path"]


@pytest.mark.parametrize(
    ("method", "settings", "said"),
    [
        ("prompt:steps=1,patterns=p1+bitfit", {}, "no place for bitfit"),
        ("finetune:steps=1,pool=mean+lora", {}, "reads pool=mean, and transformers' classifier reads cls"),
        ("prompt:steps=1,patterns=p1+p2+lora", {}, "2 models together, and an adapter in PEFT's format holds one"),
        ("zero-shot", {}, "changes no weights"),
        ("prompt:steps=1,patterns=p1+lora", {"merge": True}, "merged model has no adapter"),
    ],
)
def test_what_peft_cannot_say_is_refused_and_nothing_is_written(fitted, tiny, tmp_path, method, settings, said):
    classifier = fitted(tiny("bert"), method)
    with pytest.raises(SettingError, match=said):
        classifier.save_pretrained(tmp_path / "saved", format="peft", **settings)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_format_is_refused(fitted, tiny, tmp_path):
    with pytest.raises(SettingError, match=r"format=pefft cannot be.*peft"):
        fitted(tiny("bert"), "zero-shot").save_pretrained(tmp_path / "saved", format="pefft")
