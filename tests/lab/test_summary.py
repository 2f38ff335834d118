import numpy as np
import pytest

from promptlab.lab.store import Finished, Memory
from promptlab.lab.summary import Difference, differences, summaries


def row(system="pet", seed=0, score=0.5, **more):
    usual = {"run": f"{system}{seed}{more}", "system": system, "task": "mr", "shots": 16, "seed": seed, "score": score}
    usual |= {"method": system, "metric": "accuracy", "backbone": "tiny", "dtype": "float32", "limit": None}
    return {**usual, **more}


def kept(*rows):
    """A store in which each row's answers are right as often as its score says."""
    memory = Memory()
    for one in rows:
        right = np.arange(100) < 100 * one["score"]
        memory.write([Finished(one, np.stack([right, ~right], axis=1).astype(float), np.zeros(100, dtype=int))])
    return memory


def test_rows_that_differ_in_seed_alone_are_one_summary():
    (one,) = summaries([row(seed=1, score=0.7), row(seed=0, score=0.5)])
    assert one.values == (0.5, 0.7)
    assert one.mean == pytest.approx(0.6)
    assert one.sd == pytest.approx(0.1414, abs=1e-4)


@pytest.mark.parametrize("change", [{"task": "sst2"}, {"shots": 8}, {"system": "tfidf"}, {"backbone": "big"}], ids=str)
def test_rows_that_differ_in_more_are_not(change):
    assert len(summaries([row(), row(**change)])) == 2


def test_a_single_seed_has_no_deviation():
    (one,) = summaries([row()])
    assert one.sd is None


def test_a_score_that_is_no_number_is_left_out():
    (one,) = summaries([row(seed=0, score=None), row(seed=1, score=0.5)])
    assert one.mean == 0.5
    (none,) = summaries([row(score=None)])
    assert none.mean is None


def test_costs_are_the_largest_memory_and_the_mean_time():
    pair = [row(seed=0, seconds=1.0, peak_memory_bytes=10), row(seed=1, seconds=3.0, peak_memory_bytes=None)]
    (one,) = summaries(pair)
    assert (one.seconds, one.peak) == (2.0, 10)
    (unknown,) = summaries([row(peak_memory_bytes=None)])
    assert unknown.peak is None


def test_weights_learnt_count_the_head():
    (one,) = summaries([row(stored_parameters=96, head_parameters=4)])
    assert one.learnt == 100


def test_each_system_is_held_against_the_best_baseline():
    rows = [row("tfidf", score=0.6), row("probe", score=0.7), row("pet", score=0.9)]
    (one,) = differences(summaries(rows), kept(*rows))
    assert (one.system, one.against) == ("pet", "probe")
    assert one.difference == pytest.approx(0.2)
    assert one.low > 0.1 and one.sure


def test_or_against_the_one_that_was_named():
    rows = [row("tfidf", score=0.6), row("probe", score=0.7), row("pet", score=0.9)]
    found = differences(summaries(rows), kept(*rows), against="pet")
    assert {(one.system, one.against) for one in found} == {("tfidf", "pet"), ("probe", "pet")}


def test_without_a_baseline_nothing_is_compared():
    rows = [row("pet"), row("prompt")]
    assert differences(summaries(rows), kept(*rows)) == []


def test_seeds_are_paired_where_both_have_them():
    rows = [row("tfidf", seed=1, score=0.6), row("pet", seed=0, score=0.1), row("pet", seed=1, score=0.9)]
    (one,) = differences(summaries(rows), kept(*rows))
    assert one.difference == pytest.approx(0.3)


def test_systems_without_a_seed_in_common_are_not_compared():
    rows = [row("tfidf", seed=1), row("pet", seed=0)]
    assert differences(summaries(rows), kept(*rows)) == []


def test_columns_are_compared_each_with_its_own_rival():
    rows = [row(name, shots=k, score=s) for k in (8, 16) for name, s in (("tfidf", k / 32), ("pet", 0.75))]
    found = differences(summaries(rows), kept(*rows))
    assert [(one.shots, round(one.difference, 2)) for one in found] == [(8, 0.5), (16, 0.25)]


@pytest.mark.parametrize(
    ("numbers", "text", "sure"),
    [
        ((0.021, 0.004, 0.038), "better by 2.1 [0.4, 3.8]", True),
        ((-0.021, -0.038, -0.004), "worse by 2.1 [0.4, 3.8]", True),
        ((0.01, -0.01, 0.03), "better by 1.0 [-1.0, 3.0]", False),
    ],
)
def test_a_difference_reads_as_a_sentence_would_say_it(numbers, text, sure):
    one = Difference("mr", 16, "pet", "tfidf", *numbers)
    assert str(one) == text
    assert one.sure is sure
