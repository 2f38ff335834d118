"""The rows that the package brings along: balanced, no two alike, and hard enough to tell methods apart."""

import json
import re
from collections import Counter

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from promptlab.data.fewshot import sample
from promptlab.data.sources import EMBEDDED, read_splits
from promptlab.errors import DataError
from promptlab.language.library import load_task, read_task

SIZES = {
    "reviews": (200, 500, 500),
    "topics": (160, 200, 240),
    "questions": (180, 180, 240),
    "entailment": (180, 180, 240),
    "restaurants": (100, 40, 60),
}
TASKS = [name for name in SIZES if name != "restaurants"]
SPLITS = ("train", "unlabeled", "test")


def rows(name, split):
    lines = (EMBEDDED / name / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def texts(name):
    kept = [row for split in SPLITS for row in rows(name, split)]
    said = [[value for key, value in row.items() if key != "label"] for row in kept]
    return [" ".join(" ".join(one) if isinstance(one, list) else one for one in each) for each in said]


def closest(told):
    """The largest share of words and pairs of words that two of the texts have in common."""
    bags = CountVectorizer(ngram_range=(1, 2), binary=True, token_pattern=r"[a-z0-9']+").fit_transform(told)
    both = (bags @ bags.T).toarray()
    sizes = both.diagonal()
    share = both / (sizes[:, None] + sizes[None] - both)
    return share[~np.eye(len(told), dtype=bool)].max()


@pytest.mark.parametrize("name", SIZES)
def test_as_many_rows_as_the_data_card_says(name):
    card = (EMBEDDED / "README.md").read_text(encoding="utf-8")
    assert tuple(len(rows(name, split)) for split in SPLITS) == SIZES[name]
    assert re.search(rf"`{name}` .*\| {SIZES[name][0]} \| {SIZES[name][1]} \| {SIZES[name][2]} \|", card)


@pytest.mark.parametrize("name", TASKS)
def test_classes_are_equally_large_in_every_labelled_split(name):
    task = load_task(name)
    for split in ("train", "test"):
        counts = Counter(row["label"] for row in rows(name, split))
        assert set(counts) == set(task.labels) and len(set(counts.values())) == 1


@pytest.mark.parametrize("name", SIZES)
def test_unlabelled_rows_give_no_answer(name):
    assert not any({"label", "targets"} & set(row) for row in rows(name, "unlabeled"))


@pytest.mark.parametrize("name", TASKS)
def test_no_two_rows_are_near_copies(name):
    assert closest(texts(name)) < (0.8 if name == "entailment" else 0.4)  # there a scene has three premises


def test_no_two_scenes_of_entailment_are_near_copies():
    scenes = {}
    for row in (row for split in SPLITS for row in rows("entailment", split)):
        scenes.setdefault(row["hypothesis"], []).append(row["premise"])
    assert closest([" ".join(premises) for premises in scenes.values()]) < 0.3


def test_a_near_copy_would_be_found():
    told = ["The kettle boils fast and its lid never sticks.", "The kettle boils fast, its lid never sticks!"]
    assert closest(told) > 0.5


@pytest.mark.parametrize("name", TASKS)
def test_splits_share_no_row(name):
    said = texts(name)
    assert len(set(said)) == len(said)


def test_each_hypothesis_stands_once_with_each_label_of_its_split():
    for split in ("train", "test"):
        labels = {}
        for row in rows("entailment", split):
            labels.setdefault(row["hypothesis"], []).append(row["label"])
        assert all(sorted(each) == ["contradiction", "entailment", "neutral"] for each in labels.values())


@pytest.mark.parametrize("seed", range(3))
def test_counting_words_says_little_of_a_review(seed):
    task = load_task("reviews")
    drawn = sample(task, read_splits(task), 16, seed)
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    model = LogisticRegression(C=10, max_iter=1000)
    model.fit(words.fit_transform(row.fields["text"] for row in drawn.train), [row.label for row in drawn.train])
    right = model.predict(words.transform(row.fields["text"] for row in drawn.test)) == [
        row.label for row in drawn.test
    ]
    assert np.mean(right) < 0.70


@pytest.mark.parametrize("name", TASKS)
def test_a_builtin_task_brings_its_rows(name):
    task = load_task(name)
    drawn = sample(task, read_splits(task), 16, seed=0)
    assert (len(drawn.train), len(drawn.unlabeled), len(drawn.test)) == (16 * len(task.labels), *SIZES[name][1:])
    assert not drawn.pool_from_train


def test_restaurants_have_two_different_references_and_no_source_twice():
    told = [row for split in ("train", "test") for row in rows("restaurants", split)]
    assert all(len(set(row["targets"])) == 2 for row in told)
    sources = [row["source"] for split in SPLITS for row in rows("restaurants", split)]
    assert len(set(sources)) == len(sources)
    assert all(re.fullmatch(r"name\[[^\]]+\](, [a-z]+\[[^\]]+\]){2,7}", source) for source in sources)


def test_restaurants_bring_their_rows_in_a_line_with_their_references():
    task = load_task("restaurants")
    drawn = sample(task, read_splits(task), 50, seed=0, limit=20)
    assert (len(drawn.train), len(drawn.unlabeled), len(drawn.test)) == (50, 40, 20)
    assert all(len(row.right) == 2 for row in drawn.train + drawn.test)
    assert not any(row.right for row in drawn.unlabeled)
    lines = [row.fields["source"] for row in drawn.train + drawn.unlabeled]
    assert all(re.fullmatch(r"name : [^|\[]+( \| [a-z]+ : [^|\[]+){2,7}", line) for line in lines)


def test_an_unknown_builtin_is_refused_with_what_there_is():
    text = (
        "task: mine\ndataset: {builtin: review}\ninputs: [text]\nlabels: [a, b]\n"
        "verbalizers: {default: {a: bad, b: good}}\npatterns: {p: '{text} {mask}'}\n"
    )
    with pytest.raises(DataError, match="builtin: review: no such rows. Did you mean 'reviews'"):
        read_splits(read_task(text))
