import json
import os
import time
from pathlib import Path

import pytest

from promptlab.errors import OutputError
from promptlab.folders import listed_in, place_of, replacing, some

MANIFEST = "about.json"


def put(place, **files):
    """Writes a folder of ours."""
    with replacing(place) as half:
        for name, text in files.items():
            (half / name).write_text(text)
        (half / MANIFEST).write_text(json.dumps({"files": [*files, MANIFEST]}))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_is_made_with_those_above_it(tmp_path):
    put(tmp_path / "a" / "b", one="1")
    assert (tmp_path / "a" / "b" / "one").read_text() == "1"


def test_nothing_is_there_until_all_is_written(tmp_path):
    with replacing(tmp_path / "model") as half:
        (half / "one").write_text("1")
        assert not (tmp_path / "model").exists()
    assert names(tmp_path) == ["model"]


def test_an_error_on_the_way_leaves_nothing_behind(tmp_path):
    with pytest.raises(RuntimeError), replacing(tmp_path / "model") as half:
        (half / "one").write_text("1")
        raise RuntimeError
    assert names(tmp_path) == []


def test_an_error_on_the_way_leaves_what_was_there(tmp_path):
    put(tmp_path / "model", one="old")
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "model") as half:
        (half / "one").write_text("new")
        raise KeyboardInterrupt
    assert (tmp_path / "model" / "one").read_text() == "old"
    assert names(tmp_path) == ["model"]


def test_a_folder_of_ours_is_replaced_whole(tmp_path):
    put(tmp_path / "model", one="old", two="old")
    put(tmp_path / "model", one="new")
    assert names(tmp_path / "model") == [MANIFEST, "one"]
    assert names(tmp_path) == ["model"]


def test_a_replacement_that_fails_puts_the_old_folder_back(tmp_path, monkeypatch):
    put(tmp_path / "model", one="old")
    real = Path.rename

    def refuse(self, target):
        if "-half-" in self.name:
            raise OSError(28, "No space left on device")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OutputError, match="No space left on device"):
        put(tmp_path / "model", one="new")
    assert (tmp_path / "model" / "one").read_text() == "old"
    assert names(tmp_path) == ["model"]


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "model").mkdir()
    put(place_of(tmp_path / "model", MANIFEST), one="1")
    assert names(tmp_path) == ["model"]


def test_a_folder_can_be_entered_by_whoever_may_enter_its_neighbours(tmp_path):
    (tmp_path / "neighbour").mkdir()
    put(tmp_path / "model", one="1")
    assert (tmp_path / "model").stat().st_mode == (tmp_path / "neighbour").stat().st_mode


def test_a_place_is_told_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert place_of("model", MANIFEST) == (tmp_path / "model").resolve()


def test_a_file_is_no_place(tmp_path):
    (tmp_path / "model").write_text("")
    with pytest.raises(OutputError, match="model is a file. Write a new folder"):
        place_of(tmp_path / "model", MANIFEST)


def test_a_folder_of_somebody_elses_is_no_place(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match=r"holds something else \(thesis.txt\). Write a new folder, or empty this"):
        place_of(tmp_path, MANIFEST)


def test_a_folder_of_ours_with_somebody_elses_file_in_it_is_no_place(tmp_path):
    put(tmp_path / "model", one="1")
    (tmp_path / "model" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds notes.txt beside a model. Move that away"):
        place_of(tmp_path / "model", MANIFEST)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"files": 3}', "\udcff"])
def test_a_manifest_that_lists_nothing_makes_no_folder_ours(tmp_path, text):
    (tmp_path / MANIFEST).write_text(text, errors="surrogateescape")
    assert listed_in(tmp_path, MANIFEST) is None
    with pytest.raises(OutputError, match="holds something else"):
        place_of(tmp_path, MANIFEST)


def test_a_place_that_cannot_be_made_says_why(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written: Not a directory. Write a folder that you may write to"):
        put(tmp_path / "file" / "model", one="1")


def test_what_a_killed_run_left_is_cleared_away_but_not_what_another_is_writing(tmp_path):
    stale, fresh = tmp_path / ".model-half-1-1", tmp_path / ".model-half-2-2"
    for half in (stale, fresh):
        half.mkdir()
    long_ago = time.time() - 7200
    os.utime(stale, (long_ago, long_ago))
    put(tmp_path / "model", one="1")
    assert names(tmp_path) == [fresh.name, "model"]


def test_of_many_names_the_first_few_are_told():
    assert some(["a", "b"]) == "a, b"
    assert some(list("abcdef")) == "a, b, c and 3 more"
