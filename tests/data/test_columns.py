import pytest

from promptlab.data.columns import match_columns
from promptlab.data.tables import table_of
from promptlab.errors import DataError
from promptlab.language.task import Task

HUB = {"path": "owner/name", "columns": {"label": "gold", "hypothesis": "right_side"}}
NLI = Task(
    name="nli", inputs={"premise": "sentence1", "hypothesis": "sentence2"}, labels=("yes", "no"), pvps=(), dataset=HUB
)
REVIEWS = Task(name="reviews", inputs={"review": "content"}, labels=("negative", "positive"), pvps=())


def match(task, names, columns=None, labelled=None):
    return match_columns(table_of([dict.fromkeys(names, "x")]), task, columns or {}, labelled)


# inputs


def test_an_input_is_found_by_what_the_user_said_before_all_else():
    names = ["premise", "hypothesis", "p"]
    assert match(NLI, names, {"premise": "p"}).inputs == {"premise": "p", "hypothesis": "hypothesis"}


def test_an_input_is_found_by_its_own_name_before_the_column_the_task_names():
    found = match(NLI, ["sentence1", "premise", "sentence2", "text_b"])
    assert found.inputs == {"premise": "premise", "hypothesis": "sentence2"}


def test_an_input_is_found_under_the_name_that_the_data_set_gives_it():
    assert match(NLI, ["premise", "right_side", "text_b"]).inputs["hypothesis"] == "right_side"


def test_the_first_two_inputs_are_found_as_text_a_and_text_b():
    assert match(NLI, ["text_a", "text_b"]).inputs == {"premise": "text_a", "hypothesis": "text_b"}


def test_a_third_input_is_not_found_as_text_anything():
    task = Task(name="three", inputs={"a": "a", "b": "b", "c": "c"}, labels=("yes", "no"), pvps=())
    with pytest.raises(DataError, match=r"no column for input 'c' \(looked for c\)"):
        match(task, ["text_a", "text_b", "text_c"])


@pytest.mark.parametrize("column", ["review", "content", "text_a", "text", "sentence"])
def test_the_only_input_is_found_under_each_of_its_usual_names(column):
    assert match(REVIEWS, ["other", column]).inputs == {"review": column}


def test_text_and_sentence_stand_for_no_input_where_there_are_two():
    with pytest.raises(DataError, match="no column for input 'premise'"):
        match(NLI, ["text", "sentence2"])


def test_all_missing_inputs_are_named_with_the_columns_found_and_what_to_write():
    with pytest.raises(DataError) as caught:
        match(NLI, ["left", "right", "label"])
    message = str(caught.value)
    assert "'premise' (looked for premise, sentence1, text_a)" in message
    assert "'hypothesis' (looked for hypothesis, sentence2, right_side, text_b)" in message
    assert "Columns found: left, right, label" in message
    assert "--columns premise=left,hypothesis=right" in message
    assert "columns={'premise': 'left', 'hypothesis': 'right'}" in message


def test_a_guess_never_names_a_column_that_is_in_use():
    with pytest.raises(DataError, match="--columns hypothesis=COLUMN "):
        match(NLI, ["premise", "label"])


def test_a_column_the_user_named_but_the_table_lacks_is_missing_whatever_else_would_do():
    with pytest.raises(DataError, match=r"no column for input 'premise' \(looked for sentance\)"):
        match(NLI, ["premise", "hypothesis"], {"premise": "sentance"})


def test_an_input_the_task_does_not_have_suggests_one_it_has():
    with pytest.raises(DataError, match=r"--columns premisse=.*'nli' has no such input\. Did you mean 'premise'\?"):
        match(NLI, ["premise", "hypothesis"], {"premisse": "premise"})


# labels and groups


def test_the_label_is_found_as_said_as_label_or_as_the_data_set_calls_it():
    names = ["premise", "hypothesis", "label", "gold", "mine"]
    assert match(NLI, names, {"label": "mine"}).label == "mine"
    assert match(NLI, names).label == "label"
    assert match(NLI, ["premise", "hypothesis", "gold"]).label == "gold"


def test_other_columns_that_look_like_labels_are_not_taken():
    assert match(REVIEWS, ["review", "gold_label", "labels"]).label is None


def test_labels_that_are_not_wanted_are_not_looked_for():
    assert match(REVIEWS, ["review", "label"], labelled=False).label is None
    assert match(REVIEWS, ["review"], {"label": "stars"}, labelled=False).label is None


def test_a_table_without_labels_where_they_are_needed_says_so_and_what_it_has():
    with pytest.raises(
        DataError, match=r"has no label column, .*Columns found: review, gold_label\. Write --columns label="
    ):
        match(REVIEWS, ["review", "gold_label"], labelled=True)


def test_a_label_column_the_user_named_must_be_there():
    with pytest.raises(DataError, match="has no column 'stars'"):
        match(REVIEWS, ["review", "label"], {"label": "stars"})


def test_rows_are_grouped_only_where_the_task_or_the_user_says_so():
    grouped = Task(name="g", inputs={"review": "review"}, labels=("a", "b"), pvps=(), group="question")
    assert match(grouped, ["review", "question"]).group == "question"
    assert match(REVIEWS, ["review", "film"], {"group": "film"}).group == "film"
    assert match(REVIEWS, ["review", "group"]).group is None


# rows without names


def test_rows_without_names_hold_the_inputs_in_order_and_then_the_label():
    found = match_columns(table_of([("p", "h", "yes")]), NLI, {}, True)
    assert (found.inputs, found.label) == ({"premise": "0", "hypothesis": "1"}, "2")


def test_rows_without_names_may_hold_no_label():
    assert match_columns(table_of([("p", "h")]), NLI, {}, None).label is None


def test_rows_without_names_and_without_labels_say_what_to_write():
    with pytest.raises(DataError, match=r"rows without labels, .*Write \(premise, hypothesis, label\)"):
        match_columns(table_of([("p", "h")]), NLI, {}, True)


def test_plain_texts_do_not_fit_a_task_of_two_inputs():
    with pytest.raises(
        DataError, match=r"rows of 1 field; 'nli' reads \(premise, hypothesis\) or \(premise, hypothesis, label\)"
    ):
        match_columns(table_of(["p"]), NLI, {}, None)
