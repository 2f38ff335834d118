import os
import shutil

import pytest

from promptlab.backbone.backbone import load_backbone
from promptlab.backbone.identity import describe, recover
from promptlab.errors import BackboneError


@pytest.fixture
def moved(tiny_bert_folder, tmp_path):
    """A copy of the tiny model that a test may move or change."""
    return shutil.copytree(tiny_bert_folder, tmp_path / "models" / "bert")


@pytest.fixture
def saved(tmp_path):
    folder = tmp_path / "saved"
    folder.mkdir()
    return folder


def test_a_backbone_is_described_by_name_fingerprint_and_kind(tiny_bert, saved):
    found = describe(tiny_bert, saved)
    assert found["fingerprint"] == tiny_bert.fingerprint
    assert (found["name"], found["kind"], found["dtype"]) == (tiny_bert.name, "masked", "float32")
    assert (found["local"], found["new_head"]) == (True, False)


def test_the_same_backbone_is_recovered(tiny_bert, saved):
    again = recover(describe(tiny_bert, saved), saved, device="cpu")
    assert (again.fingerprint, again.kind, again.dtype) == (tiny_bert.fingerprint, "masked", tiny_bert.dtype)


def test_a_relative_folder_is_found_from_another_working_folder(moved, saved, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    described = describe(load_backbone("models/bert", device="cpu"), saved)
    monkeypatch.chdir(saved)
    assert recover(described, saved, device="cpu").fingerprint == described["fingerprint"]


def test_a_folder_that_moved_together_with_the_saved_one_is_found(moved, saved, tmp_path, monkeypatch):
    described = describe(load_backbone(str(moved), device="cpu"), saved)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for folder in ("models", "saved"):
        shutil.move(tmp_path / folder, elsewhere / folder)
    assert recover(described, elsewhere / "saved", device="cpu").fingerprint == described["fingerprint"]


def test_a_saved_model_that_moved_alone_finds_its_backbone_where_it_was(moved, saved, tmp_path):
    described = describe(load_backbone(str(moved), device="cpu"), saved)
    away = tmp_path / "far" / "away" / "saved"
    shutil.copytree(saved, away)
    assert recover(described, away, device="cpu").fingerprint == described["fingerprint"]


def test_of_two_folders_the_one_with_the_right_contents_is_taken(moved, saved, tmp_path, monkeypatch, folder_of):
    monkeypatch.chdir(tmp_path)
    described = describe(load_backbone("models/bert", device="cpu"), saved)
    other = tmp_path / "other"
    shutil.copytree(folder_of("distilbert"), other / "models" / "bert")
    monkeypatch.chdir(other)
    assert recover(described, saved, device="cpu").fingerprint == described["fingerprint"]


def test_a_backbone_that_is_nowhere_names_where_it_was_looked_for(moved, saved):
    described = describe(load_backbone(str(moved), device="cpu"), saved)
    shutil.rmtree(moved)
    with pytest.raises(BackboneError, match="is not there .looked at .*models/bert.*Write backbone="):
        recover(described, saved)


def test_a_backbone_whose_files_changed_is_refused_and_both_are_named(moved, saved):
    described = describe(load_backbone(str(moved), device="cpu"), saved)
    (moved / "config.json").write_text((moved / "config.json").read_text() + "\n")
    with pytest.raises(BackboneError) as caught:
        recover(described, saved, device="cpu")
    told = str(caught.value)
    assert told.count(str(moved)) == 2
    assert described["fingerprint"][:12] in told
    assert "allow_other_backbone=True" in told


@pytest.mark.parametrize("loaded", [True, False])
def test_another_backbone_is_refused_unless_it_is_asked_for(tiny_bert, tiny_distilbert, saved, loaded):
    described = describe(tiny_bert, saved)
    given = tiny_distilbert if loaded else tiny_distilbert.name
    with pytest.raises(BackboneError, match="is another model"):
        recover(described, saved, given, device="cpu")
    taken = recover(described, saved, given, device="cpu", allow_other=True)
    assert taken.fingerprint == tiny_distilbert.fingerprint


def test_a_loaded_backbone_is_taken_as_it_is(tiny_bert, saved):
    assert recover(describe(tiny_bert, saved), saved, tiny_bert) is tiny_bert


def test_the_number_format_is_the_saved_one_unless_another_is_asked_for(float64, saved):
    described = describe(float64("bert"), saved)
    assert str(recover(described, saved, device="cpu").dtype) == "torch.float64"
    assert str(recover(described, saved, device="cpu", dtype="float32").dtype) == "torch.float32"


def test_half_formats_are_read_as_float32_on_a_cpu(fresh, saved):
    described = describe(fresh("bert", dtype="bfloat16"), saved)
    assert described["dtype"] == "bfloat16"
    assert str(recover(described, saved, device="cpu").dtype) == "torch.float32"
    assert str(recover(described, saved, device="cpu", dtype="bfloat16").dtype) == "torch.bfloat16"


def test_a_head_that_was_new_is_new_in_the_same_way(folder_of, tmp_path, saved):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(folder_of("bert"), tmp_path / "headless")
    weights = load_file(folder / "model.safetensors")
    encoder = {name: one for name, one in weights.items() if name.startswith("bert.")}
    save_file(encoder, folder / "model.safetensors", {"format": "pt"})
    made = load_backbone(str(folder), device="cpu", allow_new_head=True)
    again = recover(describe(made, saved), saved, device="cpu")
    assert again.new_head
    assert all(a.equal(b) for a, b in zip(made.model.parameters(), again.model.parameters(), strict=True))


def test_what_leaves_the_machine_tells_no_folder_of_it(moved):
    told = describe(load_backbone(str(moved), device="cpu"), None)
    assert told["name"] == "bert"
    assert "places" not in told
    assert os.sep not in str(told)


def test_a_hub_name_is_asked_for_by_name(tiny_bert, saved, monkeypatch):
    from dataclasses import replace

    cached = replace(tiny_bert, name="somebody/bert")  # as loaded from the hub's cache, whose folder is named otherwise
    described = describe(cached, saved)
    assert (described["local"], described["places"]) == (False, [])
    asked = []
    monkeypatch.setattr(
        "promptlab.backbone.identity.load_backbone", lambda name, *args, **options: asked.append(name) or cached
    )
    assert recover(described, saved) is cached
    assert asked == ["somebody/bert"]


def test_a_hub_name_leaves_the_machine_as_it_is(tiny_bert):
    from dataclasses import replace

    assert describe(replace(tiny_bert, name="somebody/bert"), None)["name"] == "somebody/bert"
