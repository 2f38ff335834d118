import time
from itertools import pairwise

import pytest

from promptlab.errors import PatternError
from promptlab.language import document
from promptlab.language.document import Faults, Items, Keys, Words, read_nodes, read_text


def read(text):
    faults = Faults("x.yaml")
    node = read_nodes(text, faults)
    faults.refuse()
    return node


def refused(text):
    with pytest.raises(PatternError) as raised:
        read(text)
    return [str(fault) for fault in raised.value.faults]


# what is read


def test_every_scalar_is_text_whatever_yaml_would_make_of_it():
    assert read("{a: Yes, b: no, c: 1, d: 2.50, e: null, f: 2020-01-01, g: ~}") == {
        **{"a": "Yes", "b": "no", "c": "1", "d": "2.50", "e": "null"},
        **{"f": "2020-01-01", "g": "~"},
    }


def test_texts_lists_and_keys_know_their_lines():
    root = read("# a comment\na: x\nb:\n  - y\n  - {c: z}\n")
    assert isinstance(root, Keys)
    assert root.line == 2
    assert root.lines == {"a": 2, "b": 3}
    assert isinstance(root["b"], Items)
    assert [each.line for each in root["b"]] == [4, 5]
    assert isinstance(root["b"][0], Words)


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: b")
    assert read(read_text(path)) == {"a": "b"}


# what is not


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n"])
def test_an_empty_document_is_refused(text):
    (fault,) = refused(text)
    assert fault.startswith("x.yaml: is empty. Write the keys")


@pytest.mark.parametrize("text", ["a: b\x00", "a\n\x07", "\x1b[0m", "a: \x7f"])
def test_binary_is_refused_with_the_character_and_its_line(text):
    (fault,) = refused(text)
    assert "holds the control character '\\x" in fault
    assert fault.startswith(f"x.yaml:{text.count(chr(10)) + 1}:")


def test_a_repeated_key_is_refused_with_both_lines():
    assert refused("a: 1\nb: 2\na: 3") == ["x.yaml:3: repeats the key 'a' of line 1. Keep one of the two."]


def test_repeated_keys_are_found_at_every_depth():
    assert len(refused("a: {b: 1, b: 2}\nc:\n  d: 1\n  d: 2")) == 2


@pytest.mark.parametrize(
    "tagged", ["!!python/object/apply:os.system [ls]", "!!str x", "!local x", "!!python/name:os.system"]
)
def test_tags_are_refused_and_nothing_is_built(tagged):
    (fault,) = refused(f"a: b\nc: {tagged}")
    assert fault.startswith(f"x.yaml:2: carries the tag {tagged.split()[0]}, but every value is text.")


def test_a_tag_is_reported_beside_the_other_faults():
    assert len(refused("a: !!str x\nb: 1\nb: 2")) == 2


def test_aliases_are_refused():
    assert refused("a: &x [1]\nb: *x") == [
        "x.yaml:2: is the alias *x of another place. Write it out, or put the text in quotes."
    ]


def test_a_bomb_of_aliases_costs_nothing():
    letters = "abcdefghijklmnopqrstuvwxy"
    lines = [f"{after}: &{after} [*{before}, *{before}]" for before, after in pairwise(letters)]
    started = time.monotonic()
    assert len(refused("\n".join(["a: &a [x, x]", *lines]))) == len(lines)  # the two of a line are one fault
    assert time.monotonic() - started < 5


def test_deep_nesting_is_refused_and_not_recursed_into():
    (fault,) = refused("a: " + "[" * 3000 + "]" * 3000)
    assert "is nested deeper than 12 levels" in fault


def test_a_key_that_is_no_text_is_refused():
    assert "has a key that is not text." in refused("? {a: b}\n: c")[0]


def test_two_documents_in_one_file_are_refused():
    (fault,) = refused("a: b\n---\nc: d")
    assert "expected a single document in the stream, but found another document" in fault


@pytest.mark.parametrize(
    ("text", "line", "hint"),
    [
        ("p:\n  x: {mask}! It was {text}", 2, "Put the pattern in quotes: YAML reads a leading { as a mapping."),
        (
            "p:\n  x: {text} It was {mask}.\n  y: z",
            2,
            "Put the pattern in quotes: YAML reads a leading { as a mapping.",
        ),
        ("p:\n  x: {text: not closed\n\n  y: z", 2, "YAML reads a leading { as a mapping."),
        ("x: [ Category: {mask} ] {text}", 1, "YAML reads a leading [ as a list."),
        ('x: "{premise}"? {mask}', 1, 'YAML reads a leading " as a whole quoted text.'),
        ("x: 'not closed\n\n", 1, "YAML reads a leading ' as a whole quoted text."),
        ("- {mask} x", 1, "YAML reads a leading { as a mapping."),
        ("x: *{mask}* {text}", 1, "YAML reads a leading * as a sign of its own."),
        ("x: @home", 1, "YAML reads a leading @ as a sign of its own."),
        ("a: b\nx: Answer: yes", 2, "Put the text in quotes."),
        ("a:\n\tb: c", 2, "Indent with spaces, not tabs."),
    ],
)
def test_what_yaml_cannot_read_is_refused_with_its_line_and_what_to_write(text, line, hint):
    (fault,) = refused(text)
    assert fault.startswith(f"x.yaml:{line}: is not YAML: ")
    assert fault.endswith(hint)


def test_the_same_fault_is_told_once():
    faults = Faults("x.yaml")
    faults.add(1, "wrong")
    faults.add(1, "wrong")
    faults.add(2, "wrong")
    assert len(faults.found) == 2


def test_faults_are_raised_in_the_order_of_the_file():
    faults = Faults("x.yaml")
    for line in (3, 1, None, 2):
        faults.add(line, "wrong")
    with pytest.raises(PatternError) as raised:
        faults.refuse()
    assert [fault.line for fault in raised.value.faults] == [None, 1, 2, 3]


# files


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(PatternError, match=r"none\.yaml: no such file"):
        read_text(tmp_path / "none.yaml")


def test_a_folder_is_no_pattern_file(tmp_path):
    with pytest.raises(PatternError, match="cannot be read"):
        read_text(tmp_path)


def test_a_file_that_may_not_be_read_says_why(tmp_path, monkeypatch):
    def denied(self):
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "x.yaml"
    path.write_text("a: b")
    monkeypatch.setattr(type(path), "read_bytes", denied)
    with pytest.raises(PatternError, match=r"x\.yaml: cannot be read \(permission denied\)"):
        read_text(path)


def test_a_file_that_is_not_utf8_names_the_byte_and_its_line(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_bytes("task: a\nabout: schön".encode("latin-1"))
    with pytest.raises(
        PatternError, match=r"x\.yaml:2: is not UTF-8 text \(byte 0xf6 at offset 18\)\. Save it as UTF-8\."
    ):
        read_text(path)


def test_a_file_far_too_large_is_not_even_read(tmp_path, monkeypatch):
    monkeypatch.setattr(document, "MOST_BYTES", 10)
    path = tmp_path / "x.yaml"
    path.write_text("a: " + "b" * 20)
    with pytest.raises(PatternError, match="is over 10 bytes"):
        read_text(path)
