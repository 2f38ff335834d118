import torch
from safetensors.torch import save_file

from promptlab.backbone import files
from promptlab.backbone.catalog import Place
from promptlab.backbone.files import fingerprint, stored_part


def test_a_part_is_found_at_any_depth_and_in_any_file(tmp_path):
    save_file({"bert.pooler.dense.weight": torch.ones(2, 2)}, tmp_path / "model-1.safetensors")
    save_file({"pooler.dense.bias": torch.zeros(2)}, tmp_path / "model-2.safetensors")
    assert sorted(stored_part(tmp_path, "pooler")) == ["dense.bias", "dense.weight"]


def test_a_name_that_only_ends_like_the_part_is_not_the_part(tmp_path):
    save_file(
        {"attention_pooler.weight": torch.ones(2), "pooler_norm.weight": torch.ones(2)}, tmp_path / "m.safetensors"
    )
    assert stored_part(tmp_path, "pooler") == {}


def test_a_folder_that_lacks_the_part_gives_none(tmp_path):
    assert stored_part(tmp_path, "pooler") == {}


def test_a_renamed_file_changes_the_fingerprint(tmp_path):
    (tmp_path / "vocab.txt").write_text("a")
    before = fingerprint(Place(tmp_path))
    (tmp_path / "vocab.txt").rename(tmp_path / "words.txt")
    assert fingerprint(Place(tmp_path)) != before


def test_content_moved_from_one_file_to_the_next_changes_the_fingerprint(tmp_path):
    (tmp_path / "a.txt").write_text("xy")
    (tmp_path / "b.txt").write_text("z")
    before = fingerprint(Place(tmp_path))
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "b.txt").write_text("yz")
    assert fingerprint(Place(tmp_path)) != before


def test_any_byte_of_a_small_file_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_BLOCK_BYTES", 16)
    prints = set()
    for changed in range(33):
        (tmp_path / "model.safetensors").write_bytes(bytes(changed == i for i in range(32)))
        prints.add(fingerprint(Place(tmp_path)))
    assert len(prints) == 33


def test_a_large_file_is_read_at_its_beginning_its_end_and_between(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_BLOCK_BYTES", 4)
    monkeypatch.setattr(files, "_BLOCKS", 5)

    def of(changed):
        (tmp_path / "model.safetensors").write_bytes(bytes(changed == i for i in range(1000)))
        return fingerprint(Place(tmp_path))

    untouched = of(-1)
    assert all(of(place) != untouched for place in (0, 3, 249, 498, 997, 999))
    assert of(100) == untouched  # what it costs not to read everything
