import numpy as np
import pytest
import torch

from promptlab.backbone import continuation
from promptlab.backbone.cache import Beginning, reusable
from promptlab.backbone.continuation import continued, shared
from promptlab.backbone.encode import Encoded

SHAPES = ("gpt2", "llama", "qwen3")
BEGIN = [7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47]
RESTS = [[5, 6], [9], [8, 12, 14, 15, 16, 18], [5, 6, 20], [21, 22, 24, 25]]
ONE = np.array([[[[50], [51]], [[52], [-1]]]])
MANY = np.array([[[[50, 60, 61], [51, -1, -1]], [[52, 62, -1], [-1, -1, -1]], [[53, -1, -1], [54, 63, -1]]]])


def encoded(rows):
    return Encoded(rows, None, [[len(row) - 1] for row in rows], [False] * len(rows))


@pytest.fixture
def rows():
    return encoded([BEGIN + rest for rest in RESTS])


def plain(backbone, rows, words):
    """One row and one word at a time, every position through the head."""
    out = np.full((len(rows), words.shape[1]), -np.inf)
    for i, row in enumerate(rows):
        for j, listed in enumerate(words[i if len(words) > 1 else 0]):
            scores = [_word(backbone, row, [one for one in word if one >= 0]) for word in listed if word[0] >= 0]
            out[i, j] = np.mean(scores) if scores else -np.inf
    return out


def _word(backbone, row, word):
    with torch.inference_mode():
        logits = backbone.model(torch.tensor([row + word]), use_cache=False).logits[0].double().log_softmax(-1)
    return sum(float(logits[len(row) - 1 + i, piece]) for i, piece in enumerate(word))


@pytest.fixture
def tokens(monkeypatch):
    """tokens(backbone): a list that grows by the tokens of each forward."""

    def count(backbone):
        seen = []
        embedding = backbone.model.get_input_embeddings()
        handle = embedding.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].numel()))
        handles.append(handle)
        return seen

    handles = []
    yield count
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("words", [ONE, MANY], ids=["one token", "several"])
def test_what_was_read_once_scores_as_if_read_with_every_row(float64, rows, shape, words):
    backbone = float64(shape)
    found = continued(backbone, rows, words)
    np.testing.assert_allclose(found.labels, plain(backbone, rows.ids, words), atol=1e-10)
    whole = continued(backbone, rows, words, cached=False)
    np.testing.assert_allclose(found.labels, whole.labels, atol=1e-10)
    np.testing.assert_allclose(found.mass, whole.mass, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_in_single_precision_they_differ_by_rounding_alone(fresh, rows, shape):
    backbone = fresh(shape)
    both = [continued(backbone, rows, MANY, cached=cached).labels for cached in (True, False)]
    np.testing.assert_allclose(*both, atol=1e-4)


@pytest.mark.parametrize("budget", [1, 30, 100])
def test_scores_do_not_depend_on_the_batches(float64, rows, monkeypatch, budget):
    backbone = float64("llama")
    expected = continued(backbone, rows, MANY).labels
    monkeypatch.setattr(continuation, "token_budget", lambda device: budget)
    np.testing.assert_allclose(continued(backbone, rows, MANY).labels, expected, atol=1e-10)


def test_rows_with_words_of_their_own_and_fewer_choices_are_scored_one_by_one(float64, rows):
    words = np.full((len(rows), 3, 1, 3), -1)
    for row in range(len(rows)):
        for choice in range(1 + row % 3):
            words[row, choice, 0, : 1 + choice] = [50 + row, 60 + choice, 70][: 1 + choice]
    backbone = float64("gpt2")
    found = continued(backbone, rows, words).labels
    np.testing.assert_allclose(found, plain(backbone, rows.ids, words), atol=1e-10)
    assert np.isneginf(found[0, 1:]).all()


def test_the_beginning_is_read_once_and_a_row_once_however_many_labels(tiny, rows, tokens):
    backbone = tiny("llama")
    seen = tokens(backbone)
    continued(backbone, rows, ONE)
    few = sum(seen)
    seen.clear()
    continued(backbone, rows, np.arange(50, 90).reshape(1, 40, 1, 1))
    assert sum(seen) == few == len(BEGIN) + len(RESTS) * max(map(len, RESTS))


def test_words_of_several_tokens_reread_neither_the_beginning_nor_the_row(tiny, rows, tokens):
    backbone = tiny("gpt2")
    seen = tokens(backbone)
    continued(backbone, rows, MANY)
    longer = int((MANY[..., 1] >= 0).sum())
    assert sum(seen) == len(BEGIN) + len(RESTS) * (max(map(len, RESTS)) + 2 * longer)


def test_a_wrong_position_would_be_seen(float64, rows, monkeypatch):
    backbone, read = float64("llama"), Beginning.read
    monkeypatch.setattr(Beginning, "read", lambda self, cache, ids, seen, at: read(self, cache, ids, seen, at + 1))
    assert np.abs(continued(backbone, rows, ONE).labels - plain(backbone, rows.ids, ONE)).max() > 1e-6


def test_padding_that_is_attended_to_would_be_seen(float64, rows, monkeypatch):
    backbone, read = float64("llama"), Beginning.read
    monkeypatch.setattr(
        Beginning, "read", lambda self, cache, ids, seen, at: read(self, cache, ids, torch.ones_like(seen), at)
    )
    assert np.abs(continued(backbone, rows, MANY).labels - plain(backbone, rows.ids, MANY)).max() > 1e-6


@pytest.mark.parametrize("words", [ONE, MANY], ids=["one token", "several"])
def test_a_sliding_window_shorter_than_the_rows_makes_them_be_read_whole(float64, rows, tokens, words):
    backbone = float64("mistral")
    assert not reusable(backbone, 14)
    assert reusable(backbone, 8)
    expected, seen = plain(backbone, rows.ids, words), tokens(backbone)
    np.testing.assert_allclose(continued(backbone, rows, words).labels, expected, atol=1e-10)
    assert sum(seen) >= sum(map(len, rows.ids))


def test_within_a_sliding_window_the_beginning_is_read_once(float64):
    backbone = float64("mistral")
    rows = encoded([[7, 11, 13, 5], [7, 11, 13, 9, 8], [7, 11, 13, 6]])
    found = continued(backbone, rows, MANY).labels
    np.testing.assert_allclose(found, plain(backbone, rows.ids, MANY), atol=1e-10)


def test_layers_of_other_kinds_are_never_reused(tiny, monkeypatch):
    backbone = tiny("llama")
    assert reusable(backbone, 100)
    monkeypatch.setattr(backbone.config, "layer_types", ["full_attention", "linear_attention"], raising=False)
    assert not reusable(backbone, 100)


def test_rows_that_share_nothing_are_scored_too(float64):
    backbone = float64("gpt2")
    rows = encoded([[5, 6, 7], [8], [9, 10]])
    np.testing.assert_allclose(continued(backbone, rows, MANY).labels, plain(backbone, rows.ids, MANY), atol=1e-10)


def test_no_rows_are_no_scores(tiny):
    found = continued(tiny("gpt2"), encoded([]), ONE)
    assert found.labels.shape == (0, 2) and found.mass.shape == (0,)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([[1, 2, 3], [1, 2, 4]], 2),
        ([[1, 2, 3], [1, 2]], 1),
        ([[1, 2, 3], [1, 2, 3]], 2),
        ([[1, 2], [3, 4]], 0),
        ([[1, 2, 3]], 0),
        ([], 0),
    ],
)
def test_the_shared_beginning_leaves_every_row_a_token(rows, expected):
    assert shared(rows) == expected
