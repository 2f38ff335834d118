import gzip
import hashlib
import json
from itertools import islice
from pathlib import Path

import pytest

from promptlab.data.corpus import digest, paragraphs
from promptlab.errors import DataError

TEXTS = ["A warm, funny film.", 'He said "no", and left.', "naïve — 漢字 🙂"]


def write(path, text, encoding="utf-8"):
    data = text if isinstance(text, bytes) else text.encode(encoding)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def in_form(name, texts, column="text"):
    """Bytes of a file of that kind with the texts in a column of it, and another column beside."""
    rows = [{"id": str(i), column: text} for i, text in enumerate(texts)]
    kind = name.removesuffix(".gz").rpartition(".")[2]
    if kind == "parquet":
        arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        sink = arrow.BufferOutputStream()
        parquet.write_table(arrow.Table.from_pylist(rows), sink)
        return sink.getvalue().to_pybytes()
    if kind == "txt":
        return "\n".join(texts).encode()
    if kind == "jsonl":
        return "\n".join(json.dumps(row) for row in rows).encode()
    quoted = ['"' + text.replace('"', '""') + '"' for text in texts]
    separator = "," if kind == "csv" else "\t"
    return "\n".join([f"id{separator}{column}", *(f"{i}{separator}{text}" for i, text in enumerate(quoted))]).encode()


def refusal(*texts, column=None):
    with pytest.raises(DataError) as caught:
        list(paragraphs(texts, column))
    message = str(caught.value)
    assert "\n" not in message
    return message


KINDS = ["a.txt", "a.jsonl", "a.csv", "a.parquet"]
EACH = KINDS + [name + ".gz" for name in KINDS]


# what is read


@pytest.mark.parametrize("name", EACH)
def test_a_file_of_each_kind_gives_its_paragraphs_in_order(tmp_path, name):
    assert list(paragraphs([write(tmp_path / name, in_form(name, TEXTS))])) == TEXTS


def test_a_tsv_is_read_as_a_table(tmp_path):
    texts = ['"Great"', 'He said "no", and left.']
    assert list(paragraphs([write(tmp_path / "a.tsv", in_form("a.tsv", texts))])) == texts


@pytest.mark.parametrize("name", [name for name in EACH if "txt" not in name])
def test_another_column_is_read_where_it_is_named(tmp_path, name):
    path = write(tmp_path / name, in_form(name, TEXTS, column="review"))
    assert list(paragraphs([path], "review")) == TEXTS
    assert list(paragraphs([path], "id")) == ["0", "1", "2"]


def test_a_string_is_a_paragraph_and_not_the_name_of_a_file(tmp_path):
    path = write(tmp_path / "a.txt", "inside")
    assert list(paragraphs([str(path), path])) == [str(path), "inside"]


def test_files_and_strings_come_in_the_order_given(tmp_path):
    one, two = write(tmp_path / "a.txt", "1\n2"), write(tmp_path / "b.jsonl", '{"text": "4"}')
    assert list(paragraphs([two, "3", one, "0"])) == ["4", "3", "1", "2", "0"]


def test_blank_strings_are_no_paragraphs():
    assert list(paragraphs(["one", "", " \n\t", "two"])) == ["one", "two"]


def test_no_texts_are_no_paragraphs():
    assert list(paragraphs([])) == []


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_blank_lines_are_skipped_and_line_ends_are_no_text(tmp_path, end):
    path = write(tmp_path / "a.txt", end.join(["", "one", "", "  ", "\ttwo ", "three"]) + end)
    assert list(paragraphs([path])) == ["one", "two", "three"]


def test_blank_lines_of_a_jsonl_are_skipped(tmp_path):
    assert list(paragraphs([write(tmp_path / "a.jsonl", '\n{"text": "one"}\n \n\r\n{"text": "two"}\n')])) == [
        "one",
        "two",
    ]


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.jsonl"])
def test_blank_fields_are_skipped(tmp_path, name):
    path = write(tmp_path / name, in_form(name, ["one", "", "  ", "two"]))
    assert list(paragraphs([path])) == ["one", "two"]


def test_an_empty_cell_of_a_parquet_file_is_skipped(tmp_path):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table({"text": ["one", None, "two"]}), tmp_path / "a.parquet")
    assert list(paragraphs([tmp_path / "a.parquet"])) == ["one", "two"]


@pytest.mark.parametrize("sign", ["\u2028", "\u2029", "\x85", "\x0c", "\x1c"])
def test_what_python_calls_a_line_end_does_not_end_a_paragraph(tmp_path, sign):
    text = f"one{sign}two"
    files = [
        write(tmp_path / "a.txt", f"{text}\nthree"),
        write(tmp_path / "a.jsonl", f'{json.dumps({"text": text}, ensure_ascii=False)}\n{{"text": "three"}}'),
        write(tmp_path / "a.csv", f"text\n{text}\nthree"),
    ]
    assert list(paragraphs(files)) == [text, "three"] * 3


def test_a_line_end_inside_a_json_text_stays(tmp_path):
    assert list(paragraphs([write(tmp_path / "a.jsonl", json.dumps({"text": "one\ntwo"}))])) == ["one\ntwo"]


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.txt.gz"])
def test_a_byte_order_mark_is_no_text(tmp_path, name):
    data = b"\xef\xbb\xbf" + in_form(name, TEXTS)
    assert list(paragraphs([write(tmp_path / name, data)])) == TEXTS


def test_a_file_is_called_by_its_last_names_in_any_case(tmp_path):
    assert list(
        paragraphs([write(tmp_path / "my.notes.TXT", "one"), write(tmp_path / "b.JSONL", '{"text": "2"}')])
    ) == [
        "one",
        "2",
    ]


@pytest.mark.parametrize("name", ["a.txt.gz", "a.jsonl.gz"])
def test_a_file_is_read_as_it_comes(tmp_path, name):
    texts = ["one", "two", *(hashlib.sha512(bytes([i])).hexdigest() * 100 for i in range(256))]
    (tmp_path / name).write_bytes(gzip.compress(in_form(name, texts))[:-9])
    read = paragraphs([tmp_path / name])
    assert list(islice(read, 2)) == ["one", "two"]
    with pytest.raises(DataError, match="is no whole gzip file"):
        list(read)


# what is refused


@pytest.mark.parametrize("name", ["trian.txt", "trian.jsonl", "trian.csv", "trian.txt.gz"])
def test_a_missing_file_suggests_one_beside_it(tmp_path, name):
    write(tmp_path / name.replace("trian", "train"), "x")
    message = refusal(tmp_path / name)
    assert str(tmp_path / name) in message
    assert f"Did you mean '{name.replace('trian', 'train')}'?" in message


def test_a_missing_folder_is_a_missing_file(tmp_path):
    message = refusal(tmp_path / "nowhere" / "a.txt")
    assert message == (
        f"{tmp_path / 'nowhere' / 'a.txt'} cannot be read: No such file or directory. Write a text file that is there."
    )


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "a.txt").mkdir()
    assert "a.txt cannot be read: Is a directory." in refusal(tmp_path / "a.txt")


@pytest.mark.parametrize(("name", "kind"), [("a.pdf", ".pdf"), ("a", ""), ("a.gz", ""), ("a.docx.gz", ".docx")])
def test_a_kind_that_is_not_read_lists_those_that_are(tmp_path, name, kind):
    message = refusal(write(tmp_path / name, "x"))
    assert f"text of kind '{kind}' is not read. Write one of .jsonl .csv .tsv .parquet .txt" in message


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv", "a.txt.gz", "a.jsonl.gz"])
@pytest.mark.parametrize("content", ["", "\n \r\n", "\ufeff"])
def test_an_empty_file_is_refused(tmp_path, name, content):
    assert f"{tmp_path / name} is empty. Write a file with " in refusal(write(tmp_path / name, content))


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet"])
def test_a_file_whose_texts_are_all_blank_is_refused(tmp_path, name):
    assert f"{tmp_path / name} is empty." in refusal(write(tmp_path / name, in_form(name, ["", " "])))


def test_half_a_surrogate_pair_is_named_with_its_line(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"text": "fine"}\n{"text": "\\ud83d!"}')
    assert refusal(path).startswith(f"{path}:2: ")


def test_an_empty_file_among_others_is_refused(tmp_path):
    read = paragraphs([write(tmp_path / "a.txt", "one"), write(tmp_path / "b.txt", "")])
    assert next(read) == "one"
    with pytest.raises(DataError, match=r"b\.txt is empty"):
        next(read)


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv", "a.txt.gz"])
def test_a_zero_byte_is_named_with_its_line(tmp_path, name):
    lines = in_form(name, TEXTS).split(b"\n")
    data = b"\n".join([*lines[:2], b"\n", *lines[2:], b"ab\0cd"])
    line = data.count(b"\n") + 1
    assert f"{tmp_path / name}:{line}: a zero byte, as in a binary file." in refusal(write(tmp_path / name, data))


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv", "a.txt.gz"])
def test_another_encoding_is_named_with_its_line_and_byte(tmp_path, name):
    data = in_form(name, ["fine"]) + b"\n\ncaf\xe9\n"
    line = data.count(b"\n")
    message = refusal(write(tmp_path / name, data))
    assert f"{tmp_path / name}:{line}: byte 0xe9 is not UTF-8 text. Save the file as UTF-8." in message


@pytest.mark.parametrize("name", [name for name in EACH if name.endswith(".gz")])
def test_a_gzip_file_that_was_cut_off_is_refused(tmp_path, name):
    whole = gzip.compress(in_form(name, [f"{text} {i}" for i in range(200) for text in TEXTS]))
    for size in (5, len(whole) // 2, len(whole) - 3):
        (tmp_path / name).write_bytes(whole[:size])
        assert f"{tmp_path / name} is no whole gzip file (" in refusal(tmp_path / name)


@pytest.mark.parametrize("name", ["a.txt.gz", "a.jsonl.gz", "a.csv.gz"])
def test_a_file_that_is_only_called_gzip_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"plain text\n" * 20)
    assert f"{tmp_path / name} is no whole gzip file (Not a gzipped file" in refusal(tmp_path / name)


@pytest.mark.parametrize(("at", "told"), [(10, "Error -3 while decompressing data"), (-8, "CRC check failed")])
def test_a_gzip_file_that_was_damaged_is_refused(tmp_path, at, told):
    data = bytearray(gzip.compress(" ".join(map(str, range(5000))).encode()))
    data[at] = 0xFF - data[at] if at < 0 else 0xFF  # no block of deflate begins with 0xFF
    (tmp_path / "a.txt.gz").write_bytes(data)
    assert f"a.txt.gz is no whole gzip file ({told}" in refusal(tmp_path / "a.txt.gz")


@pytest.mark.parametrize("line", ["{'text': 1}", "one", '{"text": ', "[" * 100_000])
def test_a_line_that_is_no_json_is_named(tmp_path, line):
    path = write(tmp_path / "a.jsonl", f'{{"text": "fine"}}\n\n{line}\n')
    message = refusal(path)
    assert message.startswith(f"{path}:3: not JSON (")
    assert message.endswith(". Write one object a line.")


def test_a_missing_column_of_a_jsonl_names_the_line_and_the_columns(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"review": "fine"}\n{"reviw": "bad", "id": "1"}')
    assert refusal(path, column="review") == (
        f"{path}:2: no text in a column 'review'. Did you mean 'reviw'? Its columns: reviw, id. Write --column NAME."
    )


@pytest.mark.parametrize("line", ['{"text": 3}', '{"text": null}', '{"text": ["a"]}', '["text"]', '"text"', "3"])
def test_a_line_of_a_jsonl_without_a_text_is_named(tmp_path, line):
    path = write(tmp_path / "a.jsonl", f'{{"text": "fine"}}\n{line}\n')
    assert refusal(path).startswith(f"{path}:2: no text in a column 'text'.")


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.csv.gz"])
def test_a_missing_column_of_a_table_names_the_columns(tmp_path, name):
    path = write(tmp_path / name, in_form(name, TEXTS, column="review"))
    assert refusal(path) == f"{path}: no text in a column 'text'. Its columns: id, review. Write --column NAME."
    assert "no text in a column 'reviews'. Did you mean 'review'?" in refusal(path, column="reviews")


def test_a_txt_has_no_columns(tmp_path):
    path = write(tmp_path / "a.txt", "one")
    assert refusal(path, column="text") == (
        f"{path} is plain text and has no columns. Leave --column out, or write a .jsonl."
    )


def test_a_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    path = write(tmp_path / "a.txt", "one")
    monkeypatch.setattr(Path, "open", denied)
    assert refusal(path) == f"{path} cannot be read: Permission denied. Write a text file that is there."
    with pytest.raises(DataError, match="cannot be read: Permission denied"):
        digest([path])


# what it is known by


def test_the_digest_follows_from_contents_and_not_from_names(tmp_path):
    one, two = write(tmp_path / "a.txt", "one\ntwo"), write(tmp_path / "b.txt", "one\ntwo")
    assert digest([one]) == digest([two])
    assert len(digest([one])) == 64


def test_a_moved_file_keeps_its_digest_and_a_changed_one_does_not(tmp_path):
    path = write(tmp_path / "a.txt", "one\ntwo")
    before = digest([path, "three"])
    (tmp_path / "deeper").mkdir()
    moved = path.rename(tmp_path / "deeper" / "b.txt")
    assert digest([moved, "three"]) == before
    assert digest([write(moved, "one\ntwa"), "three"]) != before


def test_any_byte_of_a_big_file_changes_the_digest(tmp_path):
    size = 2**20 + 3
    found = set()
    for changed in (-1, 0, 2**20 - 1, 2**20, size - 1):
        data = bytearray(b"x" * size)
        if changed >= 0:
            data[changed] = ord("y")
        found.add(digest([write(tmp_path / "a.txt", bytes(data))]))
    assert len(found) == 5


def test_the_digest_tells_apart_what_stands_where(tmp_path):
    texts = [["ab", "c"], ["a", "bc"], ["abc"], ["c", "ab"], ["ab", "c", ""], []]
    assert len({digest(each) for each in texts}) == len(texts)


def test_the_digest_tells_files_apart_as_it_does_strings(tmp_path):
    one, two = write(tmp_path / "a.txt", "ab"), write(tmp_path / "b.txt", "c")
    assert digest([one, two]) != digest([two, one])
    assert digest([one, "d"]) != digest([one, "e"])
    assert digest([one]) != digest([str(one)])


def test_a_digest_of_a_missing_file_suggests_one_beside_it(tmp_path):
    write(tmp_path / "train.txt", "one")
    with pytest.raises(DataError, match=r"trian\.txt cannot be read: No such file.* Did you mean 'train\.txt'\?"):
        digest([tmp_path / "trian.txt"])
