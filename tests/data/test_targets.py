import numpy as np
import pandas as pd
import pytest

from promptlab.data.targets import classes_of, labels_of
from promptlab.errors import DataError
from promptlab.language.task import Task

NEWS = Task(name="news", inputs={"text": "text"}, labels=("World", "Sports", "Business"), pvps=())
STARS = Task(name="stars", inputs={"text": "text"}, labels=("1", "2", "3"), pvps=())
VALUES = {"neg": "bad", "pos": "good"}
MAPPED = Task(name="mapped", inputs={"text": "text"}, labels=("bad", "good"), pvps=(), values=VALUES)


def classes(task, y):
    values, order = classes_of(task, labels_of(y, task).written)
    return values.tolist(), order


@pytest.mark.parametrize(
    "y",
    [
        ["Sports", "World"],
        ("sports", "world"),
        [1, 0],
        np.array([1, 0]),
        np.array(["Sports", "World"], dtype=object),
        pd.Series(["Sports", "World"]),
        pd.Series([1, 0], dtype="Int64"),
        pd.Categorical(["Sports", "World"]),
        pd.Series([1.0, 0.0]),
        (value for value in ["Sports", 0]),
    ],
)
def test_labels_are_read_from_lists_arrays_and_series(y):
    assert labels_of(y, NEWS).labels == ["Sports", "World"]


def test_labels_by_the_values_of_a_mapping_are_given_back_as_those_values():
    assert labels_of(["pos", "neg"], MAPPED).labels == ["good", "bad"]
    assert classes(MAPPED, ["pos", "neg"]) == (["neg", "pos"], [0, 1])


def test_classes_are_sorted_and_say_where_their_labels_stand():
    assert classes(NEWS, ["World", "Sports", "Business"]) == (["Business", "Sports", "World"], [2, 1, 0])


def test_a_label_that_no_row_has_is_a_class_all_the_same():
    assert classes(NEWS, ["Sports"]) == (["Business", "Sports", "World"], [2, 1, 0])
    assert classes(NEWS, []) == (["Business", "Sports", "World"], [2, 1, 0])


def test_whole_numbers_are_given_back_as_whole_numbers():
    values, order = classes_of(NEWS, labels_of(np.array([2, 0]), NEWS).written)
    assert values.dtype.kind == "i"
    assert (values.tolist(), order) == ([0, 1, 2], [0, 1, 2])


def test_numbers_that_are_names_stay_those_numbers():
    assert classes(STARS, [3, 1]) == ([1, 2, 3], [0, 1, 2])
    assert classes(STARS, ["3", "1"]) == (["1", "2", "3"], [0, 1, 2])


def test_booleans_that_are_names_are_given_back_as_booleans():
    task = Task(name="truth", inputs={"text": "text"}, labels=("True", "False"), pvps=())
    values, order = classes_of(task, labels_of([True, False], task).written)
    assert values.dtype.kind == "b"
    assert (values.tolist(), order) == ([False, True], [1, 0])


def test_a_label_written_in_two_ways_is_given_back_by_its_name():
    assert labels_of(["sports", "Sports", "sports"], NEWS).written == {"Sports": "Sports"}


def test_classes_of_several_kinds_do_not_become_one_kind():
    values, order = classes_of(NEWS, {"World": 0, "Sports": "sport"})
    assert values.dtype == object
    assert sorted(map(str, values)) == list(map(str, values))
    assert {NEWS.labels[at]: value for value, at in zip(values, order, strict=True)} == {
        "World": 0,
        "Sports": "sport",
        "Business": "Business",
    }


def test_values_that_clash_give_way_to_the_names():
    assert classes_of(STARS, {"1": 2})[0].tolist() == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (["World", "Sprots"], r"y\[1\]: label 'Sprots' is none of the labels of 'news'.* Did you mean 'Sports'"),
        ([0, 3], r"y\[1\]: label '3' is none"),
        (["World", None], r"y\[1\]: no label. Write one of World, Sports, Business"),
        (["World", "  "], r"y\[1\]: no label"),
        ([0, float("nan")], r"y\[1\]: no label"),
        (pd.Series([0, pd.NA], dtype="Int64"), r"y\[1\]: no label"),
        ([["World", "Sports"]], r"y\[0\]: label"),
        ("World", "y is a str. Write a list"),
        (7, "y is a int. Write a list"),
        ({"a": "World"}, "y is a dict. Write a list"),
        (np.array([[0, 1]]), r"y has the shape \(1, 2\). Write one label a row"),
        (pd.DataFrame({"label": [0]}), r"y has the shape \(1, 1\)"),
    ],
)
def test_labels_that_cannot_be_say_where_and_what_to_write(y, message):
    with pytest.raises(DataError, match=message):
        labels_of(y, NEWS)


def test_a_hint_is_told_beside_an_unknown_label():
    with pytest.raises(DataError, match="Give it a word"):
        labels_of(["Art"], NEWS, " Give it a word.")
