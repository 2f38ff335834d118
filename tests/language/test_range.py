import pytest

from promptlab.errors import DataError, PatternError, SettingError
from promptlab.language.example import Example
from promptlab.language.library import load_task, read_task
from promptlab.language.range import Range
from promptlab.language.task import Task

LIKENESS = """
task: likeness
inputs: [text]
labels: {range: [0, 5]}
verbalizers: {default: {low: No, high: Yes}}
patterns: {asks: "{text} {mask}"}
"""


def test_a_number_lies_between_the_ends_and_comes_back_from_there():
    span = Range(-2, 6)
    assert [span.weight(y) for y in (-2, 0, 2, 6)] == [0, 0.25, 0.5, 1]
    assert [span.value(w) for w in (0, 0.25, 0.5, 1)] == [-2, 0, 2, 6]
    assert span.middle == 2


def test_a_task_of_numbers_has_one_output_and_correlates_them():
    task = read_task(LIKENESS)
    assert (task.outputs, task.labels, task.metrics) == (1, ("low", "high"), ("pearson",))
    assert Task(name="t", inputs={"text": "text"}, labels=("low", "high"), pvps=(), range=Range(0, 5)).metrics == (
        "pearson",
    )
    assert read_task(task.to_yaml()) == task


def test_a_rows_number_is_read_and_checked():
    task = read_task(LIKENESS)
    assert task.number(Example({"text": "a"}, "2.500")) == 2.5
    with pytest.raises(DataError, match=r"no label\. Write a number from 0 to 5"):
        task.number(Example({"text": "a"}))
    with pytest.raises(DataError, match="label '5.5' is no number from 0 to 5"):
        task.number(Example({"text": "a"}, "5.5"))
    with pytest.raises(SettingError, match="'mr' asks for labels, not for numbers"):
        load_task("mr").number(Example({"text": "a"}, "1"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[0, 5]}", "[0, inf]}", "range is not two rising numbers. Write range: [0, 5]."),
        ("[0, 5]}", "[nan, 5]}", "range is not two rising numbers."),
        ("[0, 5]}", "[0, 5, 9]}", "range is not two rising numbers."),
        ("low: No", "'0': No", "has no word for 'low'"),
        ("{text} {mask}", "{text} {labels} {mask}", "pattern 'asks' lists the labels, and a range has none to list."),
        ("task: likeness", "metric: [pearson, f1]\ntask: likeness", "metric 'f1' compares labels, and a range has"),
    ],
)
def test_what_a_range_cannot_have_is_refused_in_the_file(old, new, message):
    with pytest.raises(PatternError) as error:
        read_task(LIKENESS.replace(old, new))
    assert message in str(error.value)
