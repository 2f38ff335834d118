"""Words of several tokens against slow plain loops: one row, one word, one forward at a time."""

import numpy as np
import pytest
import torch

from promptlab.backbone import decode
from promptlab.backbone import score as scoring
from promptlab.backbone.ask import ask
from promptlab.backbone.encode import Encoder
from promptlab.backbone.words import row_words
from promptlab.errors import SettingError
from promptlab.language.example import Example
from promptlab.language.library import read_task
from promptlab.language.task import Task

WORDS = {"bad": ["terrible", "badly made"], "good": "great", "funny": "brilliantly funny story", "odd": "qx"}
TASK = Task.from_parts(["{text} It was {mask}.", "Just {mask}! {sep} {text}"], WORDS)
QUIZ = read_task("{task: quiz, inputs: [text, options], candidates: options, patterns: {p: '{text} It was {mask}.'}}")
TEXTS = ["a boring film", "the music is lovely and the story is warm and funny", "", "actors"]
EXAMPLES = [Example({"text": text}) for text in TEXTS]
OPTIONS = [("great", "badly made"), ("his brilliant actors", "great", "worst", "one more story"), ("moving", "qx")]
QUIZZES = [Example({"text": text, "options": each}) for text, each in zip(TEXTS, OPTIONS, strict=False)]


def log_p(backbone, ids, segments=None):
    """Log-probabilities at every position of one unpadded row."""
    extra = {} if segments is None else {"token_type_ids": torch.tensor([segments])}
    with torch.no_grad():
        return backbone.model(torch.tensor([ids]), **extra).logits[0].log_softmax(-1)


def slow_masked(backbone, pvp, example, pieces, decoding):
    """One word: as many masks as pieces, filled one a forward."""
    encoded = Encoder(backbone).cloze(pvp.pattern, [example], len(pieces))
    ids, slots = list(encoded.ids[0]), encoded.slots[0]
    segments = encoded.segments and encoded.segments[0]
    if decoding == "parallel":
        found = log_p(backbone, ids, segments)
        return sum(found[slot, piece].item() for slot, piece in zip(slots, pieces, strict=True))
    total, waiting = 0.0, dict(zip(slots, pieces, strict=True))
    while waiting:
        found = log_p(backbone, ids, segments)
        each = {slot: found[slot, piece].item() for slot, piece in waiting.items()}
        slot = min(waiting) if decoding == "left-to-right" else max(each, key=each.get)
        total += each[slot]
        ids[slot] = waiting.pop(slot)
    return total


def slow_causal(backbone, pvp, example, pieces):
    prompt = Encoder(backbone).cloze(pvp.pattern, [example], len(pieces)).ids[0]
    found = log_p(backbone, prompt + pieces)
    return sum(found[len(prompt) - 1 + i, piece].item() for i, piece in enumerate(pieces))


def slowly(backbone, pvp, examples, words, decoding="confident"):
    """Scores by label, the mean over its words."""
    out = np.full(words.shape[:2], -np.inf)
    for row, example in enumerate(examples):
        for label in range(words.shape[1]):
            listed = [one[one >= 0].tolist() for one in words[row, label] if one[0] >= 0]
            causal = backbone.kind == "causal"
            each = [
                slow_causal(backbone, pvp, example, one)
                if causal
                else slow_masked(backbone, pvp, example, one, decoding)
                for one in listed
            ]
            out[row, label] = np.mean(each) if each else -np.inf
    return out


@pytest.mark.parametrize("pvp", TASK.pvps, ids=lambda pvp: pvp.name)
@pytest.mark.parametrize("decoding", decode.DECODINGS)
@pytest.mark.parametrize("family", ["bert", "roberta", "albert"])
def test_masked_words_equal_a_loop_of_one_row_and_one_word(float64, family, decoding, pvp):
    backbone = float64(family)
    words = row_words(backbone, pvp, EXAMPLES)
    assert (words.ids >= 0).sum(3).max() >= 3
    expected = slowly(backbone, pvp, EXAMPLES, words.take(range(len(EXAMPLES))), decoding)
    found = ask(Encoder(backbone), pvp, EXAMPLES, decoding=decoding)
    np.testing.assert_allclose(found.labels, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_causal_words_equal_a_loop_of_one_row_and_one_word(float64, family):
    backbone = float64(family)
    words = row_words(backbone, TASK.pvps[0], EXAMPLES)
    expected = slowly(backbone, TASK.pvps[0], EXAMPLES, words.take(range(len(EXAMPLES))))
    found = ask(Encoder(backbone), TASK.pvps[0], EXAMPLES)
    np.testing.assert_allclose(found.labels, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2", "llama"])
def test_candidates_of_a_row_equal_the_loop_and_rows_with_fewer_end_in_minus_infinity(float64, family):
    backbone, pvp = float64(family), QUIZ.pvps[0]
    choices = [QUIZ.choices(one) for one in QUIZZES]
    words = row_words(backbone, pvp, QUIZZES, choices)
    found = ask(Encoder(backbone), pvp, QUIZZES, choices)
    np.testing.assert_allclose(found.labels, slowly(backbone, pvp, QUIZZES, words.ids), rtol=0, atol=1e-10)
    assert np.isneginf(found.labels).sum(1).tolist() == [2, 0, 2]
    for row, example in enumerate(QUIZZES):
        alone = ask(Encoder(backbone), pvp, [example], [choices[row]]).labels[0]
        np.testing.assert_allclose(alone, found.labels[row, : len(alone)], rtol=0, atol=1e-10)


def test_the_ways_of_decoding_differ(float64):
    found = [ask(Encoder(float64("bert")), TASK.pvps[0], EXAMPLES, decoding=each).labels for each in decode.DECODINGS]
    assert all(not np.allclose(one[:, 2], two[:, 2]) for one, two in zip(found, found[1:] + found[:1], strict=True))
    assert all(np.allclose(one[:, 1], found[0][:, 1]) for one in found)  # a word of one token is read in one way


def test_one_token_words_have_the_score_they_have_beside_longer_ones(float64):
    backbone = float64("bert")
    short = Task.from_parts(["{text} It was {mask}."], {"bad": "terrible", "good": "great"})
    found = ask(Encoder(backbone), short.pvps[0], EXAMPLES)
    longer = ask(Encoder(backbone), TASK.pvps[0], EXAMPLES)
    np.testing.assert_allclose(found.labels[:, 1], longer.labels[:, 1], rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.mass, np.exp(found.labels).sum(1), rtol=1e-6)


def test_equal_inputs_are_encoded_once(tiny_bert):
    """One row, three words of two pieces and one of one: 2 inputs at first, then one a word of two."""
    task = Task.from_parts(["{text} It was {mask}."], {"a": "qx", "b": "qz", "c": "zx", "d": "great"})
    sizes = []
    hook = tiny_bert.body.register_forward_hook(lambda module, inputs, output: sizes.append(len(output[0])))
    try:
        ask(Encoder(tiny_bert), task.pvps[0], EXAMPLES[:1])
    finally:
        hook.remove()
    assert sum(sizes) <= 2 + 3
    assert sum(sizes) >= 2 + 2


def test_causal_words_that_begin_alike_share_an_input(tiny_gpt2):
    task = Task.from_parts(["{text} It was {mask}"], {"a": "great", "b": "great story", "c": "great film"})
    sizes = []
    hook = tiny_gpt2.body.register_forward_hook(lambda module, inputs, output: sizes.append(len(output[0])))
    try:
        ask(Encoder(tiny_gpt2), task.pvps[0], EXAMPLES[:3])
    finally:
        hook.remove()
    assert sum(sizes) == 3  # "great" stands before the last piece of both others


def test_the_head_sees_open_masks_only_and_no_more_than_a_chunk(tiny_bert, monkeypatch):
    monkeypatch.setattr(scoring, "CHUNK_BYTES", 12 * tiny_bert.vocab * 4)
    seen = []
    hook = tiny_bert.model.get_output_embeddings().register_forward_hook(lambda module, x, y: seen.append(y.shape))
    try:
        ask(Encoder(tiny_bert), TASK.pvps[0], EXAMPLES * 5)
    finally:
        hook.remove()
    assert max(rows * slots for rows, slots, _ in seen) <= 12


def test_all_choices_of_a_row_read_the_same_cut_text(float64):
    """The text makes room for the longest word, whatever word is asked: PET trims masks, never gives text back."""
    backbone = float64("bert")
    long = [Example({"text": "a lovely film " * 60})]
    found = ask(Encoder(backbone), TASK.pvps[0], long, max_length=40)
    words = row_words(backbone, TASK.pvps[0], long)
    pieces = words.ids.shape[-1]
    encoded = Encoder(backbone).cloze(TASK.pvps[0].pattern, long, pieces, max_length=40)
    (great,) = words.ids[0, 1, 0][:1].tolist()
    slot = encoded.slots[0][0]
    ids = encoded.ids[0][: slot + 1] + encoded.ids[0][slot + pieces :]
    assert found.cut.tolist() == [True]
    np.testing.assert_allclose(found.labels[0, 1], log_p(backbone, ids)[slot, great].item(), rtol=0, atol=1e-10)


def test_asking_nothing_gives_nothing(tiny_bert, tiny_gpt2):
    for backbone in (tiny_bert, tiny_gpt2):
        assert ask(Encoder(backbone), TASK.pvps[0], []).labels.shape == (0, 4)
        assert ask(Encoder(backbone), QUIZ.pvps[0], [], []).labels.shape == (0, 0)


def test_an_unknown_decoding_is_an_error_that_names_the_known_ones(tiny_bert):
    with pytest.raises(SettingError, match="decoding=confidnt: no such way.*confident.*Write confident, left-to-right"):
        ask(Encoder(tiny_bert), TASK.pvps[0], EXAMPLES, decoding="confidnt")


def test_scores_that_are_no_numbers_stay_so_and_are_no_padding(fresh):
    backbone = fresh("bert")
    with torch.no_grad():
        backbone.model.get_output_embeddings().bias.fill_(float("nan"))
    found = ask(Encoder(backbone), QUIZ.pvps[0], QUIZZES, [QUIZ.choices(one) for one in QUIZZES]).labels
    assert np.isnan(found).sum() == sum(map(len, OPTIONS))
    assert np.isneginf(found).sum() == 4
