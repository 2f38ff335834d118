"""A plan that is run again computes only what is missing, and a killed one loses nothing that was finished."""

import json

import pytest


def rows_by_name(results):
    """What must not differ between two ways of getting a row: all but times and memory."""
    fleeting = {"seconds", "fit_seconds", "predict_seconds", "peak_memory_bytes", "together"}
    return {row["run"]: {key: value for key, value in row.items() if key not in fleeting} for row in results}


@pytest.fixture
def runs(tmp_path):
    return tmp_path / "runs"


def seeds_on_disk(runs):
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in runs.glob("*/row.json")]
    return sorted((row["system"], row["seed"]) for row in rows)


def test_the_same_plan_again_computes_nothing(make_plan, calls, runs):
    first = make_plan("careful+lora,tfidf,coin", seeds=2).run(runs)
    calls.clear()
    again = make_plan("careful+lora,tfidf,coin", seeds=2).run(runs)
    assert calls == []
    assert again.rows == first.rows


def test_a_system_added_to_a_plan_is_all_that_runs(make_plan, calls, runs):
    make_plan("careful+lora", seeds=2).run(runs)
    calls.clear()
    make_plan("careful+lora,careful", seeds=2).run(runs)
    assert calls == [("careful", "full", [0, 1])]


def test_seeds_added_to_a_plan_form_a_stack_of_their_own(make_plan, calls, runs):
    make_plan("careful+lora", seeds=2).run(runs)
    calls.clear()
    results = make_plan("careful+lora", seeds=4).run(runs)
    assert calls == [("careful", "stacked", [2, 3])]
    assert [row["seed"] for row in results] == [0, 1, 2, 3]
    assert [len(row["together"]) for row in results] == [2, 2, 2, 2]


def test_a_stack_that_dies_leaves_nothing_and_runs_again_whole(make_plan, fakes, calls, runs):
    with pytest.raises(fakes.Killed):
        make_plan("careful:dies_at=1+lora", seeds=3).run(runs)
    assert seeds_on_disk(runs) == []
    calls.clear()
    make_plan("careful+lora", seeds=3).run(runs)
    assert calls == [("careful", "stacked", [0, 1, 2])]


def test_members_in_turn_that_die_keep_what_was_finished(make_plan, fakes, runs, monkeypatch):
    systems = "careful:dies_at=1"
    with pytest.raises(fakes.Killed):
        make_plan(systems, seeds=3).run(runs)
    assert seeds_on_disk(runs) == [("careful:dies_at=1", 0)]


def test_a_killed_plan_goes_on_with_the_seeds_that_are_missing(make_plan, fakes, calls, runs, monkeypatch):
    real = fakes.Guess.scores

    def dying(guess, examples):
        if guess.seed == 2:
            raise fakes.Killed
        return real(guess, examples)

    monkeypatch.setattr(fakes.Guess, "scores", dying)
    with pytest.raises(fakes.Killed):
        make_plan("careful", seeds=4).run(runs)
    monkeypatch.setattr(fakes.Guess, "scores", real)
    calls.clear()
    resumed = make_plan("careful", seeds=4).run(runs)
    assert calls == [("careful", "full", [2, 3])]
    assert [row["seed"] for row in resumed] == [0, 1, 2, 3]


def test_a_resumed_plan_ends_where_an_unbroken_one_does(make_plan, fakes, runs, monkeypatch, tmp_path):
    whole = make_plan("careful+lora,tfidf", seeds=3).run(tmp_path / "whole")
    written = fakes.Base.fit
    monkeypatch.setattr(fakes.Base, "fit", lambda *args: (_ for _ in ()).throw(fakes.Killed()))
    with pytest.raises(fakes.Killed):
        make_plan("careful+lora,tfidf", seeds=3).run(runs)
    monkeypatch.setattr(fakes.Base, "fit", written)
    resumed = make_plan("careful+lora,tfidf", seeds=3).run(runs)
    assert rows_by_name(resumed) == rows_by_name(whole)


def test_a_damaged_row_is_computed_again(make_plan, calls, runs):
    results = make_plan("tfidf", seeds=2).run(runs)
    (runs / results.rows[1]["run"] / "row.json").write_text("{", encoding="utf-8")
    calls.clear()
    again = make_plan("tfidf", seeds=2).run(runs)
    assert calls == [("base", None, [1])]
    assert rows_by_name(again) == rows_by_name(results)


def test_a_stack_with_a_damaged_row_is_computed_again_whole(make_plan, calls, runs):
    results = make_plan("careful+lora", seeds=3).run(runs)
    (runs / results.rows[1]["run"] / "scores.npz").unlink()
    calls.clear()
    make_plan("careful+lora", seeds=3).run(runs)
    assert calls == [("careful", "stacked", [0, 1, 2])]


def test_fewer_seeds_of_a_stack_are_simply_read(make_plan, calls, runs):
    make_plan("careful+lora", seeds=3).run(runs)
    calls.clear()
    results = make_plan("careful+lora", seeds=2).run(runs)
    assert calls == []
    assert [row["seed"] for row in results] == [0, 1]


def test_what_failed_is_tried_again(make_plan, calls, runs):
    plan = make_plan("careful:fails=yes+lora,tfidf")
    plan.run(runs)
    calls.clear()
    assert plan.run(runs).failures
    assert [name for name, *_ in calls] == ["careful"]


def test_other_data_are_another_run(make_plan, data, calls, runs):
    make_plan("tfidf").run(runs)
    test = data / "films" / "test.jsonl"
    test.write_text(test.read_text(encoding="utf-8").replace("film 3", "movie 3"), encoding="utf-8")
    calls.clear()
    make_plan("tfidf").run(runs)
    assert calls == [("base", None, [0])]


def test_two_folders_know_nothing_of_each_other(make_plan, calls, tmp_path):
    make_plan("tfidf").run(tmp_path / "one")
    calls.clear()
    make_plan("tfidf").run(tmp_path / "two")
    assert len(calls) == 1
