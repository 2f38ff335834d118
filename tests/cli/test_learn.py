import io
import json
import sys
from pathlib import Path

import pytest


@pytest.fixture
def pipe(monkeypatch):
    def give(content):
        stream = io.TextIOWrapper(io.BytesIO(content if isinstance(content, bytes) else content.encode()))
        monkeypatch.setattr(sys, "stdin", stream)

    return give


@pytest.fixture
def saved(tmp_path):
    folder = tmp_path / "saved"
    folder.mkdir()
    return folder


def test_fit_learns_from_a_few_rows_and_saves(say, classifier, task_file, data, tmp_path):
    said = say(
        "fit", task_file, "-m", "pet:repetitions=1+lora:r=2", "-k", 4, "--data", data, "-b", "tiny", "-o", "saved"
    )
    made = classifier.made
    assert said.code == 0
    assert (len(made.rows), len(made.unlabeled)) == (8, 8)
    assert made.settings["method"] == "pet:repetitions=1"
    assert made.settings["tuning"] == "lora:r=2"
    assert (made.settings["backbone"], made.settings["random_state"]) == ("tiny", 0)
    assert str(made.saved) == "saved"
    assert made.metrics == {"accuracy": 1.0}


def test_fit_says_how_well_it_does_on_the_test_rows(say, classifier, task_file, data):
    said = say("fit", task_file, "-m", "tfidf", "--data", data, "-o", "saved", "-k", 2)
    assert said.out == "tfidf learnt films from 4 rows and is saved in saved; on 20 test rows: accuracy 100.0\n"


def test_fit_says_json(say, classifier, task_file, data):
    said = say("fit", task_file, "-m", "tfidf", "--data", data, "-o", "saved", "-k", 2, "--json")
    assert said.json["metrics"] == {"accuracy": 1.0}
    assert (said.json["labelled_rows"], said.json["test_rows"]) == (4, 20)


def test_fit_takes_all_rows_of_a_file_of_ones_own(say, classifier, task_file, data, tmp_path):
    pool = tmp_path / "pool.txt"
    pool.write_text("one\ntwo\nthree\n", encoding="utf-8")
    train = data / "films" / "train.jsonl"
    said = say("fit", task_file, "-m", "tfidf", "--train", train, "--unlabeled", pool, "-o", "saved")
    assert said.code == 0
    assert (len(classifier.made.rows), len(classifier.made.unlabeled)) == (16, 3)
    assert "test rows" not in said.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-m", "pte", "-b", "x"], "no method 'pte'. Did you mean 'pet'?"),
        (["-m", "tfidf,majority"], "fit learns one system, and 'tfidf,majority' is 2"),
        (["-m", "tfidf", "-k", "99"], "99 shots a class"),
        (["-m", "tfidf", "--columns", "txt"], "Write --columns name=value"),
    ],
)
def test_fit_says_what_is_wrong_before_it_learns(say, classifier, task_file, data, words, message):
    said = say("fit", task_file, *words, "--data", data, "-o", "saved")
    assert said.code == 2
    assert said.out == ""
    assert message in said.err
    assert classifier.made is None
    assert not Path("saved").exists()


def test_fit_does_not_write_over_what_is_there(say, classifier, task_file, data, saved):
    (saved / "thesis.txt").write_text("years of work", encoding="utf-8")
    said = say("fit", task_file, "-m", "tfidf", "--data", data, "-o", saved)
    assert said.code == 2
    assert "holds something else (thesis.txt)" in said.err


def test_fit_refuses_a_place_that_cannot_be(say, classifier, task_file, data):
    said = say("fit", task_file, "-m", "tfidf", "--data", data, "-o", task_file / "inside")
    assert said.code == 2
    assert "cannot be written" in said.err


def test_fit_refuses_a_file_as_its_folder(say, classifier, task_file, data):
    said = say("fit", task_file, "-m", "tfidf", "--data", data, "-o", task_file)
    assert said.code == 2
    assert "is a file" in said.err


def test_predict_answers_a_line_a_line(say, classifier, saved, pipe):
    pipe("a good film\n\na bad film\r\n")
    assert say("predict", saved).out.splitlines() == ["positive", "negative", "negative"]
    assert [row.fields["text"] for row in classifier.made.asked] == ["a good film", "", "a bad film"]


def test_predict_says_json_lines(say, classifier, saved, pipe):
    pipe("a good film\n")
    (line,) = say("predict", saved, "--json").lines
    assert line == {"label": "positive", "probabilities": {"negative": 0.25, "positive": 0.75}}


def test_predict_of_nothing_says_nothing(say, classifier, saved, pipe):
    pipe("")
    said = say("predict", saved)
    assert (said.code, said.out) == (0, "")


def test_predict_reads_a_table(say, classifier, saved, tmp_path):
    table = tmp_path / "rows.csv"
    table.write_text('review,label\n"good, really",whatever\nbad,else\n', encoding="utf-8")
    assert say("predict", saved, table, "--columns", "text=review").out.splitlines() == ["positive", "negative"]


def test_predict_takes_one_example_by_its_fields(say, classifier, saved):
    assert say("predict", saved, "--field", "text=so good").out == "positive\n"


def test_predict_of_several_inputs_wants_them_named(say, classifier, saved, pipe, monkeypatch):
    from promptlab.language.task import Task

    both = Task.from_parts(["{premise} {mask} {hypothesis}"], {"no": "No", "yes": "Yes"})
    monkeypatch.setattr(classifier, "task_", both)
    pipe("a line\n")
    said = say("predict", saved)
    assert said.code == 2
    assert "Write --field premise=... --field hypothesis=..." in said.err


def test_predict_of_bytes_that_are_no_text_is_an_error(say, classifier, saved, pipe):
    pipe(b"caf\xe9\n")
    said = say("predict", saved)
    assert said.code == 2
    assert "byte 0xe9 is not UTF-8" in said.err


def test_predict_without_a_folder_is_an_error(say, classifier):
    said = say("predict", "nowhere")
    assert said.code == 2
    assert "no folder nowhere" in said.err


def test_predict_reads_jsonl(say, classifier, saved, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"text": "good"}) + "\n", encoding="utf-8")
    assert say("predict", saved, rows).out == "positive\n"


def test_predict_may_be_told_where_the_backbone_is_now(say, classifier, saved, pipe):
    pipe("a good film\n")
    say("predict", saved, "--backbone", "moved/here", "--device", "cpu")
    assert classifier.made.settings == {"backbone": "moved/here", "device": "cpu", "dtype": "auto"}


def test_what_was_fitted_is_shown_saved_and_asked(say, task_file, data, tiny_bert_folder, pipe):
    model = ("--backbone", tiny_bert_folder)
    rows = say("show", task_file, "--text", "a good film", *model, "--json").json
    assert [row["pattern"] for row in rows] == ["it-was", "just"]
    assert {"guesses", "probabilities", "mass"} <= rows[0].keys()

    settings = "prompt:steps=2+lora:r=2"
    fitted = say("fit", task_file, "-m", settings, "-k", 2, "--data", data, *model, "-o", "saved", "--json")
    assert fitted.code == 0, fitted.err
    pipe("a good film\na bad film\n")
    said = say("predict", "saved", "--json")
    assert said.code == 0, said.err
    assert [set(line["probabilities"]) for line in said.lines] == [{"negative", "positive"}] * 2
    assert all(line["label"] in line["probabilities"] for line in said.lines)
