import csv
import gzip
import json

import pytest

from promptlab.data.files import table_in
from promptlab.errors import DataError

ROWS = [{"text": 'a, "b"\nc', "label": "yes"}, {"text": "", "label": "no"}, {"text": "naïve — 漢字 🙂", "label": "no"}]


def write(path, text, encoding="utf-8"):
    data = text.encode(encoding)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def as_csv(rows):
    def quoted(text):
        return '"' + text.replace('"', '""') + '"'

    return "\n".join(["text,label", *(f"{quoted(row['text'])},{row['label']}" for row in rows)])


def as_jsonl(rows):
    return "\n".join(json.dumps(row) for row in rows)


def rows_of(path):
    table = table_in(path)
    return [dict(zip(table.columns, row, strict=True)) for row in zip(*map(table.fetch, table.columns), strict=True)]


# what is read


@pytest.mark.parametrize("name", ["rows.csv", "rows.csv.gz", "rows.CSV", "my.rows.csv"])
def test_a_csv_keeps_commas_quotes_line_ends_and_empty_texts(tmp_path, name):
    assert rows_of(write(tmp_path / name, as_csv(ROWS))) == ROWS


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_a_jsonl_is_read_line_by_line(tmp_path, name):
    assert rows_of(write(tmp_path / name, as_jsonl(ROWS))) == ROWS


def test_a_tsv_reads_quotes_as_text(tmp_path):
    path = write(tmp_path / "rows.tsv", 'text\tlabel\n"Great" he said\tyes\n"Great"\tno\n"stray\tno')
    assert [row["text"] for row in rows_of(path)] == ['"Great" he said', '"Great"', '"stray']


def test_a_tsv_that_a_csv_writer_quoted_reads_as_it_was_meant(tmp_path):
    with (tmp_path / "rows.tsv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter="\t").writerows([["text"], ['He said "hi", "bye"']])
    assert rows_of(tmp_path / "rows.tsv") == [{"text": 'He said "hi", "bye"'}]


def test_a_txt_is_one_text_a_line(tmp_path):
    assert rows_of(write(tmp_path / "rows.txt", "one\n\ntwo, three\r\n")) == [{"text": "one"}, {"text": "two, three"}]


@pytest.mark.parametrize("name", ["rows.parquet", "rows.parquet.gz"])
def test_a_parquet_file_is_read(tmp_path, name):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.Table.from_pylist(ROWS), tmp_path / "plain.parquet")
    data = (tmp_path / "plain.parquet").read_bytes()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    assert rows_of(tmp_path / name) == ROWS


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path):
    assert table_in(write(tmp_path / "rows.csv", as_csv(ROWS), encoding="utf-8-sig")).columns == ("text", "label")


def test_a_windows_file_leaves_no_carriage_returns(tmp_path):
    for name, text in (("a.tsv", "text\tlabel\r\nfine\tyes\r\n"), ("a.csv", "text,label\r\nfine,yes\r\n")):
        assert rows_of(write(tmp_path / name, text)) == [{"text": "fine", "label": "yes"}]


def test_a_line_separator_inside_a_json_text_does_not_end_the_row(tmp_path):
    path = write(tmp_path / "rows.jsonl", json.dumps({"text": "one\u2028two"}, ensure_ascii=False))
    assert rows_of(path) == [{"text": "one\u2028two"}]


def test_a_text_longer_than_the_csv_module_allows_is_read_and_its_limit_left_alone(tmp_path):
    before = csv.field_size_limit()
    path = write(tmp_path / "rows.csv", "text\n" + "x" * (before + 10))
    assert len(rows_of(path)[0]["text"]) == before + 10
    assert csv.field_size_limit() == before


def test_a_column_without_a_name_is_left_out(tmp_path):
    assert rows_of(write(tmp_path / "rows.csv", ",text\n0,fine\n")) == [{"text": "fine"}]


def test_the_place_of_a_row_is_its_line_though_texts_span_lines_and_lines_are_blank(tmp_path):
    path = write(tmp_path / "rows.csv", 'text\n"one\ntwo"\n\nthree\n')
    assert [table_in(path).place(row) for row in (0, 1)] == [f"{path}:2", f"{path}:5"]


def test_the_place_of_a_json_row_is_its_line(tmp_path):
    path = write(tmp_path / "rows.jsonl", '\n{"text": "a"}\n\n{"text": "b"}\n')
    assert [table_in(path).place(row) for row in (0, 1)] == [f"{path}:2", f"{path}:4"]


# what is refused


def test_a_missing_file_suggests_one_beside_it(tmp_path):
    write(tmp_path / "train.jsonl", "{}")
    with pytest.raises(DataError, match=r"no file .*trian\.jsonl\. Did you mean 'train\.jsonl'\?"):
        table_in(tmp_path / "trian.jsonl")


def test_a_missing_folder_is_a_missing_file(tmp_path):
    with pytest.raises(DataError, match="no file"):
        table_in(tmp_path / "nowhere" / "train.jsonl")


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match=r"folder\.csv cannot be read"):
        table_in(tmp_path / "folder.csv")


def test_a_kind_that_is_not_read_lists_those_that_are(tmp_path):
    with pytest.raises(DataError, match=r"kind '\.xlsx' are not read\. Write one of \.jsonl \.csv \.tsv \.parquet"):
        table_in(write(tmp_path / "rows.xlsx", "x"))


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.txt", "a.csv.gz"])
@pytest.mark.parametrize("content", ["", "\n \n", "\ufeff"])
def test_an_empty_file_is_refused(tmp_path, name, content):
    with pytest.raises(DataError, match=r"is empty\. Write a file with at least one row"):
        table_in(write(tmp_path / name, content))


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_a_header_alone_is_refused(tmp_path, name):
    with pytest.raises(DataError, match="a header but no rows"):
        table_in(write(tmp_path / name, "text\n"))


def test_a_binary_file_is_named_as_one(tmp_path):
    with pytest.raises(DataError, match=r"a\.csv:2: a zero byte, as in a binary file"):
        table_in(write(tmp_path / "a.csv", "text\nab\0cd\n"))


def test_a_file_in_another_encoding_names_the_line_and_the_byte(tmp_path):
    with pytest.raises(DataError, match=r"a\.csv:3: byte 0xe9 is not UTF-8 text\. Save the file as UTF-8"):
        table_in(write(tmp_path / "a.csv", "text\nfine\ncafé\n", encoding="latin-1"))


def test_a_gzip_file_that_is_none_or_cut_short_is_refused(tmp_path):
    whole = gzip.compress(b"text\n" + bytes(range(32, 120)) * 40)
    for data in (b"text\nfine\n", whole[:-20]):
        (tmp_path / "a.csv.gz").write_bytes(data)
        with pytest.raises(DataError, match="is no whole gzip file"):
            table_in(tmp_path / "a.csv.gz")


def test_a_parquet_file_that_is_none_is_refused(tmp_path):
    pytest.importorskip("pyarrow")
    with pytest.raises(DataError, match="is no parquet file"):
        table_in(write(tmp_path / "a.parquet", "text"))


def test_a_parquet_file_without_rows_is_refused(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table({"text": arrow.array([], arrow.string())}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="has no rows"):
        table_in(tmp_path / "a.parquet")


def test_a_line_that_is_no_json_is_named(tmp_path):
    with pytest.raises(DataError, match=r"a\.jsonl:2: not JSON \(.*Write one object a line"):
        table_in(write(tmp_path / "a.jsonl", '{"text": "fine"}\n{"text": \n'))


def test_json_nested_beyond_reason_is_an_error_and_no_crash(tmp_path):
    with pytest.raises(DataError, match=r"a\.jsonl:1: not JSON"):
        table_in(write(tmp_path / "a.jsonl", "[" * 100_000))


def test_a_json_line_that_is_no_object_is_named(tmp_path):
    with pytest.raises(DataError, match=r"a\.jsonl:2: a list where an object is expected"):
        table_in(write(tmp_path / "a.jsonl", '{"text": "fine"}\n["fine"]\n'))


@pytest.mark.parametrize(("name", "separator"), [("a.csv", ","), ("a.tsv", "\t")])
def test_a_row_with_too_many_fields_names_its_line_and_both_numbers(tmp_path, name, separator):
    text = f"text{separator}label\nfine{separator}yes\nfine{separator}good{separator}yes\n"
    with pytest.raises(DataError, match=rf"{name}:3: 3 fields where the header names 2 \(text, label\)"):
        table_in(write(tmp_path / name, text))


def test_a_quote_that_never_ends_is_named_by_the_line_it_begins_on(tmp_path):
    with pytest.raises(DataError, match=r"a\.csv:3: .*Quote a field that holds a comma"):
        table_in(write(tmp_path / "a.csv", 'text,label\nfine,yes\n"great,no\nfine,no\n'))


def test_two_columns_of_one_name_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"a\.csv:1: two columns named 'text'"):
        table_in(write(tmp_path / "a.csv", "text,text\na,b\n"))
