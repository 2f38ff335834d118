"""What a run of numbers comes to, from its scores to the table."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from promptlab.lab.layout import difference_table
from promptlab.lab.outcome import gold, outcome, width
from promptlab.lab.store import Finished, Memory
from promptlab.lab.summary import differences, summaries
from promptlab.language.example import Example
from promptlab.language.range import Range
from promptlab.language.task import Task

GRADES = Task(name="grades", inputs={"text": "text"}, labels=("low", "high"), pvps=(), range=Range(0, 5))
ROWS = [Example({"text": "x"}, label) for label in ("0.000", "2.5", "4", "5.000")]
SAID = np.array([[1.0], [1.5], [3.0], [2.9]])


def test_numbers_are_correlated_and_nothing_else_is_said_of_them():
    found = outcome(replace(GRADES, metrics=("spearman",)), ROWS, SAID)
    right = [0, 2.5, 4, 5]
    assert found.metrics == {
        "spearman": pytest.approx(spearmanr(right, SAID[:, 0]).statistic),
        "pearson": pytest.approx(pearsonr(right, SAID[:, 0]).statistic),
    }
    assert (found.notes, width(GRADES, ROWS), gold(GRADES, ROWS).tolist()) == ([], 1, right)


def test_answers_that_are_all_the_same_are_told_in_the_row():
    found = outcome(GRADES, ROWS, np.full((4, 1), 2.875))
    assert found.metrics == {"pearson": 0.0}
    assert found.notes == ["all answers are 2.875, so no correlation is defined: it counts as 0"]


def test_rows_without_finite_scores_count_as_the_middle_and_are_told():
    lost = np.array([[1.0], [np.nan], [3.0], [np.inf]])
    found = outcome(GRADES, ROWS, lost)
    assert found.metrics["pearson"] == pytest.approx(pearsonr([0, 2.5, 4, 5], [1, 2.5, 3, 2.5]).statistic)
    assert found.notes == ["2 test rows without finite scores"]


def row(system, method):
    usual = {"run": system, "system": system, "method": method, "task": "grades", "shots": "total:8", "seed": 0}
    return usual | {"score": 0.5, "metric": "pearson", "backbone": None, "test_rows": 4, "range": [0, 5]}


def test_systems_are_compared_by_how_near_their_numbers_come():
    store, rows = Memory(), [row("prompt", "prompt"), row("majority", "majority")]
    right = gold(GRADES, ROWS)
    for one, said in zip(rows, (SAID, np.full((4, 1), 2.875)), strict=True):
        store.write([Finished(one, said, right)])
    found = summaries(rows)
    [one] = differences(found, store)
    near = [1 - np.abs(said - right).mean() / 5 for said in (SAID[:, 0], 2.875)]
    assert one.difference == pytest.approx(near[0] - near[1])
    table = difference_table([one], found, None)
    assert table.heads[-1] == "nearness"
    assert "in points of nearness (100 less the mean error in % of the range)" in table.caption
