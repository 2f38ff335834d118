from dataclasses import dataclass, replace

import pytest

from promptlab.errors import SettingError
from promptlab.lab import cells
from promptlab.lab.cells import Contender, Model, settings_of
from promptlab.language.task import Task
from promptlab.spec import parse_system


@pytest.fixture
def run(make_plan):
    return make_plan(limit=20).cells()[0].runs[0]


def contender(text):
    return Contender.of(parse_system(text))


def test_the_same_run_has_the_same_name(make_plan):
    one, two = (make_plan(seeds=2).cells()[0].runs for _ in range(2))
    assert [run.key for run in one] == [run.key for run in two]


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"shots": 3},
        {"limit": 21},
        {"contender": "careful:steps=6+lora"},
        {"contender": "careful+lora:r=4"},
        {"contender": "careful"},
        {"model": Model("tiny", "another", "float32")},
        {"model": Model("tiny", "print of tiny", "bfloat16")},
    ],
    ids=str,
)
def test_whatever_could_change_the_numbers_changes_the_name(run, change):
    change = {key: contender(value) if key == "contender" else value for key, value in change.items()}
    assert replace(run, **change).key != run.key


def test_other_rows_change_the_name(run):
    assert replace(run, sample=replace(run.sample, fingerprint="other")).key != run.key


def test_another_pattern_changes_the_name(run):
    other = Task.from_parts(["{text} So {mask}."], {"negative": "terrible", "positive": "great"}, name="films")
    assert replace(run, task=other).key != run.key


def test_a_new_results_version_changes_every_name(run, monkeypatch):
    before = run.key
    monkeypatch.setattr(cells, "RESULTS_VERSION", cells.RESULTS_VERSION + 1)
    assert replace(run).key != before


def test_where_a_model_was_called_from_does_not_change_the_name(run):
    assert replace(run, model=Model("another/way/to/tiny", "print of tiny", "float32")).key == run.key


def test_settings_hold_what_was_left_out():
    assert contender("careful+lora:r=4").settings == {
        "method": {"steps": 5, "dies_at": None, "fails": False},
        "tuning": {"r": 4},
    }


def test_a_method_without_tuning_has_no_settings_for_one():
    assert contender("coin").settings == {"method": {}, "tuning": None}


def test_a_preset_is_settled_before_it_is_named():
    @dataclass(frozen=True)
    class Preset:
        preset: str = "paper"
        steps: int | None = None

        def settled(self):
            return replace(self, steps=self.steps or 100)

    assert settings_of(Preset()) == {"preset": "paper", "steps": 100}


def test_only_a_stackable_tuning_binds_the_runs_of_a_cell():
    assert contender("careful+lora").together
    assert not contender("careful").together
    assert not contender("coin").together


def test_a_tuning_for_what_learns_nothing_is_refused():
    with pytest.raises(SettingError, match="takes no tuning"):
        contender("tfidf+lora")


def test_a_cell_reads_as_task_system_and_shots(make_plan):
    assert str(make_plan().cells()[0]) == "films careful+lora k=2"


def test_patterns_each_opens_one_contender_a_pattern(reviews_task):
    from promptlab.methods.zero_shot import ZeroShot

    one = Contender("zero-shot:patterns=each", ZeroShot(patterns="each"), None, "zero-shot", None)
    assert [each.text for each in one.opened(reviews_task)] == [
        f"zero-shot:patterns={pvp.name}" for pvp in reviews_task.pvps
    ]
    assert [each.method.patterns for each in one.opened(reviews_task)] == [pvp.name for pvp in reviews_task.pvps]
    plain = Contender("zero-shot", ZeroShot(), None, "zero-shot", None)
    assert plain.opened(reviews_task) == [plain]
