import pytest

from promptlab.errors import DataError
from promptlab.language.example import Example
from promptlab.language.verbalizer import Verbalizer, word_faults

LABELS = ("negative", "positive")
PLAIN = Verbalizer("default", {"negative": ("terrible", "awful"), "positive": ("great",)})
CHOICES = Verbalizer("choices", {"first": ("{choice1|lower_first}",), "second": ("so {choice2}", "{choice1}")})


def said(**words):
    return list(word_faults(words, LABELS))


def test_labels_come_in_the_order_of_the_words():
    assert PLAIN.labels == LABELS


def test_plain_words_are_the_same_for_every_example():
    assert not PLAIN.per_example
    assert PLAIN.fields == ()
    assert PLAIN.fill("negative", Example({})) == ("terrible", "awful")


def test_words_that_name_fields_differ_from_example_to_example():
    example = Example({"choice1": "The sun rose.", "choice2": "it grew."})
    assert CHOICES.per_example
    assert CHOICES.fields == ("choice1", "choice2")
    assert CHOICES.fill("first", example) == ("the sun rose.",)
    assert CHOICES.fill("second", example) == ("so it grew.", "The sun rose.")


def test_words_that_name_a_field_the_example_lacks_are_an_error():
    with pytest.raises(DataError, match="no field 'choice1'"):
        CHOICES.fill("first", Example({"choice2": ""}))


def test_sound_words_have_no_fault():
    assert said(negative=["terrible", "awful"], positive=["great"]) == []


def test_a_label_without_a_word_is_a_fault_of_the_verbalizer_as_a_whole():
    assert said(negative=["bad"]) == [(None, "has no word for 'positive'. Write one.")]


def test_a_misspelt_label_is_named_and_suggested_both_ways():
    faults = dict(said(negative=["bad"], postive=["good"]))
    assert faults["postive"].endswith("is no label (negative, positive). Did you mean 'positive'?")
    assert faults[None] == "has no word for 'positive'. Did you mean 'postive'?"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "has an empty list of words for 'positive'"),
        ([""], "has an empty word for 'positive'"),
        (["  "], "has an empty word for 'positive'"),
        (["good", "fine", "good"], "gives 'positive' the word 'good' twice"),
        ([" good"], "the pattern says the space, not the word. Write 'good'."),
        (["{mask}"], "has the word '{mask}' for 'positive': a label word holds text and fields only"),
    ],
)
def test_a_fault_in_the_words_is_noted_at_their_label(words, text):
    faults = said(negative=["bad"], positive=words)
    assert [label for label, _ in faults] == ["positive"]
    assert text in faults[0][1]


def test_two_labels_with_the_same_words_are_a_fault_in_whatever_order():
    ((label, text),) = said(negative=["bad", "poor"], positive=["poor", "bad"])
    assert label == "positive"
    assert text.startswith("gives 'positive' the same words as 'negative'")


def test_two_labels_may_share_one_of_several_words():
    assert said(negative=["bad", "okay"], positive=["good", "okay"]) == []


def test_two_empty_words_are_not_also_the_same_words():
    assert len(said(negative=[""], positive=[""])) == 2
