import json
import math

import numpy as np
import pytest

from promptlab.data import steps
from promptlab.data.sources import read_examples
from promptlab.errors import DataError
from promptlab.language.example import Example
from promptlab.language.task import Range, Task

REVIEWS = Task(
    name="reviews",
    inputs={"text": "text"},
    labels=("negative", "positive"),
    pvps=(),
    values={"thumbs down": "negative", "thumbs up": "positive"},
)
NLI = Task(
    name="nli",
    inputs={"premise": "premise", "hypothesis": "hypothesis"},
    labels=("entailment", "neutral", "contradiction"),
    pvps=(),
)
TWO = [Example({"text": "fine"}, "positive"), Example({"text": "dull, slow"}, "negative")]


def labels(values, task=REVIEWS, **settings):
    return [row.label for row in read_examples([{"text": "x", "label": value} for value in values], task, **settings)]


def jsonl(path, rows):
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


# every source


def as_file(name, text):
    def make(folder):
        (folder / name).write_text(text, encoding="utf-8")
        return folder / name

    return make


def as_parquet(folder):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.Table.from_pylist(DICTS), folder / "rows.parquet")
    return folder / "rows.parquet"


DICTS = [{"text": "fine", "label": "positive"}, {"text": "dull, slow", "label": "negative"}]
SOURCES = {
    "csv": as_file("rows.csv", 'text,label\nfine,positive\n"dull, slow",negative\n'),
    "tsv": as_file("rows.tsv", "text\tlabel\nfine\tpositive\ndull, slow\tnegative\n"),
    "jsonl": as_file("rows.jsonl", "\n".join(map(json.dumps, DICTS))),
    "path as text": lambda folder: str(SOURCES["csv"](folder)),
    "parquet": as_parquet,
    "dicts": lambda folder: DICTS,
    "tuples": lambda folder: [tuple(row.values()) for row in DICTS],
    "Dataset": lambda folder: pytest.importorskip("datasets").Dataset.from_list(DICTS),
    "DataFrame": lambda folder: pytest.importorskip("pandas").DataFrame(DICTS),
    "examples": lambda folder: TWO,
}


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_reads_as_the_same_examples(tmp_path, source):
    assert read_examples(SOURCES[source](tmp_path), REVIEWS, labelled=True) == TWO


def test_texts_are_examples_without_labels():
    assert read_examples(["fine", ""], REVIEWS) == [Example({"text": "fine"}), Example({"text": ""})]


def test_no_rows_in_memory_are_no_examples():
    assert read_examples([], NLI, labelled=True) == []
    assert read_examples(pytest.importorskip("pandas").DataFrame({"text": []}), REVIEWS) == []


def test_two_inputs_are_read_side_by_side_and_other_columns_ignored():
    rows = [{"idx": 7, "text_b": "h", "text_a": "p", "label": "neutral", "gold_label": "entailment"}]
    assert read_examples(rows, NLI) == [Example({"premise": "p", "hypothesis": "h"}, "neutral")]


def test_columns_may_be_said():
    rows = [{"a": "p", "b": "h", "text_a": "no", "text_b": "no", "verdict": 2}]
    columns = {"premise": "a", "hypothesis": "b", "label": "verdict"}
    assert read_examples(rows, NLI, columns) == [Example({"premise": "p", "hypothesis": "h"}, "contradiction")]


def test_a_group_is_kept_as_text():
    task = Task(name="g", inputs={"text": "text"}, labels=("a", "b"), pvps=(), group="question")
    assert [row.group for row in read_examples([{"text": "x", "question": 12}, {"text": "y"}], task)] == ["12", None]


def test_the_prepare_step_of_a_task_is_run(monkeypatch):
    monkeypatch.setitem(steps.STEPS, "twice", steps.Step("every row twice", lambda row: [row, row]))
    task = Task(name="t", inputs={"text": "text"}, labels=("a", "b"), pvps=(), prepare="twice")
    assert [row.fields["text"] for row in read_examples([{"text": "one"}], task)] == ["one", "one"]
    assert [row.fields["text"] for row in read_examples([Example({"text": "one"})], task)] == ["one"]


# values


def test_an_empty_text_is_a_text():
    assert read_examples([{"text": ""}], REVIEWS)[0].fields["text"] == ""


def test_numbers_are_read_as_text():
    rows = [{"premise": 2004, "hypothesis": 1.5}, {"premise": np.int64(3), "hypothesis": True}]
    assert [tuple(row.fields.values()) for row in read_examples(rows, NLI)] == [("2004", "1.5"), ("3", "True")]


@pytest.mark.parametrize("value", [["a", "b"], ("a", "b"), np.array(["a", "b"])])
def test_a_list_of_texts_is_a_list_field(value):
    assert read_examples([{"text": value}], REVIEWS)[0].fields["text"] == ("a", "b")


@pytest.mark.parametrize("value", [None, math.nan])
def test_a_missing_text_names_row_and_field(value):
    with pytest.raises(DataError, match=r"list\[1\]: no value for 'text'\. Write a text; an empty one will do"):
        read_examples([{"text": "x"}, {"text": value}], REVIEWS)


def test_a_row_that_lacks_the_column_names_its_line(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", [{"text": "x"}, {"txet": "y"}])
    with pytest.raises(DataError, match=r"a\.jsonl:2: no value for 'text'"):
        read_examples(path, REVIEWS)


@pytest.mark.parametrize("value", [{"text": "x"}, [1, 2], b"x"])
def test_what_is_no_text_names_row_field_and_kind(value):
    with pytest.raises(DataError, match=rf"list\[0\]: 'text' is a {type(value).__name__}\. Write a text"):
        read_examples([{"text": value}], REVIEWS)


def test_half_a_character_is_refused_before_a_tokenizer_chokes_on_it(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "fine \\ud83d"}', encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.jsonl:1: 'text' holds half a character \(\\ud83d\)"):
        read_examples(tmp_path / "a.jsonl", REVIEWS)


# labels


def test_labels_match_by_name_by_mapping_by_id_and_by_name_in_other_case():
    found = labels(["positive", "thumbs down", "1", 0, 1.0, np.int64(0), "NEGATIVE", " positive "])
    assert found == ["positive", "negative", "positive", "negative", "positive", "negative", "negative", "positive"]


def test_labels_that_are_true_and_false_match_by_name_and_not_by_id():
    task = Task(name="t", inputs={"text": "text"}, labels=("true", "false"), pvps=())
    assert labels([True, False], task) == ["true", "false"]


def test_a_true_among_ids_is_not_taken_for_the_id_one():
    with pytest.raises(DataError, match=r"list\[1\]: label 'True'"):
        labels([1, True])


def test_an_unknown_label_names_file_line_and_the_nearest_label(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", [{"text": "x", "label": "positive"}, {"text": "y", "label": "postive"}])
    with pytest.raises(DataError, match=r"a\.jsonl:2: label 'postive' is none of .*Did you mean 'positive'\?"):
        read_examples(path, REVIEWS)


def test_an_id_beyond_the_labels_is_unknown():
    with pytest.raises(DataError, match=r"list\[0\]: label '2'"):
        labels([2])


@pytest.mark.parametrize("value", [None, "", "  ", math.nan, -1, "-1"])
def test_a_missing_label_is_an_error_only_where_labels_are_needed(value):
    assert labels(["positive", value]) == ["positive", None]
    with pytest.raises(DataError, match=r"list\[1\]: no label, .*Write one of negative, positive"):
        labels(["positive", value], labelled=True)


def test_minus_one_is_a_label_where_the_task_says_so():
    task = Task(name="t", inputs={"text": "text"}, labels=("bad", "good"), pvps=(), values={"-1": "bad", "1": "good"})
    assert labels([-1, 1], task, labelled=True) == ["bad", "good"]


def test_labels_left_unread_may_be_anything():
    assert labels(["nonsense", None], labelled=False) == [None, None]


def test_several_labels_in_a_row_are_refused_by_name():
    with pytest.raises(DataError, match=r"list\[0\]: several labels in one row \(\['a', 'b'\]\) are not supported"):
        labels([["a", "b"]])


def test_an_unlabelled_file_where_labels_are_needed_is_refused(tmp_path):
    path = jsonl(tmp_path / "unlabeled.jsonl", [{"text_a": "x", "gold_label": "positive"}])
    with pytest.raises(DataError, match=r"unlabeled\.jsonl has no label column, .*Columns found: text_a, gold_label"):
        read_examples(path, REVIEWS, labelled=True)


def test_numbers_are_labels_of_a_task_with_a_range():
    task = Task(name="s", inputs={"text": "text"}, labels=("low", "high"), pvps=(), range=Range(-2.0, 5.0))
    assert labels([3.2, "-1"], task, labelled=True) == ["3.2", "-1"]
    with pytest.raises(DataError, match=r"list\[0\]: label '7' is no number from -2 to 5"):
        labels([7], task)


def test_a_dataset_whose_class_names_the_task_knows_is_read_by_name_whatever_their_order():
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["positive", "negative"])}
    )
    data = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [0, 1, -1]}, features=features)
    assert [row.label for row in read_examples(data, REVIEWS)] == ["positive", "negative", None]


@pytest.mark.parametrize("names", [["neg", "pos"], ["1", "0"]])
def test_a_dataset_whose_class_names_the_task_does_not_know_is_read_by_id(names):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=names)})
    data = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features)
    assert [row.label for row in read_examples(data, REVIEWS)] == ["positive", "negative"]


# examples


def test_examples_have_their_labels_checked_and_brought_to_the_tasks_names():
    assert read_examples([Example({"text": "x"}, "Positive")], REVIEWS)[0].label == "positive"
    with pytest.raises(DataError, match=r"train\[0\]: label 'great'"):
        read_examples([Example({"text": "x"}, "great")], REVIEWS, where="train")


def test_examples_without_an_input_of_the_task_are_refused():
    with pytest.raises(DataError, match=r"list\[0\] has no field 'hypothesis'\. Fields found: premise"):
        read_examples([Example({"premise": "x"})], NLI)


def test_examples_without_labels_are_refused_where_labels_are_needed():
    with pytest.raises(DataError, match=r"list\[0\]: no label"):
        read_examples([Example({"text": "x"})], REVIEWS, labelled=True)


def test_examples_lose_labels_that_are_left_unread():
    assert read_examples(TWO, REVIEWS, labelled=False) == [row.unlabelled() for row in TWO]
