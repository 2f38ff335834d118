import json
import math

import numpy as np
import pytest

from promptlab.lab import run as run_module
from promptlab.lab.run import git_hash, plain, versions
from promptlab.progress import use

FIELDS = (
    "system task method tuning settings backbone shots seed metric score metrics stored_parameters seconds fit_seconds "
    "predict_seconds peak_memory_bytes stack"
).split()


@pytest.fixture
def row(make_plan):
    return make_plan("careful+lora", limit=20).run().rows[0]


def test_a_row_has_the_fields_of_the_contract(row):
    assert [field for field in FIELDS if field not in row] == []


def test_a_row_says_what_was_run(row):
    said = {key: row[key] for key in ("system", "task", "method", "tuning", "backbone", "shots", "seed", "limit")}
    assert said == {
        "system": "careful+lora",
        "task": "films",
        "method": "careful",
        "tuning": "lora",
        "backbone": "tiny",
        "shots": 2,
        "seed": 0,
        "limit": 20,
    }


def test_a_row_says_what_was_learnt_and_seen(row):
    assert (row["stored_parameters"], row["head_parameters"], row["examples_seen"]) == (96, 4, 80)
    assert (row["labelled_rows"], row["unlabelled_rows"], row["test_rows"]) == (4, 20, 20)
    assert row["facts"] == {"mass": 0.5}


def test_a_row_carries_versions_and_fingerprints(row):
    assert {"python", "numpy", "torch"} <= row["versions"].keys()
    assert row["backbone_fingerprint"] == "print of tiny"
    assert row["data"] and row["task_digest"] and row["results_version"]


def test_a_row_carries_the_notes_of_its_method_and_of_its_sample(row):
    assert row["notes"] == ["careful", "unlabelled rows: the train rows that were not drawn"]


def test_the_score_is_the_first_metric_as_a_fraction(row):
    assert row["metric"] == "accuracy"
    assert row["score"] == row["metrics"]["accuracy"]
    assert 0.5 < row["score"] <= 1


def test_every_row_has_accuracy_macro_f1_and_calibration_error(row):
    assert {"accuracy", "macro_f1", "ece"} <= row["metrics"].keys()


def test_what_learns_nothing_has_no_tuning_and_no_backbone(make_plan):
    row = make_plan("tfidf").run().rows[0]
    assert (row["tuning"], row["backbone"], row["stored_parameters"], row["stack"]) == (None, None, 0, None)
    assert row["device"] is None


def test_seconds_are_the_sum_of_fitting_and_predicting(row):
    assert row["seconds"] == pytest.approx(row["fit_seconds"] + row["predict_seconds"])


def test_a_stack_gives_each_run_its_equal_share_of_time_and_the_whole_memory(make_plan):
    rows = make_plan("careful+lora", seeds=3).run().rows
    assert len({row["seconds"] for row in rows}) == 1
    assert len({row["peak_memory_bytes"] for row in rows}) == 1


def test_all_seeds_of_a_cell_reach_the_method_in_one_call(make_plan, calls):
    make_plan("careful+lora", seeds=3).run()
    assert calls == [("careful", "stacked", [0, 1, 2])]


def test_a_method_may_answer_its_jobs_in_any_order(make_plan):
    rows = make_plan("tfidf", seeds=3).run().rows
    assert [row["seed"] for row in rows] == [0, 1, 2]


def test_the_kept_scores_are_those_of_the_row(make_plan, tmp_path):
    results = make_plan("careful+lora").run(tmp_path / "runs")
    scores, gold = results.store.scores(results.rows[0]["run"])
    assert scores.shape == (40, 2)
    assert (scores.argmax(1) == gold).mean() == pytest.approx(results.rows[0]["score"])


def test_test_rows_reach_the_method_without_their_labels(make_plan, monkeypatch):
    seen = []
    job = run_module._job
    monkeypatch.setattr(run_module, "_job", lambda run: seen.append(job(run)) or seen[-1])
    make_plan("tfidf").run()
    assert {example.label for example in seen[0].queries} == {None}
    assert {example.label for example in seen[0].unlabelled} == {None}
    assert len(seen[0].queries) == 40


def test_scores_that_are_no_numbers_lose_and_are_told(make_plan, fakes, monkeypatch):
    monkeypatch.setattr(fakes.Guess, "scores", lambda self, examples: np.full((len(examples), 2), np.nan))
    row = make_plan("tfidf").run().rows[0]
    assert "40 test rows without finite scores" in row["notes"]
    json.dumps(row, allow_nan=False)


def test_what_one_cell_cannot_do_is_told_and_the_others_go_on(make_plan, caplog):
    results = make_plan("careful:fails=yes+lora,tfidf").run()
    assert results.failures == {"films careful:fails=yes+lora k=2": "every member became non-finite."}
    assert [row["system"] for row in results] == ["tfidf"]
    assert "every member became non-finite" in caplog.text


def test_a_fault_of_the_program_is_not_taken_for_a_cell_that_cannot_be_done(make_plan, fakes, monkeypatch):
    def fit(self, backbone, tuning, jobs):
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(fakes.Base, "fit", fit)
    with pytest.raises(ZeroDivisionError):
        make_plan("tfidf").run()


def test_a_method_that_leaves_a_job_out_is_told(make_plan, fakes, monkeypatch):
    monkeypatch.setattr(fakes.Base, "fit", lambda self, backbone, tuning, jobs: iter(()))
    assert "answered 0 of 1 jobs" in make_plan("tfidf").run().failures["films tfidf k=2"]


def test_scores_of_the_wrong_shape_are_told(make_plan, fakes, monkeypatch):
    monkeypatch.setattr(fakes.Guess, "scores", lambda self, examples: np.zeros((len(examples), 3)))
    assert "scores (40, 3) where (40, 2)" in make_plan("tfidf").run().failures["films tfidf k=2"]


def test_progress_counts_the_runs_that_are_missing(make_plan, tmp_path):
    class Recorder:
        def __init__(self):
            self.told = []

        def start(self, label, total):
            self.told.append((label, total))
            return 0

        def advance(self, job, steps):
            pass

        def finish(self, job):
            pass

    make_plan("tfidf", seeds=2).run(tmp_path / "runs")
    recorder = Recorder()
    with use(recorder):
        make_plan("tfidf,coin", seeds=3).run(tmp_path / "runs")
    assert recorder.told == [("compare", 4), ("films tfidf k=2", 1), ("films coin k=2", 3)]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (np.float32(0.5), 0.5),
        (np.arange(3), [0, 1, 2]),
        ((1, 2), [1, 2]),
        (math.nan, None),
        (math.inf, None),
        (True, True),
        ({"a": np.int64(3)}, {"a": 3}),
        ({1: None}, {"1": None}),
        (complex(1, 2), "(1+2j)"),
    ],
    ids=str,
)
def test_facts_become_what_json_can_hold(value, told):
    assert plain(value) == told


def test_versions_name_what_numbers_depend_on():
    assert {"python", "torch", "transformers", "numpy", "scikit-learn"} <= versions().keys()


def test_a_commit_is_named_or_nothing_is():
    found = git_hash()
    assert found is None or len(found.rstrip("+")) == 40
