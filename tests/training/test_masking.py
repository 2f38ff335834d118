import numpy as np
import pytest

from promptlab.backbone.passages import Row, read_passages
from promptlab.training.masking import Masking

MASK, VOCAB = 4, 30_000


def row(*sizes, before=1, after=1):
    """Words of so many tokens each between special tokens; no token twice."""
    tokens = sum(sizes)
    text = np.array([False] * before + [True] * tokens + [False] * after)
    starts = np.zeros(len(text), dtype=bool)
    starts[before + np.cumsum([0, *sizes[:-1]])] = True
    return Row(np.arange(1000, 1000 + len(text)), starts, text)


def words(one):
    """The places of each word, by plain counting."""
    found = []
    for place in np.flatnonzero(one.text):
        if one.starts[place]:
            found.append([])
        found[-1].append(int(place))
    return found


def draws(one, times, rate=0.15, seed=0):
    random, masking = np.random.default_rng(seed), Masking(MASK, VOCAB, rate)
    return [masking(one, random) for _ in range(times)]


MIXED = row(1, 3, 1, 2, 5, 1, 1, 2, 4, 1, 1, 3, 2, 1, 1, 1)


@pytest.mark.parametrize("rate", [0.05, 0.15, 0.5, 0.99])
def test_words_are_asked_for_whole_or_not_at_all(rate):
    for _, asked in draws(MIXED, 200, rate):
        assert {len({bool(asked[place]) for place in word}) for word in words(MIXED)} == {1}


@pytest.mark.parametrize("rate", [0.02, 0.15, 0.4, 0.9])
def test_words_of_one_token_make_up_the_share_to_the_token(rate):
    one = row(*[1] * 57)
    assert {int(asked.sum()) for _, asked in draws(one, 50, rate)} == {max(1, round(rate * 57))}


@pytest.mark.parametrize("rate", [0.05, 0.15, 0.5])
def test_longer_words_pass_the_share_by_less_than_the_last_word(rate):
    goal, sizes = round(rate * MIXED.text.sum()), [len(word) for word in words(MIXED)]
    found = [int(asked.sum()) for _, asked in draws(MIXED, 500, rate)]
    assert min(found) == goal
    assert max(found) < goal + max(sizes)
    assert goal <= np.mean(found) < goal + np.mean(np.square(sizes)) / np.mean(sizes)


def test_the_share_is_of_the_text_and_not_of_the_special_tokens():
    one = row(*[1] * 20, before=40, after=40)
    assert {int(asked.sum()) for _, asked in draws(one, 20)} == {3}


def test_a_row_of_one_word_is_asked_for_it():
    assert draws(row(1), 1)[0][1].tolist() == [False, True, False]
    assert draws(row(3), 1)[0][1].tolist() == [False, True, True, True, False]


def test_a_row_without_special_tokens_is_masked_like_any():
    assert draws(row(2, before=0, after=0), 1)[0][1].tolist() == [True, True]


def test_special_tokens_are_never_asked_for_nor_changed():
    one = row(1, 2, 1, before=2, after=3)
    for ids, asked in draws(one, 500, 0.9):
        assert not asked[~one.text].any()
        assert (ids[~one.text] == one.ids[~one.text]).all()


def test_what_is_not_asked_for_stays_and_the_row_itself_is_left_alone():
    before = MIXED.ids.copy()
    for ids, asked in draws(MIXED, 200, 0.3):
        assert (ids[~asked] == before[~asked]).all()
        assert ids is not MIXED.ids
    assert (MIXED.ids == before).all()


def test_of_the_tokens_asked_for_eight_in_ten_are_masked_one_is_random_and_one_stays():
    one, kinds, others = row(*[1] * 400), np.zeros(3), []
    for ids, asked in draws(one, 200, 0.5):
        now, was = ids[asked], one.ids[asked]
        kinds += [(now == MASK).sum(), ((now != MASK) & (now != was)).sum(), (now == was).sum()]
        others += now[(now != MASK) & (now != was)].tolist()
    total = kinds.sum()
    assert total == 200 * 200
    shares, expected = kinds / total, np.array([0.8, 0.1, 0.1])
    assert (np.abs(shares - expected) < 5 * np.sqrt(expected * (1 - expected) / total)).all()
    assert min(others) < 0.01 * VOCAB and VOCAB > max(others) > 0.99 * VOCAB
    halves = np.histogram(others, bins=4, range=(0, VOCAB))[0] / len(others)
    assert (np.abs(halves - 0.25) < 0.035).all()  # from the whole vocabulary alike


def test_tokens_of_one_word_meet_their_fates_one_by_one():
    masked = {int((ids == MASK).sum()) for ids, _ in draws(row(6), 300)}
    assert masked >= {3, 4, 5, 6}


def test_every_word_can_be_chosen_and_short_ones_as_often_as_each_other():
    one, times = row(*[1] * 10), 4000
    counts = sum(asked[one.text].astype(int) for _, asked in draws(one, times, 0.2))
    assert counts.sum() == 2 * times
    assert (np.abs(counts / times - 0.2) < 5 * np.sqrt(0.2 * 0.8 / times)).all()
    counts = sum(asked.astype(int) for _, asked in draws(MIXED, 1000))
    assert (counts[MIXED.text] > 0).all()


def test_the_same_random_numbers_choose_the_same_words():
    first, second, other = ([(a.tolist(), b.tolist()) for a, b in draws(MIXED, 5, seed=seed)] for seed in (1, 1, 2))
    assert first == second
    assert first != other


@pytest.mark.parametrize("family", ["bert", "roberta", "albert", "modernbert"])
def test_words_of_a_real_text_are_those_its_tokenizer_knows(tiny, family):
    backbone = tiny(family)
    text = "the film was zzkv and boring, pqqx! a good xyxy story"
    one = read_passages([text], backbone, 128).row(0)
    plain = backbone.tokenizer(text)
    assert one.ids.tolist() == plain["input_ids"]
    expected = {}
    for place, word in enumerate(plain.word_ids(0)):
        if word is not None:
            expected.setdefault(word, []).append(place)
    assert words(one) == list(expected.values())
    assert max(map(len, words(one))) > 1
    masking, random = Masking(backbone.tokenizer.mask_token_id, backbone.vocab), np.random.default_rng(0)
    chosen = set()
    for _ in range(300):
        _, asked = masking(one, random)
        whole = [number for number, word in enumerate(words(one)) if asked[word].all()]
        assert asked.sum() == sum(len(words(one)[number]) for number in whole)
        chosen.update(whole)
    assert chosen == set(range(len(words(one))))


def test_a_row_that_begins_within_a_word_asks_for_the_rest_of_it(tiny_bert):
    passages = read_passages(["zzkvpqqxzzkvpqqx good"], tiny_bert, 10)  # 16 letters: eight tokens, and eight again
    first, second = passages.row(0), passages.row(1)
    assert [len(word) for word in words(first)] == [8]
    assert [len(word) for word in words(second)] == [8]
    masking, random = Masking(MASK, tiny_bert.vocab), np.random.default_rng(0)
    assert masking(second, random)[1].tolist() == [False] + [True] * 8 + [False]
