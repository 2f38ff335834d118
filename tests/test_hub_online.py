"""Merged for transformers, and on the hub (which is a fake here: no test goes online)."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from promptlab.backbone.identity import ABOUT
from promptlab.classifier import PromptClassifier
from promptlab.errors import OutputError, SettingError
from promptlab.hub import CARD, TASK

TEXTS = ["a good film", "a bad film", "", "a very slow and boring story about two actors"]


@pytest.fixture
def fitted(reviews_task, reviews):
    def fit(backbone, method="zero-shot", **settings):
        classifier = PromptClassifier(reviews_task, method=method, backbone=backbone, **settings)
        return classifier.fit(reviews[:8], unlabeled=reviews[8:16])

    return fit


def about(folder):
    return json.loads((folder / ABOUT).read_text(encoding="utf-8"))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# merged


def test_a_merged_model_is_a_backbone_that_needs_no_more_training(fitted, tiny_bert, reviews_task, tmp_path):
    classifier = fitted(tiny_bert, "prompt:steps=3", tuning="lora:lr=0.1")
    classifier.save_pretrained(tmp_path / "merged", merge=True)
    again = PromptClassifier(tmp_path / "merged" / TASK, method="zero-shot", backbone=tmp_path / "merged", device="cpu")
    assert again.fit().predict_proba(TEXTS) == pytest.approx(classifier.predict_proba(TEXTS), abs=1e-6)


def test_a_merged_folder_is_listed_and_replaced_like_any_other(fitted, tiny_bert, tmp_path):
    classifier = fitted(tiny_bert, "finetune:steps=1", tuning="lora")
    for _ in range(2):
        classifier.save_pretrained(tmp_path / "merged", merge=True)
    assert about(tmp_path / "merged")["files"] == names(tmp_path / "merged")
    assert {"model.safetensors", "config.json", "tokenizer.json", CARD} <= set(names(tmp_path / "merged"))
    classifier.save_pretrained(tmp_path / "merged")
    assert "model.safetensors" not in names(tmp_path / "merged")


def test_a_merged_folder_is_not_read_as_a_saved_one(fitted, tiny_bert, tmp_path):
    fitted(tiny_bert, "finetune:steps=1", tuning="lora").save_pretrained(tmp_path / "merged", merge=True)
    with pytest.raises(OutputError, match="is merged: a plain checkpoint"):
        PromptClassifier.from_pretrained(tmp_path / "merged")


def test_what_cannot_be_merged_leaves_no_folder(fitted, tiny_bert, tmp_path):
    with pytest.raises(SettingError, match="reads pool=mean"):
        fitted(tiny_bert, "finetune:steps=1,pool=mean").save_pretrained(tmp_path / "merged", merge=True)
    with pytest.raises(SettingError, match="majority changes no weights"):
        fitted(tiny_bert, "majority").save_pretrained(tmp_path / "merged", merge=True)
    assert names(tmp_path) == []


# the hub


class Hub:
    """Stands for huggingface_hub.HfApi: keeps what it is given."""

    def __init__(self, folder):
        self.folder, self.asked = folder, []

    def create_repo(self, repo, **options):
        self.asked.append((repo, options))

    def upload_folder(self, *, repo_id, folder_path, commit_message):
        shutil.copytree(folder_path, self.folder)
        return type("Commit", (), {"repo_url": f"https://hub/{repo_id}", "commit_url": "x"})()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    made = Hub(tmp_path / "hub")
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: made)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda repo, **options: str(made.folder))
    return made


def test_a_model_goes_to_the_hub_and_comes_back(fitted, tiny_bert, hub):
    classifier = fitted(tiny_bert, "prompt:steps=1+lora")
    assert classifier.push_to_hub("me/films", private=True, metrics={"accuracy": 0.5}) == "https://hub/me/films"
    assert hub.asked == [("me/films", {"private": True, "exist_ok": True})]
    again = PromptClassifier.from_pretrained("me/films", backbone=tiny_bert)
    assert np.array_equal(again.predict_proba(TEXTS), classifier.predict_proba(TEXTS))


def test_the_hub_is_told_no_folder_of_this_machine(fitted, tiny_bert, hub):
    fitted(tiny_bert, "prompt:steps=1+lora").push_to_hub("me/films")
    here = Path(tiny_bert.name)
    for name in (ABOUT, CARD, TASK):
        assert str(here.parent) not in (hub.folder / name).read_text(encoding="utf-8")
    assert about(hub.folder)["backbone"]["name"] == here.name
    assert 'from_pretrained("me/films")' in (hub.folder / CARD).read_text(encoding="utf-8")


def test_a_merged_model_goes_to_the_hub(fitted, tiny_bert, hub):
    fitted(tiny_bert, "finetune:steps=1+lora").push_to_hub("me/films", merge=True)
    assert "model.safetensors" in names(hub.folder)
    assert 'pipeline("text-classification", "me/films")' in (hub.folder / CARD).read_text(encoding="utf-8")


def test_a_hub_that_refuses_is_one_clear_error(fitted, tiny_bert, hub, monkeypatch):
    def refuse(*args, **options):
        raise RuntimeError("403 Forbidden: not yours\nmore")

    monkeypatch.setattr(hub, "create_repo", refuse)
    with pytest.raises(OutputError, match="me/films cannot be written on the hub: 403 Forbidden: not yours"):
        fitted(tiny_bert).push_to_hub("me/films")


def test_a_hub_that_does_not_answer_is_one_clear_error(monkeypatch):
    def refuse(*args, **options):
        raise ConnectionError("no route")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(OutputError, match="no folder me/films, and the hub did not give it: no route"):
        PromptClassifier.from_pretrained("me/films")


@pytest.mark.parametrize("name", ["films", "a/b/c", "./films", Path("me") / "films"])
def test_a_name_that_is_no_hub_name_is_not_asked_for(name, monkeypatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *args, **options: pytest.fail("asked the hub"))
    with pytest.raises(OutputError, match="no folder"):
        PromptClassifier.from_pretrained(name)
