"""Prompt tuning: what is written where, how it starts, how it learns."""

import numpy as np
import pytest
import torch

from promptlab import PromptClassifier
from promptlab.backbone.device import generator
from promptlab.backbone.encode import Encoder
from promptlab.backbone.marks import embedding_of, embeddings
from promptlab.errors import DataError, SettingError
from promptlab.language.example import Example
from promptlab.language.task import Task
from promptlab.training.loop import step_losses, train
from promptlab.training.member import Member, Recipe, Rows
from promptlab.tuning.lora import Lora
from promptlab.tuning.prelayer import Prelayer
from promptlab.tuning.soft import Soft

WORDS = {"negative": ["terrible", "bad"], "positive": ["great", "good"]}
TASK = Task.from_parts(
    patterns=["{text} It was {mask}", "{soft:It was} {text} so {soft:2} {mask}", "{text}{soft:3} {mask}"],
    verbalizer=WORDS,
)
BOTH = [Soft(n=3), Prelayer(n=3)]
FAMILIES = ["bert", "roberta", "albert", "modernbert", "gpt2", "llama"]


def named(one):
    return getattr(one, "name", str(one))


def member(reviews, key="a", pvp=0, rows=8, **rates):
    chosen = reviews[:rows]
    targets = np.array([TASK.labels.index(one.label) for one in chosen])
    asked = None if pvp is None else TASK.pvps[pvp]
    return Member(
        key, chosen, targets, 2, ("text",), asked, unlabelled=[one.unlabelled() for one in reviews[20:]], **rates
    )


def trained(backbone, tuning, members, **recipe):
    settings = {"steps": 3, "batch": 5, "budget": 10**6, **recipe}
    return list(train(backbone, tuning, members, Recipe(**settings), Encoder(backbone)))


def started(backbone, tuning, pvp=None, key="a"):
    encoder = tuning.reading(Encoder(backbone))
    with tuning.begin(encoder, [pvp], [generator(key)]) as learnt:
        return learnt.state(0)


# ---------------------------------------------------------------- training


@pytest.mark.parametrize("tuning", BOTH, ids=named)
@pytest.mark.parametrize("family", ["bert", "roberta", "albert", "gpt2", "llama"])
def test_a_stack_of_other_patterns_trains_each_member_as_alone(float64, reviews, tuning, family):
    backbone = float64(family)
    members = [
        member(reviews, "a", 0, lr=1e-2),
        member(reviews, "b", 1, rows=3, lr=3e-3, weight_decay=0.1),
        member(reviews, "c", 2),
    ]
    found = trained(backbone, tuning, members)
    assert [len(one) for done in found for one in done.state.values()][:: len(found[0].state)] == [3, 4, 3]
    for together, one in zip(found, members, strict=True):
        (alone,) = trained(backbone, tuning, [one])
        assert alone.state.keys() == together.state.keys()
        for name in alone.state:
            torch.testing.assert_close(together.state[name], alone.state[name], rtol=0, atol=1e-10)


@pytest.mark.parametrize("tuning", BOTH, ids=named)
@pytest.mark.parametrize("pvp", [None, 0, 1])
@pytest.mark.parametrize("family", FAMILIES)
def test_three_steps_let_the_loss_fall(tiny, reviews, tuning, pvp, family):
    backbone = tiny(family)
    one = member(reviews, pvp=pvp, lr=3e-2)
    losses = [trained(backbone, tuning, [one], steps=steps, batch=8, warmup=0.0)[0].facts["loss"] for steps in (1, 4)]
    assert losses[1] < losses[0]


@pytest.mark.parametrize("tuning", BOTH, ids=named)
@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2"])
def test_packed_rows_train_as_padded_ones(float64, reviews, tuning, family):
    backbone = float64(family)
    for pvp in (None, 1):
        members = [member(reviews, "a", pvp), member(reviews, "b", pvp)]
        packed, padded = (trained(backbone, tuning, members, packed=packed) for packed in (True, False))
        for one, other in zip(packed, padded, strict=True):
            for name in one.state:
                torch.testing.assert_close(one.state[name], other.state[name], rtol=0, atol=1e-8)
