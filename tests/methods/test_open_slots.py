"""Soft slots without words that nothing learns: refused, or left out and told, never silently."""

import pytest

from promptlab.errors import SettingError
from promptlab.language.task import Task
from promptlab.methods.finetune import Finetune
from promptlab.methods.in_context import InContextLearning
from promptlab.methods.ipet import Ipet
from promptlab.methods.method import Job
from promptlab.methods.pet import Pet
from promptlab.methods.prompt import Prompt
from promptlab.methods.shown import show_untrained
from promptlab.methods.zero_shot import ZeroShot
from promptlab.tuning.full import Full
from promptlab.tuning.lora import Lora
from promptlab.tuning.mix import Mix
from promptlab.tuning.prefix import Prefix
from promptlab.tuning.prelayer import Prelayer
from promptlab.tuning.soft import Soft
from promptlab.tuning.words import Words

WORDS = {"negative": "terrible", "positive": "great"}
OPEN = Task.from_parts(patterns={"soft": "{text} {soft:3} {mask}", "was": "{text} It was {mask}"}, verbalizer=WORDS)
WORDED = Task.from_parts(patterns=["{text} {soft:It was} {mask}"], verbalizer=WORDS)
AFTER = Task.from_parts(patterns=["{text} It was {mask} {soft:3}"], verbalizer=WORDS)
TEXT = Task.from_parts(patterns={"soft": "{source} {soft:2} : {target}"}, verbalizer=None, name="notes")
QUICK = {"repetitions": 1, "steps": 1, "student": False}


def fit(method, backbone, task, rows, tuning=None):
    unlabelled = [row.unlabelled() for row in rows[4:8]]
    [(_, predictor)] = method.fit(backbone, tuning, [Job(task, rows[:4], unlabelled, queries=rows[8:10])])
    return predictor


def told(predictor):
    return [note for note in predictor.facts["notes"] if "soft slots" in note]


@pytest.mark.parametrize("method", [ZeroShot(), InContextLearning(demonstrations=1), ZeroShot(patterns="all")])
@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_a_method_that_learns_nothing_refuses_them(tiny, reviews, method, family):
    name = "in-context" if isinstance(method, InContextLearning) else "zero-shot"
    with pytest.raises(SettingError) as caught:
        fit(method, tiny(family), OPEN, reviews)
    assert str(caught.value) == (
        f"pattern 'soft' has {{soft:3}}, and {name} learns no soft tokens. Write words in it, as {{soft:It was}}, or "
        "prompt+soft, or other patterns=."
    )


@pytest.mark.parametrize("method", [ZeroShot(), InContextLearning(demonstrations=1)])
def test_so_it_does_where_a_text_is_asked_for(tiny_gpt2, notes, method):
    with pytest.raises(SettingError, match="learns no soft tokens. Write words in it, .* or finetune.soft"):
        fit(method, tiny_gpt2, TEXT, notes)


def test_what_is_not_asked_or_not_read_or_has_words_is_no_matter(tiny_bert, tiny_gpt2, reviews):
    assert not told(fit(ZeroShot(patterns="was"), tiny_bert, OPEN, reviews))
    assert not told(fit(ZeroShot(), tiny_bert, WORDED, reviews))
    assert not told(fit(ZeroShot(), tiny_gpt2, AFTER, reviews))
    assert not told(fit(Prompt(steps=1), tiny_bert, WORDED, reviews, Lora(r=2)))
    with pytest.raises(SettingError, match="zero-shot learns no soft tokens"):
        fit(ZeroShot(), tiny_bert, AFTER, reviews)


@pytest.mark.parametrize("tuning", [Lora(r=2), Full(), Prefix(n=2), Mix("lora+prefix", n=2, r=2)])
def test_a_tuning_that_learns_no_tokens_says_once_that_it_leaves_them_out(tiny_bert, reviews, tuning):
    found = fit(Prompt(steps=1, patterns="all"), tiny_bert, OPEN, reviews, tuning)
    assert told(found) == [f"'soft': soft slots without words left out, for {tuning.name} learns no soft tokens"]


@pytest.mark.parametrize("tuning", [Soft(n=2), Prelayer(n=2), Mix("soft+lora", n=2, r=2), Words(candidates=2)])
def test_where_they_are_learnt_nothing_is_said(tiny_bert, reviews, tuning):
    assert not told(fit(Prompt(steps=1), tiny_bert, OPEN, reviews, tuning))


@pytest.mark.parametrize("method", [Pet(**QUICK), Ipet(generations=1, **QUICK)])
def test_ensembles_say_it_too(tiny_bert, reviews, method):
    assert len(told(fit(method, tiny_bert, OPEN, reviews, Lora(r=2)))) == 1
    assert not told(fit(method, tiny_bert, OPEN, reviews, Soft(n=2)))


def test_writers_say_it_too(tiny_gpt2, notes):
    assert len(told(fit(Finetune(steps=1), tiny_gpt2, TEXT, notes, Lora(r=2)))) == 1
    assert not told(fit(Finetune(steps=1), tiny_gpt2, TEXT, notes, Soft(n=2)))


def test_shown_untrained_such_a_pattern_says_why_it_is_skipped_and_the_others_answer(tiny_bert, reviews):
    [one] = show_untrained(OPEN, tiny_bert, reviews[:1]).texts
    soft, was = one["patterns"]
    assert "zero-shot learns no soft tokens" in soft["skipped"]
    assert was["probabilities"]
