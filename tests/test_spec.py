import pytest

from promptlab.errors import SettingError
from promptlab.registry import METHODS
from promptlab.spec import Spec, System, parse_spec, parse_system, parse_systems, settled, split_list


def test_a_list_is_split_at_commas():
    assert split_list("majority, tfidf,probe") == ["majority", "tfidf", "probe"]


def test_a_piece_that_starts_with_a_key_joins_the_item_before_it():
    assert split_list("pet+lora:r=8,alpha=16,probe") == ["pet+lora:r=8,alpha=16", "probe"]


def test_empty_pieces_are_dropped():
    assert split_list("a,,b,") == ["a", "b"]


def test_a_bare_name_has_no_settings():
    assert parse_spec("pet") == Spec("pet")


def test_settings_are_kept_as_text():
    assert parse_spec("pet:repetitions=1,preset=2020").settings == {"repetitions": "1", "preset": "2020"}


def test_a_value_may_hold_a_colon():
    assert parse_spec("in-context:demonstrations=total:1").settings == {"demonstrations": "total:1"}


@pytest.mark.parametrize("text", ["", ":", "pet:", "pet:repetitions", "pet:repetitions=", "pet:=3", "lr=3", "a b"])
def test_what_is_no_name_with_settings_is_refused(text):
    with pytest.raises(SettingError, match="Write"):
        parse_spec(text)


def test_a_setting_given_twice_is_refused():
    with pytest.raises(SettingError, match=r"says r twice. Write it once, or r=4\|8"):
        parse_spec("lora:r=4,r=8")


@pytest.mark.parametrize(
    ("text", "method", "tuning"),
    [
        ("pet", "pet", None),
        ("pet+lora", "pet", "lora"),
        ("pet:repetitions=1+lora:r=8", "pet:repetitions=1", "lora:r=8"),
        ("prompt:patterns=a+b", "prompt:patterns=a+b", None),
        ("prompt:patterns=a+b+lora", "prompt:patterns=a+b", "lora"),
        ("prompt:patterns=a+b+lora:r=2,alpha=4", "prompt:patterns=a+b", "lora:r=2,alpha=4"),
        ("finetune+unipelt:parts=adapter+prefix", "finetune", "unipelt:parts=adapter+prefix"),
        ("pet:repetitions=1+loar:r=8", "pet:repetitions=1", "loar:r=8"),
    ],
)
def test_the_plus_parts_method_from_tuning_and_not_the_items_of_a_value(text, method, tuning):
    assert parse_system(text) == System(parse_spec(method), parse_spec(tuning) if tuning else None)


@pytest.mark.parametrize("text", ["pet", "pet+lora", "pet:repetitions=1,patterns=a+b+lora:r=8"])
def test_a_system_reads_as_it_was_written(text):
    assert str(parse_system(text)) == text


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("prompt:steps=1+lorra", "no tuning 'lorra'. Did you mean 'lora'?"),
        ("prompt:steps=1|2+lorra", "no tuning 'lorra'. Did you mean 'lora'?"),
        ("prompt:patterns=a+b,steps=1+prefx", "no tuning 'prefx'. Did you mean 'prefix'?"),
        ("prompt:steps=1+lorra,batch=2", "no tuning 'lorra'. Did you mean 'lora'?"),
        ("pet:student=true+hulsby", "no tuning 'hulsby'. Did you mean 'houlsby'?"),
        ("prompt:calibration=contextual+adamx", "no tuning 'adamx'. Did you mean 'adamix'?"),
        ("prompt:steps=1+2", "prompt: steps=1+2 cannot be read"),
        ("prompt:steps=1+something", "prompt: steps=1+something cannot be read"),
    ],
)
def test_a_tuning_misspelt_behind_a_setting_is_told_as_a_tuning(text, meant):
    with pytest.raises(SettingError) as caught:
        [METHODS.build(one.method.name, one.method.settings) for one in parse_systems(text)]
    assert str(caught.value).startswith(meant)


@pytest.mark.parametrize("text", ["prompt:patterns=a+lorra", "zero-shot:instruction=Read it + word by word + tops"])
def test_what_ends_a_list_or_a_text_may_look_like_a_tuning(text):
    [one] = parse_systems(text)
    assert METHODS.build(one.method.name, one.method.settings)


def test_a_dangling_plus_is_refused():
    with pytest.raises(SettingError, match="Write name"):
        parse_system("pet+")


def test_a_list_of_systems_keeps_its_order():
    read = parse_systems("majority,pet+lora:r=8,alpha=16,prompt:patterns=a+b")
    assert list(map(str, read)) == ["majority", "pet+lora:r=8,alpha=16", "prompt:patterns=a+b"]


def test_a_bar_opens_a_sweep_over_both_sides():
    read = parse_systems("pet:repetitions=1|3+lora:r=4|8")
    assert list(map(str, read)) == [
        "pet:repetitions=1+lora:r=4",
        "pet:repetitions=1+lora:r=8",
        "pet:repetitions=3+lora:r=4",
        "pet:repetitions=3+lora:r=8",
    ]


def test_a_sweep_goes_over_whole_lists():
    assert list(map(str, parse_systems("prompt:patterns=a+b|c"))) == ["prompt:patterns=a+b", "prompt:patterns=c"]


def test_a_system_said_twice_counts_once():
    assert list(map(str, parse_systems(["pet,tfidf", "pet"]))) == ["pet", "tfidf"]


def test_settings_behind_the_tuning_that_only_the_method_knows_are_the_methods():
    assert str(settled(parse_system("pet+lora:repetitions=1,r=4"))) == "pet:repetitions=1+lora:r=4"
    assert (
        str(settled(parse_system("pet+lora:lr=1e-3"))) == "pet+lora:lr=1e-3"
    )  # both know it: it stays where it stands
    assert str(settled(parse_system("prompt:steps=3+lora"))) == "prompt:steps=3+lora"


def test_a_setting_given_to_the_method_twice_is_refused():
    with pytest.raises(SettingError, match="says repetitions twice"):
        settled(parse_system("pet:repetitions=2+lora:repetitions=1"))
