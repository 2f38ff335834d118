"""Blocks under the lowest learnt one are run once a row, and nothing changes by it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from promptlab.backbone import below as kept
from promptlab.backbone.encode import Encoder
from promptlab.language.task import Task
from promptlab.training.loop import train
from promptlab.training.member import Member, Recipe
from promptlab.tuning.full import Top
from promptlab.tuning.lora import Lora

TASK = Task.from_parts(
    patterns=["{text} All in all, it was {mask}."], verbalizer={"negative": "terrible", "positive": "great"}
)


def members(reviews, head, count=2):
    targets = np.array([TASK.labels.index(one.label) for one in reviews[:6]])
    pvp = None if head else TASK.pvps[0]
    return [Member(f"m{i}", reviews[:6], targets, 2, ("text",), pvp) for i in range(count)]


def trained(backbone, reviews, head=False, tuning=None, **recipe):
    settings = Recipe(**{"steps": 5, "batch": 4, **recipe})
    found = train(backbone, tuning or Top(layers=1), members(reviews, head), settings, Encoder(backbone))
    return [{name: tensor.clone() for name, tensor in one.state.items()} for one in found]


@pytest.fixture
def anew(monkeypatch):
    """Training with every block run in every step."""

    def run(*args, **named):
        with monkeypatch.context() as patch:
            patch.setattr(Top, "below", lambda self, backbone: 0)
            return trained(*args, **named)

    return run


@pytest.fixture
def seen(monkeypatch):
    """How many rows the frozen blocks have read."""
    rows = []
    read = kept.Below._read
    monkeypatch.setattr(kept.Below, "_read", lambda self, batch: (rows.append(len(batch.slots)), read(self, batch))[1])
    return rows


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "modernbert", "gpt2", "llama"])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("head", [True, False])
def test_training_the_top_is_the_same_with_what_lies_below_it_kept(float64, anew, reviews, seen, family, packed, head):
    backbone = float64(family)
    before = {name: one.clone() for name, one in backbone.model.state_dict().items()}
    fast = trained(backbone, reviews, head, packed=packed)
    assert sum(seen) == 6  # each row once, for both members
    slow = anew(backbone, reviews, head, packed=packed)
    for one, other in zip(fast, slow, strict=True):
        for name, tensor in one.items():
            torch.testing.assert_close(tensor, other[name], rtol=0, atol=1e-10)
    after = backbone.model.state_dict()
    assert all(torch.equal(one, after[name]) for name, one in before.items())
    assert not any("forward" in vars(module) for module in backbone.model.modules())


def test_rows_that_find_no_room_are_read_anew_with_the_same_result(float64, anew, reviews, seen, monkeypatch):
    backbone = float64("bert")
    make = kept.Below.__init__
    monkeypatch.setattr(kept.Below, "__init__", lambda self, *args: make(self, *args, most=6000))
    fast = trained(backbone, reviews)
    assert sum(seen) > 6
    for one, other in zip(fast, anew(backbone, reviews), strict=True):
        for name, tensor in one.items():
            torch.testing.assert_close(tensor, other[name], rtol=0, atol=1e-10)


@pytest.mark.parametrize("what", ["dropout", "mlm", "lora", "all"])
def test_nothing_is_kept_where_it_may_change(tiny_bert, reviews, seen, what):
    named = {
        "dropout": {"tuning": Top(layers=1, dropout=0.1)},
        "mlm": {"mlm": 1e-2, "mlm_batch": 2},
        "lora": {"tuning": Lora(r=2)},
        "all": {"tuning": Top(layers=2)},
    }[what]
    if what == "mlm":
        chosen = [replace(one, unlabelled=reviews[8:12]) for one in members(reviews, head=False)]
        list(train(tiny_bert, Top(layers=1), chosen, Recipe(steps=2, batch=4, **named), Encoder(tiny_bert)))
    else:
        trained(tiny_bert, reviews, steps=2, **named)
    assert not seen


def test_blocks_that_share_their_weights_are_all_the_top(tiny_albert, tiny_bert):
    assert Top(layers=1).below(tiny_albert) == 0
    assert Top(layers=1).below(tiny_bert) == tiny_bert.layers - 1
