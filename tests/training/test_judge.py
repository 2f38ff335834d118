"""The best of many wordings, found without reading all rows under all of them."""

import numpy as np
import pytest
import torch

from promptlab.backbone.encode import Encoder
from promptlab.backbone.vocabulary import usable_tokens
from promptlab.language.task import Task
from promptlab.training.judge import Judge
from promptlab.training.member import Member, Recipe
from promptlab.training.search import Search
from promptlab.tuning.words import Words


class Table(Judge):
    """A judge whose losses stand in a table, and who counts what it looks up."""

    def __init__(self, table, at_once):
        self.table, self.at_once, self.looked_up = table, at_once, np.zeros(table.shape, dtype=int)
        self.rows = table.shape[1]

    def drawn(self):
        return list(range(self.rows))

    def losses(self, drawn, wordings):
        places = np.ix_(wordings[:, 0].tolist(), drawn)
        self.looked_up[places] += 1
        return torch.from_numpy(self.table[places])

    def _at_once(self, drawn, rows, wordings):
        return self.at_once

    def verdict(self):
        return self.best(torch.arange(len(self.table))[:, None])


def whole(table):
    """What reading all gives: loss of the present wording, number and loss of the best of the others."""
    means = [sum(row) / len(row) for row in table.tolist()]
    best = min(range(len(means) - 1), key=lambda i: means[1 + i])
    return means[0], best, means[1 + best]


def tables(seed):
    """Losses of one kind or another, ties among them."""
    random = np.random.default_rng(seed)
    shape = random.integers(2, 30), random.integers(1, 20)
    hard = random.exponential(1.0, shape[1])  # rows that are hard under any wording
    some = hard * random.lognormal(0.0, random.choice([0.05, 0.5]), shape)
    return (np.round(8 * some) / 8 if seed % 3 else some), int(random.integers(1, 4))


@pytest.mark.parametrize("seed", range(60))
def test_the_choice_is_that_of_reading_all_rows_under_all_wordings(seed):
    judge = Table(*tables(seed))
    before, best, after = whole(judge.table)
    found = judge.verdict()
    assert found.before == pytest.approx(before, abs=1e-12)
    if after < before:
        assert found.best == best
        assert found.after == pytest.approx(after, abs=1e-12)
    else:
        assert not found.after < found.before


def test_losses_below_zero_would_break_that():
    wrong = 0
    for seed in range(60):
        table, at_once = tables(seed)
        table = table - 2 * table.mean()
        before, best, after = whole(table)
        found = Table(table, at_once).verdict()
        wrong += (found.best != best) if after < before else (found.after < found.before)
    assert wrong


def test_nothing_is_read_twice_and_what_has_lost_is_read_no_more():
    for seed in range(60):
        judge = Table(*tables(seed))
        judge.verdict()
        assert judge.looked_up.max() == 1
    table = np.ones((20, 10))
    table[1:, 0] = [11.0] * 18 + [0.5]  # all but the last lose on the first row
    judge = Table(table, 1)
    assert judge.verdict() == (1.0, 18, pytest.approx(0.95))
    assert judge.looked_up.sum() == 10 + 18 + 10


def test_a_loss_that_is_no_number_is_never_the_best():
    table = np.ones((4, 6))
    table[1, 2], table[3, :] = np.nan, 0.5
    assert Table(table, 2).verdict() == (1.0, 2, 0.5)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
@pytest.mark.parametrize("verbalizer", [["bad", "great"], ["very bad indeed", "great"]])
def test_swaps_are_those_of_reading_all(float64, reviews, monkeypatch, family, verbalizer):
    def swaps():
        task = Task.from_parts(["{text} {soft:3} {mask}"], dict(zip(["negative", "positive"], verbalizer, strict=True)))
        targets = np.array([task.labels.index(one.label) for one in reviews[:24]])
        member = Member("m", reviews[:24], targets, 2, ("text",), task.pvps[0])
        backbone = float64(family)
        recipe, usable = Recipe(steps=4, batch=4), usable_tokens(backbone, True)
        return Search(backbone, Words(candidates=40), member, recipe, Encoder(backbone), usable).run().facts["swaps"]

    found = swaps()
    monkeypatch.setattr(Judge, "best", lambda judge, wordings: whole(judge.losses(judge.drawn(), wordings)))
    wanted = swaps()
    assert len(found) == len(wanted) > 1
    for one, other in zip(found, wanted, strict=True):
        assert one == pytest.approx(other, abs=1e-10)
