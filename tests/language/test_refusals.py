"""What a pattern file may not say, each with its line and what to write instead."""

import pytest

from promptlab.errors import PatternError
from promptlab.language.library import read_task

GOOD = """
task: reviews
inputs: [text]
labels: [negative, positive]
verbalizers:
  default: {negative: terrible, positive: great}
patterns:
  it-was: "{text} It was {mask}."
"""


def change(before, after):
    assert before in GOOD
    return GOOD.replace(before, after)


def refused(text):
    with pytest.raises(PatternError) as raised:
        read_task(text, "reviews.yaml")
    return [str(fault) for fault in raised.value.faults]


def only(text):
    (fault,) = refused(text)
    return fault


# the document as a whole


@pytest.mark.parametrize(("text", "kind"), [("just text", "the text 'just text'"), ("[a, b]", "a list")])
def test_a_document_without_keys_is_refused(text, kind):
    assert only(text) == (
        f"reviews.yaml:1: holds {kind}, not keys. Write the keys task, inputs, labels, verbalizers, patterns."
    )


@pytest.mark.parametrize("key", ["task", "inputs", "labels", "verbalizers", "patterns"])
def test_a_missing_key_is_named_with_its_shape(key):
    kept = [block for block in GOOD.strip().replace("\n  ", "\f  ").split("\n") if not block.startswith(key)]
    faults = refused("\n".join(kept).replace("\f", "\n"))
    assert any(f"has no key '{key}'. Write {key}: " in fault for fault in faults)


def test_a_missing_key_is_the_only_fault_where_the_rest_is_sound():
    assert only(change("task: reviews\n", "")).startswith("reviews.yaml:2: has no key 'task'")
    wordless = change("verbalizers:\n  default: {negative: terrible, positive: great}\n", "")
    assert only(wordless).startswith("reviews.yaml:2: has no key 'verbalizers'. Write verbalizers: {default: ")
    named = wordless.replace('"{text} It was {mask}."', "{pattern: '{text} {mask}', verbalizer: plain}")
    assert only(named) == only(wordless)


def test_an_unknown_key_is_suggested_with_its_line():
    assert only(GOOD + "metrics: accuracy").startswith("reviews.yaml:9: unknown key 'metrics'. Did you mean 'metric'?")


def test_a_singular_key_is_suggested_in_the_plural():
    assert any("unknown key 'label'. Did you mean 'labels'?" in fault for fault in refused(change("labels:", "label:")))


@pytest.mark.parametrize("key", ["about", "instruction", "prepare", "group", "candidates"])
def test_keys_that_hold_text_must_not_be_empty_or_anything_else(key):
    assert only(GOOD + f"{key}:").startswith(f"reviews.yaml:9: {key} is empty.")
    assert only(GOOD + f"{key}: [a]").startswith(f"reviews.yaml:9: {key} is a list, not text.")


@pytest.mark.parametrize("name", ["../reviews", "a b", ".hidden", "first", "a/b"])
def test_the_name_of_a_task_must_be_fit_for_files_and_lists(name):
    assert only(change("task: reviews", f"task: {name}")).startswith(f"reviews.yaml:2: task '{name}' ")


def test_candidates_must_be_an_input():
    assert "candidates: 'txt' is no input (text). Did you mean 'text'?" in only(GOOD + "candidates: txt")


# inputs and labels


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ("", "inputs is empty. Write inputs: [text]"),
        ("text", "inputs is the text 'text'. Write inputs: [text]"),
        ("[]", "inputs is a list. Write inputs: [text]"),
        ("{}", "inputs is empty."),
        ("[text, text]", "the input 'text' stands twice."),
        ("[text, mask]", "the input 'mask' cannot be written as a field."),
        ("{text: t, a-b: c}", "the input 'a-b' cannot be written as a field."),
        ("{text: }", "the column of 'text' is empty."),
        ("[text, [x]]", "an input is a list, not text."),
    ],
)
def test_inputs_that_cannot_be_are_refused(inputs, said):
    faults = refused(change("inputs: [text]", f"inputs: {inputs}"))
    assert faults[0].startswith(f"reviews.yaml:3: {said}")


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ("", "labels is empty. Write [first, second]"),
        ("negative", "labels is the text 'negative'."),
        ("[negative]", "labels has fewer than two."),
        ("{a: negative, b: negative}", "labels has fewer than two."),
        ("[negative, positive, negative]", "the label 'negative' stands twice."),
        ("[negative, positive, '']", "a label is empty."),
        ("{neg: negative, pos: }", "a label is empty."),
        ("{negative: positive, positive: negative}", "the value 'negative' means 'positive', yet is a label too."),
        ("{range: [5, 0]}", "range is not two rising numbers. Write range: [0, 5]."),
        ("{range: [0, five]}", "range is not two rising numbers."),
        ("{range: [0]}", "range is not two rising numbers."),
    ],
)
def test_labels_that_cannot_be_are_refused(labels, said):
    faults = refused(change("labels: [negative, positive]", f"labels: {labels}"))
    assert faults[0].startswith(f"reviews.yaml:4: {said}")


def test_broken_labels_do_not_drag_faults_of_the_words_behind_them():
    assert only(change("[negative, positive]", "negative")).startswith("reviews.yaml:4: labels is")


# verbalizers


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("{negative: terrible}", "verbalizer 'default' has no word for 'positive'."),
        ("{negative: bad, postive: good}", "verbalizer 'default' has no word for 'positive'. Did you mean 'postive'?"),
        ("{negative: bad, positive: }", "verbalizer 'default' has an empty word for 'positive'."),
        ("{negative: bad, positive: []}", "verbalizer 'default' has an empty list of words for 'positive'."),
        ("{negative: bad, positive: bad}", "verbalizer 'default' gives 'positive' the same words as 'negative'"),
        ("{negative: bad, positive: {mask}}", "verbalizer 'default': the word of 'positive' is a mapping."),
        ("{negative: bad, positive: [{x}]}", "verbalizer 'default': the word of 'positive' is a mapping."),
        ("{negative: bad, positive: '{txt}'}", "verbalizer 'default' uses {txt}, which is no input (inputs: text)."),
        ("great", "verbalizer 'default' is the text 'great'. Write {label: word, label: word}."),
    ],
)
def test_words_that_cannot_be_are_refused(words, said):
    faults = refused(change("{negative: terrible, positive: great}", words))
    assert any(fault.startswith(f"reviews.yaml:6: {said}") for fault in faults), faults


def test_words_without_a_verbalizers_name_are_recognised():
    text = change("  default: {negative: terrible, positive: great}", "  negative: terrible\n  positive: great")
    assert "verbalizers gives words to no name. Write default: {label: word, ...}." in only(text)


def test_a_verbalizer_must_have_a_plain_name():
    assert "verbalizer 'a+b' is not a plain name." in only(change("default:", "a+b:"))


def test_a_fault_in_a_word_stands_at_the_line_of_its_label():
    text = change("{negative: terrible, positive: great}", "\n    negative: terrible\n    positive:")
    assert only(text).startswith("reviews.yaml:8: verbalizer 'default' has an empty word for 'positive'.")


# patterns


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("", "pattern 'it-was' is empty."),
        ("{mask}", "pattern 'it-was' is a mapping, not text. Put the pattern in quotes: YAML reads a leading {"),
        (
            "[Category: {mask}]",
            "pattern 'it-was' is a list, not text. Put the pattern in quotes: YAML reads a leading [",
        ),
        ("{verbalizer: default}", "pattern 'it-was' has no text. Write pattern: \"...\" under it."),
        ("{pattern: {mask}}", "pattern 'it-was' is a mapping, not text."),
        (
            "{pattern: '{text} {mask}', verbaliser: x}",
            "unknown key of pattern 'it-was' 'verbaliser'. Did you mean 'verb",
        ),
        (
            "{pattern: '{text} {mask}', verbalizer: defalt}",
            "pattern 'it-was': no verbalizer 'defalt'. Did you mean 'def",
        ),
        ("{pattern: '{text} {mask}', verbalizer: []}", "pattern 'it-was': verbalizer is an empty list."),
        ("{pattern: '{text} {mask}', when: x}", "pattern 'it-was': when is the text 'x'. Write when: {field: value}."),
        ("{pattern: '{text} {mask}', when: {txt: x}}", "pattern 'it-was': when uses {txt}, which is no input"),
        ("{pattern: '{text} {mask}', when: {text: }}", "pattern 'it-was': when is empty."),
        (
            "'{txt} {mask}'",
            "pattern 'it-was': '{txt} {mask}': uses {txt}, which is no input (inputs: text). Did you mean",
        ),
        ("'{text}'", "pattern 'it-was': '{text}': has no {mask}; a pattern has exactly one."),
        ("'{mask} {text} {mask}'", "pattern 'it-was': '{mask} {text} {mask}': has 2 {mask} slots"),
        ("'{text|lowr} {mask}'", "pattern 'it-was': '{text|lowr} {mask}': no filter 'lowr'. Did you mean 'lower'?"),
        ("'{text {mask}'", "pattern 'it-was': '{text {mask}': braces do not match."),
        ("'{text.__class__} {mask}'", "pattern 'it-was': '{text.__class__} {mask}': {text.__class__} is not a field"),
        (
            "'{text} {target}'",
            "pattern 'it-was': '{text} {target}': asks for a text ({target}), but the task has labels",
        ),
    ],
)
def test_patterns_that_cannot_be_are_refused(pattern, said):
    assert only(change('"{text} It was {mask}."', pattern)).startswith(f"reviews.yaml:8: {said}")


@pytest.mark.parametrize("name", ["all", "first", "each", "a+b", "a/b", "a b"])
def test_names_that_select_or_join_patterns_cannot_name_one(name):
    assert only(change("it-was:", f"{name}:")).startswith(f"reviews.yaml:8: pattern '{name}' ")


def test_a_list_of_patterns_is_refused_for_want_of_names():
    text = change("  it-was: ", "  - ")
    assert only(text).startswith("reviews.yaml:7: patterns is a list. Write patterns: {name: ")


def test_several_verbalizers_without_a_default_leave_a_pattern_undecided():
    text = change("  default:", "  other: {negative: bad, positive: good}\n  third:")
    assert "pattern 'it-was' names no verbalizer, and none is 'default'. Write one of other, third." in only(text)


def test_masks_in_a_task_without_labels_are_refused():
    text = "{task: t, inputs: [a], patterns: {p: '{a} {target}', q: '{a} {mask}'}}"
    assert "pattern 'q': '{a} {mask}': asks for a label word ({mask}), but the task has no labels" in only(text)


def test_words_without_labels_are_refused_even_where_both_may_be_left_out():
    text = "{task: t, inputs: [a], candidates: a, verbalizers: {d: {x: y}}, patterns: {p: '{a} {mask}'}}"
    assert "has no key 'labels'" in only(text)


def test_a_verbalizer_that_is_named_must_exist_even_where_rows_bring_candidates():
    text = "{task: t, inputs: [a], candidates: a, patterns: {p: {pattern: '{a} {mask}', verbalizer: x}}}"
    assert "pattern 'p': no verbalizer 'x'." in only(text)


# the rest


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        ("a/b", "dataset is the text 'a/b'. Write dataset: {path: owner/name}."),
        ("{name: x}", "dataset has no path."),
        ("{path: a/b, split: test}", "unknown key of dataset 'split'."),
        ("{path: }", "dataset: path is empty."),
        ("{path: a/b, columns: {label: []}}", "dataset: columns: label is a list, not text."),
    ],
)
def test_data_sets_that_cannot_be_are_refused(dataset, said):
    assert only(GOOD + f"dataset: {dataset}").startswith(f"reviews.yaml:9: {said}")


@pytest.mark.parametrize(("metric", "said"), [("[]", "metric is an empty list."), ("", "metric is empty.")])
def test_metrics_that_cannot_be_are_refused(metric, said):
    assert only(GOOD + f"metric: {metric}").startswith(f"reviews.yaml:9: {said}")


def test_all_faults_of_a_file_are_told_at_once_in_its_order():
    faults = refused("""task: my task
inputs: [text, text]
labels: [negative, positive]
labels: [a, b]
metrics: accuracy
verbalizers:
  default: {negative: bad}
patterns:
  a: "{txt} {mask}"
  b: !!str "{text}"
  c: {mask}
""")
    assert [fault.split(": ")[0] for fault in faults] == [f"reviews.yaml:{i}" for i in (1, 2, 4, 5, 7, 9, 10, 10, 11)]


def test_an_error_holds_its_faults_one_by_one_for_programs():
    with pytest.raises(PatternError) as raised:
        read_task(change("{mask}", "{text}"), "here.yaml")
    (fault,) = raised.value.faults
    assert (fault.file, fault.line) == ("here.yaml", 8)
    assert fault.text.startswith("pattern 'it-was'")
