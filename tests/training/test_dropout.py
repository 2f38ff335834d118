"""A tuning's dropout is the rate of every place that drops, whether a module of its own or a number says so."""

import checks
import pytest

from promptlab.training.loop import _dropouts
from promptlab.tuning.full import Full
from promptlab.tuning.lora import Lora

RATE = 0.25


@pytest.mark.parametrize("family", ["bert", "distilbert", "modernbert", "gpt2", "llama", "bart"])
def test_every_rate_is_the_tunings_while_it_learns_and_its_own_afterwards(tiny, reviews, family):
    backbone, seen = tiny(family), []

    def rates():
        return [float(getattr(module, name)) for module, name in _dropouts(backbone)]

    before = rates()
    handle = backbone.body.register_forward_pre_hook(lambda *_: seen.append(rates()))
    checks.trained(backbone, Lora(r=2, dropout=RATE), [checks.member(reviews, "a")], steps=1)
    handle.remove()
    assert set(seen[-1]) == {RATE}
    assert rates() == before != seen[-1]


@pytest.mark.parametrize("family", ["modernbert", "llama"])
def test_attention_that_keeps_its_rate_as_a_number_drops(float64, reviews, family):
    def learnt(rate):
        (found,) = checks.trained(float64(family), Full(dropout=rate), [checks.member(reviews, "a")], steps=2)
        return checks.states([found])[0]

    plain, dropped = learnt(0.0), learnt(RATE)
    assert any(not one.equal(dropped[name]) for name, one in plain.items())
