import numpy as np
import pytest

from promptlab.errors import DataError
from promptlab.metrics import significance
from promptlab.metrics.significance import paired_bootstrap

GENERATOR = np.random.default_rng(0)
A = (GENERATOR.random((3, 200)) < 0.8).astype(int)
B = (GENERATOR.random((3, 200)) < 0.6).astype(int)


def test_the_difference_is_the_difference_of_the_accuracies():
    assert paired_bootstrap(A, B)[0] == pytest.approx(A.mean() - B.mean())


def test_a_clear_difference_has_an_interval_above_zero_that_holds_it():
    difference, low, high = paired_bootstrap(A, B)
    assert 0 < low < difference < high


def test_turning_the_systems_round_turns_the_interval_round():
    _, low, high = paired_bootstrap(A, B)
    assert paired_bootstrap(B, A)[1:] == pytest.approx((-high, -low), abs=1e-12)


def test_two_systems_right_on_the_same_rows_do_not_differ_at_all():
    assert paired_bootstrap(A, A) == (0, 0, 0)


def test_a_difference_by_chance_has_an_interval_that_holds_zero():
    coin = np.random.default_rng(5)
    _, low, high = paired_bootstrap(coin.integers(0, 2, (3, 200)), coin.integers(0, 2, (3, 200)))
    assert low < 0 < high


def test_the_interval_equals_one_made_by_plain_loops():
    generator, difference, means = np.random.default_rng(1), A - B, []
    for _ in range(4000):
        seeds, rows = generator.integers(0, 3, 3), generator.integers(0, 200, 200)
        means.append(difference[np.ix_(seeds, rows)].mean())
    assert paired_bootstrap(A, B, draws=4000)[1:] == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.006)


def test_seeds_that_disagree_widen_the_interval_as_rows_do():
    rows = np.zeros((4, 300))
    one_seed_only = rows.copy()
    one_seed_only[0] = 1  # better by a quarter, but through one seed alone
    every_seed = rows.copy()
    every_seed[:, ::4] = 1  # better by a quarter, through the same rows everywhere
    width = [high - low for _, low, high in (paired_bootstrap(one_seed_only, rows), paired_bootstrap(every_seed, rows))]
    assert width[0] > 3 * width[1]


def test_pairing_tells_apart_what_loose_means_would_not():
    hard = np.random.default_rng(3).random((1, 400)) < 0.5
    better = hard.astype(int)
    better[0, np.flatnonzero(~hard[0])[:12]] = 1  # right wherever the other is, and on twelve rows more
    assert paired_bootstrap(better, hard)[1] > 0


def test_the_same_call_gives_the_same_interval():
    assert paired_bootstrap(A, B, seed=4) == paired_bootstrap(A, B, seed=4)
    assert paired_bootstrap(A, B, seed=4) != paired_bootstrap(A, B, seed=5)


def test_many_rows_are_drawn_in_parts(monkeypatch):
    monkeypatch.setattr(significance, "_AT_ONCE", 200 * 7)
    difference, low, high = paired_bootstrap(A, B, draws=500)
    assert 0 < low < difference < high


@pytest.mark.parametrize(("a", "b"), [(A, B[:2]), (A, B[:, :9]), (A[0], B[0]), (A[:, :0], B[:, :0])])
def test_other_seeds_or_rows_cannot_be_paired(a, b):
    with pytest.raises(DataError, match=r"Give \(seeds, rows\) of the same seeds and rows"):
        paired_bootstrap(a, b)
