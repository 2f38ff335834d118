"""In double precision a CUDA device scores, trains and writes what the CPU does."""

import checks
import numpy as np
import pytest
import torch

from promptlab.backbone.device import generator
from promptlab.backbone.encode import Encoder
from promptlab.backbone.generate import Decoding, generate
from promptlab.backbone.pairs import sources
from promptlab.language.pattern import Pattern
from promptlab.language.task import Task
from promptlab.methods.in_context import InContextLearning
from promptlab.methods.method import Job
from promptlab.methods.zero_shot import ZeroShot
from promptlab.registry import KINDS, TUNINGS
from promptlab.tuning.lora import Lora
from promptlab.tuning.prefix import Prefix

pytestmark = pytest.mark.gpu

MASKED = ("bert", "roberta", "distilbert", "albert", "modernbert")
CAUSAL = ("gpt2", "llama", "qwen3", "mistral")
SMALL = {
    "soft": {"n": 3},
    "prefix": {"n": 3},
    "prelayer": {"n": 3},
    "unipelt": {"n": 3, "adapter_r": 4},
    "top": {"layers": 1},
}
WORDS = {"negative": ["terrible", "slow and dull"], "positive": "great"}
TASK = Task.from_parts(patterns=["{text} It was {mask}."], verbalizer=WORDS)
KIND = {"bert": "masked", "gpt2": "causal", "bart": "seq2seq"}
LEARNT = [(entry.name, family) for entry in TUNINGS for family, kind in KIND.items()
          if entry.name != "words" and kind in entry.trait("kinds", KINDS)]  # fmt: skip


def close(family):
    """Some families norm or rotate in single precision, whatever is asked."""
    return {"rtol": 0, "atol": 1e-5 if family in checks.SINGLE else 1e-10}


def scores(backbone, method, reviews):
    ((_, predictor),) = method.fit(backbone, None, [Job(TASK, reviews[:8], queries=reviews[8:])])
    return predictor.scores(reviews[8:])


@pytest.mark.parametrize("family", MASKED + CAUSAL)
def test_words_of_several_pieces_score_alike(float64, on_cuda, reviews, family):
    each = [scores(backbone, ZeroShot(), reviews) for backbone in (float64(family), on_cuda(family))]
    np.testing.assert_allclose(*each, **close(family))


@pytest.mark.parametrize("family", ("bert", *CAUSAL))
def test_demonstrations_in_a_shared_cache_score_alike(float64, on_cuda, reviews, family):
    method = InContextLearning(demonstrations=2)
    each = [scores(backbone, method, reviews) for backbone in (float64(family), on_cuda(family))]
    np.testing.assert_allclose(*each, **close(family))


@pytest.mark.parametrize("head", [False, True], ids=["cloze", "head"])
@pytest.mark.parametrize(("name", "family"), LEARNT)
def test_every_tuning_learns_the_same_numbers(float64, on_cuda, reviews, name, family, head):
    tuning = TUNINGS.build(name, {**SMALL.get(name, {}), "dropout": 0.0})
    members = checks.three(reviews, head)
    here, there = (
        checks.states(checks.trained(backbone, tuning, members, steps=5, packed=False))
        for backbone in (float64(family), on_cuda(family))
    )
    for one, other in zip(here, there, strict=True):
        assert one.keys() == other.keys()
        for part, tensor in one.items():
            assert other[part].device.type == "cuda"
            torch.testing.assert_close(other[part].cpu(), tensor, rtol=0, atol=1e-8)


@pytest.mark.parametrize("tuning", [None, Prefix(n=3), Lora()], ids=["plain", "prefix", "lora"])
@pytest.mark.parametrize("family", ["gpt2", "llama", "t5", "bart"])
@pytest.mark.parametrize("how", [{}, {"beams": 3}, {"sample": True}], ids=["greedy", "beams", "sampled"])
def test_texts_are_the_same(float64, on_cuda, reviews, family, tuning, how):
    found = [written(backbone, tuning, reviews, how) for backbone in (float64(family), on_cuda(family))]
    assert found[0] == found[1]


def written(backbone, tuning, reviews, how):
    encoder = tuning.reading(Encoder(backbone)) if tuning else Encoder(backbone)
    encoded = sources(encoder, Pattern.parse("short", "{text} In short: {target}"), reviews[:6], room=6)
    decoding = Decoding(max_tokens=6, min_tokens=2, stop="none", **how)
    if tuning is None:
        return generate(backbone, encoded, decoding)
    with tuning.begin(encoder, [None], [generator("m")]) as learnt:
        checks.moved(learnt)
        state = {name: tensor.clone() for name, tensor in learnt.state(0).items()}
    with tuning.applied(backbone, state):
        return generate(backbone, encoded, decoding)
