import json

import pytest

from promptlab.errors import BackboneError, DataError, OutputError, PatternError, SettingError
from promptlab.lab.plan import Plan
from promptlab.language.task import Task


def seeds_of(cells):
    return [(cell.contender.text, cell.shots, [run.seed for run in cell.runs]) for cell in cells]


def test_a_plan_is_every_system_with_every_number_of_shots_and_seed(make_plan):
    cells = make_plan("careful+lora,tfidf", shots=[2, 4], seeds=2).cells()
    assert seeds_of(cells) == [
        ("careful+lora", 2, [0, 1]),
        ("tfidf", 2, [0, 1]),
        ("careful+lora", 4, [0, 1]),
        ("tfidf", 4, [0, 1]),
    ]


def test_zero_shots_run_only_what_needs_no_labels_and_only_once(make_plan):
    cells = make_plan("careful,coin,tfidf", shots=[0, 2], seeds=3).cells()
    assert seeds_of(cells)[:1] == [("coin", 0, [0])]
    assert [text for text, shots, _ in seeds_of(cells) if shots == 2] == ["careful", "coin", "tfidf"]


def test_what_needs_no_labels_still_stands_in_the_columns_that_have_some(make_plan):
    assert seeds_of(make_plan("coin", shots=2, seeds=2).cells()) == [("coin", 2, [0, 1])]


def test_zero_shots_for_learners_alone_are_refused(make_plan):
    with pytest.raises(SettingError, match="careful\\+lora learns from labels, and k=0 gives none"):
        make_plan(shots=0).cells()


@pytest.mark.parametrize(
    ("written", "shots"), [("2,4", [2, 4]), ("total:6", ["total:6"]), ("all", ["all"]), ([2, "2", "all"], [2, "all"])]
)
def test_shots_are_read_as_a_list(make_plan, written, shots):
    assert [cell.shots for cell in make_plan(shots=written).cells()] == shots


@pytest.mark.parametrize("shots", ["many", "-1", "total:x"])
def test_shots_that_cannot_be_are_refused(make_plan, shots):
    with pytest.raises(SettingError, match="Write"):
        make_plan(shots=shots).cells()


def test_the_draw_has_as_many_rows_as_asked_for(make_plan):
    sizes = [len(cell.runs[0].sample.train) for cell in make_plan(shots=[2, "total:5", "all"]).cells()]
    assert sizes == [4, 5, 24]


def test_another_seed_draws_other_rows_of_the_same_test(make_plan):
    one, two = make_plan(seeds=2, limit=10).cells()[0].runs
    assert one.sample.train != two.sample.train
    assert one.sample.test == two.sample.test
    assert len(one.sample.test) == 10


def test_a_split_seed_keeps_the_rows_and_varies_the_training(make_plan):
    one, two = make_plan(seeds=2, split_seed=7).cells()[0].runs
    assert one.sample.train == two.sample.train
    assert one.key != two.key


def test_seeds_may_be_named(make_plan):
    assert [run.seed for run in make_plan(seeds=[3, 5]).cells()[0].runs] == [3, 5]


@pytest.mark.parametrize(
    ("systems", "message"),
    [
        ("carful", "no method 'carful'. Did you mean 'careful'?"),
        ("careful+loar", "no tuning 'loar'. Did you mean 'lora'?"),
        ("careful:stepps=3", "Did you mean 'steps'?"),
        ("coin+lora", "coin trains no weights, so it takes no tuning. Write coin."),
        ("", "nothing to run"),
    ],
)
def test_a_system_that_cannot_be_is_refused_before_anything_runs(make_plan, calls, systems, message):
    with pytest.raises(SettingError) as caught:
        make_plan(systems).run()
    assert message in str(caught.value)
    assert calls == []


def test_a_learner_without_a_tuning_learns_every_weight(make_plan):
    assert make_plan("careful").cells()[0].contender.tuning_name == "full"


def test_a_backbone_is_asked_for_only_by_what_needs_one(make_plan):
    assert make_plan("coin,tfidf", backbone=None).run().failures == {}
    with pytest.raises(SettingError, match="careful needs a language model. Write --backbone"):
        make_plan("careful", backbone=None).run()


def test_seeds_that_are_none_are_refused(make_plan):
    with pytest.raises(SettingError, match="seeds: 0"):
        make_plan(seeds=0).cells()


def test_an_unknown_task_is_refused(make_plan):
    with pytest.raises(PatternError, match="no task 'fims'"):
        make_plan(tasks=["fims"]).cells()


def test_no_task_at_all_is_refused(make_plan):
    with pytest.raises(SettingError, match="no task"):
        make_plan(tasks=[]).cells()


def test_two_tasks_of_one_name_are_refused(make_plan, task):
    other = Task.from_parts(["{text} {mask}."], {"negative": "bad", "positive": "good"}, name="films")
    with pytest.raises(SettingError, match="two different tasks are called 'films'"):
        make_plan(tasks=[task, other]).cells()


def test_a_task_said_twice_counts_once(make_plan, task):
    assert len(make_plan(tasks=[task, task]).cells()) == 1


def test_more_shots_than_rows_name_the_class(make_plan):
    with pytest.raises(DataError, match="'negative' has 12"):
        make_plan(shots=13).cells()


def test_data_without_test_rows_are_refused(make_plan, data):
    (data / "films" / "test.jsonl").unlink()
    with pytest.raises(DataError, match="films: no test rows. Write --test FILE"):
        make_plan().cells()


def test_files_of_ones_own_take_the_place_of_a_folder(make_plan, data, tmp_path):
    pool = tmp_path / "pool.txt"
    pool.write_text("one more film\nand another\n", encoding="utf-8")
    films = data / "films"
    plan = make_plan(data=None, train=films / "train.jsonl", test=films / "test.jsonl", unlabeled=pool)
    sample = plan.cells()[0].runs[0].sample
    assert [len(sample.train), len(sample.unlabeled), len(sample.test)] == [4, 2, 40]
    assert not sample.pool_from_train


def test_files_of_ones_own_belong_to_one_task(make_plan, task, data):
    other = Task.from_parts(["{text} {mask}."], {"negative": "bad", "positive": "good"}, name="books")
    with pytest.raises(SettingError, match="belong to one task"):
        make_plan(tasks=[task, other], train=data / "films" / "train.jsonl").cells()


def test_columns_go_to_the_tasks_that_have_them(make_plan, data, tmp_path):
    renamed = tmp_path / "renamed.jsonl"
    rows = (data / "films" / "train.jsonl").read_text(encoding="utf-8").replace('"text"', '"review"')
    renamed.write_text(rows, encoding="utf-8")
    plan = make_plan(data=None, train=renamed, test=renamed, columns={"text": "review"})
    assert len(plan.cells()[0].runs[0].sample.train) == 4


def test_a_column_for_no_input_is_refused(make_plan):
    with pytest.raises(SettingError, match="no task here has an input 'txt'. Did you mean 'text'"):
        make_plan(columns={"txt": "review"}).cells()


def test_the_output_folder_is_tried_before_anything_runs(make_plan, calls, tmp_path):
    (tmp_path / "runs").write_text("a file", encoding="utf-8")
    with pytest.raises(OutputError, match="cannot be written"):
        make_plan().run(tmp_path / "runs")
    assert calls == []


def test_a_backbone_that_cannot_be_loaded_stops_the_plan(make_plan, monkeypatch):
    def broken(plan):
        raise BackboneError("no such model.")

    monkeypatch.setattr(Plan, "_load", broken)
    with pytest.raises(BackboneError):
        make_plan().run()


def test_the_backbone_is_loaded_once_and_only_where_something_needs_it(make_plan, small_house, tmp_path):
    make_plan("coin,careful,careful+lora").run(tmp_path / "runs")
    assert small_house == ["tiny"]
    make_plan("coin,careful,careful+lora").run(tmp_path / "runs")
    assert small_house == ["tiny"]


def test_a_plan_without_a_folder_keeps_its_rows_in_memory(make_plan):
    results = make_plan("careful+lora,tfidf", seeds=2).run()
    assert [(row["system"], row["seed"]) for row in results] == [
        *(("careful+lora", seed) for seed in (0, 1)),
        *(("tfidf", seed) for seed in (0, 1)),
    ]


def test_the_same_settings_written_otherwise_are_the_same_run_under_the_new_name(make_plan, calls, tmp_path):
    make_plan("careful+lora").run(tmp_path / "runs")
    calls.clear()
    results = make_plan("careful:steps=5+lora:r=8").run(tmp_path / "runs")
    assert calls == []
    assert [row["system"] for row in results] == ["careful:steps=5+lora:r=8"]


def test_rows_can_be_read_by_any_json_reader(make_plan, tmp_path):
    make_plan("careful+lora").run(tmp_path / "runs")
    (path,) = (tmp_path / "runs").glob("*/row.json")
    assert json.loads(path.read_text(encoding="utf-8"))["run"] == path.parent.name
