import json
from pathlib import Path

import pytest

FIELDS = (
    "system task method tuning settings backbone shots seed metric score metrics stored_parameters seconds fit_seconds "
    "predict_seconds peak_memory_bytes stack"
).split()


@pytest.fixture
def compare(say, task_file, data):
    """``promptlab compare films.yaml -m majority,tfidf ...``, the two methods that need no model."""

    def run(*words, methods="majority,tfidf"):
        return say("compare", task_file, "--data", data, "-m", methods, *words)

    return run


def test_compare_prints_one_table_on_stdout(compare):
    said = compare("-k", 4, "--seeds", 2)
    assert said.code == 0
    assert said.out.startswith("films · k=4 · accuracy in %, mean ± sd over 2 seeds · 20 test rows\n")
    assert [line.split()[1] for line in said.out.splitlines() if line.startswith("| ")] == [
        "system",
        "majority",
        "tfidf",
    ]


@pytest.fixture
def planned(monkeypatch):
    """The plans that would have been run, and where to."""
    from promptlab.lab.plan import Plan
    from promptlab.lab.results import Results
    from promptlab.lab.store import Memory

    plans = []
    monkeypatch.setattr(Plan, "run", lambda plan, out: plans.append((plan, out)) or Results([], Memory()))
    return plans


def test_without_options_seven_methods_run_on_the_embedded_model_with_sixteen_rows_a_class_and_three_seeds(
    say, planned
):
    said = say("compare", "reviews", "--json")
    assert (said.code, said.out) == (0, "")
    ((plan, out),) = planned
    methods = "majority,tfidf,probe,zero-shot,finetune,prompt+lora,pet+lora:repetitions=1"
    assert (plan.tasks, plan.systems, plan.backbone, out) == (["reviews"], methods, "mini", Path("runs"))
    assert (plan._shots(), plan._seeds()) == ([16], [0, 1, 2])
    assert (plan.data, plan.train, plan.unlabeled, plan.test, plan.limit, plan.split_seed) == (None,) * 6
    assert (plan.columns, plan.device, plan.dtype, plan.allow_new_head) == ({}, "auto", "auto", False)


def test_files_of_ones_own_are_read_whole_unless_shots_are_asked_for(say, planned):
    say("compare", "reviews", "--train", "rows.csv", "--json")
    say("compare", "reviews", "--train", "rows.csv", "-k", 8, "--json")
    assert [plan._shots() for plan, _ in planned] == [["all"], [8]]


def test_help_tells_the_defaults(say):
    said = " ".join(say("compare", "--help").out.replace("│", " ").split())
    methods = "(majority,tfidf,probe,zero-shot,finetune,prompt+lora,pet+lora:repetitions=1; where a text is asked for"
    for default in (methods, "(16; 50 rows in all where a text is asked for", "3]", "(mini; smollm2 where", "runs]"):
        assert f"[default: {default}" in said


def test_progress_goes_to_stderr(compare):
    said = compare("-k", 4, "--seeds", 2)
    assert "compare  4/4  100 %  left 0:00" in said.err
    assert "left" not in said.out


def test_json_is_one_clean_object_a_run(compare):
    rows = compare("-k", "2,4", "--seeds", 2, "--json").lines
    assert [(row["system"], row["shots"], row["seed"]) for row in rows] == [
        (system, shots, seed) for shots in (2, 4) for system in ("majority", "tfidf") for seed in (0, 1)
    ]
    assert [field for row in rows for field in FIELDS if field not in row] == []


def test_finished_runs_are_kept_and_not_run_again(compare, tmp_path):
    first = compare("-k", 4, "--seeds", 1, "--json", "-o", "kept").lines
    assert len(list((tmp_path / "kept").glob("*/row.json"))) == 2
    said = compare("-k", 4, "--seeds", 1, "--json", "-o", "kept")
    assert said.lines == first
    assert "compare" not in said.err


def test_runs_are_kept_in_runs_where_nothing_is_said(compare, tmp_path):
    compare("-k", 4)
    assert (tmp_path / "runs").is_dir()


def test_html_is_written_beside_the_table(compare, tmp_path):
    said = compare("-k", 4, "--html", "report.html")
    assert "report: report.html" in said.err
    assert "<svg" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_against_holds_every_system_against_one(compare):
    said = compare("-k", 4, "--against", "majority")
    assert "against majority, in points of accuracy" in said.out
    assert "better by" in said.out


def test_a_limit_caps_the_test_rows(compare):
    (row, _) = compare("-k", 4, "--seeds", 1, "--limit", 10, "--json").lines
    assert row["test_rows"] == 10


def test_files_of_ones_own_are_compared_on_all_their_rows(say, task_file, data):
    films = data / "films"
    rows = say(
        *(
            "compare",
            task_file,
            "-m",
            "tfidf",
            "--train",
            films / "train.jsonl",
            "--test",
            films / "test.jsonl",
            "--seeds",
            1,
            "--json",
        )
    ).lines
    assert [(row["shots"], row["labelled_rows"]) for row in rows] == [("all", 16)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-k", "99"], "99 shots a class"),
        (["-k", "few"], "shots: 'few' cannot be read"),
        (["-k", "0"], "nothing to run"),
        (["-k", "4", "--limit", "0"], "limit: 0"),
        (["--seeds", "0"], "seeds: 0"),
        (["-k", "4", "--against", "pet"], "no system 'pet' here"),
        (["--columns", "txt=a"], "no task here has an input 'txt'"),
        (["--out", "films.yaml"], "films.yaml cannot be written"),
        (["--data", "nowhere"], "no folder nowhere"),
    ],
)
def test_what_is_wrong_is_said_in_one_message(compare, words, message):
    said = compare(*words)
    assert said.code == 2
    assert message in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ("tfdif", "no method 'tfdif'. Did you mean 'tfidf'?"),
        ("tfidf:D=3", "tfidf has no setting 'D'."),
        ("tfidf+lora", "tfidf trains no weights, so it takes no tuning. Write tfidf."),
    ],
)
def test_a_system_that_cannot_be_is_said(compare, methods, message):
    said = compare("-k", 4, methods=methods)
    assert said.code == 2
    assert message in said.err


def test_a_sweep_is_a_system_a_value(compare):
    rows = compare("-k", 4, "--seeds", 1, "--json", methods="tfidf:C=1|10").lines
    assert [row["system"] for row in rows] == ["tfidf:C=1", "tfidf:C=10"]


def test_methods_may_be_given_in_several_lists(say, task_file, data):
    twice = ("-m", "majority", "-m", "tfidf")
    rows = say("compare", task_file, "--data", data, "-k", 4, "--seeds", 1, *twice, "--json").lines
    assert [row["system"] for row in rows] == ["majority", "tfidf"]


def test_what_failed_is_named_after_what_did_not(compare, monkeypatch):
    from promptlab.errors import TrainingError
    from promptlab.methods.baselines import Majority

    def fit(self, backbone, tuning, jobs):
        raise TrainingError("no memory for one member.")

    monkeypatch.setattr(Majority, "fit", fit)
    said = compare("-k", 4)
    assert said.code == 2
    assert "error: films majority k=4: no memory for one member." in said.err
    assert "| tfidf" in said.out


def test_a_table_on_a_terminal_is_drawn(compare, monkeypatch, capsys):
    import sys

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    said = compare("-k", 4)
    assert "─" in said.out
    assert "| tfidf" not in said.out


def test_rows_are_what_the_folder_holds(compare, tmp_path):
    rows = compare("-k", 4, "--json").lines
    kept = [json.loads(path.read_text(encoding="utf-8")) for path in (tmp_path / "runs").glob("*/row.json")]
    assert sorted(kept, key=lambda row: row["run"]) == sorted(rows, key=lambda row: row["run"])
