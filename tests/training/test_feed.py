import numpy as np
import pytest
import torch

from promptlab.training.adapt import Settings, adapt
from promptlab.training.asking import Asker
from promptlab.training.feed import HELD_MOST, Feed, held_out

LENGTHS = np.random.default_rng(0).integers(3, 17, size=120)
ROWS = np.setdiff1d(np.arange(120), held_out(120))


def feed(passed=0, at=0, seed=0, batch=64):
    return Feed(ROWS, LENGTHS, batch, seed, passed, at)


def passes(number, **settings):
    """The steps of whole passes, one list a pass."""
    one, found = feed(**settings), [[]]
    while len(found) <= number:
        found[-1].append(one.next().tolist())
        if one.passed == len(found):
            found.append([])
    return found[:number]


def flat(steps):
    return [row for step in steps for row in step]


@pytest.mark.parametrize("rows", [40, 59, 60, 399, 8000, 8019, 20_000])
def test_one_row_in_twenty_is_held_out_and_400_at_most(rows):
    held = held_out(rows)
    assert len(held) == min(HELD_MOST, rows // 20)
    assert (np.diff(held) > 0).all()
    assert held[0] >= 0 and held[-1] < rows


def test_what_is_held_out_follows_from_the_number_of_rows_alone():
    torch.manual_seed(1)
    first = held_out(500)
    torch.manual_seed(2)
    assert held_out(500).tolist() == first.tolist()
    assert first.tolist() != held_out(501)[: len(first)].tolist()
    assert first.tolist() != list(range(len(first)))  # drawn from all over the text
    assert first[-1] > 400 and first[0] < 100


def test_every_row_is_dealt_once_a_pass():
    for steps in passes(3):
        assert sorted(flat(steps)) == ROWS.tolist()


def test_every_pass_has_an_order_of_its_own_and_so_has_every_seed():
    first, second = map(flat, passes(2))
    assert first != second
    assert first != ROWS.tolist()
    assert flat(passes(1, seed=1)[0]) != first
    assert [first, second] == [flat(steps) for steps in passes(2)]


@pytest.mark.parametrize("batch", [17, 64, 300])
def test_a_step_takes_as_many_rows_as_fill_the_batch_and_only_the_last_of_a_pass_is_short(batch):
    for steps in passes(2, batch=batch):
        sizes = [LENGTHS[step].sum() for step in steps]
        assert max(sizes) <= batch
        for size, after in zip(sizes, steps[1:], strict=False):
            assert size + LENGTHS[after[0]] > batch
        assert len(steps) > 1


def test_a_row_longer_than_the_batch_is_a_step_of_its_own():
    rows, lengths = np.arange(10), np.array([5, 50] * 5)
    one = Feed(rows, lengths, 8, 0)
    steps = [one.next().tolist() for _ in range(10)]
    assert all(len(step) == 1 for step in steps)
    assert (sorted(flat(steps)), one.passed, one.at) == (rows.tolist(), 1, 0)


def test_a_batch_beyond_the_text_is_one_whole_pass():
    one = feed(batch=10**6)
    assert sorted(one.next()) == ROWS.tolist()
    assert (one.passed, one.at) == (1, 0)


def test_a_feed_that_is_taken_up_again_deals_what_the_first_would_have_dealt():
    whole, marks = feed(), []
    expected = []
    for _ in range(48):  # over two passes
        marks.append((whole.passed, whole.at))
        expected.append(whole.next().tolist())
    assert marks[-1][0] >= 2
    for done, (passed, at) in enumerate(marks):
        again = feed(passed, at)
        assert [again.next().tolist() for _ in range(48 - done)] == expected[done:]


def test_dealing_leaves_the_global_random_numbers_alone():
    state = torch.get_rng_state()
    passes(2)
    held_out(200)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("settings", [{"tokens": 3500}, {}], ids=["two passes", "no budget"])
def test_training_reads_all_rows_but_those_held_out(folder_of, tmp_path, monkeypatch, settings):
    judged, read, found, real = [], [], [], Asker.questions

    def questions(asker, rows, random):
        (read if asker.rate == 0.2 else judged).append(np.asarray(rows).tolist())
        found.append(asker.passages)
        return real(asker, rows, random)

    monkeypatch.setattr(Asker, "questions", questions)
    how = Settings(length=16, batch=100, mask_rate=0.2, every=1e6, **settings)
    texts = ["the film was fine and the ending was awful", "a good story"] * 100
    about = adapt(texts, str(folder_of("bert")), tmp_path / "out", how, device="cpu")
    passages = found[0]
    held = held_out(len(passages))
    assert judged == [held.tolist()] * 2
    rest = np.setdiff1d(np.arange(len(passages)), held).tolist()
    rows = flat(read)
    assert set(rows) <= set(rest)
    assert about["tokens"] == passages.lengths[rows].sum()
    if settings:
        assert sorted(rows[: len(rest)]) == rest
        assert len(rows) > 1.5 * len(rest)
    else:
        assert len(passages.ids) <= about["tokens"] < len(passages.ids) + 100
