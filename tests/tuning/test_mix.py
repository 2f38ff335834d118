"""Mixes: several tunings at once are each what it is alone, one after the other."""

from dataclasses import fields

import checks
import pytest
import torch

from promptlab.backbone.device import generator
from promptlab.errors import SettingError
from promptlab.registry import TUNINGS
from promptlab.training.loop import _optimiser
from promptlab.training.member import Recipe
from promptlab.tuning.bitfit import BitFit
from promptlab.tuning.lora import Lora
from promptlab.tuning.mix import Mix
from promptlab.tuning.prefix import Prefix

MIXES = [
    Mix("lora+bitfit", r=2),
    Mix("bitfit+lora", r=2, targets="all"),
    Mix("soft+lora", n=3, r=2),
    Mix("prefix+bitfit", n=3),
    Mix("soft+prefix", n=2),
    Mix("prefix+parallel+lora", n=3, mid=4, r=2),
    Mix("ia3+lora+bitfit+houlsby", r=2, targets="all"),
    Mix("pfeiffer+ia3+lora", r=2, targets="all"),
]
PLAIN = {"lora", "bitfit", "ia3", "pfeiffer", "houlsby"}  # parts whose start equals the plain backbone
LEFT_OUT = {"lr", "weight_decay", "dropout", "parts"}


@pytest.fixture(params=MIXES, ids=lambda one: one.parts)
def mix(request):
    return request.param


def test_it_keeps_what_every_tuning_must(float64, reviews, mix):
    for family in ("bert", "gpt2"):
        backbone = float64(family)
        checks.let_go(backbone, mix)
        if set(mix.members) <= PLAIN:
            checks.starts_plain(backbone, mix)
        checks.applies(backbone, mix, reviews)
        checks.stacks(backbone, mix, reviews)
        checks.differentiates(backbone, mix, reviews, shorter=10)
    checks.recomputes(float64("bert"), mix, reviews)
    checks.packs(float64("bert"), mix, reviews)
    checks.stacks(float64("bert"), mix, reviews, head=True)


def test_it_learns_and_is_found_again(tiny_bert, reviews, mix):
    checks.learns(tiny_bert, mix, reviews, lr=1e-2)
    checks.reloads(tiny_bert, mix, reviews)
    checks.reloads(tiny_bert, mix, reviews, head=True)


@pytest.mark.parametrize("name", ["adamix", "adamix-lora"])
def test_the_loss_of_two_passes_is_that_of_the_part_that_makes_them(float64, reviews, name):
    mix = TUNINGS.build("mix", {"parts": f"bitfit+{name}+soft", "r": 2, "n": 2, "experts": 3})
    assert mix.passes == 2
    checks.let_go(float64("bert"), mix)
    checks.stacks(float64("bert"), mix, reviews)
    checks.reloads(float64("bert"), mix, reviews)


def test_what_folds_into_shared_weights_stands_beside_them(float64, reviews, mix):
    checks.let_go(float64("albert"), mix)
    checks.applies(float64("albert"), mix, reviews)


def test_a_mix_is_its_parts_one_inside_the_other(float64):
    backbone, mix = float64("bert"), Mix("lora+bitfit", r=2)
    with mix.learn(backbone, True, [generator("m")]) as learnt:
        checks.moved(learnt)
        found, state = checks.logits(backbone), learnt.state(0)
    own = {part: {key.removeprefix(f"{part}."): one for key, one in state.items() if key.startswith(f"{part}.")}
           for part in ("lora", "bitfit")}  # fmt: skip
    with Lora(r=2).applied(backbone, own["lora"]), BitFit().applied(backbone, own["bitfit"]):
        torch.testing.assert_close(checks.logits(backbone), found, rtol=0, atol=1e-10)


def test_the_order_in_which_parts_are_written_says_the_rate_only(float64):
    backbone, outputs = float64("bert"), []
    for parts in ("lora+bitfit", "bitfit+lora"):
        with Mix(parts, r=2).learn(backbone, True, [generator("m")]) as learnt:
            checks.moved(learnt)
            outputs.append(checks.logits(backbone))
    assert torch.equal(*outputs)
    assert Mix("bitfit+lora").rate(backbone, True) == BitFit().rate(backbone, True)
    assert Mix("lora+bitfit", lr=0.5).rate(backbone, True) == 0.5


@pytest.mark.parametrize("lr", [None, 0.25])
def test_each_part_keeps_its_own_rate_or_its_proportion_to_the_first(tiny_bert, reviews, lr):
    mix, own = Mix("lora+prefix", r=2, n=3, lr=lr), {"lora": Lora(), "prefix": Prefix()}
    with mix.learn(tiny_bert, True, [generator("m")]) as learnt:
        optimiser = _optimiser(tiny_bert, mix, [checks.member(reviews, "m")], learnt, None, Recipe(steps=1, batch=2))
        groups = {id(one): group for group in optimiser.groups for one in group.tensors}
        for name, tensor in learnt.tensors.items():
            part = own[name.partition(".")[0]]
            scale = 1 if lr is None else lr / Lora().rate(tiny_bert, True)
            assert float(groups[id(tensor)].lr) == pytest.approx(part.rate(tiny_bert, True) * scale)
            assert float(groups[id(tensor)].weight_decay) == part.weight_decay
        assert float(optimiser.groups[0].lr) == pytest.approx(mix.rate(tiny_bert, True))  # the one that curves show


def test_settings_go_to_every_part_that_has_them():
    mix = TUNINGS.build("mix", {"parts": "lora+bitfit", "r": "3", "targets": "q", "dropout": "0.1"})
    assert mix.members == {"lora": Lora(r=3, targets="q", dropout=0.1), "bitfit": BitFit(dropout=0.1)}
    assert mix.pooler == "bias"
    assert mix.packs
    assert mix.passes == 1


def test_every_setting_of_a_part_is_one_of_the_mix():
    known = {one.name for one in fields(Mix)}
    for entry in TUNINGS:
        tuning = entry.load()
        if tuning.stackable and not tuning.name.startswith(("adamix", "unipelt")):
            assert {one.name for one in fields(tuning)} - LEFT_OUT <= known, entry.name


@pytest.mark.parametrize(
    ("parts", "settings", "said"),
    [
        ("lora+full", {}, "full changes the backbone itself"),
        ("top+lora", {}, "top changes the backbone itself"),
        ("lora+words", {}, "words learns text"),
        ("lora+mix", {}, "mix is a mix itself"),
        ("soft+unipelt", {}, "unipelt is a mix itself"),
        ("pfeiffer+bitfit", {}, "bitfit and pfeiffer would both use the norms' biases"),
        ("soft+lora+prelayer", {}, "prelayer and soft would learn the same soft tokens"),
        ("adamix+adamix-lora", {}, "adamix and adamix-lora would each compare the two passes"),
        ("lora+lora", {}, "two or more different"),
        ("lora", {}, "two or more different"),
        ("lora+bitfit", {"n": 3}, "none of lora, bitfit has a setting 'n'"),
        ("lora+bitfitt", {}, "no tuning 'bitfitt'.*bitfit"),
    ],
)
def test_parts_that_cannot_be_are_refused_by_name(parts, settings, said):
    with pytest.raises(SettingError, match=said):
        Mix(parts, **settings)


def test_what_a_part_refuses_is_refused_before_anything_learns(tiny_bert):
    with (
        pytest.raises(SettingError, match="lora: r=99"),
        Mix("lora+bitfit", r=99).learn(tiny_bert, True, [generator("m")]),
    ):
        pass
    assert not any(one._forward_hooks for one in tiny_bert.model.modules())
