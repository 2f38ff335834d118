import pytest

from promptlab.data.fewshot import sample
from promptlab.data.sources import Splits
from promptlab.data.steps import STEPS, Step, prepared, taught
from promptlab.data.tables import table_of
from promptlab.errors import DataError
from promptlab.language.example import Example
from promptlab.language.task import Task

ROWS = [{"text": "a", "n": 2}, {"text": "b", "n": 0}, {"text": "c", "n": 1}]
SHOTS = [Example({"text": text}, label) for text, label in (("a", "no"), ("b", "yes"), ("c", "no"))]


def often(row):
    if row["n"] < 0:
        raise DataError("'n' is negative. Write 0 or more.")
    return [{"text": row["text"]}] * row["n"]


def only_yes(example, task):
    return [example] if example.label == task.labels[-1] else []


@pytest.fixture(autouse=True)
def steps(monkeypatch):
    monkeypatch.setitem(STEPS, "often", Step("each row n times", often))
    monkeypatch.setitem(STEPS, "only-yes", Step("rows labelled yes teach", lesson=only_yes))


def task(step=None):
    return Task(name="t", inputs={"text": "text"}, labels=("no", "yes"), pvps=(), prepare=step)


# rows


def test_without_a_step_a_table_passes_as_it_is():
    table = table_of(ROWS)
    assert prepared(None, table) is prepared("only-yes", table) is table


def test_a_step_makes_any_number_of_rows_of_one_and_each_keeps_its_place():
    table = prepared("often", table_of(ROWS, "rows"))
    assert table.fetch("text") == ["a", "a", "c"]
    assert [table.place(row) for row in range(table.size)] == ["rows[0]", "rows[0]", "rows[2]"]


def test_a_row_that_a_step_cannot_use_is_named():
    with pytest.raises(DataError, match=r"rows\[1\]: 'n' is negative\. Write 0 or more\."):
        prepared("often", table_of([{"text": "a", "n": 1}, {"text": "b", "n": -1}], "rows"))


def test_rows_without_names_are_left_as_they_are():
    assert prepared("often", table_of([("a", "no")])).fetch("0") == ["a"]


def test_an_unknown_step_suggests_a_known_one():
    with pytest.raises(DataError, match=r"no step 'offen'\. Did you mean 'often'\?"):
        prepared("offen", table_of(ROWS))
    with pytest.raises(DataError, match="no step 'copa'"):
        taught(task("copa"), SHOTS)


# lessons


def test_shots_without_a_lesson_teach_what_they_are():
    assert taught(task(), SHOTS) == taught(task("often"), SHOTS) == SHOTS


def test_a_lesson_sees_shots_only_and_the_sample_says_what_it_did():
    splits = Splits(train=SHOTS, test=SHOTS)
    drawn = sample(task("only-yes"), splits, "all", seed=0)
    assert (drawn.train, drawn.test) == ([SHOTS[1]], SHOTS)
    assert drawn.notes == ("prepare: only-yes: 3 rows drawn, 1 to learn from",)
    assert sample(task(), splits, "all", seed=0).notes == ()


def test_shots_are_counted_before_the_lesson_and_the_pool_holds_all_that_were_not_drawn():
    drawn = sample(task("only-yes"), Splits(train=SHOTS, test=[]), 1, seed=0)
    assert [row.label for row in drawn.train] == ["yes"]
    assert len(drawn.unlabeled) == 1


def test_shots_that_teach_nothing_are_an_error():
    with pytest.raises(DataError, match=r"none of the 1 rows drawn teaches anything\. Write -k all\."):
        taught(task("only-yes"), SHOTS[:1])
    assert taught(task("only-yes"), []) == []
