import re

import pytest
import yaml

from promptlab.card import model_card
from promptlab.language.task import Task

TASK = Task.from_parts(
    {"it-was": "{text} It was {mask}.", "ticks": "`{text}` ``{mask}``"},
    {"negative": ["terrible", "awful"], "positive": "great"},
    about="Is a film\ngood?",
    name="films",
)
CONTENT = {
    "merged": "",
    "system": {
        "method": {"name": "pet", "text": "pet:repetitions=1", "settings": {"repetitions": "1"}},
        "tuning": {"name": "lora", "text": "lora:r=2", "settings": {"r": "2"}},
    },
    "seed": 7,
    "patterns": ["it-was"],
    "backbone": {"name": "google-bert/bert-base", "local": False, "kind": "masked", "fingerprint": "0123456789abcdef"},
    "data": {"labelled_rows": 32, "unlabelled_rows": 1000},
    "parameters": {"stored": 294912, "head": 1538},
    "notes": [],
    "metrics": {"accuracy": 0.9, "macro_f1": 0.87654321},
}


def card(task=TASK, name="films-pet", **changes):
    return model_card({**CONTENT, **changes}, task, name)


def head(text):
    return yaml.safe_load(text.split("---\n")[1])


def test_the_head_is_yaml_as_the_hub_reads_it():
    assert head(card()) == {
        "library_name": "promptlab",
        "pipeline_tag": "text-classification",
        "base_model": "google-bert/bert-base",
        "tags": ["promptlab", "few-shot", "pet", "lora"],
        "metrics": ["accuracy", "macro_f1"],
    }


def test_the_card_says_what_asks_what_learnt_and_from_how_much():
    text = card()
    for line in (
        "# films: pet + lora on google-bert/bert-base",
        "Is a film good?",
        "- Labels: negative, positive",
        "- Reads: text",
        "- Given: 32 labelled rows, 1,000 rows without labels, seed 7",
        "- **it-was**: `{text} It was {mask}.`",
        "  - negative: `terrible`, `awful`",
        "Learnt parameters: 294,912, and 1,538 in a classification head.",
        "| macro_f1 | 0.8765 |",
        'PromptClassifier.from_pretrained("films-pet")',
    ):
        assert line in text


def test_method_and_tuning_come_with_their_papers():
    text = card()
    assert re.search(r"Method: `pet:repetitions=1`, many patterns .*\[arXiv:2001.07676\]\(https://arxiv", text)
    assert re.search(r"Tuning: `lora:r=2`, .*\[arXiv:2106.09685\]", text)


def test_only_the_patterns_that_were_asked_stand_in_the_card():
    assert "ticks" not in card()
    assert "## Patterns" not in card(patterns=[])


def test_backticks_of_a_pattern_do_not_break_out_of_the_code():
    assert "- **ticks**: ``` `{text}` ``{mask}`` ```" in card(patterns=["ticks"])


def test_a_local_backbone_is_called_by_its_folder_alone():
    local = {**CONTENT["backbone"], "name": "../../somewhere/private/minilm", "local": True}
    text = card(backbone=local)
    assert head(text)["base_model"] == "minilm"
    assert "- Base model: minilm (a local folder; masked, fingerprint 0123456789ab)" in text
    assert "private" not in text


def test_a_baseline_has_no_backbone_tuning_or_patterns():
    system = {"method": {"name": "tfidf", "text": "tfidf", "settings": {}}, "tuning": None}
    numbers = {"stored": 12, "head": 0}
    text = card(system=system, backbone=None, patterns=[], metrics={}, parameters=numbers)
    assert "base_model" not in head(text)
    assert "# films: tfidf\n" in text
    assert "Base model" not in text
    assert "Tuning:" not in text
    assert "## Scores" not in text
    assert "Learnt parameters: 12. " in text


def test_a_method_from_elsewhere_is_named_without_a_word():
    system = {**CONTENT["system"], "method": {"name": "oracle", "text": "oracle:depth=3", "settings": {}}}
    assert "- Method: `oracle:depth=3`\n" in card(system=system)


def test_notes_of_the_fit_are_told():
    assert "\n- skipped 'p2': a field after the mask\n" in card(notes=["skipped 'p2': a field\nafter the mask"])


@pytest.mark.parametrize(
    ("count", "told"), [(1, "1 labelled row, 0 rows"), (0, "0 labelled rows,"), (2, "2 labelled rows,")]
)
def test_rows_are_counted_in_english(count, told):
    assert told in card(data={"labelled_rows": count, "unlabelled_rows": 0})


def test_several_inputs_are_asked_for_by_name():
    task = Task.from_parts(["{premise} {mask} {hypothesis}"], {"no": "No", "yes": "Yes"})
    assert 'classifier.predict([{"premise": "...", "hypothesis": "..."}])' in card(task, patterns=["p1"])
    assert '({"text": "...", "text_pair": "..."})' in card(task, patterns=["p1"], merged="head")


def test_a_merged_head_is_a_transformers_classifier():
    text = card(merged="head")
    assert (head(text)["library_name"], head(text)["pipeline_tag"]) == ("transformers", "text-classification")
    assert 'pipeline("text-classification", "films-pet")("...")' in text


@pytest.mark.parametrize(("merged", "tag"), [("cloze", "fill-mask"), ("continuation", "text-generation")])
def test_a_merged_language_model_is_asked_through_its_pattern(merged, tag):
    text = card(merged=merged)
    assert head(text)["pipeline_tag"] == tag
    assert 'load_task("films-pet/task.yaml")' in text
    assert 'method="zero-shot:patterns=it-was", backbone="films-pet"' in text


@pytest.mark.parametrize("name", ['say "yes"', "back\\slash", "no", "-dash", "a: b", "# not a comment", "on"])
def test_odd_names_stay_what_they_are_in_the_head(name):
    system = {**CONTENT["system"], "method": {"name": name, "text": name, "settings": {}}}
    assert name in head(card(system=system))["tags"]


def test_a_pattern_that_every_task_has_is_told_too():
    text = card(patterns=["letters"])
    assert "- **letters**: `{text} Question: Is a film good? {labels} Answer: {mask}`" in text
    assert "  - negative: `A`" in text
