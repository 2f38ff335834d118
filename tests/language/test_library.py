from pathlib import Path

import pytest

from promptlab.errors import PatternError
from promptlab.language import library
from promptlab.language.library import load_task, pattern_folder, read_task, task_names

TASK = """
task: tiny
inputs: [text]
labels: [no, yes]
verbalizers: {default: {no: bad, yes: good}}
patterns: {p: "{text} It was {mask}."}
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(TASK, encoding="utf-8")
    return path


def test_a_shipped_task_is_loaded_by_name():
    assert load_task("mnli").labels == ("entailment", "neutral", "contradiction")


def test_any_task_is_loaded_by_the_path_of_its_file(file):
    assert load_task(file) == load_task(str(file)) == read_task(TASK)


def test_a_file_in_the_working_folder_is_loaded_by_its_name(file, monkeypatch):
    monkeypatch.chdir(file.parent)
    assert load_task("tiny.yaml").name == "tiny"


def test_a_path_need_not_end_like_yaml(file):
    other = file.rename(file.with_suffix(".txt"))
    assert load_task(str(other)).name == load_task(other).name == "tiny"


def test_an_unknown_name_is_suggested():
    with pytest.raises(
        PatternError, match=r"no task 'sst'\. Did you mean 'sst2'\? Known: ag_news, .*or write the path"
    ):
        load_task("sst")


@pytest.mark.parametrize("name", ["", "mnli ", "MNLI"])
def test_a_name_must_be_exact(name):
    with pytest.raises(PatternError, match="no task"):
        load_task(name)


def test_a_missing_file_is_an_error_of_one_line(tmp_path):
    with pytest.raises(PatternError) as raised:
        load_task(tmp_path / "none.yaml")
    assert str(raised.value) == f"{tmp_path / 'none.yaml'}: no such file. Write the path of a .yaml file."


def test_faults_name_the_file_as_it_was_given(file, monkeypatch):
    monkeypatch.chdir(file.parent)
    file.write_text(TASK.replace("{mask}", "{msk}"), encoding="utf-8")
    with pytest.raises(PatternError, match=r"^tiny\.yaml:6: pattern 'p'"):
        load_task("tiny.yaml")


def test_a_binary_file_is_refused(tmp_path):
    path = tmp_path / "model.yaml"
    path.write_bytes(bytes(range(128)) * 10)
    with pytest.raises(PatternError, match="binary, not text"):
        load_task(path)


def test_names_are_those_of_the_files_in_order():
    assert task_names() == sorted(path.stem for path in pattern_folder().glob("*.yaml"))
    assert "mr" in task_names()


def test_patterns_inside_the_package_come_before_those_beside_it(tmp_path, monkeypatch):
    package = tmp_path / "promptlab"
    (package / "language").mkdir(parents=True)
    monkeypatch.setattr(library, "__file__", str(package / "language" / "library.py"))
    (tmp_path / "patterns").mkdir()
    assert pattern_folder() == tmp_path / "patterns"
    (package / "patterns").mkdir()
    assert pattern_folder() == package / "patterns"


def test_a_name_cannot_lead_out_of_the_folder(monkeypatch, file):
    monkeypatch.setattr(library, "pattern_folder", lambda: file.parent / "inside")
    with pytest.raises(PatternError, match="no such file"):
        load_task(str(Path("..") / "tiny"))
