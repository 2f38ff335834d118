"""iPET's arithmetic and its draws, against the paper's rules written out."""

import math
from collections import Counter

import numpy as np
import pytest

from promptlab.methods.generations import draw_rows, generations_after, random_numbers, voters, wanted, within


def confidence(rows, labels=2, seed=0):
    sure = np.random.default_rng(seed).random((rows, labels)) + 0.01
    return sure / sure.sum(1, keepdims=True)


# ---------------------------------------------------------------- how many


@pytest.mark.parametrize(
    ("rows", "after"), [(10, 3), (20, 3), (32, 3), (40, 2), (50, 2), (100, 2), (200, 1), (1000, 0)]
)
def test_generations_are_as_many_as_the_papers_logarithm_says(rows, after):
    assert generations_after(rows) == after
    assert after == max(0, math.ceil(round(math.log(1000 / rows, 5), 9)))


def test_forty_rows_need_two_generations_though_a_floating_logarithm_may_say_three():
    assert 40 * 5**2 == 1000
    assert generations_after(40) == 2


def test_from_no_labelled_rows_four_generations_learn_from_10_50_250_and_1250_rows():
    assert generations_after(0) == 4
    assert [int(wanted(np.zeros(2, dtype=int), j).sum()) for j in (1, 2, 3, 4)] == [10, 50, 250, 1250]


def test_a_label_has_five_times_as_many_rows_in_the_next_generation_in_its_own_proportion():
    labelled = np.array([3, 1, 0])
    for generation in (1, 2, 3):
        assert (labelled + wanted(labelled, generation)).tolist() == [3 * 5**generation, 5**generation, 0]


def test_no_label_has_less_than_its_share_of_the_first_ten():
    assert wanted(np.zeros(4, dtype=int), 1).tolist() == [3, 3, 3, 3]
    assert wanted(np.zeros(14, dtype=int), 1).tolist() == [1] * 14


# ---------------------------------------------------------------- who


@pytest.mark.parametrize(("members", "size"), [(2, 1), (3, 1), (4, 1), (5, 1), (9, 2), (12, 3), (18, 4)])
def test_a_quarter_of_the_others_labels_and_never_none_and_never_the_member_itself(members, size):
    for own in range(members):
        for seed in range(20):
            chosen = voters(own, members, random_numbers(f"{seed}"))
            assert len(chosen) == len(set(chosen)) == size
            assert own not in chosen
            assert set(chosen) <= set(range(members))


def test_every_other_member_is_equally_likely_to_be_asked():
    random, draws = random_numbers("who"), 4000
    counts = Counter(one for _ in range(draws) for one in voters(3, 9, random))
    expected = draws * 2 / 8
    spread = math.sqrt(draws * 0.25 * 0.75)
    assert all(abs(counts[one] - expected) < 4 * spread for one in range(9) if one != 3)


# ---------------------------------------------------------------- which


def test_a_draw_has_the_wanted_rows_of_each_label_none_twice_and_only_rows_given_that_label():
    sure = confidence(400, labels=3)
    rows, labels = draw_rows(sure, [20, 7, 0], random_numbers("a"))
    assert Counter(labels) == {0: 20, 1: 7}
    assert len(set(rows)) == 27
    assert [int(sure[row].argmax()) for row in rows] == labels


def test_a_draw_follows_from_its_key_alone():
    sure = confidence(200)
    first, again, other = (draw_rows(sure, [9, 9], random_numbers(key)) for key in ("a", "a", "b"))
    assert first == again != other


def test_one_row_is_drawn_in_proportion_to_its_confidence():
    sure = np.array([[0.9, 0.1], [0.6, 0.4], [0.75, 0.25], [0.2, 0.8]])
    random, draws = random_numbers("proportions"), 6000
    counts = Counter(draw_rows(sure, [1, 0], random)[0][0] for _ in range(draws))
    assert counts[3] == 0
    for row in range(3):
        share = sure[row, 0] / sure[:3, 0].sum()
        assert abs(counts[row] / draws - share) < 4 * math.sqrt(share * (1 - share) / draws)


def test_several_rows_are_drawn_as_one_after_the_other_without_replacement():
    """Pairs have the chance p_i / S * p_j / (S - p_i) + p_j / S * p_i / (S - p_j), written out."""
    sure = np.array([[0.95, 0.05], [0.55, 0.45], [0.7, 0.3]])
    p, total = sure[:, 0], sure[:, 0].sum()
    random, draws = random_numbers("pairs"), 6000
    counts = Counter(tuple(sorted(draw_rows(sure, [2, 0], random)[0])) for _ in range(draws))
    for i, j in [(0, 1), (0, 2), (1, 2)]:
        share = p[i] / total * p[j] / (total - p[i]) + p[j] / total * p[i] / (total - p[j])
        assert abs(counts[i, j] / draws - share) < 4 * math.sqrt(share * (1 - share) / draws)


def test_a_pool_that_runs_short_gives_what_it_has_and_nothing_twice():
    sure = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9]])
    rows, labels = draw_rows(sure, [5, 5], random_numbers("short"))
    assert sorted(rows) == [0, 1, 2]
    assert Counter(labels) == {0: 2, 1: 1}
    assert draw_rows(sure[:0], [5, 5], random_numbers("none")) == ([], [])


def test_the_untrained_draw_from_the_surest_hundred_of_a_label_though_another_is_likelier():
    sure = np.full((300, 2), 0.9)
    sure[:, 1] = np.linspace(0.1, 0.4, 300)  # no row is likelier to have the second label
    assert draw_rows(sure, [0, 5], random_numbers("top"))[0] == []
    rows, labels = draw_rows(sure, [0, 5], random_numbers("top"), surest=100)
    assert labels == [1] * 5
    assert min(rows) >= 200


def test_a_row_that_is_among_the_surest_of_two_labels_is_drawn_for_one():
    sure = confidence(30)
    rows, labels = draw_rows(sure, [12, 12], random_numbers("both"), surest=100)
    assert len(set(rows)) == 24
    assert Counter(labels) == {0: 12, 1: 12}


def test_rows_without_finite_scores_are_never_drawn():
    sure = np.array([[np.nan, np.nan], [0.6, 0.4], [np.nan, 0.9]])
    assert draw_rows(sure, [3, 3], random_numbers("x")) == ([1], [0])
    assert draw_rows(sure, [1, 1], random_numbers("x"), surest=100)[0] == [1]


def test_a_label_without_any_probability_is_not_drawn():
    assert draw_rows(np.array([[1.0, 0.0]]), [0, 1], random_numbers("x"), surest=100) == ([], [])


def test_no_more_rows_are_drawn_than_a_members_steps_take_and_labels_keep_their_proportions():
    assert within(np.array([80, 80]), 300).tolist() == [80, 80]
    assert within(np.array([1240, 1240]), 300).tolist() == [150, 150]
    assert within(np.array([3000, 1000]), 100).tolist() == [75, 25]
    assert within(np.array([3000, 10, 0]), 50).tolist() == [49, 1, 0]  # none is left out


@pytest.mark.parametrize(("steps", "sizes"), [(2, [8, 8]), (100, [10, 50])])
def test_the_papers_longer_members_draw_all_that_the_paper_draws(tiny_bert, reviews, reviews_task, steps, sizes):
    from promptlab.methods import ensemble, ipet
    from promptlab.methods.method import Job
    from promptlab.tuning.lora import Lora

    settings = ipet.Ipet(steps=steps, batch=4).settled()
    job = Job(reviews_task, reviews[:2], reviews[2:])
    run = ipet._Run(ensemble.Trainer(settings, tiny_bert, Lora(), None), [job])
    assert [2 + int(run._due(run.lines[0], generation).sum()) for generation in (1, 2)] == sizes
