import json
import os
import time

import numpy as np
import pytest

from promptlab.errors import OutputError
from promptlab.lab.store import Finished, Folder, Memory


def finished(key, together=None, score=0.5):
    row = {"run": key, "system": "pet", "task": "mr", "method": "pet", "shots": 16, "seed": 0, "metric": "accuracy"}
    row |= {"score": score, "together": together or [key]}
    return Finished(row, np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 1]))


@pytest.fixture
def folder(tmp_path):
    made = Folder(tmp_path / "deep" / "runs")
    made.prepare()
    return made


def test_the_folder_is_made_with_all_above_it(folder):
    assert folder.path.is_dir()
    assert list(folder.path.iterdir()) == []


def test_a_run_is_a_folder_with_a_row_and_its_scores(folder):
    folder.write([finished("a")])
    assert sorted(path.name for path in (folder.path / "a").iterdir()) == ["row.json", "scores.npz"]
    assert folder.rows(["a"])["a"]["score"] == 0.5
    scores, gold = folder.scores("a")
    assert scores.tolist() == [[0.1, 0.9], [0.8, 0.2]]
    assert gold.tolist() == [1, 1]


def test_nothing_half_written_is_left_after_writing(folder):
    folder.write([finished("a"), finished("b")])
    assert sorted(path.name for path in folder.path.iterdir()) == ["a", "b"]


def test_nothing_is_left_of_a_row_that_cannot_be_written(folder):
    broken = finished("b")
    broken.row["score"] = float("nan")
    with pytest.raises(ValueError):
        folder.write([finished("a", ["a", "b"]), broken])
    assert list(folder.path.iterdir()) == []


def test_a_disk_that_refuses_is_an_output_error(folder, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OutputError, match="cannot be written: No space left on device"):
        folder.write([finished("a")])
    assert folder.rows(["a"]) == {}


def test_only_whole_runs_are_rows(folder):
    folder.write([finished("a")])
    assert list(folder.rows(["a", "b"])) == ["a"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda place: (place / "row.json").write_text('{"run": "a", "sco', encoding="utf-8"),
        lambda place: (place / "row.json").write_text("[]", encoding="utf-8"),
        lambda place: (place / "row.json").write_text('{"run": "a"}', encoding="utf-8"),
        lambda place: (place / "row.json").write_bytes(b"\xff\xfe"),
        lambda place: (place / "scores.npz").write_bytes(b"PK nothing"),
        lambda place: (place / "scores.npz").write_bytes(b""),
    ],
    ids=["cut short", "a list", "fields missing", "binary", "scores damaged", "scores empty"],
)
def test_a_damaged_run_counts_as_missing_and_is_told(folder, caplog, damage):
    folder.write([finished("a")])
    damage(folder.path / "a")
    assert folder.rows(["a"]) == {}
    assert "the run counts as missing" in caplog.text


def test_a_run_without_its_scores_is_missing(folder):
    folder.write([finished("a")])
    (folder.path / "a" / "scores.npz").unlink()
    assert folder.rows(["a"]) == {}


def test_the_row_of_another_run_is_no_row(folder):
    folder.write([finished("a")])
    (folder.path / "a").rename(folder.path / "b")
    assert folder.rows(["b"]) == {}


def test_a_damaged_run_is_written_over(folder):
    folder.write([finished("a", score=0.1)])
    (folder.path / "a" / "row.json").write_text("", encoding="utf-8")
    folder.write([finished("a", score=0.9)])
    assert folder.rows(["a"])["a"]["score"] == 0.9


def test_a_stack_with_a_run_missing_is_missing_whole(folder):
    folder.write([finished(key, ["a", "b"]) for key in "ab"])
    assert sorted(folder.rows("ab")) == ["a", "b"]
    (folder.path / "b" / "row.json").unlink()
    assert folder.rows("ab") == {}


def test_a_stack_is_whole_though_only_some_of_it_is_asked_for(folder):
    folder.write([finished(key, ["a", "b"]) for key in "ab"])
    assert list(folder.rows(["a"])) == ["a"]


def test_keys_are_those_of_whole_folders(folder):
    folder.write([finished("b"), finished("a")])
    (folder.path / "notes").mkdir()
    (folder.path / ".half-c").mkdir()
    (folder.path / ".half-c" / "row.json").write_text("{}", encoding="utf-8")
    assert folder.keys() == ["a", "b"]


def test_a_folder_that_is_not_there_has_no_keys(tmp_path):
    assert Folder(tmp_path / "nowhere").keys() == []


def test_what_a_killed_run_left_behind_is_cleared_away(folder):
    half = folder.path / ".half-a"
    half.mkdir()
    long_ago = time.time() - 3600
    os.utime(half, (long_ago, long_ago))
    folder.prepare()
    assert not half.exists()


def test_what_another_process_is_writing_is_left_alone(folder):
    half = folder.path / ".half-a"
    half.mkdir()
    folder.prepare()
    assert half.exists()


def test_a_fresh_half_of_the_same_run_is_no_obstacle(folder):
    half = folder.path / ".half-a"
    half.mkdir()
    (half / "row.json").write_text("{", encoding="utf-8")
    folder.write([finished("a")])
    assert json.loads((folder.path / "a" / "row.json").read_text(encoding="utf-8"))["run"] == "a"
    assert not half.exists()


def test_a_file_in_place_of_the_folder_is_an_output_error(tmp_path):
    (tmp_path / "runs").write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match="cannot be written"):
        Folder(tmp_path / "runs").prepare()


@pytest.mark.skipif(os.geteuid() == 0 if hasattr(os, "geteuid") else True, reason="root may write anywhere")
def test_a_folder_without_leave_to_write_is_an_output_error(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="Permission denied"):
            Folder(tmp_path / "runs").prepare()
    finally:
        tmp_path.chmod(0o700)


def test_scores_that_are_gone_say_what_to_do(folder):
    folder.write([finished("a")])
    (folder.path / "a" / "scores.npz").unlink()
    with pytest.raises(OutputError, match="Remove .* and run again"):
        folder.scores("a")


def test_scores_are_never_pickles(folder):
    folder.write([finished("a")])
    place = folder.path / "a" / "scores.npz"
    np.savez(place, scores=np.array([{"a": 1}], dtype=object), gold=np.array([0]))
    assert folder.rows(["a"]) == {}


def test_memory_keeps_what_it_was_given():
    memory = Memory()
    memory.write([finished("a")])
    assert list(memory.rows(["a", "b"])) == ["a"]
    assert memory.scores("a")[1].tolist() == [1, 1]
