from dataclasses import dataclass
from typing import ClassVar

import pytest

from promptlab.errors import SettingError
from promptlab.methods.baselines import Tfidf
from promptlab.methods.chosen import choose
from promptlab.methods.pet import Pet
from promptlab.methods.zero_shot import ZeroShot
from promptlab.tuning.full import Full
from promptlab.tuning.lora import Lora


@dataclass(frozen=True)
class Oracle:
    """A method of somebody else's."""

    needs_labels: ClassVar[bool] = False
    needs_backbone: ClassVar[bool] = False
    learns: ClassVar[bool] = False
    depth: int = 1

    def fit(self, backbone, tuning, jobs):
        yield from ()


@pytest.mark.parametrize(
    ("method", "tuning"),
    [
        ("pet:repetitions=2", "lora:r=4"),
        ("pet:repetitions=2+lora:r=4", None),
        (Pet(repetitions=2), Lora(r=4)),
        ("pet:repetitions=2", Lora(r=4)),
    ],
)
def test_names_and_objects_say_the_same(method, tuning):
    chosen = choose(method, tuning)
    assert (chosen.method, chosen.tuning) == (Pet(repetitions=2), Lora(r=4))
    assert str(chosen.system) == "pet:repetitions=2+lora:r=4"


def test_full_is_what_learns_where_nothing_is_said():
    chosen = choose("prompt")
    assert chosen.tuning == Full()
    assert str(chosen.system) == "prompt+full"


def test_a_method_that_learns_nothing_has_no_tuning():
    chosen = choose("zero-shot")
    assert chosen.tuning is None
    assert str(chosen.system) == "zero-shot"


def test_an_object_is_written_so_that_it_reads_back():
    given = ZeroShot(patterns="a+b", calibration="batch", transductive=True)
    assert choose(str(choose(given).system)).method == given


def test_settings_of_none_and_of_small_numbers_read_back():
    given = Lora(lr=1e-5), Pet(head_lr=None)
    chosen = choose(given[1], given[0])
    again = choose(str(chosen.system))
    assert (again.tuning, again.method) == given


def test_settings_hold_all_and_as_the_preset_settles_them():
    settings = choose("pet:preset=superglue", "lora").settings
    assert settings["method"]["weights"] == "accuracy"
    assert settings["tuning"]["alpha"] == 16.0
    assert choose("majority").settings == {"method": {}, "tuning": None}


def test_a_method_of_ones_own_goes_by_the_name_of_its_class():
    chosen = choose(Oracle(depth=3))
    assert chosen.method == Oracle(depth=3)
    assert str(chosen.system) == "oracle:depth=3"


def test_a_method_of_ones_own_that_learns_nothing_takes_no_tuning_either():
    with pytest.raises(SettingError, match="oracle trains no weights"):
        choose(Oracle(), "lora")


@pytest.mark.parametrize(
    ("method", "tuning", "message"),
    [
        ("pte", None, "no method 'pte'. Did you mean 'pet'"),
        ("pet", "lroa", "no tuning 'lroa'. Did you mean 'lora'"),
        ("pet:repetitons=1", None, "no setting 'repetitons'"),
        ("pet+lora", "lora", "names a tuning, and so does"),
        ("tfidf", "lora", "tfidf trains no weights, so it takes no tuning"),
        ("majority+full", None, "majority trains no weights"),
        ("prompt:steps=1|2", None, "is 2 systems. Write one"),
        ("prompt", "lora:r=1|2|4", "is 3 tunings. Write one"),
        (Pet, None, "the class Pet is no method"),
        (Lora(), None, "a Lora is no method"),
        ("pet", Tfidf(), "a Tfidf is no tuning"),
        (None, None, "a NoneType is no method"),
        ("pet", 3, "a int is no tuning"),
    ],
)
def test_what_cannot_be_chosen_says_why(method, tuning, message):
    with pytest.raises(SettingError, match=message.replace("+", r"\+")):
        choose(method, tuning)
