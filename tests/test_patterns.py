"""Every shipped pattern file: it loads, it holds what it promises, and editors can check it."""

import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import yaml

from promptlab.language import reading
from promptlab.language.example import Example
from promptlab.language.grammar import RESERVED, Mask, Sep, Soft, Target, Token
from promptlab.language.library import load_task, pattern_folder, read_task, task_names
from promptlab.language.target import TEXT_METRICS
from promptlab.metrics.classify import METRICS

shipped = cache(load_task)
FOLDER = pattern_folder()
SHARED = Path(__file__).parents[2] / "shared"
NAMES = task_names()
PROMISED = """
mr sst2 imdb yelp_polarity yelp_full ag_news yahoo_answers trec subj cola mnli snli rte qnli mrpc qqp
stsb
boolq cb copa multirc record wic wsc
e2e webnlg dart xsum restaurants
""".split()

WRITING = ["dart", "e2e", "restaurants", "webnlg", "xsum"]

every_task = pytest.mark.parametrize("name", NAMES)
every_answering_task = pytest.mark.parametrize("name", [name for name in NAMES if name not in WRITING])
every_writing_task = pytest.mark.parametrize("name", WRITING)


def source(name):
    return (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")


def comments(name):
    return "".join(line for line in source(name).splitlines(keepends=True) if line.lstrip().startswith("#"))


def filled(pattern):
    return pattern.fill(Example({name: f"<{name}>" for name in pattern.fields}))


def test_all_promised_tasks_are_shipped():
    assert set(PROMISED) <= set(NAMES)


@every_task
def test_a_file_is_named_like_its_task(name):
    assert shipped(name).name == name


@every_task
def test_a_task_asks_one_question_in_plain_words(name):
    about = shipped(name).about
    assert about.endswith("?")
    assert about.count("?") == 1


@every_task
def test_a_task_has_at_least_three_patterns_no_two_alike(name):
    pvps = shipped(name).pvps
    assert len({pvp.pattern.name for pvp in pvps}) == len({pvp.pattern.source for pvp in pvps}) >= 3


@every_task
def test_at_least_two_patterns_end_with_the_mask_so_that_causal_models_have_a_choice(name):
    assert sum(pvp.pattern.mask_last for pvp in shipped(name).pvps) >= 2


@every_task
def test_every_pattern_shows_every_input(name):
    task = shipped(name)
    for pvp in task.pvps:
        assert set(pvp.pattern.fields) | {task.candidates} - {None} == set(task.inputs), pvp.name


@every_task
def test_patterns_fill_in_without_stray_spaces(name):
    for pvp in shipped(name).pvps:
        text = filled(pvp.pattern).removeprefix(" ")  # a leading space is the mask's
        assert not re.search(r"  |\{|\}| \.| ,| \?", text), text


@every_task
def test_every_label_has_one_word_in_every_pattern(name):
    task = shipped(name)
    for pvp in task.pvps:
        assert pvp.verbalizer.labels == task.labels
        assert all(len(words) == 1 for words in pvp.verbalizer.words.values())


@every_task
def test_a_file_cites_where_its_patterns_come_from(name):
    assert re.search(r"arXiv:\d{4}\.\d{5}", comments(name))


@every_task
def test_a_file_says_of_each_pattern_whose_it_is(name):
    told = comments(name)
    unsaid = [pvp.pattern.name for pvp in shipped(name).pvps if not re.search(rf"\b{pvp.pattern.name}\b", told)]
    assert not unsaid or "the others" in told


@every_task
def test_a_task_survives_being_written_and_read(name):
    task = shipped(name)
    again = read_task(task.to_yaml())
    assert again == task
    assert again.digest == task.digest


def test_no_two_tasks_have_the_same_digest():
    assert len({shipped(name).digest for name in NAMES}) == len(NAMES)


@every_task
def test_a_data_set_is_embedded_or_named_as_the_hub_names_it(name):
    dataset = shipped(name).dataset
    known = dataset == {"builtin": name} or set(dataset) == {"folders"}  # of some the hub has nothing free of scripts
    assert known or re.fullmatch(r"[\w.-]+/[\w.-]+", dataset["path"])


@every_task
def test_the_metrics_of_a_task_are_known(name):
    assert set(shipped(name).metrics) <= set(TEXT_METRICS if name in WRITING else METRICS)


def test_the_tasks_that_ask_for_texts_are_these():
    assert [name for name in NAMES if shipped(name).generates] == WRITING


@every_writing_task
def test_a_text_is_asked_for_last_so_that_any_backbone_can_write_it(name):
    for pvp in shipped(name).pvps:
        assert isinstance(pvp.pattern.parts[-1], Target), pvp.name
        assert pvp.pattern.parts[-1].space, pvp.name


@every_writing_task
def test_the_first_pattern_needs_no_special_token(name):
    assert not any(isinstance(part, Token | Sep | Soft) for part in shipped(name).pvps[0].pattern.parts)


@every_writing_task
def test_a_task_that_asks_for_texts_has_a_paper_pattern_and_an_instruction(name):
    task = shipped(name)
    assert task.pvp("paper")
    assert task.instruction != task.about
    assert task.instruction.endswith(".")


@pytest.mark.parametrize(
    ("name", "metrics"),
    [
        ("e2e", "bleu nist meteor rouge_l cider"),
        ("restaurants", "bleu nist meteor rouge_l cider"),
        ("webnlg", "bleu meteor ter chrf"),
        ("dart", "bleu meteor ter chrf"),
        ("xsum", "rouge1 rouge2 rougeL"),
    ],
)
def test_texts_are_scored_by_the_metrics_of_their_papers(name, metrics):
    assert list(shipped(name).metrics) == metrics.split()


OFFICIAL = {
    "boolq": ["accuracy"],
    "cb": ["accuracy", "macro_f1"],
    "copa": ["accuracy"],
    "multirc": ["f1a", "em", "accuracy"],
    "record": ["answer_f1", "answer_em", "accuracy"],
    "rte": ["accuracy"],
    "wic": ["accuracy"],
    "wsc": ["accuracy"],
}


@pytest.mark.parametrize("name", OFFICIAL)
def test_superglue_is_scored_by_its_own_metrics(name):
    assert list(shipped(name).metrics) == OFFICIAL[name]


@pytest.mark.parametrize(
    ("name", "pairs"),
    [("boolq", 6), ("cb", 5), ("copa", 2), ("multirc", 4), ("record", 1), ("rte", 5), ("wic", 3), ("wsc", 3)],
)
def test_superglue_has_all_the_pairs_of_pattern_and_words_of_pet_and_one_more(name, pairs):
    assert len(shipped(name).pvps) >= pairs + (name != "wsc")


@pytest.mark.parametrize(
    ("name", "pattern", "shown"),
    [
        ("boolq", "before/truth", "Based on the following passage, <question>? ▁▁▁. <passage>"),
        ("cb", "quoted-stop", '"<hypothesis>"? │ ▁▁▁. "<premise>"'),
        ("copa", "quoted", '"<choice1>" or "<choice2>"? <premise><link> ▁▁▁.'),
        ("multirc", "brackets", "<passage> <question> - [ ▁▁▁ ] <answer>"),
        ("multirc", "correct", '<passage>. Question: <question>? Is the correct answer "<answer>"? ▁▁▁.'),
        ("record", "story", "<passage> <before> ▁▁▁<after>"),
        ("rte", "segments-comma", "<hypothesis>? │ ▁▁▁, <premise>"),
        ("wic", "dictionary", '<word>. Sense (1) (a) "<sentence1>" (▁▁▁) "<sentence2>"'),
        ("wsc", "refers", "<text> The pronoun '*<pronoun>*' refers to ▁▁▁."),
    ],
)
def test_a_pattern_of_pet_reads_as_published(name, pattern, shown):
    words = {field: f"<{field}>x" for field in shipped(name).inputs}
    made = shipped(name).pvp(pattern).pattern.fill(Example(words)).replace(">x", ">")
    assert made == shown


# against the shared model and data


@pytest.fixture(scope="module")
def vocabulary():
    path = SHARED / "models" / "minilm-mlm" / "vocab.txt"
    if not path.exists():
        pytest.skip("needs ../shared/models/minilm-mlm")
    return set(path.read_text(encoding="utf-8").split("\n"))


@pytest.mark.shared
@every_task
def test_every_label_word_is_one_token_of_an_uncased_wordpiece_model(name, vocabulary):
    words = {word for pvp in shipped(name).pvps for each in pvp.verbalizer.words.values() for word in each}
    assert {word for word in words if "{" not in word and word.lower() not in vocabulary} == set()


@pytest.mark.shared
@every_answering_task
def test_every_label_word_stands_behind_a_space_or_begins_a_segment(name, vocabulary):
    # byte-level models know most words behind a space only: a mask without one must have words they know bare
    known_bare = {"Yes", "No", "Maybe", "2", "b"}
    for pvp in shipped(name).pvps:
        (mask,) = (part for part in pvp.pattern.parts if isinstance(part, Mask))
        words = {word for each in pvp.verbalizer.words.values() for word in each}
        assert mask.space or words <= known_bare, pvp.name


@pytest.mark.shared
@every_answering_task
def test_the_shared_data_has_the_labels_of_the_task(name):
    path = SHARED / "data" / name / "test.jsonl"
    if not path.exists():
        pytest.skip(f"needs ../shared/data/{name}")
    task = shipped(name)
    if task.range:
        task = replace(task, labels=())  # every number is one
    values = {json.loads(line)["label"] for line in path.read_text(encoding="utf-8").splitlines()}
    assert {task.label_of(value) for value in values} == set(task.labels or values)


# the schema for editors


@pytest.fixture(scope="module")
def validator():
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((FOLDER / "schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def schema():
    return json.loads((FOLDER / "schema.json").read_text(encoding="utf-8"))


@every_task
def test_a_file_tells_editors_its_schema_in_the_first_line(name):
    assert source(name).splitlines()[0] == "# yaml-language-server: $schema=schema.json"


@every_task
def test_a_file_is_valid_by_the_schema_however_its_scalars_are_read(name, validator):
    assert list(validator.iter_errors(yaml.load(source(name), Loader=yaml.BaseLoader))) == []
    assert list(validator.iter_errors(yaml.safe_load(source(name)))) == []


def test_the_schema_knows_the_keys_the_reader_knows():
    known = schema()
    assert set(known["properties"]) == set(reading.TOP_KEYS)
    assert set(known["$defs"]["dataset"]["properties"]) == set(reading.DATASET_KEYS)
    assert set(known["$defs"]["field"]["not"]["enum"]) == set(RESERVED)
    entry = known["properties"]["patterns"]["additionalProperties"]["oneOf"][1]
    assert set(entry["properties"]) == set(reading.PATTERN_KEYS)


GOOD = {
    "task": "t",
    "inputs": ["text"],
    "labels": ["no", "yes"],
    "verbalizers": {"default": {"no": "bad", "yes": ["good", "fine"]}},
    "patterns": {
        "p": "{text} {mask}",
        "q": {"pattern": "{text} {mask}", "verbalizer": "default", "when": {"text": "x"}},
    },
}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"inputs": {"text": "sentence"}},
        {"labels": {"0": "no", "1": "yes"}},
        {"labels": {"range": [0, 5]}},
        {"metric": ["accuracy", "f1"]},
        {"dataset": {"path": "a/b", "columns": {"label": "x"}}},
    ],
)
def test_the_schema_takes_what_the_reader_takes(change, validator):
    assert list(validator.iter_errors(GOOD | change)) == []


@pytest.mark.parametrize(
    "change",
    [
        {"task": "a b"},
        {"metrics": "accuracy"},
        {"inputs": []},
        {"inputs": ["mask"]},
        {"labels": ["only"]},
        {"labels": {"range": [0]}},
        {"verbalizers": {"default": {"no": "bad"}}},
        {"verbalizers": {"default": {"no": "bad", "yes": ""}}},
        {"patterns": {}},
        {"patterns": {"all": "{text} {mask}"}},
        {"patterns": {"p": "{text}"}},
        {"patterns": {"p": {"mask": None}}},
        {"patterns": {"p": {"pattern": "{text} {mask}", "verbaliser": "x"}}},
        {"dataset": {"name": "x"}},
    ],
)
def test_the_schema_refuses_what_the_reader_refuses(change, validator):
    assert list(validator.iter_errors(GOOD | change)) != []


def test_the_schema_asks_for_words_where_there_are_labels(validator):
    assert list(validator.iter_errors({key: GOOD[key] for key in GOOD if key != "verbalizers"})) != []
    bare = {"task": "t", "inputs": ["a"], "patterns": {"p": "{a} {target}"}}
    assert list(validator.iter_errors(bare)) == []
    assert list(validator.iter_errors(bare | {"candidates": "a"})) == []


def test_the_schema_takes_parts_and_folders_as_the_reader_does(validator):
    bare = {"task": "t", "inputs": ["a"], "patterns": {"p": "{a} {target}"}, "parts": "seen"}
    assert list(validator.iter_errors(bare)) == []
    assert list(validator.iter_errors(bare | {"dataset": {"folders": ["x", "y"]}})) == []
    assert list(validator.iter_errors(bare | {"dataset": {"folders": []}})) != []
    assert list(validator.iter_errors(GOOD | {"parts": "seen"})) != []
