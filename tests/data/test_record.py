"""ReCoRD rows: a query around its gap, the story's entities as candidates, several right answers."""

import pytest

from promptlab.data.sources import read_examples
from promptlab.data.steps import taught
from promptlab.errors import DataError
from promptlab.language.library import load_task

RECORD = load_task("record")
TEXT = "Lima (AP) -- Rosa Diaz beat Ivo Kral. Diaz smiled.\n@highlight\nKral left Lima"
QUERY = "Afterwards @placeholder's coach praised her."
ENTITIES = ["Lima", "AP", "Rosa Diaz", "Ivo Kral", "Diaz", "Kral", "Lima"]


def flat(**changed):
    row = {"text_a": TEXT, "text_b": QUERY, "choices": ENTITIES, "answers": ["Rosa Diaz", "Diaz"], "label": "Rosa Diaz"}
    return {**row, **changed}


def read(*rows, **settings):
    return read_examples(list(rows), RECORD, **settings)


def span(name, start=0):
    at = TEXT.index(name, start)
    return {"start": at, "end": at + len(name) - 1}


def test_the_query_is_parted_at_its_gap_and_the_pattern_puts_the_answer_there():
    (row,) = read(flat())
    assert (row.text("before"), row.text("after")) == ("Afterwards", "'s coach praised her.")
    shown = RECORD.pvps[0].pattern.fill(row, word="Rosa Diaz")
    assert shown.endswith("- Kral left Lima Afterwards Rosa Diaz's coach praised her.")


def test_highlights_become_dashes_and_entities_stand_once():
    (row,) = read(flat())
    assert row.text("passage").endswith("smiled.\n- Kral left Lima")
    assert row.fields["choices"] == ("Lima", "AP", "Rosa Diaz", "Ivo Kral", "Diaz", "Kral")


def test_every_right_answer_is_right():
    (row,) = read(flat())
    assert row.right == ("Rosa Diaz", "Diaz")
    assert RECORD.golds(row) == (2, 4)


def test_the_published_form_reads_as_the_flat_one_and_holds_several_queries():
    passage = {"text": TEXT, "entities": [span(name) for name in ENTITIES[:4]] + [span("Diaz", 30), span("Kral", 55)]}
    answers = [{"text": "Rosa Diaz", "start": 13, "end": 21}, {"text": "Diaz", "start": 38, "end": 41}]
    both = [{"query": QUERY, "answers": answers}, {"query": "@placeholder lost.", "answers": [{"text": "Ivo Kral"}]}]
    first, second = read({"passage": passage, "qas": both})
    assert [first] == read(flat())
    assert (second.text("before"), second.label) == ("", "Ivo Kral")


def test_the_form_of_the_hub_reads_as_the_flat_one():
    row = {"passage": TEXT, "query": QUERY, "entities": ENTITIES, "answers": ["Rosa Diaz", "Diaz"]}
    assert read(row) == read(flat())


def test_a_shot_teaches_each_right_answer_against_the_wrong_ones_alone():
    rows = taught(RECORD, read(flat()))
    assert [row.right for row in rows] == [("Rosa Diaz",), ("Diaz",)]
    assert [row.fields["choices"] for row in rows] == [
        ("Lima", "AP", "Rosa Diaz", "Ivo Kral", "Kral"),
        ("Lima", "AP", "Ivo Kral", "Diaz", "Kral"),
    ]


def test_a_shot_meets_at_most_nine_wrong_candidates_always_the_same_but_others_for_another_query():
    many = [f"E{number}" for number in range(40)]
    one, other = (flat(choices=many, answers=["E7"], label="E7", text_b=f"{at} @placeholder") for at in "ab")
    (first,), (second,) = taught(RECORD, read(one)), taught(RECORD, read(other))
    assert len(first.fields["choices"]) == 10
    assert "E7" in first.fields["choices"]
    assert taught(RECORD, read(one)) == [first]
    assert set(first.fields["choices"]) != set(second.fields["choices"])


def test_rows_that_were_taught_already_stay_as_they_are():
    once = taught(RECORD, read(flat(choices=[*ENTITIES, *"abcdefghijkl"])))
    assert taught(RECORD, once) == once


def test_rows_to_be_labelled_have_no_answer_and_keep_all_candidates():
    (row,) = read(flat(), labelled=False)
    assert (row.right, len(row.fields["choices"])) == ((), 6)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"text_b": "Nobody came."}, r"the query has 0 @placeholder\. Write it once, where the answer stands"),
        ({"text_b": "@placeholder @placeholder"}, "the query has 2 @placeholder"),
        ({"choices": []}, r"'choices' is an empty list\. Write at least one candidate"),
        ({"choices": None}, "'choices' is an empty list"),
        ({"choices": ["Lima"]}, r"'Rosa Diaz' is not among the candidates \('choices'\): Lima\. Write one"),
        ({"choices": [1, 2]}, r"'choices' is no list of texts \(\[1, 2\]\)"),
        ({"text_b": None}, r"no field 'query' \(looked for query, text_b\)"),
    ],
)
def test_a_row_that_cannot_be_asked_is_named_with_what_to_write(changed, said):
    with pytest.raises(DataError, match=rf"list\[1\]: {said}"):
        read(flat(), flat(**changed))


def test_an_entity_outside_its_passage_is_refused():
    passage = {"text": "Short.", "entities": [{"start": 2, "end": 9}]}
    with pytest.raises(DataError, match=r"an entity from 2 to 9 is not in the passage \(6 characters\)"):
        read({"passage": passage, "qas": [{"query": "@placeholder", "answers": []}]})
