"""Tasks that ask for a text: what their files may say, and what they may not."""

import pytest

from promptlab.errors import PatternError
from promptlab.language.library import read_task
from promptlab.language.pattern import Pattern
from promptlab.language.target import TEXT_METRICS, metric_fault, part_of
from promptlab.language.task import PVP, Task
from promptlab.language.verbalizer import Verbalizer

GOOD = """
task: tables
dataset: {folders: [tables, tables2017]}
prepare: linearise
inputs: {source: mr}
metric: [bleu, rouge_l]
parts: seen
patterns:
  plain: "{source}\\nIn words: {target}"
  bare: "{source} {target}"
"""
LABELLED = """
task: reviews
inputs: [text]
labels: [negative, positive]
verbalizers:
  default: {negative: terrible, positive: great}
patterns:
  it-was: "{text} It was {mask}."
"""


def refused(text):
    with pytest.raises(PatternError) as raised:
        read_task(text, "here.yaml")
    return [str(fault) for fault in raised.value.faults]


def test_a_task_that_asks_for_a_text_is_read_whole():
    task = read_task(GOOD)
    assert task.generates
    assert (task.labels, task.metrics, task.parts) == ((), ("bleu", "rouge_l"), "seen")
    assert task.dataset == {"folders": ["tables", "tables2017"]}
    assert [pvp.name for pvp in task.pvps] == ["plain", "bare"]
    assert [pvp.pattern.parts[-1].space for pvp in task.pvps] == [True, True]


def test_it_survives_being_written_and_read():
    task = read_task(GOOD)
    again = read_task(task.to_yaml())
    assert again == task
    assert again.digest == task.digest


def test_parts_are_part_of_what_a_task_says():
    assert read_task(GOOD).digest != read_task(GOOD.replace("parts: seen\n", "")).digest


def test_one_folder_may_be_written_as_a_text():
    assert read_task(GOOD.replace("[tables, tables2017]", "tables")).dataset == {"folders": ["tables"]}


def test_texts_are_compared_by_bleu_where_no_metric_is_named():
    assert read_task(GOOD.replace("metric: [bleu, rouge_l]\n", "")).metrics == ("bleu",)
    pattern = Pattern.parse("p", "{text} {target}")
    assert Task(name="t", inputs={"text": "text"}, labels=(), pvps=(PVP(pattern, Verbalizer("none", {})),)).metrics == (
        "bleu",
    )


def test_a_metric_of_labels_compares_no_texts():
    (fault,) = refused(GOOD.replace("rouge_l", "accuracy"))
    assert fault.startswith("here.yaml:6: metric 'accuracy' compares no texts, and the task asks for one. Known: bleu,")


def test_a_metric_written_almost_rightly_is_guessed():
    (fault,) = refused(GOOD.replace("rouge_l", "rouge-l"))
    assert "Did you mean 'rouge_l'?" in fault


def test_a_metric_of_texts_compares_no_labels():
    (fault,) = refused(LABELLED + "metric: [accuracy, bleu]\n")
    assert fault == (
        "here.yaml:9: metric 'bleu' compares texts, and the task has labels. "
        "Write a metric of labels, such as accuracy."
    )


@pytest.mark.parametrize("name", TEXT_METRICS)
def test_every_metric_of_texts_goes_with_texts_alone(name):
    assert metric_fault(name, generates=True) == ""
    assert name in metric_fault(name, generates=False)


def test_parts_go_with_texts_alone():
    (fault,) = refused(LABELLED + "parts: seen\n")
    assert fault.startswith("here.yaml:9: parts: metrics are given apart where a text is asked for ({target})")


def test_a_data_set_needs_a_path_or_rows_or_folders():
    (fault,) = refused(GOOD.replace("folders: [tables, tables2017]", "name: x"))
    assert "dataset has no path" in fault


def test_an_empty_list_of_folders_is_refused():
    (fault,) = refused(GOOD.replace("[tables, tables2017]", "[]"))
    assert fault == "here.yaml:3: dataset: folders is an empty list. Write at least one."


@pytest.mark.parametrize(
    ("value", "part"),
    [
        (True, "seen"),
        (False, "unseen"),
        ("true", "seen"),
        ("False", "unseen"),
        (None, None),
        ("", None),
        ("Airport", "Airport"),
    ],
)
def test_a_truth_value_says_whether_a_row_is_what_the_column_is_called(value, part):
    assert part_of(value, "seen") == part


# made from parts


def test_patterns_with_a_target_make_a_task_without_words():
    task = Task.from_parts(["{source} In words: {target}", "{source} {target}"], metrics=["chrf", "bleu"])
    assert task.generates
    assert (task.labels, task.inputs, task.metrics) == ((), {"source": "source"}, ("chrf", "bleu"))
    assert [pvp.name for pvp in task.pvps] == ["p1", "p2"]
    assert read_task(task.to_yaml()) == task


def test_a_task_made_from_parts_is_that_of_the_file():
    made = Task.from_parts({"plain": "{source} {target}"}, name="t", about="How?")
    assert made == read_task("{task: t, about: How?, inputs: [source], patterns: {plain: '{source} {target}'}}")


def faults_of(*args, **more):
    with pytest.raises(PatternError) as raised:
        Task.from_parts(*args, **more)
    return [fault.text for fault in raised.value.faults]


def test_a_target_beside_label_words_is_refused():
    (fault,) = faults_of("{text} {target}", {"no": "bad", "yes": "good"})
    assert "asks for a text ({target}), but the task has labels" in fault


def test_a_mask_beside_a_target_is_refused():
    (fault,) = faults_of(["{text} {target}", "{text} {mask}"])
    assert "asks for a label word ({mask}), but the task has no labels" in fault


def test_a_mask_without_label_words_still_asks_for_them():
    assert any("fewer than two labels" in fault for fault in faults_of("{text} It was {mask}."))


def test_metrics_of_a_task_made_from_parts_are_checked():
    assert any("'accuracy' compares no texts" in each for each in faults_of("{text} {target}", metrics=["accuracy"]))
    labelled = faults_of("{text} {mask}", {"no": "bad", "yes": "good"}, metrics=["bleu"])
    assert any("'bleu' compares texts" in each for each in labelled)
