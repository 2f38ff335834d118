import pytest

from promptlab.lab.report import _axis
from promptlab.lab.tables import Table, cell_text, markdown, memory_text, number_text, seconds_text


def test_a_table_is_aligned_markdown():
    table = Table("a caption", ["system", "mr"], [["pet", "85.9"], ["tfidf", "5.0"]], frozenset({(0, 1)}))
    assert markdown(table).splitlines() == [
        "a caption",
        "",
        "| system |       mr |",
        "|--------|---------:|",
        "| pet    | **85.9** |",
        "| tfidf  |      5.0 |",
    ]


def test_a_bar_in_a_cell_does_not_end_it():
    assert r"pet:a=1\|2" in markdown(Table("", ["system"], [["pet:a=1|2"]]))


def test_numbers_stand_to_the_right_and_words_do_not():
    table = Table("", ["system", "score", "note"], [["a", "1.0", "yes"], ["b", "–", ""]])
    assert [table.right(column) for column in range(3)] == [False, True, False]


@pytest.mark.parametrize(
    ("mean", "sd", "text"),
    [(0.859, 0.02, "85.9 ± 2.0"), (0.5, None, "50.0"), (None, None, "–"), (-0.05, 0.0, "-5.0 ± 0.0")],
)
def test_scores_are_written_in_per_cent(mean, sd, text):
    assert cell_text(mean, sd) == text


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (999, "999"), (73_728, "73.7 k"), (22_713_000, "22.7 M"), (7 * 10**9, "7.0 G")]
)
def test_counts_are_written_with_their_unit(number, text):
    assert number_text(number) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.208, "0.21"), (3.44, "3.4"), (128.3, "128")])
def test_seconds_are_written_to_what_matters(seconds, text):
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(("size", "text"), [(None, "–"), (640_000_000, "640 MB"), (1_900_000_000, "1.9 GB")])
def test_memory_is_written_with_its_unit(size, text):
    assert memory_text(size) == text


@pytest.mark.parametrize("values", [[0.5], [0.61, 0.87], [0.0, 1.0], [0.701, 0.704], [-0.13, 0.4], [1.0, 1.0]], ids=str)
def test_an_axis_holds_all_values_in_few_steps(values):
    low, high, step = _axis(values)
    assert low <= min(values) + 1e-9 and max(values) - 1e-9 <= high
    assert 1 <= round((high - low) / step) <= 10


def test_a_long_text_pads_no_other():
    lines = markdown(Table("", ["", "text"], [["a", "word " * 60], ["b", "short"]])).splitlines()
    assert len(lines[-2]) > 300
    assert len(lines[-1]) < 80
