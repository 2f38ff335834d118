"""Every SuperGLUE set of ../shared, in both its forms: read equal, sampled, answerable."""

from pathlib import Path

import pytest

from promptlab.data.fewshot import sample
from promptlab.data.sources import Splits, read_examples
from promptlab.data.steps import taught
from promptlab.language.library import load_task

SHARED = Path(__file__).parents[3] / "shared" / "data"
SHOTS = {"boolq": 32, "cb": 32, "copa": 32, "multirc": 154, "record": 32, "rte": 32, "wic": 32, "wsc": 32}
PLAIN = ("boolq", "cb", "rte", "wic", "multirc")

pytestmark = pytest.mark.shared
every_set = pytest.mark.parametrize("name", SHOTS)


def rows(name, split, **settings):
    path = SHARED / name / f"{split}.jsonl"
    if not path.exists():
        pytest.skip(f"needs ../shared/data/{name}/{split}.jsonl")
    return read_examples(path, load_task(name), **settings)


@every_set
@pytest.mark.parametrize("split", ["train", "dev", "test", "train_full"])
def test_both_forms_of_a_set_read_equal(name, split):
    assert rows(name, f"{split}.original", labelled=True) == rows(name, split, labelled=True)


@every_set
def test_the_rows_to_learn_from_are_those_of_fewglue_and_each_has_its_answer(name):
    train, task = rows(name, "train", labelled=True), load_task(name)
    assert len(train) == SHOTS[name]
    assert all(0 <= task.gold(row) < len(task.choices(row)) for row in train)


@every_set
def test_unlabelled_rows_read_too(name):
    read = rows(name, "unlabeled", labelled=False)
    assert len(read) > 100
    assert {row.label for row in read} == {None}


@every_set
def test_every_pattern_is_filled_and_every_choice_has_a_word_of_its_own(name):
    task = load_task(name)
    for row in rows(name, "dev"):
        for pvp in task.pvps:
            words = pvp.verbalizer.spoken(row, task.choices(row))
            assert len(set(words)) == len(words) >= 2
            assert words[0][0] in pvp.pattern.fill(row, word=words[0][0])


@every_set
def test_shots_are_drawn_whole_groups_at_a_time(name):
    task, train = load_task(name), rows(name, "train")
    drawn = sample(task, Splits(train, train), "total:8", seed=3)
    again = sample(task, Splits(train, train), "total:8", seed=3)
    assert drawn.train == again.train
    groups = {row.group for row in drawn.train}
    assert len(groups) == (8 if name == "multirc" else 1)
    assert sum(row.group in groups for row in train) == (len(drawn.train) if name == "multirc" else len(train))


@pytest.mark.parametrize(("name", "factor"), [("copa", 2), ("wsc", 1), *((name, 1) for name in PLAIN)])
def test_what_the_shots_teach_is_counted(name, factor):
    train = rows(name, "train")
    told = taught(load_task(name), train)
    assert len(told) == factor * len(train)
    assert taught(load_task(name), told) == told


def test_record_teaches_each_right_answer_once():
    train = rows("record", "train")
    assert len(taught(load_task("record"), train)) == sum(len(row.right) for row in train) > len(train)


def test_the_noun_finder_finds_nearly_every_span_of_wsc():
    from promptlab.data.nouns import bare, noun_phrases

    found = missed = 0
    for row in rows("wsc", "train_full"):
        span = set(bare(row.fields["choices"][0]).split())
        phrases = [set(bare(phrase).split()) for phrase in noun_phrases(row.text("text").replace("*", ""))]
        found += any(span <= phrase or phrase <= span for phrase in phrases)
        missed += not any(span <= phrase or phrase <= span for phrase in phrases)
    assert found / (found + missed) > 0.97
