import pickle

import pytest

from promptlab.errors import DataError, PatternError
from promptlab.language.example import Example
from promptlab.language.pattern import Pattern, pattern_faults

REVIEW = Example({"text": "A gorgeous, witty film."})
PAIR = Example({"premise": "It rains.", "hypothesis": "The street is wet."})


def pattern(source, **when):
    return Pattern.parse("p", source, when)


def test_a_pattern_keeps_its_name_source_and_parts():
    made = pattern("{text} It was {mask}.")
    assert (made.name, made.source, len(made.parts)) == ("p", "{text} It was {mask}.", 4)


def test_a_faulty_pattern_cannot_be_made():
    with pytest.raises(PatternError, match="has no {mask}"):
        pattern("{text} It was great.")


def test_fields_are_named_once_each_in_the_order_of_the_text():
    assert pattern("{b} {mask} {a} {b|lower}").fields == ("b", "a")


@pytest.mark.parametrize(
    ("source", "last"),
    [
        ("{text} It was {mask}.", True),
        ("{text} ( {mask} )", True),
        ("{text} {sep} {mask} {soft:3}", True),
        ("{mask}: {text}", False),
        ("{premise}? {mask}, {hypothesis}", False),
        ("{source} {target}", True),
        ("{target} {source}", False),
    ],
)
def test_the_mask_is_last_where_no_field_follows_it(source, last):
    assert pattern(source).mask_last is last


def test_a_pattern_with_a_target_generates():
    assert pattern("{text} {target}").generates
    assert not pattern("{text} {mask}").generates


# filling in


def test_a_filled_pattern_reads_as_a_person_would_write_it():
    assert pattern("{text} It was {mask}.").fill(REVIEW) == "A gorgeous, witty film. It was ▁▁▁."


def test_the_gap_can_be_shown_as_the_backbone_writes_it_or_filled_with_a_word():
    made = pattern("{text} It was {mask}.")
    assert made.fill(REVIEW, mask="[MASK]").endswith("It was [MASK].")
    assert made.fill(REVIEW, word="great").endswith("It was great.")


def test_the_segment_border_is_drawn_and_filters_are_applied():
    made = pattern('"{premise|strip_punct}"? {sep} {mask}, "{hypothesis|lower_first}"')
    assert made.fill(PAIR) == '"It rains"? │ ▁▁▁, "the street is wet."'


def test_soft_words_read_as_words_and_counted_soft_tokens_are_left_out_with_their_space():
    made = pattern("{text} {soft:3} {soft:It was} {mask}.")
    assert made.fill(REVIEW) == "A gorgeous, witty film. It was ▁▁▁."


def test_special_tokens_and_literal_braces_are_shown():
    assert pattern("{{x}} {token:[unused0]} {text} {mask}").fill(REVIEW).startswith("{x} [unused0] A gorgeous")


def test_a_target_is_shown_as_the_gap():
    assert pattern("{text} {target}").fill(REVIEW, word="Good.") == "A gorgeous, witty film. Good."


def test_braces_and_slots_in_a_field_stay_text():
    sly = Example({"text": "{mask} {text.__class__}"})
    assert pattern("{text} It was {mask}.").fill(sly) == "{mask} {text.__class__} It was ▁▁▁."


def test_filling_without_the_field_names_it():
    with pytest.raises(DataError, match="no field 'text'"):
        pattern("{text} {mask}").fill(PAIR)


def test_filling_changes_nothing_but_spaces_that_belong_to_the_pattern():
    assert pattern("{text} {mask}").fill(Example({"text": ""})) == " ▁▁▁"


# when


def test_a_pattern_without_a_condition_applies_to_every_example():
    assert pattern("{text} {mask}").applies(REVIEW)


def test_a_condition_must_be_met_in_full():
    made = pattern("{premise} because {mask}", question="cause")
    assert made.applies(Example({"premise": "", "question": "cause"}))
    assert not made.applies(Example({"premise": "", "question": "effect"}))


def test_a_condition_on_a_field_the_example_lacks_is_an_error():
    with pytest.raises(DataError, match="no field 'question'"):
        pattern("{text} {mask}", question="cause").applies(REVIEW)


def test_patterns_can_be_pickled_and_compared():
    made = pattern("{text} {soft:It was} {mask}", text="x")
    assert pickle.loads(pickle.dumps(made)) == made


# as part of a task


def test_a_pattern_that_shows_no_field_is_refused_in_a_task():
    (fault,) = pattern_faults("It was {mask}.", {"text": "text"})
    assert fault.startswith("shows no field")


def test_fields_must_be_inputs_and_each_stranger_is_named_once():
    (fault,) = pattern_faults("{txt} {txt} {mask}", {"text": "text", "title": "title"})
    assert fault == "uses {txt}, which is no input (inputs: text, title). Did you mean 'text'?"


def test_a_slot_written_in_capitals_is_recognised():
    assert any("Did you mean 'mask'?" in fault for fault in pattern_faults("{text} {Mask}", {"text": "text"}))


def test_a_target_needs_a_task_without_labels_and_a_mask_one_with_them():
    assert "asks for a text ({target})" in pattern_faults("{text} {target}", None)[0]
    assert "asks for a label word ({mask})" in pattern_faults("{text} {mask}", None, generates=True)[0]
    assert pattern_faults("{text} {target}", None, generates=True) == []
