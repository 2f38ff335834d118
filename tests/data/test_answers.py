"""Rows with candidates of their own, read from any source: what is wrong is said with its file, row and field."""

import json

import pytest

from promptlab.data.fewshot import fingerprint, sample
from promptlab.data.sources import Splits, read_examples
from promptlab.errors import DataError
from promptlab.language.example import Example
from promptlab.language.library import read_task

QUIZ = read_task("{task: quiz, inputs: [text, options], candidates: options, patterns: {p: '{text} {mask}'}}")


def row(options=("red", "blue"), label="blue"):
    return {"text": "Which?", "options": list(options), "label": label}


def written(folder, *rows):
    path = folder / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def test_candidates_are_read_from_a_list_field(tmp_path):
    (read,) = read_examples(written(tmp_path, row()), QUIZ)
    assert read == Example({"text": "Which?", "options": ("red", "blue")}, "blue")
    assert QUIZ.gold(read) == 1


def test_a_list_of_labels_means_that_each_is_right():
    (read,) = read_examples([row(label=["blue", "red", "blue"])], QUIZ)
    assert (read.label, read.answers) == ("blue", ("blue", "red"))
    (read,) = read_examples([row(label=["blue"])], QUIZ)
    assert (read.label, read.answers) == ("blue", ())


def test_an_empty_list_of_labels_is_no_label():
    assert read_examples([row(label=[])], QUIZ)[0].label is None
    with pytest.raises(DataError, match=r"list\[0\]: no label, and labels are needed here"):
        read_examples([row(label=[])], QUIZ, labelled=True)


def test_parquet_keeps_lists(tmp_path):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.Table.from_pylist([row(label=["red", "blue"])]), tmp_path / "rows.parquet")
    assert read_examples(tmp_path / "rows.parquet", QUIZ) == read_examples([row(label=["red", "blue"])], QUIZ)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"options": []}, r"'options' is an empty list\. Write at least one candidate answer\."),
        ({"options": None}, r"no value for 'options'\. Write a list of candidate answers\."),
        ({"options": "red, blue"}, r"a str as 'options'\. Write a list of candidate answers\."),
        ({"options": ["red", "red "]}, "'options' has 'red' twice"),
        ({"options": ["red", ""]}, r"'options' has an empty candidate \(2 of 2\)"),
        ({"options": ["red", 3]}, "'options' is a list. Write a text, or a list of texts"),
        ({"label": "bleu"}, r"'bleu' is not among the candidates \('options'\): red, blue\. Did you mean 'blue'\?"),
        ({"label": ["red", "green"]}, "'green' is not among the candidates"),
    ],
)
def test_a_row_that_cannot_be_answered_is_named(tmp_path, changed, said):
    path = written(tmp_path, row(), row() | changed)
    with pytest.raises(DataError, match=rf"rows\.jsonl:2: {said}"):
        read_examples(path, QUIZ)


def test_examples_are_checked_as_rows_are():
    fine, wrong = Example({"text": "", "options": ("a", "b")}, "a"), Example({"text": "", "options": "a"}, "a")
    assert read_examples([fine], QUIZ) == [fine]
    with pytest.raises(DataError, match=r"list\[1\]: a text in field 'options'"):
        read_examples([fine, wrong], QUIZ)


def test_examples_whose_labels_are_left_unread_lose_all_right_answers():
    both = Example({"text": "", "options": ("a", "b")}, "a", answers=("a", "b"))
    assert read_examples([both], QUIZ, labelled=False)[0].right == ()
    assert read_examples([both], QUIZ) == [both]


def test_the_fingerprint_of_rows_changes_with_their_right_answers():
    one = Example({"text": "", "options": ("a", "b")}, "a")
    both = Example({"text": "", "options": ("a", "b")}, "a", answers=("a", "b"))
    assert fingerprint([one]) != fingerprint([both])


def test_rows_with_candidates_have_no_classes_to_draw_from():
    rows = read_examples([row(), row(label="red"), row()], QUIZ)
    with pytest.raises(DataError, match=r"'quiz' has no classes\. Write -k total:1 or -k all\."):
        sample(QUIZ, Splits(rows, rows), 1, seed=0)
    drawn = sample(QUIZ, Splits(rows, rows), "total:2", seed=0)
    assert (len(drawn.train), len(drawn.unlabeled), drawn.unlabeled[0].label) == (2, 1, None)


def test_right_answers_of_examples_lose_the_space_around_them_as_candidates_do():
    given = Example({"text": "Which?", "options": ("red ", "blue")}, " red", answers=(" red", "blue "))
    (read,) = read_examples([given], QUIZ)
    assert read.right == QUIZ.choices(read) == ("red", "blue")
