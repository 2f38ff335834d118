"""What a pattern file may say; what it may not stands in test_refusals.py."""

from promptlab.language.grammar import Soft
from promptlab.language.library import read_task
from promptlab.language.task import Range

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


def test_the_five_needed_keys_make_a_task():
    task = read_task(GOOD)
    assert (task.name, task.about, task.instruction) == ("reviews", "", "")
    assert task.inputs == {"text": "text"}
    assert task.labels == ("negative", "positive")
    assert task.values == {"negative": "negative", "positive": "positive"}
    assert task.metrics == ("accuracy",)
    assert (task.dataset, task.prepare, task.group, task.candidates, task.range) == (None,) * 5
    assert [pvp.name for pvp in task.pvps] == ["it-was"]


def test_the_keys_that_may_be_left_out_are_read_too():
    task = read_task(
        GOOD
        + """
about: Is it good?
instruction: Answer with one word.
dataset: {path: a/b, name: c, revision: d, train: e, dev: f, test: g, unlabeled: h, columns: {label: i}}
metric: [mcc, accuracy]
prepare: wsc
group: film
"""
    )
    assert (task.about, task.instruction) == ("Is it good?", "Answer with one word.")
    assert task.dataset == {
        **{"path": "a/b", "name": "c", "revision": "d", "train": "e", "dev": "f", "test": "g", "unlabeled": "h"},
        "columns": {"label": "i"},
    }
    assert task.metrics == ("mcc", "accuracy")
    assert (task.prepare, task.group) == ("wsc", "film")


def test_label_words_stay_words_and_never_become_booleans():
    text = GOOD.replace("negative: terrible, positive: great", "negative: No, positive: yes")
    assert read_task(text).pvps[0].verbalizer.words == {"negative": ("No",), "positive": ("yes",)}


def test_label_words_are_put_in_the_order_of_the_labels():
    text = change("{negative: terrible, positive: great}", "{positive: [great, good], negative: terrible}")
    assert list(read_task(text).pvps[0].verbalizer.words.items()) == [
        ("negative", ("terrible",)),
        ("positive", ("great", "good")),
    ]


def test_inputs_may_have_columns_of_another_name():
    assert read_task(change("[text]", "{text: sentence}")).inputs == {"text": "sentence"}


def test_a_pattern_may_name_several_verbalizers_and_a_condition():
    text = change("patterns:", "  plain: {negative: bad, positive: good}\npatterns:") + (
        '  just: {pattern: "Just {mask}! {text}", verbalizer: [plain, default], when: {text: x}}\n'
    )
    pvps = read_task(text).pvps
    assert [pvp.name for pvp in pvps] == ["it-was", "just/plain", "just/default"]
    assert pvps[1].pattern.when == {"text": "x"}
    assert pvps[0].verbalizer.name == "default"


def test_a_pattern_that_names_one_of_several_verbalizers_keeps_its_name():
    text = change("patterns:", "  plain: {negative: bad, positive: good}\npatterns:") + (
        '  just: {pattern: "Just {mask}! {text}", verbalizer: plain}\n'
    )
    assert [(pvp.name, pvp.verbalizer.name) for pvp in read_task(text).pvps] == [
        ("it-was", "default"),
        ("just", "plain"),
    ]


def test_the_only_verbalizer_is_used_whatever_its_name():
    assert read_task(change("default:", "english:")).pvps[0].verbalizer.name == "english"


def test_soft_slots_and_filters_come_through_yaml():
    text = change("{text} It was {mask}.", "{text|strip_punct} {soft:3} {soft:Answer:} {mask}")
    parts = read_task(text).pvps[0].pattern.parts
    assert [part for part in parts if isinstance(part, Soft)] == [
        Soft(3, space=True),
        Soft(0, words="Answer:", space=True),
    ]


def test_a_pattern_may_be_written_as_a_block():
    text = change('"{text} It was {mask}."', "|\n    {text}\n    It was {mask}.\n")
    assert read_task(text).pvps[0].pattern.source == "{text}\nIt was {mask}."


def test_words_may_name_fields():
    text = change("[text]", "[text, choice1, choice2]").replace(
        "negative: terrible, positive: great", "negative: '{choice1}', positive: '{choice2|lower_first}'"
    )
    assert read_task(text).pvps[0].verbalizer.per_example


def test_a_range_makes_a_regression_with_a_word_for_each_end():
    text = change("[negative, positive]", "{range: [0, 5]}").replace("negative:", "low:").replace("positive:", "high:")
    task = read_task(text)
    assert task.range == Range(0, 5)
    assert task.labels == task.pvps[0].verbalizer.labels == ("low", "high")
    assert task.metrics == ("pearson",)
    assert task.label_of("3.8") == "3.8"
    assert read_task(task.to_yaml()) == task


def test_rows_with_candidates_of_their_own_need_neither_labels_nor_words():
    task = read_task("{task: t, inputs: [text, options], candidates: options, patterns: {p: '{text} {mask}'}}")
    assert (task.labels, task.candidates) == ((), "options")
    assert task.pvps[0].verbalizer.labels == ()
    assert task.label_of("any answer") == "any answer"
    assert read_task(task.to_yaml()) == task


def test_patterns_with_a_target_need_neither_labels_nor_words():
    task = read_task("{task: t, inputs: [source], patterns: {p: '{source} {sep} {target}'}}")
    assert task.generates
    assert read_task(task.to_yaml()) == task


def test_an_embedded_data_set_needs_no_path():
    assert read_task(GOOD + "dataset: {builtin: reviews}").dataset == {"builtin": "reviews"}
