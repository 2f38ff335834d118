"""Where soft tokens start, under ``soft`` and ``prelayer``."""

from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForMaskedLM

from promptlab.backbone.decode import answer
from promptlab.backbone.device import generator
from promptlab.backbone.encode import Encoder
from promptlab.backbone.fragments import Fragment
from promptlab.backbone.marks import embeddings
from promptlab.backbone.words import label_words
from promptlab.errors import SettingError
from promptlab.language.task import Task
from promptlab.methods.predict import Model
from promptlab.tuning.prelayer import Prelayer
from promptlab.tuning.soft import Soft

WORDS = {"negative": ["terrible", "bad"], "positive": ["great", "good"]}
TASK = Task.from_parts(patterns=["{text} It was {mask}"], verbalizer=WORDS)


def started(backbone, tuning, pvp=None, key="a"):
    with tuning.begin(tuning.reading(Encoder(backbone)), [pvp], [generator(key)]) as learnt:
        return learnt.state(0)


def scores(backbone, source, tuning=None, state=None, rows=None):
    """Label scores of rows in a pattern, under a tuning or plain."""
    task = Task.from_parts(patterns=[source], verbalizer=WORDS)
    return Model(task, backbone, Encoder(backbone), task.pvps[0], tuning, state or {}).scores(rows)


def test_a_slots_own_words_start_as_the_words(each, reviews):
    task = Task.from_parts(patterns=["{text} {soft:It was} {mask}"], verbalizer=WORDS)
    state = started(each, Soft(), task.pvps[0])
    found = scores(each, "{text} {soft:It was} {mask}", Soft(), state, reviews[:6])
    assert found == pytest.approx(scores(each, "{text} It was {mask}", rows=reviews[:6]), abs=1e-5)


def test_words_before_the_text_start_as_the_words(each, reviews):
    tuning, pvp = Soft(n=3, init="words", text="Just so"), TASK.pvps[0]
    encoder, words = tuning.reading(Encoder(each)), label_words(each, pvp).ids
    (just, so), rows = encoder.fragments.all([Fragment.of("Just so", "")])[0], encoder.cloze(pvp.pattern, reviews[:6])
    with tuning.applied(each, started(each, tuning)):
        found = answer(each, rows, words[None]).labels
    rows.ids = [[{-1: just, -2: so, -3: just}.get(one, one) for one in ids] for ids in rows.ids]  # over again
    assert found == pytest.approx(answer(each, rows, words[None]).labels, abs=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_on_decoders_prelayer_starts_as_prompt_tuning_does(float64, reviews, family):
    backbone = float64(family)
    for place in ("text", "front"):
        soft, prelayer = Soft(n=3, place=place), Prelayer(n=3, place=place)
        wanted, found = (
            scores(backbone, "{text} {mask}", one, started(backbone, one), reviews[:6]) for one in (soft, prelayer)
        )
        assert found == pytest.approx(wanted, abs=1e-5 if family == "llama" else 1e-10)


def test_label_words_come_first_each_the_mean_of_its_tokens_and_then_the_vocabulary(tiny_bert):
    task = Task.from_parts(patterns=["{text} {mask}"], verbalizer={"a": ["terrible", "bad film"], "b": "great"})
    table, ids = embeddings(tiny_bert), tiny_bert.tokenizer.convert_tokens_to_ids
    found = started(tiny_bert, Soft(n=5, init="labels"), task.pvps[0])["soft.P"]
    wanted = [table[ids("terrible")], table[ids("great")], table[ids(["bad", "film"])].mean(0)]
    torch.testing.assert_close(found[:3], torch.stack(wanted))
    assert all(any(torch.equal(one, row) for row in table) for one in found[3:])


def test_the_vocabulary_is_drawn_without_a_token_twice_and_by_the_members_own_generator(tiny_bert):
    found, again, other = (started(tiny_bert, Soft(n=20), key=key)["soft.P"] for key in "aab")
    assert len({tuple(one.tolist()) for one in found}) == 20
    assert torch.equal(found, again)
    assert not torch.equal(found, other)


def test_chance_is_as_spread_as_the_embeddings(tiny_albert):
    found = started(tiny_albert, Soft(n=400, init="random"))["soft.P"]
    assert found.shape == (400, 16)  # ALBERT embeds in 16, and is 32 wide
    assert found.std() == pytest.approx(float(embeddings(tiny_albert).std()), rel=0.05)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"n": 0}, "n=0"),
        ({"init": "vocab"}, "no such start. Did you mean"),
        ({"init": "words"}, "no words to start from"),
        ({"text": "It was"}, "Write init=words"),
        ({"place": "back"}, "no such place"),
    ],
)
@pytest.mark.parametrize("kind", [Soft, Prelayer])
def test_settings_that_cannot_be_are_refused(kind, settings, said):
    with pytest.raises(SettingError, match=said) as caught:
        kind(**settings)
    assert str(caught.value).startswith(kind.name) and "Write" in str(caught.value)


@pytest.mark.parametrize("tuning", [Soft(init="labels"), Prelayer(init="labels")])
def test_label_words_that_rows_bring_are_no_start(tiny_bert, tuning):
    task = Task.from_parts(patterns=["{a} or {b}? {mask}"], verbalizer={"first": "{a}", "second": "{b}"})
    with pytest.raises(SettingError, match="label words that all rows share, and there are none. Write init=vocab"):
        started(tiny_bert, tuning, task.pvps[0])


@pytest.mark.parametrize(("tuning", "wanted"), [(Soft(n=7), 7 * 32), (Prelayer(n=7), 2 * 7 * 32)])
def test_without_weights_a_start_has_its_shape_alone(tiny_bert, tuning, wanted):
    with torch.device("meta"):
        blank = replace(tiny_bert, model=AutoModelForMaskedLM.from_config(tiny_bert.config), tokenizer=None)
    with tuning.learn(blank, True, [generator("a")]) as learnt:
        assert all(one.is_meta and len(one) == 1 for one in learnt.tensors.values())
        assert sum(one.numel() for one in learnt.tensors.values()) == wanted
        assert sum(one.numel() for one in learnt.state(0).values()) == wanted


@pytest.mark.parametrize("kind", [Soft, Prelayer])
def test_a_narrower_backbone_takes_larger_steps(tiny_bert, kind):
    assert kind().rate(tiny_bert, True) == pytest.approx(3e-3 * 1024 / 32)
    assert kind(lr=1e-4).rate(tiny_bert, True) == 1e-4
