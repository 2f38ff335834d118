import numpy as np
import pytest

from promptlab.errors import DataError, SettingError
from promptlab.metrics.calibration import expected_calibration_error
from promptlab.metrics.classify import METRICS, compute

TWO, THREE = ("no", "yes"), ("a", "b", "c")
GOLD = ["yes", "yes", "yes", "no", "no", "no", "no", "no"]
SAID = ["yes", "yes", "no", "yes", "no", "no", "no", "no"]  # yes: 2 right, 1 missed, 1 too many


def test_accuracy_is_the_share_of_rows_answered_rightly():
    assert compute("accuracy", GOLD, SAID, TWO) == 6 / 8


def test_f1_of_two_labels_is_that_of_the_last_one():
    assert compute("f1", GOLD, SAID, TWO) == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    assert compute("f1", GOLD, SAID, TWO[::-1]) == pytest.approx(2 * 4 / (2 * 4 + 1 + 1))


def test_f1_of_more_labels_is_macro_f1():
    gold, said = ["a", "a", "b", "c"], ["a", "b", "b", "b"]
    assert (
        compute("f1", gold, said, THREE)
        == compute("macro_f1", gold, said, THREE)
        == pytest.approx((2 / 3 + 0.5 + 0) / 3)
    )


def test_macro_f1_leaves_out_labels_that_occur_nowhere():
    assert compute("macro_f1", ["a", "b"], ["a", "b"], THREE) == 1.0


def test_f1_without_a_right_or_said_positive_is_zero():
    assert compute("f1", ["no", "no"], ["no", "no"], TWO) == 0.0


@pytest.mark.parametrize("name", ["mcc", "matthews_correlation"])
def test_matthews_correlation_equals_its_formula(name):
    tp, tn, fp, fn = 2, 4, 1, 1
    expected = (tp * tn - fp * fn) / np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    assert compute(name, GOLD, SAID, TWO) == pytest.approx(expected)


def test_matthews_correlation_of_one_answer_throughout_is_zero():
    assert compute("mcc", GOLD, ["no"] * 8, TWO) == 0.0
    assert compute("mcc", ["no"] * 8, ["no"] * 8, TWO) == 0.0


def test_pearson_equals_numpys():
    gold, said = ["0", "2.5", "4", "5"], ["1", "2", "2.5", "4.75"]
    expected = np.corrcoef([float(x) for x in gold], [float(x) for x in said])[0, 1]
    assert compute("pearson", gold, said, ("0", "5")) == pytest.approx(expected)


def test_pearson_of_a_constant_is_zero():
    assert compute("pearson", ["1", "2"], ["3", "3"], ("0", "5")) == 0.0


def test_pearson_of_words_is_refused():
    with pytest.raises(DataError, match=r"pearson: .*'yes'.*It compares numbers"):
        compute("pearson", GOLD, SAID, TWO)


def test_exact_match_wants_every_row_of_a_group_right():
    groups = ["q1", "q1", "q1", "q2", "q3", "q3", None, None]
    assert compute("em", GOLD, SAID, TWO, groups=groups) == 3 / 5  # q3 and the two rows by themselves


def test_exact_match_without_groups_is_accuracy():
    assert compute("em", GOLD, SAID, TWO) == compute("accuracy", GOLD, SAID, TWO)


def test_the_calibration_error_reads_columns_in_the_order_of_the_labels():
    probabilities = np.array([[0.1, 0.9], [0.7, 0.3]])
    expected = expected_calibration_error(probabilities, np.array([1, 0]))
    assert compute("ece", ["yes", "no"], ["yes", "no"], TWO, probabilities) == expected == pytest.approx(0.2)


def test_the_calibration_error_needs_probabilities():
    with pytest.raises(DataError, match=r"ece: .* needs the probability of each label"):
        compute("ece", GOLD, SAID, TWO)


def test_an_unknown_metric_suggests_a_known_one():
    with pytest.raises(SettingError, match=r"no metric 'acuracy'\. Did you mean 'accuracy'\? Known: accuracy, f1"):
        compute("acuracy", GOLD, SAID, TWO)


@pytest.mark.parametrize(("gold", "said"), [([], []), (GOLD, SAID[:-1])])
def test_answers_that_do_not_match_the_rows_are_refused(gold, said):
    with pytest.raises(DataError, match=rf"accuracy: {len(gold)} right labels and {len(said)} answers"):
        compute("accuracy", gold, said, TWO)


@pytest.mark.parametrize("name", [name for name in METRICS if name not in ("pearson", "spearman", "ece")])
def test_every_metric_takes_arrays_and_gives_a_plain_number(name):
    value = compute(name, np.array(GOLD), np.array(SAID), TWO)
    assert type(value) is float


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_says_what_it_is(name):
    assert METRICS[name].about


# SuperGLUE


def test_cb_is_scored_by_accuracy_and_the_mean_f1_of_its_labels():
    gold, said = ["a", "a", "a", "b", "b", "c"], ["a", "a", "b", "b", "a", "b"]
    # a: 2 right of 3 said and 3 there; b: 1 of 3 and 2; c: none of 0 and 1
    assert compute("accuracy", gold, said, THREE) == 3 / 6
    assert compute("macro_f1", gold, said, THREE) == pytest.approx((2 / 3 + 2 * 1 / (3 + 2) + 0) / 3)


def test_multirc_counts_answers_in_f1a_and_whole_questions_in_em():
    gold = ["yes", "no", "yes", "no", "no", "yes"]
    said = ["yes", "no", "yes", "no", "yes", "yes"]  # one answer of six is wrong, so one question of three
    groups = ["0-0", "0-0", "0-1", "0-1", "0-2", "0-2"]
    assert compute("f1a", gold, said, TWO, groups=groups) == pytest.approx(2 * 3 / (3 + 4))
    assert compute("em", gold, said, TWO, groups=groups) == pytest.approx(2 / 3)


def test_record_takes_the_best_of_the_right_answers():
    gold = ["Rosa Diaz", "the Kremlin", "Lima"]
    answers = [["Rosa Diaz", "Diaz"], ["the Kremlin"], ["Lima"]]
    said = ["Diaz", "Kremlin wall", "Oslo"]
    settings = {"labels": (), "answers": answers}
    assert compute("answer_em", gold, said, **settings) == pytest.approx(1 / 3)
    assert compute("answer_f1", gold, said, **settings) == pytest.approx((1 + 2 * 1 / (2 + 1) + 0) / 3)
    assert compute("accuracy", gold, said, **settings) == pytest.approx(1 / 3)
    assert compute("answer_f1", gold, said, ()) == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)


def test_any_of_several_right_answers_counts_in_whole_groups_too():
    answers = [["a", "b"], ["a"], ["c"]]
    assert compute("em", ["a", "a", "c"], ["b", "a", "a"], (), groups=["1", "1", "2"], answers=answers) == 1 / 2


def test_the_calibration_error_of_candidates_reads_each_row_by_its_own():
    candidates, answers = [["x", "y"], ["p", "q", "r"]], [["y"], ["p", "r"]]
    sure = np.array([[0.2, 0.8, 0.0], [0.1, 0.1, 0.8]])
    settings = {"candidates": candidates, "answers": answers}
    assert compute("ece", ["y", "p"], ["y", "r"], (), sure, **settings) == pytest.approx(0.2)
    assert compute("ece", ["y", "q"], ["y", "r"], (), sure, candidates=candidates) == pytest.approx(0.3)


@pytest.mark.parametrize("what", ["candidates", "answers"])
def test_candidates_and_answers_are_asked_for_by_row(what):
    with pytest.raises(DataError, match=f"accuracy: {what} of 1 rows, but 2 right labels"):
        compute("accuracy", ["a", "b"], ["a", "b"], (), **{what: [["a", "b"]]})
