"""What a classifier cannot do, and how it says so."""

import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError

from promptlab.classifier import PromptClassifier
from promptlab.errors import DataError, PatternError, SettingError
from promptlab.language.example import Example

PATTERNS = ["{text} It was {mask}."]
WORDS = {"negative": "terrible", "positive": "great"}
TEXTS = ["a good film", "a bad film", "a fine film", "an awful film"]
LABELS = ["positive", "negative", "positive", "negative"]


def make(method="tfidf", **settings):
    return PromptClassifier(**{"patterns": PATTERNS, "verbalizer": WORDS, "method": method, **settings})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patterns": None, "verbalizer": None}, "nothing says what to ask. Write task="),
        ({"verbalizer": None}, "nothing says what to ask"),
        ({"verbalizer": ["terrible", "great"]}, "nothing says what to ask"),
        ({"task": "mr"}, "task= says the patterns and label words already"),
        ({"task": 3, "patterns": None, "verbalizer": None}, "task is a int. Write a Task"),
        ({"method": "pet", "backbone": None}, "pet needs a language model. Write backbone="),
        ({"method": "pte"}, "Did you mean 'pet'"),
        ({"tuning": "lora"}, "tfidf trains no weights"),
        ({"random_state": "lucky"}, "random_state='lucky' cannot be"),
    ],
)
def test_parameters_that_cannot_be_say_what_to_write(settings, message):
    with pytest.raises(SettingError, match=message):
        make(**settings).fit(TEXTS, LABELS)


def test_a_faulty_pattern_is_told_at_fitting():
    with pytest.raises(PatternError, match="mask"):
        make(patterns=["{text} It was."]).fit(TEXTS, LABELS)


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (TEXTS, LABELS[:3], "X has 4 rows and y 3 labels. Write one label a row"),
        (
            TEXTS,
            [*LABELS[:3], "neutral"],
            r"y\[3\]: label 'neutral' is none of the labels .* Give it a word in verbalizer=",
        ),
        (TEXTS, [*LABELS[:3], None], r"y\[3\]: no label"),
        (TEXTS, None, "rows without labels, and labels are needed here"),
        ([Example({"text": "a"}, "positive"), Example({"text": "b"})], None, r"X\[1\]: no label"),
        (None, None, "tfidf learns from labelled rows, and there are none. Write fit"),
        (None, LABELS, "tfidf learns from labelled rows"),
        ([], [], "learns from labelled rows, and there are none"),
        ("a good film", LABELS, "X is one text. Write a list of rows"),
        ("nowhere.csv", LABELS, "no file nowhere.csv"),
        ({"text": "a good film"}, LABELS, "X: a dict holds no rows"),
        (3, LABELS, "X: a int holds no rows"),
        (["a", 3, "b", "c"], LABELS, r"X\[1\] is a int"),
        ([float("nan"), *TEXTS[1:]], LABELS, r"X\[0\] is a float"),
        (pd.DataFrame({"review": TEXTS}), LABELS, "no column for input 'text'.*columns={'text': 'review'}"),
        (TEXTS, "positive", "y is a str"),
    ],
)
def test_rows_that_cannot_be_say_where_and_what_to_write(X, y, message):
    with pytest.raises(DataError, match=message):
        make().fit(X, y)


def test_rows_that_cannot_be_are_told_before_the_backbone_is_loaded():
    with pytest.raises(DataError, match="y 3 labels"):
        make("pet", backbone="nobody/nothing").fit(TEXTS, LABELS[:3])


@pytest.mark.parametrize("ask", ["predict", "predict_proba", "decision_function", "score", "save_pretrained"])
def test_nothing_is_answered_before_it_was_learnt(ask, tmp_path):
    with pytest.raises(NotFittedError, match="not fitted yet"):
        getattr(make(), ask)(tmp_path / "saved" if ask == "save_pretrained" else TEXTS)


def test_a_text_instead_of_rows_is_told_at_predicting():
    with pytest.raises(DataError, match=r"X is one text. Write a list of rows, \['a good film'\]"):
        make().fit(TEXTS, LABELS).predict("a good film")
