"""An ensemble's saved folder: members in stacks, and little beside their numbers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from promptlab.backbone.device import generator
from promptlab.backbone.encode import Encoder
from promptlab.hub import WEIGHTS, Origin, load_predictor, save_predictor
from promptlab.methods.predict import Ensemble, Model
from promptlab.registry import TUNINGS
from promptlab.spec import parse_system

MEMBERS = 4


@pytest.fixture(scope="module")
def deep(fresh):
    """24 layers."""
    small = fresh("bert")
    config = type(small.config)(**{**small.config.to_dict(), "num_hidden_layers": 24})
    return replace(small, model=type(small.model)(config).eval().requires_grad_(False))


def ensemble(backbone, task, tuning):
    """Members as they are before the first update."""
    pvp, encoder = task.pvps[0], Encoder(backbone)
    with tuning.begin(tuning.reading(encoder), [pvp] * MEMBERS, list(map(generator, "abcd"))) as learnt:
        states = [learnt.state(member) for member in range(MEMBERS)]
    return Ensemble([Model(task, backbone, encoder, pvp, tuning, state) for state in states], np.ones(MEMBERS))


@pytest.mark.parametrize("name", ["prefix:init=random", "lora", "houlsby", "soft"])
def test_members_lie_in_stacks_and_take_little_more_than_their_numbers(deep, reviews_task, tmp_path, name):
    system = parse_system(f"pet:student=false+{name}")
    made = ensemble(deep, reviews_task, TUNINGS.build(system.tuning.name, system.tuning.settings))
    save_predictor(tmp_path / "saved", made, deep, Origin(system, {}))
    kept = load_file(tmp_path / "saved" / WEIGHTS)
    stacks = {key: one for key, one in kept.items() if key != "weights"}
    assert all(key.startswith(f"{{0-{MEMBERS - 1}}}.") and len(one) == MEMBERS for key, one in stacks.items())
    assert ("{0-3}.prefix" in stacks) == name.startswith("prefix")
    stored = sum(one.numel() for one in stacks.values())
    assert stored == made.facts["stored_parameters"]
    size = sum(path.stat().st_size for path in (tmp_path / "saved").iterdir())
    assert 4 * stored <= size <= 4 * stored + MEMBERS * 16_000


def test_every_member_comes_back_as_it_was(tiny_bert, reviews_task, tmp_path):
    made = ensemble(tiny_bert, reviews_task, TUNINGS.build("prefix", {"n": 3}))
    save_predictor(tmp_path / "saved", made, tiny_bert, Origin(parse_system("pet:student=false+prefix:n=3"), {}))
    again = load_predictor(tmp_path / "saved", tiny_bert).predictor
    for one, other in zip(made.members, again.members, strict=True):
        assert torch.equal(one.state["prefix"], other.state["prefix"])
