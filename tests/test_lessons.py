"""Shots are prepared for learning wherever a method meets them: in the lab, in the classifier, on the command line."""

from types import SimpleNamespace

import pytest

from promptlab.classifier import PromptClassifier
from promptlab.cli.learn import _metrics
from promptlab.data.fewshot import sample
from promptlab.data.sources import Splits, read_examples
from promptlab.data.steps import taught
from promptlab.lab.run import _sample_notes
from promptlab.language.example import Example
from promptlab.language.library import load_task

COPA, MULTIRC, RECORD = (load_task(name) for name in ("copa", "multirc", "record"))
ROWS = [
    {"premise": premise, "question": "cause", "choice1": f"{premise} one.", "choice2": f"{premise} two.", "label": 0}
    for premise in ("Rain fell.", "Ice broke.", "Snow lay.")
]


def test_a_classifier_learns_from_mirrored_shots_and_so_knows_no_favourite():
    fitted = PromptClassifier(COPA, method="majority", random_state=0).fit(ROWS)
    assert fitted.predict_proba(ROWS) == pytest.approx(0.5)


def test_a_classifier_does_not_mirror_what_a_sample_has_mirrored():
    once = taught(COPA, read_examples(ROWS, COPA))
    assert PromptClassifier(COPA, method="majority", random_state=0).fit(once)._origin.labelled == 6


def test_a_run_says_what_its_shots_became():
    rows = read_examples(ROWS, COPA)
    run = SimpleNamespace(sample=sample(COPA, Splits(rows, rows), "total:2", seed=0))
    notes = _sample_notes(run)
    assert notes[0] == "prepare: copa-mirror: 2 rows drawn, 4 to learn from"
    assert notes[1:] == ["unlabelled rows: the train rows that were not drawn"]


def test_the_command_line_counts_whole_questions_and_all_right_answers():
    rows = [Example({}, label, group) for label, group in (("true", "1"), ("false", "1"), ("true", "2"))]
    said = SimpleNamespace(predict=lambda test: ["true", "true", "true"])
    assert _metrics(MULTIRC, said, rows)[0] == pytest.approx({"f1a": 2 * 2 / (3 + 2), "em": 1 / 2, "accuracy": 2 / 3})
    both = [Example({"choices": ("Ann Bo", "Bo", "Cy")}, "Ann Bo", answers=("Ann Bo", "Bo"))]
    said = SimpleNamespace(predict=lambda test: ["Bo"])
    assert _metrics(RECORD, said, both)[0] == {"answer_f1": 1.0, "answer_em": 1.0, "accuracy": 1.0}
