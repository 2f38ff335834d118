"""What can be answered for a row, which of it is right, and the words that stand for it."""

import pytest

from promptlab.errors import DataError
from promptlab.language.example import Example
from promptlab.language.library import read_task
from promptlab.language.task import Task

QUIZ = read_task("{task: quiz, inputs: [text, options], candidates: options, patterns: {p: '{text} {mask}'}}")
COPA = read_task("""
task: copa
inputs: [text, choice1, choice2]
labels: [first, second]
verbalizers: {default: {first: "{choice1|lower_first|strip_punct}", second: "{choice2|lower_first|strip_punct}"}}
patterns: {p: '"{choice1}" or "{choice2}"? {text} because {mask}.'}
""")
REVIEWS = Task.from_parts("{text} It was {mask}.", {"negative": ["bad", "awful"], "positive": "good"})


def asked(options=("a dog", "the cat", "it"), label=None, answers=()):
    return Example({"text": "Who barked?", "options": options}, label, answers=answers)


def told(first="The sun rose.", second="It rained!"):
    return Example({"text": "It grew", "choice1": first, "choice2": second}, "second")


def words(task, example):
    return task.pvps[0].verbalizer.spoken(example, task.choices(example))


# who has what


def test_a_task_says_whether_its_labels_are_fixed_and_whether_rows_have_words_of_their_own():
    assert (REVIEWS.fixed, REVIEWS.per_example) == (True, False)
    assert (COPA.fixed, COPA.per_example) == (True, True)
    assert (QUIZ.fixed, QUIZ.per_example) == (False, True)


def test_the_choices_of_a_fixed_task_are_its_labels():
    assert REVIEWS.choices(Example({"text": ""})) == ("negative", "positive")
    assert COPA.choices(told()) == ("first", "second")


def test_the_choices_of_a_row_with_candidates_are_these_and_need_not_be_as_many_as_in_the_next():
    assert QUIZ.choices(asked()) == ("a dog", "the cat", "it")
    assert QUIZ.choices(asked((" you ",))) == ("you",)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), r"'options' is an empty list\. Write at least one candidate answer\."),
        (("a", " "), r"'options' has an empty candidate \(2 of 2\)\. Write its text, or leave it out\."),
        (("a", "b", " a"), r"'options' has 'a' twice\. Write each candidate once\."),
        ("a, b", r"a text in field 'options'\. Write a list of candidate answers there\."),
    ],
)
def test_candidates_that_cannot_be_chosen_from_are_refused(options, said):
    with pytest.raises(DataError, match=said):
        QUIZ.choices(asked(options))


def test_a_row_without_its_candidates_is_refused():
    with pytest.raises(DataError, match=r"no field 'options'\. Write a list of candidate answers there\."):
        QUIZ.choices(Example({"text": "Who?"}))


# what is right


def test_gold_is_the_number_of_the_right_choice():
    assert REVIEWS.gold(Example({"text": ""}, "positive")) == 1
    assert QUIZ.gold(asked(label="the cat")) == 1


def test_of_several_right_answers_gold_is_the_first_named_and_golds_are_all():
    both = asked(label="it", answers=("it", "a dog"))
    assert QUIZ.gold(both) == 2
    assert QUIZ.golds(both) == (2, 0)
    assert both.right == ("it", "a dog")
    assert both.unlabelled() == asked()


def test_an_answer_that_is_not_among_the_candidates_is_named():
    with pytest.raises(DataError, match=r"'the cats' is not among the candidates .'options'.*Did you mean 'the cat'"):
        QUIZ.gold(asked(label="the cats"))
    with pytest.raises(DataError, match="'bird' is not among the candidates"):
        QUIZ.gold(asked(label="it", answers=("it", "bird")))


def test_a_row_without_a_label_has_no_gold():
    with pytest.raises(DataError, match=r"no label\. Write one of negative, positive\."):
        REVIEWS.gold(Example({"text": ""}))


# words


def test_a_candidate_is_its_own_word():
    assert words(QUIZ, asked()) == (("a dog",), ("the cat",), ("it",))


def test_fields_are_filled_into_the_words_of_a_label():
    assert words(COPA, told()) == (("the sun rose",), ("it rained",))


def test_fixed_words_are_spoken_as_they_stand():
    assert words(REVIEWS, Example({"text": "x"})) == (("bad", "awful"), ("good",))


def test_a_word_that_comes_out_empty_is_refused():
    with pytest.raises(DataError, match=r"the word for 'second' is empty in this row\. Write a text in 'choice2'\."):
        words(COPA, told(second="!"))


def test_two_labels_that_a_row_gives_the_same_words_are_refused():
    with pytest.raises(DataError, match=r"'first' and 'second' have the same words in this row \(it rained\)"):
        words(COPA, told("It rained.", "It rained!"))


def test_an_unfilled_field_is_named():
    with pytest.raises(DataError, match="no field 'choice1'"):
        words(COPA, Example({"text": "", "choice2": "x"}))


# in a file


def test_candidates_and_labels_together_are_refused():
    with pytest.raises(Exception, match="candidates and labels: the answers are each row's own, or the same for all"):
        read_task(
            "{task: t, inputs: [a], candidates: a, labels: [x, y], verbalizers: {d: {x: u, y: v}}, "
            "patterns: {p: '{a} {mask}'}}"
        )
