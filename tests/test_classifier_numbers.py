"""A classifier whose labels are numbers: asked, scored, saved, merged; and the command line around it."""

import json

import numpy as np
import pytest
from scipy.stats import pearsonr

from promptlab.classifier import PromptClassifier
from promptlab.cli.app import main
from promptlab.errors import DataError, SettingError
from promptlab.language.library import read_task

TEXT = """
task: grades
about: How good is the film?
inputs: [text]
labels: {range: [0, 5]}
metric: [pearson, spearman]
verbalizers: {default: {low: terrible, high: great}}
patterns: {was: "{text} It was {mask}.", just: "{text} Just {mask}"}
"""
GRADES = read_task(TEXT)
GOOD, BAD = "brilliant funny lovely warm".split(), "awful boring dull poor".split()
X = [f"the film is {a} and {b}" for a in GOOD[:2] + BAD[:2] for b in GOOD[1:] + BAD[1:]]
Y = [2.5 * sum(word in GOOD for word in text.split()) for text in X]


def fitted(backbone, method="prompt:steps=4", tuning="lora", **more):
    made = PromptClassifier(GRADES, method=method, tuning=tuning, backbone=backbone, **more)
    return made.fit(X, Y)


@pytest.mark.parametrize(
    ("method", "tuning"),
    [("prompt:steps=20", "lora:lr=1e-2"), ("finetune:steps=20", "full:lr=1e-3"), ("probe", None), ("tfidf", None)],
)
def test_numbers_are_predicted_scored_saved_and_read_again(tiny_bert, tmp_path, method, tuning):
    made = fitted(tiny_bert if method != "tfidf" else None, method, tuning)
    said = made.predict(X)
    assert (said.shape, said.dtype, made.classes_.tolist()) == ((24,), np.float64, [])
    assert ((said >= 0) & (said <= 5)).all()
    assert made.score(X, Y) == pytest.approx(pearsonr(Y, said).statistic)
    made.save_pretrained(tmp_path / "saved", metrics={"pearson": made.score(X, Y)})
    again = PromptClassifier.from_pretrained(tmp_path / "saved", backbone=tiny_bert if method != "tfidf" else None)
    np.testing.assert_array_equal(again.predict(X), said)
    assert "Labels: numbers from 0 to 5" in (tmp_path / "saved" / "README.md").read_text(encoding="utf-8")


def test_rows_may_bring_their_numbers(tiny_bert):
    rows = [{"text": text, "label": y} for text, y in zip(X, Y, strict=True)]
    made = PromptClassifier(GRADES, method="majority", tuning=None, backbone=None).fit(rows)
    assert made.predict(X).tolist() == pytest.approx([sum(Y) / len(Y)] * len(X))


def test_a_constant_answer_scores_0_and_is_told(caplog):
    made = PromptClassifier(GRADES, method="majority", tuning=None, backbone=None).fit(X, Y)
    assert made.score(X, Y) == 0.0
    assert "so no correlation is defined: it counts as 0" in caplog.text


@pytest.mark.parametrize("bad", [7, -0.1, "high", [1, 2], None, float("nan")], ids=str)
def test_a_target_that_cannot_be_is_refused_with_its_row(bad):
    with pytest.raises(DataError, match=r"y\[2\]: "):
        PromptClassifier(GRADES, method="majority", tuning=None, backbone=None).fit(X[:3], [1, 2, bad])


def test_numbers_have_no_probabilities_and_no_weights(tiny_bert):
    made = fitted(None, "tfidf", None)
    with pytest.raises(SettingError, match="answers with numbers, which have no probabilities. Write predict"):
        made.predict_proba(X)
    with pytest.raises(SettingError, match="sample_weight has no place in a correlation"):
        made.score(X, Y, sample_weight=[1] * len(X))


def test_a_cloze_of_numbers_merges_and_a_head_of_numbers_refuses(fresh, tmp_path):
    backbone = fresh("bert")
    fitted(backbone).save_pretrained(tmp_path / "cloze", merge=True)
    with pytest.raises(SettingError, match="a number from 0 to 5, for which a plain checkpoint has no scale"):
        fitted(backbone, "finetune:steps=2").save_pretrained(tmp_path / "head", merge=True)


# the command line


@pytest.fixture
def say(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grades.yaml").write_text(TEXT, encoding="utf-8")
    for split in ("train", "test"):
        rows = [{"text": text, "label": f"{y:.3f}"} for text, y in zip(X, Y, strict=True)]
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def run(*words):
        capsys.readouterr()
        try:
            main([str(word) for word in words])
            code = 0
        except SystemExit as ended:
            code = ended.code or 0
        return (code, *capsys.readouterr())

    return run


FILES = ("grades.yaml", "--train", "train.jsonl", "--test", "test.jsonl")


def test_numbers_are_compared_and_what_refuses_them_says_so(say, tiny_bert_folder):
    methods = "majority,tfidf,probe,prompt+lora:steps=3,finetune+lora:steps=3,zero-shot"
    code, out, err = say(
        "compare", *FILES, "-m", methods, "--seeds", 2, "-b", tiny_bert_folder, "--limit", 20, "--json"
    )
    rows = [json.loads(line) for line in out.splitlines()]
    assert (code, len(rows)) == (0, 12), err
    for row in rows:
        assert set(row["metrics"]) == {"pearson", "spearman"}
        assert (row["metric"], row["score"], row["range"]) == ("pearson", row["metrics"]["pearson"], [0, 5])
    assert {row["system"] for row in rows if row["score"] == 0} == {"majority"}
    assert all("no correlation is defined" in "".join(row["notes"]) for row in rows if row["system"] == "majority")
    code, out, err = say("compare", *FILES, "-m", methods + ",pet", "--seeds", 2, "-b", tiny_bert_folder, "--limit", 20)
    assert "pearson in %" in out and "in points of nearness" in out
    assert code != 0 and "grades: its labels are numbers (regression)" in err


def test_shots_a_class_are_refused_with_what_to_write(say):
    code, _, err = say("compare", *FILES, "-m", "tfidf", "-k", "16")
    assert code != 0 and "16 shots a class, but 'grades' has no classes. Write -k total:16 or -k all." in err
    code, out, _ = say("compare", *FILES, "-m", "tfidf", "-k", "total:16", "--json", "--seeds", 1)
    assert code == 0 and json.loads(out)["labelled_rows"] == 16


def test_fit_and_predict_say_numbers(say, tiny_bert_folder):
    code, out, err = say("fit", *FILES, "-m", "prompt+lora:steps=3", "-b", tiny_bert_folder, "--out", "made")
    assert code == 0 and "pearson" in out and "spearman" in out, err
    code, out, _ = say("predict", "made", "test.jsonl")
    assert code == 0 and [0 <= float(line) <= 5 for line in out.splitlines()] == [True] * len(X)
    code, out, _ = say("predict", "made", "--field", "text=a lovely film", "--json")
    assert code == 0 and 0 <= json.loads(out)["label"] <= 5


@pytest.mark.parametrize(
    ("value", "said"), [("7", "label '7'"), ('"good"', "label 'good'"), ("[1, 2]", "several labels")]
)
def test_a_faulty_target_is_told_with_file_row_and_field(say, tmp_path, value, said):
    (tmp_path / "bad.csv.jsonl").write_text(f'{{"text": "a", "grade": 1}}\n{{"text": "b", "grade": {value}}}\n')
    code, _, err = say("compare", "grades.yaml", "--train", "bad.csv.jsonl", "--test", "test.jsonl", "-m", "tfidf",
                       "--columns", "label=grade")  # fmt: skip
    assert code != 0 and "bad.csv.jsonl:2: 'grade': " in err and said in err
