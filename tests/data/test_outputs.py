import json

import pytest

from promptlab.data.outputs import read_outputs
from promptlab.errors import DataError


@pytest.fixture
def write(tmp_path):
    def file(name, text):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return file


def test_a_blank_line_parts_the_references_of_two_inputs(write):
    read = read_outputs(write("said.txt", "one\ntwo\n"), [write("right.txt", "a\nb\n\nc\n\n")])
    assert (read.hypotheses, read.references) == (["one", "two"], [["a", "b"], ["c"]])


def test_without_blank_lines_each_input_has_one_reference(write):
    assert read_outputs(write("s.txt", "one\ntwo"), [write("r.txt", "a\nb\n")]).references == [["a"], ["b"]]


def test_neighbouring_rows_of_one_mr_are_one_input_and_are_mended_as_e2es_script_does(write):
    rows = 'mr,ref\n"name[X], area[Y]",a is Ł5\n"name[X], area[Y]","b, b"\nname[Z],c\n'
    assert read_outputs(write("s.txt", "1\n2"), [write("r.csv", rows)]).references == [["a is £5", "b, b"], ["c"]]


def test_a_jsonl_brings_its_targets_and_hypotheses_may_be_a_table(write):
    rows = "".join(json.dumps({"source": "x", "targets": some}) + "\n" for some in (["a", "b"], ["c"]))
    said = write("s.jsonl", '{"text": "one"}\n{"text": "two"}\n')
    read = read_outputs(said, [write("r.jsonl", rows)])
    assert (read.hypotheses, read.references) == (["one", "two"], [["a", "b"], ["c"]])


def test_several_files_are_the_first_and_the_second_reference_of_each_input(write):
    files = [write("r0.txt", "a\nb\n"), write("r1.txt", "a2\n\n")]
    assert read_outputs(write("s.txt", "1\n2\n"), files).references == [["a", "a2"], ["b"]]


@pytest.mark.parametrize(
    ("said", "right", "message"),
    [
        ("1\n2\n3\n", "a\nb\n\nc\n", "s.txt holds 3 hypotheses, but .*r.txt the references of 2 inputs"),
        ("1\n\n3\n", "a\n\nb\n\nc\n", "s.txt:2: an empty hypothesis"),
        ("1\n2\n", "a\n\n\nb\n", "r.txt:3: a blank line where a reference of input 2 is expected"),
        ("1\n2\n", "\na\n\nb\n", "r.txt:1: a blank line where a reference of input 1 is expected"),
        ("1\n", "\n", "r.txt is empty"),
    ],
)
def test_what_does_not_fit_is_refused_with_file_and_line(write, said, right, message):
    with pytest.raises(DataError, match=message):
        read_outputs(write("s.txt", said), [write("r.txt", right)])


def test_tables_without_their_columns_or_texts_are_refused(write):
    said = write("s.txt", "1\n")
    with pytest.raises(DataError, match="has the columns x, y, but none of mr, source, input"):
        read_outputs(said, [write("r.csv", "x,y\n1,2\n")])
    with pytest.raises(DataError, match=r'r.jsonl:1: "targets" is no list of texts'):
        read_outputs(said, [write("r.jsonl", '{"targets": []}\n')])
    with pytest.raises(DataError, match="2.csv:2: no text under 'ref'"):
        read_outputs(said, [write("2.csv", "mr,ref\nx,\ny,z\n")])


def test_files_of_references_of_different_lengths_are_refused(write):
    with pytest.raises(DataError, match="r1.txt has 1 lines, another file of references 2"):
        read_outputs(write("s.txt", "1\n2\n"), [write("r0.txt", "a\nb\n"), write("r1.txt", "a2\n")])
    with pytest.raises(DataError, match="r0.txt:2: input 2 has no reference in any file"):
        read_outputs(write("s.txt", "1\n2\n"), [write("r0.txt", "a\n\n"), write("r1.txt", "a2\n\n")])
