from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from typing import Literal

import pytest

from promptlab import registry
from promptlab.errors import SettingError
from promptlab.registry import METHODS, TUNINGS, Entry, Registry
from promptlab.settings import configure


@dataclass(frozen=True)
class Knobs:
    steps: int = 10
    lr: float = 0.1
    limit: int | None = 5
    shuffle: bool = True
    order: Literal["random", "fixed"] = "random"
    patterns: str = "all"
    demonstrations: int | str = 4
    width: int | float = 1


@dataclass(frozen=True)
class Needy:
    path: str
    names: list[str] = field(default_factory=list)


def knobs(**settings):
    return configure(Knobs, "knobs", settings)


def small(*entries):
    return Registry("thing", "promptlab.tests.nothing", list(entries))


def with_points(monkeypatch, *points):
    monkeypatch.setattr(registry, "entry_points", lambda group: [point for point in points if point.group == group])


def test_text_is_read_by_the_type_of_the_field():
    assert knobs(steps="3", lr="1e-4", shuffle="no", patterns="a+b") == Knobs(3, 1e-4, shuffle=False, patterns="a+b")


@pytest.mark.parametrize("text", ["true", "Yes", "ON", "1"])
def test_truth_has_many_spellings(text):
    assert knobs(shuffle=text).shuffle is True


@pytest.mark.parametrize("text", ["false", "No", "OFF", "0"])
def test_untruth_has_many_spellings(text):
    assert knobs(shuffle=text).shuffle is False


def test_an_optional_number_may_be_none():
    assert knobs(limit="none").limit is None
    assert knobs(limit="7").limit == 7


def test_the_word_none_stays_text_where_text_is_wanted():
    assert knobs(patterns="none").patterns == "none"
    assert knobs(demonstrations="none").demonstrations == "none"


def test_a_union_with_text_takes_what_is_no_number_as_text():
    assert knobs(demonstrations="8").demonstrations == 8
    assert knobs(demonstrations="total:1").demonstrations == "total:1"


def test_a_union_of_numbers_takes_the_narrower_first():
    assert knobs(width="2").width == 2
    assert isinstance(knobs(width="2").width, int)
    assert knobs(width="0.5").width == 0.5


def test_a_value_that_is_no_text_is_taken_as_it_is():
    assert knobs(steps=3, limit=None) == Knobs(3, limit=None)


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"steps": "many"}, "knobs: steps=many cannot be read. Write a whole number."),
        ({"steps": "1.5"}, "a whole number"),
        ({"lr": "fast"}, "Write a number"),
        ({"lr": "nan"}, "Write a number"),
        ({"shuffle": "perhaps"}, "Write true or false"),
        ({"limit": "few"}, "Write a whole number or none"),
        ({"order": "fixd"}, "Did you mean 'fixed'? Write one of random, fixed"),
    ],
)
def test_a_value_that_cannot_be_read_is_refused_with_what_to_write(settings, wanted):
    with pytest.raises(SettingError) as caught:
        knobs(**settings)
    assert wanted in str(caught.value)


def test_an_unknown_setting_suggests_the_nearest_and_lists_all():
    with pytest.raises(SettingError, match=r"no setting 'stps'. Did you mean 'steps'\? Known: steps, lr, limit"):
        knobs(stps="3")


def test_a_setting_without_a_default_must_be_given():
    with pytest.raises(SettingError, match="needs a value for 'path'"):
        configure(Needy, "needy", {})


def test_what_is_no_dataclass_is_refused():
    with pytest.raises(SettingError, match="not a dataclass"):
        configure(object, "thing", {})


def test_an_unknown_name_suggests_the_nearest_and_lists_all():
    things = small(Entry("apple", "a:b", "a fruit"), Entry("pear", "a:b", "another"))
    with pytest.raises(SettingError, match=r"no thing 'aple'. Did you mean 'apple'\? Known: apple, pear."):
        things.entry("aple")


def test_an_entry_is_imported_only_when_it_is_asked_for():
    things = small(Entry("ghost", "no.such.module:Ghost", "is not there"))
    assert [entry.name for entry in things] == ["ghost"]
    with pytest.raises(SettingError, match=r"ghost .* cannot be imported from no\.such\.module:Ghost"):
        things.build("ghost")


def test_a_module_without_the_object_is_an_error_with_its_place():
    with pytest.raises(SettingError, match="textwrap:Missing"):
        Entry("x", "textwrap:Missing", "nothing").load()


def test_build_makes_the_object_behind_a_name():
    things = small(Entry("fault", "promptlab.errors:Fault", "a dataclass that is at hand"))
    built = things.build("fault", {"file": "a.yaml", "line": "3", "text": "no mask"})
    assert (built.file, built.line, built.text) == ("a.yaml", 3, "no mask")


def test_other_packages_add_entries_after_the_built_in_ones(monkeypatch):
    with_points(monkeypatch, EntryPoint("kiwi", "promptlab.errors:Fault", "fruit"))
    things = Registry("thing", "fruit", [Entry("apple", "a:b", "a fruit")])
    assert [entry.name for entry in things] == ["apple", "kiwi"]
    assert things.entry("kiwi").load().__name__ == "Fault"
    assert things.entry("kiwi").about == "from another package"


def test_a_built_in_name_cannot_be_taken_over(monkeypatch):
    with_points(monkeypatch, EntryPoint("apple", "evil:Apple", "fruit"))
    things = Registry("thing", "fruit", [Entry("apple", "a:b", "a fruit")])
    assert things.entry("apple").target == "a:b"


def test_an_entry_point_with_extras_still_finds_its_object(monkeypatch):
    with_points(monkeypatch, EntryPoint("kiwi", "promptlab.errors:Fault [gpu]", "fruit"))
    assert Registry("thing", "fruit", []).entry("kiwi").target == "promptlab.errors:Fault"


@pytest.mark.parametrize("listed", [METHODS, TUNINGS], ids=lambda registry: registry.kind)
def test_every_entry_says_in_one_line_what_it_is(listed):
    for entry in listed:
        assert entry.about
        assert "\n" not in entry.about
        assert entry.target.count(":") == 1


def test_every_method_goes_with_every_tuning_or_says_why_not():
    pairs = [(method.name, tuning.name) for method in METHODS for tuning in TUNINGS]
    reasons = {pair: registry.refusal(*pair) for pair in pairs}
    refused = {method for (method, tuning), reason in reasons.items() if reason and tuning != "words"}
    assert refused == {"majority", "tfidf", "probe", "zero-shot", "in-context"}
    assert {method for (method, tuning), reason in reasons.items() if tuning == "words" and not reason} == {"prompt"}
    assert not any(registry.refusal(method.name, None) for method in METHODS)


@pytest.mark.parametrize(("method", "tuning"), [("pte", "lora"), ("pet", "loar"), ("tfidf", "loar")])
def test_an_unknown_name_is_no_cell(method, tuning):
    with pytest.raises(SettingError, match="Did you mean"):
        registry.refusal(method, tuning)


PAIRS = [(method.name, tuning) for method in METHODS for tuning in (None, *(entry.name for entry in TUNINGS))]


@pytest.mark.parametrize(("method", "tuning"), PAIRS)
def test_a_cell_can_be_built_or_is_refused_with_its_reason(method, tuning):
    from promptlab.lab.cells import Contender
    from promptlab.spec import Spec, System

    system, reason = System(Spec(method), tuning and Spec(tuning)), registry.refusal(method, tuning)
    if reason:
        with pytest.raises(SettingError, match=reason):
            Contender.of(system)
    else:
        built = Contender.of(system)
        assert (built.method_name, built.tuning_name) == (method, tuning or ("full" if built.method.learns else None))
