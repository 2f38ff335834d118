"""References of rows: several a row, or a row each."""

import pytest

from promptlab.data.references import COLUMNS
from promptlab.data.sources import read_examples
from promptlab.errors import DataError
from promptlab.language.example import Example
from promptlab.language.task import Task

TASK = Task.from_parts({"plain": "{source} {target}"}, name="tables")


def read(rows, **more):
    return read_examples(rows, TASK, **{"labelled": True, **more})


def right(rows, **more):
    return [row.right for row in read(rows, **more)]


def csv(tmp_path, text):
    path = tmp_path / "rows.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_first_of_several_references_is_the_label_and_all_are_answers():
    (row,) = read([{"source": "a", "targets": ["One.", "Two."]}])
    assert row == Example({"source": "a"}, "One.", answers=("One.", "Two."))


def test_a_single_reference_is_the_label_alone():
    assert read([{"source": "a", "target": "One."}]) == read([{"source": "a", "targets": ["One."]}])
    assert read([("a", "One.")]) == [Example({"source": "a"}, "One.")]
    assert read([("a", ["One.", "Two."])])[0].right == ("One.", "Two.")


@pytest.mark.parametrize("column", COLUMNS)
def test_references_are_found_under_any_of_their_names(column):
    assert right([{"source": "a", column: "One."}]) == [("One.",)]


def test_a_column_of_another_name_is_given():
    assert right([{"source": "a", "said": "One."}], columns={"target": "said"}) == [("One.",)]
    with pytest.raises(DataError, match=r"no such input\. Did you mean 'target'"):
        read([{"source": "a", "said": "One."}], columns={"targt": "said"})


def test_objects_with_a_text_are_references_as_dart_and_the_hub_write_them():
    listed = [{"source": "x", "text": "One."}, {"source": "y", "text": "Two."}]
    assert right([{"source": "a", "annotations": listed}]) == [("One.", "Two.")]
    assert right([{"source": "a", "annotations": {"source": ["x"], "text": ["One."]}}]) == [("One.",)]


def test_rows_of_one_input_that_follow_each_other_are_one_input(tmp_path):
    path = csv(tmp_path, "source,ref\na,One.\na,Two.\nb,Three.\na,Four.\n")
    assert [(row.fields["source"], row.right) for row in read(path)] == [
        ("a", ("One.", "Two.")),
        ("b", ("Three.",)),
        ("a", ("Four.",)),
    ]


def test_rows_with_lists_of_their_own_stay_apart():
    rows = [{"source": "a", "targets": ["One."]}, {"source": "a", "targets": ["Two."]}]
    assert right(rows) == [("One.",), ("Two.",)]


def test_a_reference_given_twice_counts_twice():
    assert right([{"source": "a", "targets": ["One.", "One."]}]) == [("One.", "One.")]


def test_white_space_around_a_reference_goes_and_inside_it_stays():
    assert right([{"source": "a", "targets": [" One  two.\n"]}]) == [("One  two.",)]


def test_rows_without_references_are_kept_apart_where_none_are_needed(tmp_path):
    rows = read(csv(tmp_path, "source,ref\na,\na,\n"), labelled=None)
    assert [row.right for row in rows] == [(), ()]
    assert [row.right for row in read([{"source": "a", "targets": ["x"]}], labelled=False)] == [()]
    assert [row.right for row in read([{"source": "a"}], labelled=None)] == [()]


# faults


def test_an_empty_reference_names_file_line_and_which(tmp_path):
    path = csv(tmp_path, "source,ref\na,One.\na,\n")
    with pytest.raises(DataError, match=rf"^{path}:3: 'ref' is an empty reference\. Write its text, or take it out\."):
        read(path)
    with pytest.raises(DataError, match=r"^list\[0\]: 'targets\[1\]' is an empty reference"):
        read([{"source": "a", "targets": ["One.", " "]}], labelled=None)


@pytest.mark.parametrize("value", [None, []])
def test_a_row_without_a_reference_is_refused_where_one_is_needed(value):
    with pytest.raises(DataError, match=r"list\[1\]: no reference in 'targets', and references are needed here"):
        read([{"source": "a", "targets": ["One."]}, {"source": "b", "targets": value}])


def test_a_file_without_references_says_where_they_were_looked_for(tmp_path):
    path = csv(tmp_path, "source\na\n")
    with pytest.raises(DataError, match=r"has no column of references \(looked for targets, .* --columns target=COL"):
        read(path)
    with pytest.raises(DataError, match=r"rows without references, .*Write \(source, target\)"):
        read(["a"])


@pytest.mark.parametrize("value", [3, {"words": "One."}, [["One."]]])
def test_what_is_no_text_is_no_reference(value):
    with pytest.raises(DataError, match="not a reference"):
        read([{"source": "a", "target": value}, {"source": "b", "target": "One."}])


def test_half_a_character_is_refused():
    with pytest.raises(DataError, match="half a character"):
        read([{"source": "a", "target": "\ud800"}])


# examples, as they come


def test_examples_keep_their_references():
    rows = [Example({"source": "a"}, "One.", answers=("One.", "Two.")), Example({"source": "b"}, " Three. ")]
    assert right(rows) == [("One.", "Two."), ("Three.",)]
    assert [row.right for row in read(rows, labelled=False)] == [(), ()]


def test_an_example_without_a_reference_is_named():
    with pytest.raises(DataError, match=r"train\[0\]: no reference"):
        read([Example({"source": "a"})], where="train")
    with pytest.raises(DataError, match=r"list\[0\]: 'label\[0\]' is an empty reference"):
        read([Example({"source": "a"}, " ")])
