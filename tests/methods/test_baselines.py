import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

from promptlab.errors import DataError, SettingError
from promptlab.language.example import Example
from promptlab.language.task import Range, Task
from promptlab.methods.baselines import Majority, Tfidf
from promptlab.methods.method import Job, Saved, probabilities, restore
from promptlab.registry import METHODS

REVIEWS = Task(name="reviews", inputs={"text": "text"}, labels=("negative", "positive"), pvps=())
TOPICS = Task(name="topics", inputs={"title": "title", "body": "body"}, labels=("sport", "world", "money"), pvps=())
GOOD = ["a great warm film", "great acting and a lovely plot", "warm, funny and lovely", "a lovely film"]
BAD = ["a dull cold film", "awful acting and a boring plot", "cold, slow and boring", "a boring film"]
ROWS = [Example({"text": text}, "positive") for text in GOOD] + [Example({"text": text}, "negative") for text in BAD]
QUERIES = [Example({"text": text}) for text in ("lovely and warm", "boring and cold", "", "zzz", "A GREAT plot")]


def fitted(method, task, rows):
    [(_, predictor)] = method.fit(None, None, [Job(task, rows)])
    return predictor


def answers(predictor, examples):
    return [predictor.task.labels[at] for at in predictor.scores(examples).argmax(axis=1)]


def through_a_file(predictor):
    """As it comes back from disk: JSON, and arrays of their own."""
    saved = predictor.saved()
    arrays = {name: np.frombuffer(one.tobytes(), one.dtype).reshape(one.shape) for name, one in saved.tensors.items()}
    return restore(predictor.task, None, Saved(saved.kind, json.loads(json.dumps(saved.config)), arrays))


# majority


def test_majority_answers_the_commonest_label():
    assert answers(fitted(Majority(), REVIEWS, ROWS[:5]), QUERIES[:2]) == ["positive"] * 2
    assert answers(fitted(Majority(), REVIEWS, ROWS[3:]), QUERIES[:2]) == ["negative"] * 2


def test_majority_takes_the_first_label_of_the_task_where_several_are_commonest():
    assert answers(fitted(Majority(), REVIEWS, ROWS), QUERIES[:1]) == ["negative"]


def test_majority_is_as_sure_as_the_label_is_common():
    shares = probabilities(fitted(Majority(), REVIEWS, ROWS[:5]).scores(QUERIES))
    assert shares == pytest.approx(np.tile([2 / 7, 5 / 7], (5, 1)))


def test_majority_gives_a_label_it_never_saw_a_chance():
    rows = [Example({"title": "x", "body": "y"}, "world")]
    assert probabilities(fitted(Majority(), TOPICS, rows).scores(rows))[0] == pytest.approx([0.25, 0.5, 0.25])


# tf-idf


def test_tfidf_learns_words():
    assert answers(fitted(Tfidf(), REVIEWS, ROWS), [QUERIES[0], QUERIES[1], QUERIES[4]]) == [
        "positive",
        "negative",
        "positive",
    ]


def test_tfidf_equals_scikit_learns_own_pipeline():
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    pipeline = make_pipeline(words, LogisticRegression(C=3.0, max_iter=10_000))
    pipeline.fit([row.fields["text"] for row in ROWS], [row.label for row in ROWS])
    expected = pipeline.predict_proba([row.fields["text"] for row in QUERIES])
    assert probabilities(fitted(Tfidf(C=3.0), REVIEWS, ROWS).scores(QUERIES)) == pytest.approx(expected, abs=1e-12)


def test_tfidf_of_three_labels_equals_scikit_learns_own_pipeline():
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    texts = [
        "the match was won",
        "the vote was lost",
        "shares fell again",
        "a goal was scored",
        "talks failed",
        "profits rose",
    ]
    labels = [TOPICS.labels[at % 3] for at in range(6)]
    rows = [Example({"title": text, "body": "and more"}, label) for text, label in zip(texts, labels, strict=True)]
    pipeline = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10.0, max_iter=10_000)
    )
    pipeline.fit([f"{text}\nand more" for text in texts], [TOPICS.labels.index(label) for label in labels])
    found = probabilities(fitted(Tfidf(), TOPICS, rows).scores(rows))
    assert found == pytest.approx(pipeline.predict_proba([f"{text}\nand more" for text in texts]), abs=1e-12)


def test_tfidf_reads_every_input():
    rows = [
        Example({"title": "same", "body": body}, label)
        for body, label in (("goal", "sport"), ("vote", "world"), ("bank", "money"))
    ]
    assert answers(fitted(Tfidf(), TOPICS, rows), rows) == ["sport", "world", "money"]


def test_tfidf_reads_pairs_of_words_unless_told_not_to():
    pairs, words = fitted(Tfidf(), REVIEWS, ROWS), fitted(Tfidf(ngrams=1), REVIEWS, ROWS)
    assert "lovely film" in pairs.vocabulary
    assert all(" " not in word for word in words.vocabulary)


def test_tfidf_keeps_only_so_many_features():
    assert len(fitted(Tfidf(features=7), REVIEWS, ROWS).vocabulary) == 7


def test_tfidf_answers_by_the_intercept_where_it_knows_no_word():
    model = fitted(Tfidf(), REVIEWS, ROWS)
    assert model.scores(QUERIES[2:4]) == pytest.approx(np.tile(model.intercept, (2, 1)))


def test_tfidf_learns_shares_where_every_text_is_empty():
    rows = [Example({"text": ""}, "positive")] * 3 + [Example({"text": "!"}, "negative")]
    assert probabilities(fitted(Tfidf(), REVIEWS, rows).scores(QUERIES[:1]))[0] == pytest.approx([0.25, 0.75])


def test_tfidf_of_one_label_answers_it():
    model = fitted(Tfidf(), REVIEWS, ROWS[:4])
    assert answers(model, QUERIES) == ["positive"] * 5
    assert np.isfinite(np.log(probabilities(model.scores(QUERIES)))).all()


def test_tfidf_never_answers_a_label_it_never_saw():
    rows = [Example({"title": text, "body": ""}, label) for text, label in (("goal", "sport"), ("bank", "money"))]
    model = fitted(Tfidf(), TOPICS, rows)
    assert answers(model, rows) == ["sport", "money"]
    assert probabilities(model.scores(rows))[:, 1].max() < 1e-6


@pytest.mark.parametrize(
    "settings", [{"C": 0.0}, {"C": float("nan")}, {"C": float("inf")}, {"ngrams": 0}, {"features": -1}]
)
def test_tfidf_refuses_settings_that_cannot_be(settings):
    with pytest.raises(SettingError, match=rf"tfidf: {next(iter(settings))}=.* cannot be"):
        Tfidf(**settings)


# both

BOTH = pytest.mark.parametrize("method", [Majority(), Tfidf()], ids=["majority", "tfidf"])


@BOTH
def test_a_restored_baseline_scores_equal_to_the_bit(method):
    for task, rows in ((REVIEWS, ROWS), (REVIEWS, ROWS[:2])):
        model = fitted(method, task, rows)
        assert np.array_equal(through_a_file(model).scores(QUERIES), model.scores(QUERIES))


@BOTH
def test_a_baseline_is_saved_as_json_and_arrays_alone(method):
    saved = fitted(method, REVIEWS, ROWS).saved()
    assert json.loads(json.dumps(saved.config)) == saved.config
    assert {type(tensor) for tensor in saved.tensors.values()} == {np.ndarray}
    assert all(tensor.dtype == np.float64 for tensor in saved.tensors.values())


@BOTH
def test_scores_are_one_row_an_example_and_one_column_a_label(method):
    model = fitted(method, REVIEWS, ROWS)
    assert model.scores(QUERIES).shape == (5, 2)
    assert model.scores([]).shape == (0, 2)
    assert model.scores(QUERIES).dtype == np.float64


@BOTH
def test_every_job_gets_a_predictor_of_its_own_that_lasts(method):
    jobs = [Job(REVIEWS, ROWS[:5], seed=0), Job(REVIEWS, ROWS[3:], seed=1)]
    done = list(method.fit(None, None, jobs))
    assert [job for job, _ in done] == jobs
    assert [answers(predictor, ROWS[:1]) for _, predictor in done] == [["positive"], ["negative"]]
    assert all(predictor.keep() is predictor for _, predictor in done)


@BOTH
def test_a_baseline_says_how_many_rows_it_saw(method):
    facts = fitted(method, REVIEWS, ROWS).facts
    assert facts["examples_seen"] == 8
    assert facts["stored_parameters"] >= 0


def test_tfidf_says_how_many_numbers_it_stores():
    model = fitted(Tfidf(), REVIEWS, ROWS)
    assert model.facts["stored_parameters"] == 2 * len(model.vocabulary) + 2


@BOTH
def test_a_baseline_needs_labels_but_neither_backbone_nor_tuning(method):
    assert (method.needs_labels, method.needs_backbone, method.learns) == (True, False, False)


@BOTH
def test_without_labelled_rows_a_baseline_says_what_to_write(method):
    with pytest.raises(DataError, match=r"learns from labelled rows, and there are none\. Write -k 1"):
        fitted(method, REVIEWS, [])


GRADES = Task(name="grades", inputs={"text": "text"}, labels=("low", "high"), pvps=(), range=Range(0, 5))
GRADED = [Example({"text": text}, y) for text, y in (("bad", "0"), ("good", "5"), ("bad good", "2.5"), ("good", "4"))]


def test_majority_says_the_mean_of_numbers():
    assert fitted(Majority(), GRADES, GRADED).scores(GRADED).tolist() == [[2.875]] * 4


def test_tfidf_is_scikit_learns_ridge_on_numbers_held_in_their_range():
    texts, y = [one.fields["text"] for one in GRADED], [float(one.label) for one in GRADED]
    plain = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), Ridge(alpha=1 / 10.0)).fit(texts, y)
    found = fitted(Tfidf(), GRADES, GRADED)
    np.testing.assert_allclose(found.scores(GRADED)[:, 0], np.clip(plain.predict(texts), 0, 5), atol=1e-9)
    again = restore(GRADES, None, found.saved())
    np.testing.assert_array_equal(again.scores(GRADED), found.scores(GRADED))


def test_texts_without_words_get_the_mean():
    assert fitted(Tfidf(), GRADES, [replace(one, fields={"text": "."}) for one in GRADED]).scores(GRADED)[0, 0] == 2.875


@BOTH
def test_a_baseline_refuses_a_number_out_of_the_range_and_no_number(method):
    for label in ("7", "high", None):
        with pytest.raises(DataError, match="number from 0 to 5"):
            fitted(method, GRADES, [Example({"text": "x"}, label)])


@BOTH
def test_a_baseline_without_rows_of_numbers_says_how_to_give_some(method):
    with pytest.raises(DataError, match="Write -k total:1 or more"):
        fitted(method, GRADES, [])


def test_baselines_are_built_by_name_from_text():
    assert METHODS.build("tfidf", {"C": "1", "ngrams": "1"}) == Tfidf(C=1.0, ngrams=1)
    assert METHODS.build("majority") == Majority()
