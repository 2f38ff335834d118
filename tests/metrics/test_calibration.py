import numpy as np
import pytest

from promptlab.errors import DataError
from promptlab.metrics.calibration import expected_calibration_error


def by_loops(probabilities, gold, bins):
    """The definition, row by row."""
    total = 0.0
    for b in range(bins):
        inside = [i for i, row in enumerate(probabilities) if b / bins < max(row) <= (b + 1) / bins]
        if inside:
            right = sum(int(np.argmax(probabilities[i])) == gold[i] for i in inside) / len(inside)
            confidence = sum(max(probabilities[i]) for i in inside) / len(inside)
            total += len(inside) / len(gold) * abs(right - confidence)
    return total


def two(confidence):
    return [confidence, 1 - confidence]


@pytest.mark.parametrize("bins", [1, 5, 10, 15])
def test_it_equals_the_definition_row_by_row(bins):
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.ones(4), size=300)
    gold = generator.integers(0, 4, size=300)
    assert expected_calibration_error(probabilities, gold, bins) == pytest.approx(
        by_loops(probabilities, gold, bins), abs=1e-12
    )


def test_rows_as_often_right_as_they_are_confident_have_no_error():
    probabilities = np.array([two(0.75)] * 4)
    assert expected_calibration_error(probabilities, np.array([0, 0, 0, 1])) == pytest.approx(0)


def test_certain_and_always_wrong_is_the_largest_error():
    assert expected_calibration_error(np.array([two(1.0)] * 3), np.array([1, 1, 1])) == 1.0


def test_errors_in_one_bin_cancel_and_errors_in_two_do_not():
    one_bin = expected_calibration_error(np.array([two(0.95), two(0.95)]), np.array([0, 1]))
    two_bins = expected_calibration_error(np.array([two(0.95), two(0.65)]), np.array([0, 1]))
    assert one_bin == pytest.approx(0.45)
    assert two_bins == pytest.approx((0.05 + 0.65) / 2)


@pytest.mark.parametrize(
    ("probabilities", "gold"), [(np.zeros((0, 2)), np.zeros(0)), (np.ones((2, 2)) / 2, np.zeros(3))]
)
def test_shapes_that_do_not_agree_are_named(probabilities, gold):
    with pytest.raises(DataError, match=r"ece: probabilities .* Give \(rows, labels\) and \(rows,\)"):
        expected_calibration_error(probabilities, gold)
