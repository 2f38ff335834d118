import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from promptlab.errors import DataError
from promptlab.training.adapt import Settings, adapt
from promptlab.training.asking import Asker
from promptlab.training.feed import HELD_MOST, Feed, held_out, training_rows

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


@pytest.mark.parametrize("rows", [40, 399, 8019])
def test_what_is_trained_on_is_all_the_rest_in_order(rows):
    held = set(held_out(rows).tolist())
    assert training_rows(rows).tolist() == [row for row in range(rows) if row not in held]


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


@pytest.fixture
def watched(folder_of, tmp_path, monkeypatch):
    """watched("bert", texts, ...): the note of a training, its corpus, and which rows it judged and read, in order."""

    def get(family, texts, **settings):
        judged, read, found, real = [], [], [], Asker.questions

        def questions(asker, rows, random):
            (read if asker.rate == 0.2 else judged).append(np.asarray(rows).tolist())
            found.append(asker.passages)
            return real(asker, rows, random)

        monkeypatch.setattr(Asker, "questions", questions)
        how = Settings(mask_rate=0.2, every=1e6, **settings)
        return adapt(texts, str(folder_of(family)), tmp_path / "out", how, device="cpu"), found[0], judged, read

    return get


# twelve words a row, each of them a token; the text itself ends every second row of the causal model
LINES = ["the film was fine and the ending was awful", "a good story"] * 100
ROWS_OF = {"bert": (14, 12), "gpt2": (14, 14)}  # tokens of a row, and how many of them are text


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_one_pass_reads_every_row_but_those_held_out_exactly_once(watched, family):
    about, passages, judged, read = watched(family, LINES, length=16, batch=100)
    rows, text = ROWS_OF[family]
    assert passages.lengths.tolist() == [rows] * 100
    held = held_out(100).tolist()
    assert judged == [held] * 2  # before and after
    assert sorted(flat(read)) == [row for row in range(100) if row not in held]
    assert [len(step) for step in read] == [7] * 13 + [4]  # 7 rows of 14 tokens fill a batch of 100
    assert (about["tokens"], about["steps"]) == (95 * text, 14)
    assert about["curve"][-1]["tokens"] == 95 * text


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_one_pass_over_rows_of_all_lengths_reads_each_of_them_once(watched, family):
    texts = ["the film was fine and awful " * int(times) for times in np.random.default_rng(0).integers(1, 9, 90)]
    about, passages, _, read = watched(family, texts, length=24, batch=64)
    assert len(set(passages.lengths.tolist())) > 3
    expected = [row for row in range(len(passages)) if row not in held_out(len(passages))]
    assert sorted(flat(read)) == expected
    assert about["tokens"] == sum(int(passages.row(row).text.sum()) for row in expected)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_a_budget_beyond_one_pass_reads_on_in_a_new_order_till_it_is_spent(watched, family):
    about, _, judged, read = watched(family, LINES, length=16, batch=100, tokens=2000)
    held, (_, text) = held_out(100).tolist(), ROWS_OF[family]
    rows = flat(read)
    assert judged == [held] * 2
    assert sorted(rows[:95]) == [row for row in range(100) if row not in held]
    assert set(rows[95:]) < set(rows[:95])
    assert rows[95:] != rows[: len(rows) - 95]
    assert about["tokens"] == text * len(rows) >= 2000
    assert text * len(flat(read[:-1])) < 2000  # no step more than it takes


def test_rows_of_one_token_that_ask_nothing_are_read_like_any(watched, tmp_path):
    texts = ["the film was fine and the ending was"] * 60  # eight tokens, and the end of the text as a row of its own
    about, passages, _, read = watched("gpt2", texts, length=8, batch=8)
    assert passages.lengths.tolist() == [8, 1] * 60
    assert any((passages.lengths[step] == 1).all() for step in read)  # steps without any question
    assert about["tokens"] == passages.lengths[flat(read)].sum() == passages.lengths[training_rows(120)].sum()
    assert about["curve"][-1]["loss"] < about["curve"][0]["loss"]
    assert all(one.isfinite().all() for one in load_file(tmp_path / "out" / "model.safetensors").values())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b" \n\t\n\n", "text.txt is empty. Write a file with one paragraph a line."),
        (b"a film\nof \x00\x01\n", "text.txt:2: a zero byte, as in a binary file. Write a text file in UTF-8."),
        (b"a film\ncaf\xe9\n", "text.txt:2: byte 0xe9 is not UTF-8 text. Save the file as UTF-8."),
        (b"a film\n" * 273, "the text fills 39 rows of 16 tokens, and 40 are the least to train and judge on."),
        (None, "text.txt cannot be read: No such file or directory. Write a text file that is there."),
    ],
    ids=["empty", "zero bytes", "no UTF-8", "too short", "missing"],
)
def test_a_text_that_cannot_be_trained_on_is_named(watched, tmp_path, content, said):
    text = tmp_path / "text.txt"
    if content is not None:
        text.write_bytes(content)
    with pytest.raises(DataError) as caught:
        watched("bert", [text], length=16)
    assert said in str(caught.value)
    assert not list(tmp_path.glob("out/**/*.safetensors"))
