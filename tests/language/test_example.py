import dataclasses

import pytest

from promptlab.errors import DataError
from promptlab.language.example import Example


def test_an_example_gives_its_text_by_field_name():
    assert Example({"text": "Fine."}).text("text") == "Fine."


def test_a_list_field_reads_as_its_items_joined_by_commas():
    assert Example({"choices": ("red", "blue")}).text("choices") == "red, blue"


def test_asking_for_a_missing_field_names_what_there_is_and_the_nearest():
    with pytest.raises(DataError, match=r"no field 'txt'; its fields: text, title\. Did you mean 'text'\?"):
        Example({"text": "", "title": ""}).text("txt")


def test_removing_the_label_leaves_the_rest_and_the_original_alone():
    labelled = Example({"text": "Fine."}, label="positive", group="film-1")
    assert labelled.unlabelled() == Example({"text": "Fine."}, label=None, group="film-1")
    assert labelled.label == "positive"


def test_removing_the_references_leaves_the_part():
    row = Example({"source": "a"}, "One.", answers=("One.", "Two."), part="seen")
    assert row.right == ("One.", "Two.")
    assert row.unlabelled() == Example({"source": "a"}, part="seen")


def test_an_example_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Example({"text": "Fine."}).label = "positive"
