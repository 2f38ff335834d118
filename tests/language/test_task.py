import copy
import pickle
from dataclasses import replace

import pytest

from promptlab.errors import DataError, PatternError
from promptlab.language.library import read_task
from promptlab.language.task import PVP, Range, Task

PATTERNS = ["{text} It was {mask}.", "Just {mask}! {sep} {text}"]
WORDS = {"negative": "terrible", "positive": ["great", "good"]}

MNLI = """
task: mnli
about: Does it follow?
dataset: {path: nyu-mll/glue, name: mnli, columns: {label: gold}}
inputs: {premise: sentence1, hypothesis: sentence2}
labels: [entailment, neutral, contradiction]
metric: [accuracy, macro_f1]
verbalizers:
  default: {entailment: Yes, neutral: [Maybe, Perhaps], contradiction: No}
  right: {entailment: Right, neutral: Maybe, contradiction: Wrong}
patterns:
  both: {pattern: '"{premise}"? {mask}, "{hypothesis}"', verbalizer: [right, default], when: {premise: x}}
  plain: "{premise}? {sep} {mask}, {hypothesis}"
"""


def reviews(**parts):
    return Task.from_parts(**{"patterns": PATTERNS, "verbalizer": WORDS} | parts)


@pytest.fixture
def mnli():
    return read_task(MNLI)


# without a file


def test_a_task_can_be_made_from_patterns_and_words_alone():
    task = reviews()
    assert task.name == "custom"
    assert task.inputs == {"text": "text"}
    assert task.labels == ("negative", "positive")
    assert [pvp.name for pvp in task.pvps] == ["p1", "p2"]
    assert task.pvps[1].verbalizer.words == {"negative": ("terrible",), "positive": ("great", "good")}


def test_one_pattern_may_be_given_as_text_and_named_ones_as_a_mapping():
    assert [pvp.pattern.source for pvp in reviews(patterns="{text} {mask}").pvps] == ["{text} {mask}"]
    assert [pvp.name for pvp in reviews(patterns={"end": "{text} {mask}"}).pvps] == ["end"]


def test_inputs_are_the_fields_in_the_order_the_patterns_use_them():
    task = reviews(patterns=["{b}? {mask}, {a}", "{a} {mask} {c}"])
    assert list(task.inputs) == ["b", "a", "c"]


def test_fields_in_label_words_are_inputs_too():
    task = reviews(verbalizer={"first": "{choice1}", "second": "{choice2}"})
    assert list(task.inputs) == ["text", "choice1", "choice2"]


def test_labels_may_be_given_in_the_order_of_the_datas_ids():
    task = reviews(labels=["positive", "negative"])
    assert task.labels == task.pvps[0].verbalizer.labels == ("positive", "negative")
    assert task.label_of(0) == "positive"


def test_labels_that_are_numbers_become_text():
    assert reviews(verbalizer={0: "terrible", 1: "great"}).labels == ("0", "1")


def test_every_fault_of_the_parts_is_raised_at_once():
    with pytest.raises(PatternError) as raised:
        reviews(
            name="my task",
            patterns={"all": "{text} {mask}", "b": "{text}", "c": "It was {mask}."},
            verbalizer={"negative": "", "postive": "great"},
            labels=["negative", "positive"],
        )
    told = str(raised.value)
    for text in (
        "'my task' is not a plain name",
        "pattern 'all': 'all' chooses among patterns",
        "pattern 'b': '{text}': has no {mask}",
        "pattern 'c': 'It was {mask}.': shows no field",
        "the verbalizer has an empty word for 'negative'",
        "the verbalizer has no word for 'positive'. Did you mean 'postive'?",
        "the verbalizer gives a word to 'postive', which is no label",
    ):
        assert text in told
    assert len(raised.value.faults) == 7


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"patterns": []}, "there is no pattern"),
        ({"verbalizer": {"only": "word"}}, "fewer than two labels"),
        ({"patterns": ["{text} {target}"]}, "asks for a text"),
    ],
)
def test_parts_that_make_no_classification_are_refused(parts, told):
    with pytest.raises(PatternError, match=told):
        reviews(**parts)


# what a label may be called in the data


@pytest.mark.parametrize("value", ["positive", 1, "1", 1.0, " positive ", "Positive", "POSITIVE"])
def test_a_label_goes_by_its_name_its_id_or_its_name_in_other_case(value):
    assert reviews().label_of(value) == "positive"


@pytest.mark.parametrize("value", ["postive", 2, "-1", 0.5, "", None, "01", "१"])
def test_a_value_that_stands_for_no_label_is_refused(value):
    with pytest.raises(
        DataError, match=r"is none of the labels of 'custom': negative, positive \(or their ids, 0 to 1\)"
    ):
        reviews().label_of(value)


def test_a_misspelt_label_is_suggested():
    with pytest.raises(DataError, match=r"Did you mean 'positive'\?"):
        reviews().label_of("postive")


def mapped(labels):
    words = "{default: {good: great, bad: terrible}}"
    return read_task(
        f"{{task: t, inputs: [x], labels: {labels}, verbalizers: {words}, patterns: {{p: '{{x}} {{mask}}'}}}}"
    )


def test_a_mapping_names_the_values_of_the_data():
    task = mapped("{neg: bad, pos: good, very pos: good}")
    assert task.labels == ("bad", "good")
    assert [task.label_of(value) for value in ("neg", "pos", "very pos", "VERY POS", "good", 0)] == [
        *("bad", "good", "good", "good", "good", "bad"),
    ]


def test_ids_are_not_read_where_the_mapping_has_numbers_of_its_own():
    task = mapped("{1: bad, 2: good}")
    assert (task.label_of(1), task.label_of("2")) == ("bad", "good")
    with pytest.raises(DataError, match="label '0' is none of the labels of 't': bad, good, 1, 2"):
        task.label_of(0)


def test_ids_are_not_read_where_labels_are_numbers_themselves():
    task = reviews(verbalizer={"2": "terrible", "1": "great"})
    assert task.label_of(1) == "1"
    with pytest.raises(DataError):
        task.label_of(0)


def test_other_case_is_not_guessed_where_it_would_be_ambiguous():
    task = reviews(verbalizer={"us": "we", "US": "America"})
    assert task.label_of("US") == "US"
    with pytest.raises(DataError):
        task.label_of("Us")


@pytest.mark.parametrize("value", ["0", "3.75", "5.000", 2])
def test_a_range_takes_the_numbers_inside_it(value):
    assert float(Range(0, 5).read(str(value))) == float(value)


@pytest.mark.parametrize("value", ["5.1", "-1", "high", "", "nan"])
def test_a_range_refuses_everything_else(value):
    with pytest.raises(DataError, match="is no number from 0 to 5"):
        Range(0, 5).read(value)


# pairs of pattern and verbalizer


def test_a_pair_is_called_like_its_pattern_unless_the_pattern_has_several(mnli):
    assert [pvp.name for pvp in mnli.pvps] == ["both/right", "both/default", "plain"]
    assert PVP(mnli.pvps[2].pattern, mnli.pvps[2].verbalizer).name == "plain"


def test_a_pair_is_found_by_name(mnli):
    assert mnli.pvp("plain").pattern.name == "plain"
    assert mnli.pvp("both/default").verbalizer.words["neutral"] == ("Maybe", "Perhaps")


def test_a_pattern_with_several_verbalizers_must_say_which(mnli):
    with pytest.raises(PatternError, match="several verbalizers. Write both/right or both/default"):
        mnli.pvp("both")


def test_an_unknown_pair_is_suggested(mnli):
    with pytest.raises(PatternError, match=r"no pattern 'plane' in 'mnli'\. Did you mean 'plain'\?"):
        mnli.pvp("plane")


@pytest.mark.parametrize(
    ("which", "chosen"),
    [
        ("all", ["both/right", "both/default", "plain"]),
        ("first", ["both/right"]),
        ("plain", ["plain"]),
        ("both", ["both/right", "both/default"]),
        ("plain+both/right", ["plain", "both/right"]),
        ("both + both/right", ["both/right", "both/default"]),
    ],
)
def test_pairs_are_selected_by_text(mnli, which, chosen):
    assert [pvp.name for pvp in mnli.select(which)] == chosen


def test_selecting_an_unknown_pair_is_an_error(mnli):
    with pytest.raises(PatternError, match="no pattern 'x'"):
        mnli.select("plain+x")


# as text again


def test_a_task_written_as_yaml_reads_back_as_an_equal_one(mnli):
    again = read_task(mnli.to_yaml())
    assert again == mnli
    assert again.digest == mnli.digest


@pytest.mark.parametrize(
    "labels", ["[good, bad]", "{neg: bad, pos: good, very pos: good}", "{1: bad, 2: good}", "{bad: bad, pos: good}"]
)
def test_labels_of_every_form_survive_being_written(labels):
    task = mapped(labels)
    assert read_task(task.to_yaml()) == task


def test_words_that_yaml_would_take_for_something_else_survive_being_written():
    task = reviews(
        verbalizer={"no": "No", "null": ["~", "1e3", "on"], "#": "- a: b"}, patterns=["{a}: {{x}} # '{mask}'"]
    )
    assert read_task(task.to_yaml()) == task


def test_texts_in_other_scripts_are_written_as_they_are():
    task = reviews(patterns=["{text} Das war {mask}, ja – schön"])
    assert "ja – schön" in task.to_yaml()
    assert read_task(task.to_yaml()) == task


def test_the_instruction_is_the_question_unless_it_is_given(mnli):
    assert mnli.instruction == mnli.about == "Does it follow?"
    given = replace(mnli, instruction="Answer in one word.")
    assert read_task(given.to_yaml()).instruction == "Answer in one word."


def test_the_digest_does_not_hang_on_comments_or_layout(mnli):
    spread = MNLI.replace(
        "[entailment, neutral, contradiction]", "  # ids\n  - entailment\n  - neutral\n  - contradiction"
    )
    assert read_task(spread).digest == mnli.digest


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Maybe, Perhaps", "Maybe, Possibly"),
        ("{premise}? {sep}", "{premise} {sep}"),
        ("Does it follow?", "Does it?"),
        ("[entailment, neutral, contradiction]", "[neutral, entailment, contradiction]"),
        ("premise: x", "premise: y"),
        ("sentence1", "sentence0"),
        ("[accuracy, macro_f1]", "accuracy"),
        ("label: gold", "label: silver"),
    ],
)
def test_the_digest_changes_with_everything_that_is_said(mnli, before, after):
    assert before in MNLI
    assert read_task(MNLI.replace(before, after)).digest != mnli.digest


def test_tasks_can_be_copied_and_pickled(mnli):
    assert pickle.loads(pickle.dumps(mnli)) == copy.deepcopy(mnli) == mnli
