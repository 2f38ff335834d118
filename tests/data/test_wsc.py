"""WSC rows: candidates from the text, and answers that make accuracy WSC's own."""

import pytest

from promptlab.data.sources import read_examples
from promptlab.data.steps import taught
from promptlab.errors import DataError
from promptlab.language.library import load_task
from promptlab.metrics.classify import compute

WSC = load_task("wsc")
TEXT = "Nora lent the ladder to Piet because he had to reach the roof."


def flat(text=TEXT, span="Piet", pronoun="he", label="true", **more):
    return {"text_a": text, "span1_text": span, "span2_text": pronoun, "label": label, **more}


def read(*rows, **settings):
    return read_examples(list(rows), WSC, **settings)


def test_the_pronoun_is_marked_and_the_span_stands_first_among_the_noun_phrases():
    (row,) = read(flat())
    assert row.text("text") == TEXT.replace(" he ", " *he* ")
    assert row.fields["choices"] == ("Piet", "Nora", "the ladder", "the roof")
    assert (row.label, row.answers) == ("Piet", ())


def test_where_the_label_is_false_each_of_the_other_phrases_is_right():
    (row,) = read(flat(span="Nora", label="false"))
    assert row.fields["choices"][0] == "Nora"
    assert row.right == ("the ladder", "Piet", "the roof")
    assert WSC.golds(row) == (1, 2, 3)


def test_accuracy_over_candidates_is_that_of_true_and_false():
    rows = read(flat(), flat(span="Nora", label="false"), flat(label="true"), flat(span="Nora", label="false"))
    said = [row.fields["choices"][at] for row, at in zip(rows, (0, 2, 3, 0), strict=True)]  # true false false true
    found = compute("accuracy", [row.label for row in rows], said, (), answers=[row.right for row in rows])
    assert found == 2 / 4


def test_only_rows_whose_span_is_right_teach():
    rows = read(flat(), flat(span="Nora", label="false"))
    assert taught(WSC, rows) == rows[:1]
    with pytest.raises(DataError, match="none of the 1 rows drawn teaches anything"):
        taught(WSC, rows[1:])


@pytest.mark.parametrize(("value", "true"), [(True, 1), ("True", 1), (1, 1), (1.0, 0), (False, 0), ("0", 0), (0, 0)])
def test_labels_read_as_published_on_the_hub_and_as_flat(value, true):
    if isinstance(value, float):
        with pytest.raises(DataError, match=r"label '1\.0' is neither true nor false"):
            read(flat(label=value))
    else:
        assert (read(flat(label=value))[0].label == "Piet") == bool(true)


@pytest.mark.parametrize("value", [None, -1, ""])
def test_a_hidden_label_is_none(value):
    assert read(flat(label=value))[0].label is None
    with pytest.raises(DataError, match="no label, and labels are needed here"):
        read(flat(label=value), labelled=True)


def test_the_published_form_reads_as_the_flat_one():
    target = {"span1_text": "Piet", "span2_text": "he", "span1_index": 5, "span2_index": 7}
    assert read({"text": TEXT, "target": target, "label": True}) == read(flat(span2_index=7))


def test_of_two_places_the_pronoun_is_marked_at_the_index_or_nearest_to_it():
    text = "He saw him, and he left the room with a friend."
    assert read(flat(text, "friend", "he", span2_index=4))[0].text("text").startswith("He saw him, and *he* left")
    assert read(flat(text, "friend", "he", span2_index=5))[0].text("text").startswith("He saw him, and *he* left")
    assert read(flat(text, "friend", "he"))[0].text("text").startswith("*He* saw him, and he left")


def test_a_pronoun_is_a_word_and_not_a_piece_of_one():
    text = "The father there thanked the nurse when he woke."
    assert "when *he* woke" in read(flat(text, "nurse", "he", span2_index=0))[0].text("text")


def test_a_span_that_is_not_in_the_text_is_refused_with_its_row():
    with pytest.raises(DataError, match=r"list\[1\]: the span 'Karl' is not in the text .* 'span1_text'"):
        read(flat(), flat(span="Karl"))


def test_a_pronoun_that_is_not_in_the_text_is_refused():
    with pytest.raises(DataError, match=r"list\[0\]: the pronoun 'she' is not in the text"):
        read(flat(pronoun="she"))


def test_a_row_without_its_span_says_which_fields_it_has():
    with pytest.raises(DataError, match=r"list\[0\]: no field 'span1_text'\. Fields found: text_a, span2_text"):
        read({"text_a": TEXT, "span2_text": "he"})


def test_a_text_without_another_phrase_offers_its_other_words():
    assert read(flat("Piet waved as he ran.", label="false"))[0].fields["choices"] == ("Piet", "waved", "as", "ran")


def test_a_text_with_nothing_but_the_span_is_refused():
    with pytest.raises(DataError, match="the text has no noun phrase but 'Piet'"):
        read(flat("Piet: he!"))


def test_rows_that_bring_their_candidates_are_left_as_they_are():
    row = {"text": "a *it*", "pronoun": "it", "choices": ["x", "y"], "label": "y"}
    assert read(row)[0].fields["choices"] == ("x", "y")
