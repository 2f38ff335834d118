"""Numbers that cannot be are refused when a tuning is made, whatever tuning it is and wherever it is written."""

from dataclasses import fields
from math import inf, nan
from typing import get_args, get_type_hints

import pytest

from promptlab.errors import SettingError
from promptlab.methods.chosen import choose
from promptlab.registry import TUNINGS
from promptlab.tuning.lora import Lora
from promptlab.tuning.mix import Mix
from promptlab.tuning.unipelt import UniPelt

BAD = {  # what a setting may not hold; every other number may not be below 1
    "lr": (-1.0, inf, nan),
    "weight_decay": (-1.0, inf, nan),
    "consistency": (-1.0, inf, nan),
    "alpha": (-3.0, 0.0, inf, nan),
    "scale": (-1.0, 0.0, inf, nan),
    "dropout": (-1.0, 1.0, 2.0, nan),
    "experts": (-1, 0, 1, 2.5),
    "mid": (-1, 0.5),
}
LEAST = {"lr": 0.0, "weight_decay": 0.0, "consistency": 0.0, "alpha": 1e-9, "scale": 1e-9, "dropout": 0.0, "mid": 0}
BESIDE = {  # settings that are read only beside another
    ("prefix", "embed"): {"mid": 2},
    ("mix", "embed"): {"mid": 2},
    ("mix", "alpha"): {"parts": "lora+soft"},
    ("mix", "experts"): {"parts": "adamix+soft"},
}


def numeric(cls):
    """The settings of a dataclass that are numbers."""
    hints = get_type_hints(cls)
    for one in fields(cls):
        kinds = {hints[one.name], *get_args(hints[one.name])}
        if one.init and kinds & {int, float} and bool not in kinds:
            yield one.name


SETTINGS = [(entry.name, key) for entry in TUNINGS for key in numeric(entry.load())]


def made(name, key, value):
    return TUNINGS.entry(name).load()(**{key: value}, **BESIDE.get((name, key), {}))


def test_every_tunings_numbers_are_looked_at():
    assert {name for name, _ in SETTINGS} == {entry.name for entry in TUNINGS}
    assert {("lora", "alpha"), ("top", "layers"), ("unipelt", "adapter_r"), ("mix", "experts")} <= set(SETTINGS)


@pytest.mark.parametrize(("name", "key"), SETTINGS)
def test_a_number_that_cannot_be_is_refused_when_the_tuning_is_made(name, key):
    for value in (*BAD.get(key, (-1, 0, 2.5)), "many", True):
        with pytest.raises(SettingError, match=f"^{name}: {key}={value} cannot be. Write a (whole )?number "):
            made(name, key, value)
    with pytest.raises(SettingError, match=f"^{name}: {key}=-1(.0)? cannot be. Write a "):
        TUNINGS.build(name, {key: "-1"})


@pytest.mark.parametrize(("name", "key"), SETTINGS)
def test_the_least_that_can_be_is_taken(name, key):
    least = LEAST.get(key, 2 if key == "experts" else 1)
    assert getattr(made(name, key, least), key) == least


@pytest.mark.parametrize(("name", "key"), [("lora", "r"), ("soft", "weight_decay"), ("mix", "dropout")])
def test_none_stands_only_where_it_is_the_default(name, key):
    with pytest.raises(SettingError, match=f"{name}: {key}=None cannot be"):
        made(name, key, None)
    assert Lora(lr=None).lr is None


def test_numbers_of_numpy_are_numbers():
    import numpy as np

    assert Lora(r=np.int64(4), lr=np.float32(0.1)).r == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prompt+lora:lr=-1", "lora: lr=-1.0"),
        ("prompt+adamix:weight_decay=-2", "adamix: weight_decay=-2.0"),
        ("prompt+mix:parts=soft+lora,alpha=0", "mix: alpha=0.0"),
        ("finetune+mix:parts=adamix+prefix,experts=1", "mix: experts=1"),
        ("finetune+unipelt:parts=ap,lr=inf", "unipelt: lr=inf"),
    ],
)
def test_a_system_says_which_tuning_it_is(text, said):
    with pytest.raises(SettingError, match=f"^{said} cannot be. Write a "):
        choose(text)


def test_parts_are_looked_at_as_the_whole_is():
    with pytest.raises(SettingError, match="mix: n=0 cannot be"):
        Mix("soft+lora", n=0)
    with pytest.raises(SettingError, match="unipelt: adapter_r=0 cannot be"):
        UniPelt("ap", adapter_r=0)
