import numpy as np
import pytest
from scipy import stats

from promptlab.errors import DataError
from promptlab.metrics.classify import compute
from promptlab.metrics.correlation import pearson, ranks, spearman, told, undefined

DRAWS = np.random.default_rng(0)
PAIRS = [
    (DRAWS.normal(size=40), DRAWS.normal(size=40)),
    (DRAWS.integers(0, 5, 60).astype(float), DRAWS.integers(0, 5, 60).astype(float)),  # ties on both sides
    (np.array([0.0, 2.5, 4, 5]), np.array([1, 2, 2.5, 4.75])),
    (1e8 + DRAWS.normal(size=30), DRAWS.normal(size=30)),
]


@pytest.mark.parametrize("x, y", PAIRS)
def test_both_correlations_equal_scipys(x, y):
    assert pearson(x, y) == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-12)
    assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)


def test_equal_numbers_share_the_mean_of_their_ranks():
    values = np.array([3.0, 1.0, 3.0, 2.0])
    assert ranks(values).tolist() == stats.rankdata(values).tolist() == [3.5, 1.0, 3.5, 2.0]


def test_a_line_is_exactly_one_and_never_more():
    x = DRAWS.normal(size=1000) * 1e-9
    assert pearson(x, 3 * x + 1e-9) == pytest.approx(1.0, abs=1e-12)
    assert -1 <= pearson(x, -0.1 * x) <= pearson(x, 0.1 * x) <= 1


@pytest.mark.parametrize("name", ["pearson", "spearman"])
@pytest.mark.parametrize("constant", [2.5, 0.1, 1 / 3])  # the mean of many 0.1 is not 0.1
def test_a_constant_answer_is_zero_and_told_and_never_nan(name, constant, caplog):
    gold, said = DRAWS.normal(size=999), np.full(999, constant)
    assert compute(name, gold, said, ()) == compute(name, said, gold, ()) == told(name, gold, said) == 0.0
    assert f"all answers are {constant:g}, so no correlation is defined: it counts as 0" in caplog.text
    assert undefined(said, gold) == f"all right numbers are {constant:g}, so no correlation is defined: it counts as 0"
    assert undefined(gold, gold) == ""


@pytest.mark.parametrize("name", ["pearson", "spearman"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_no_finite_number_is_refused_with_its_row(name, bad):
    with pytest.raises(DataError, match=rf"{name}: row 2 is {bad}, which no number can be compared with"):
        compute(name, ["1", "2"], [1.0, bad], ())


def test_as_many_answers_as_right_numbers_are_wanted():
    with pytest.raises(DataError, match="2 right numbers and 1 answers"):
        told("pearson", ["1", "2"], ["1"])
    with pytest.raises(DataError, match="0 right numbers"):
        told("pearson", [], [])
