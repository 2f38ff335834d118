import numpy as np
import pytest

from promptlab.data.tables import table_of
from promptlab.errors import DataError


def test_rows_of_dicts_have_the_columns_of_all_rows_in_order_of_appearance():
    table = table_of([{"b": 1}, {"a": 2, "b": 3}])
    assert table.columns == ("b", "a")
    assert table.fetch("a") == [None, 2]


def test_rows_of_texts_are_one_column_without_a_name():
    table = table_of(["one", "two"])
    assert (table.columns, table.named) == (("0",), False)
    assert table.fetch("0") == ["one", "two"]


def test_rows_of_tuples_and_of_lists_go_by_position():
    table = table_of([("one", "pos"), ["two", "neg"]])
    assert table.fetch("1") == ["pos", "neg"]


def test_an_array_of_texts_is_read_like_a_list():
    assert table_of(np.array(["one", "two"])).fetch("0") == ["one", "two"]


def test_a_generator_is_read_once_and_whole():
    assert table_of(text for text in ("one", "two")).size == 2


def test_an_empty_list_is_an_empty_table():
    assert table_of([]).size == 0


def test_a_place_in_a_list_can_be_typed_into_python():
    assert table_of(["one", "two"]).place(1) == "list[1]"


def test_a_source_that_was_given_a_name_is_called_by_it():
    assert table_of(["one"], where="train").place(0) == "train[0]"


def test_tuples_of_unequal_length_name_the_row():
    with pytest.raises(DataError, match=r"list\[1\] has 1 fields, the rows before it 2"):
        table_of([("one", "pos"), ("two",)])


def test_rows_of_different_kinds_name_the_first_that_differs():
    with pytest.raises(DataError, match=r"list\[2\] is a dict\. Write all rows as"):
        table_of(["one", "two", {"text": "three"}])


def test_rows_that_are_numbers_are_refused():
    with pytest.raises(DataError, match=r"list\[0\] is a int"):
        table_of([1, 2])


@pytest.mark.parametrize("source", [7, None, b"text", {"text": ["one"]}])
def test_what_holds_no_rows_says_what_does(source):
    with pytest.raises(DataError, match=r"holds no rows\. Write a path, a Dataset, a DataFrame, or a list"):
        table_of(source)


# pandas


def test_a_frame_gives_none_for_every_kind_of_missing_value():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": ["x", None], "b": [1.0, float("nan")], "c": pandas.array([1, None], dtype="Int64")})
    table = table_of(frame)
    assert [table.fetch(column)[1] for column in "abc"] == [None, None, None]


def test_a_frame_counts_its_rows_by_position_whatever_its_index():
    pandas = pytest.importorskip("pandas")
    table = table_of(pandas.DataFrame({"a": ["x", "y"]}, index=[10, 20]))
    assert table.place(1) == "DataFrame.iloc[1]"
    assert table.fetch("a") == ["x", "y"]


def test_a_frame_with_two_columns_of_one_name_is_refused():
    pandas = pytest.importorskip("pandas")
    with pytest.raises(DataError, match="two columns of one name"):
        table_of(pandas.DataFrame([["x", "y"]], columns=["a", "a"]))


def test_a_series_of_texts_is_read_like_a_list():
    pandas = pytest.importorskip("pandas")
    assert table_of(pandas.Series(["one", "two"])).fetch("0") == ["one", "two"]


# datasets


def test_a_dataset_gives_columns_and_the_names_of_its_classes():
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    table = table_of(datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features))
    assert table.fetch("label") == [1, 0]
    assert table.classes == {"label": ["no", "yes"]}
    assert table.place(1) == "Dataset[1]"


def test_a_dict_of_datasets_asks_for_one_of_its_splits():
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_dict({"text": ["a"]})
    with pytest.raises(
        DataError, match=r"several splits \(validation, test\)\. Write one of them: data\['validation'\]"
    ):
        table_of(datasets.DatasetDict({"validation": rows, "test": rows}))


def test_a_streaming_dataset_says_how_to_make_it_whole():
    datasets = pytest.importorskip("datasets")
    with pytest.raises(DataError, match=r"Dataset\.from_list\(list\(data\)\)"):
        table_of(datasets.Dataset.from_dict({"text": ["a"]}).to_iterable_dataset())
