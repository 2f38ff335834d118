"""PromptClassifier among scikit-learn's own tools."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone, is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import FitFailedWarning, NotFittedError
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict, cross_val_score, cross_validate
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from promptlab.classifier import PromptClassifier
from promptlab.errors import SettingError
from promptlab.methods.pet import Pet
from promptlab.tuning.lora import Lora

NEWS = {"World": "world", "Sports": "sports", "Business": "business"}


@pytest.fixture
def texts(reviews):
    return [example.text("text") for example in reviews]


@pytest.fixture
def labels(reviews):
    return [example.label for example in reviews]


@pytest.fixture
def make(reviews_task, tiny_bert):
    def build(method="tfidf", **settings):
        return PromptClassifier(reviews_task, **{"method": method, "backbone": tiny_bert, **settings})

    return build


@pytest.fixture
def news():
    rows = [(f"a {word} story number {i}", label) for i in range(6) for label, word in NEWS.items()]
    made = PromptClassifier(patterns=["{text} {mask}"], verbalizer=NEWS, method="tfidf")
    return made, [text for text, _ in rows], [label for _, label in rows]


# parameters


def test_making_one_only_stores_what_it_is_given():
    given = {"task": object(), "method": object(), "backbone": object(), "verbalizer": object(), "random_state": "x"}
    classifier = PromptClassifier(**given)
    assert {name: getattr(classifier, name) for name in given} == given
    assert vars(classifier).keys() == classifier.get_params().keys()


def test_parameters_are_read_and_set_by_name(make):
    classifier = make("pet", tuning="lora").set_params(method="prompt", tuning=None)
    assert classifier.get_params()["method"] == "prompt"
    assert classifier.get_params()["tuning"] is None
    with pytest.raises(ValueError, match="Invalid parameter 'metod'"):
        classifier.set_params(metod="pet")


def test_a_clone_is_unfitted_and_equal_and_shares_the_loaded_backbone(make, texts, labels, tiny_bert):
    fitted = make(Pet(repetitions=1), tuning=Lora(r=2)).set_params(method="prompt:steps=1").fit(texts, labels)
    copy = clone(fitted)
    assert copy.backbone is tiny_bert
    assert copy.task == fitted.task
    assert (copy.method, copy.tuning) == ("prompt:steps=1", Lora(r=2))
    assert not hasattr(copy, "predictor_")


def test_fitting_changes_no_parameter(make, texts, labels):
    classifier = make("prompt:steps=1+lora")
    before = classifier.get_params()
    classifier.fit(texts, labels)
    assert all(classifier.get_params()[name] is value for name, value in before.items())


def test_fitting_again_forgets_what_was_learnt_before(make, texts, labels):
    classifier = make("prompt:steps=2+lora").fit(texts[:10], labels[:10])
    again = classifier.fit(texts[10:20], labels[10:20]).predict_proba(texts)
    assert np.array_equal(again, make("prompt:steps=2+lora").fit(texts[10:20], labels[10:20]).predict_proba(texts))


def test_it_says_of_itself_what_it_is(make):
    tags = get_tags(make())
    assert is_classifier(make())
    assert tags.input_tags.string
    assert tags.input_tags.one_d_array
    assert not tags.target_tags.required


def test_it_knows_whether_it_has_learnt(make, texts, labels):
    with pytest.raises(NotFittedError):
        check_is_fitted(make())
    check_is_fitted(make().fit(texts, labels))


def test_it_is_written_in_one_line_with_what_is_not_by_default(make, texts, labels, tiny_bert):
    shown = repr(make("prompt:steps=1+lora", random_state=3).fit(texts, labels))
    assert shown == (
        f"PromptClassifier(task='custom', method='prompt:steps=1+lora', backbone={tiny_bert!r}, random_state=3)"
    )
    assert repr(PromptClassifier()) == "PromptClassifier()"


@pytest.mark.parametrize("method", ["tfidf", "probe", "prompt:steps=1+lora", "finetune:steps=1"])
def test_it_survives_pickling(make, texts, labels, method):
    fitted = make(method).fit(texts, labels)
    again = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(again.predict_proba(texts[:4]), fitted.predict_proba(texts[:4]))


# searches and folds


def test_a_grid_is_searched_over_methods(make, texts, labels):
    search = GridSearchCV(make(), {"method": ["majority", "tfidf", "probe"]}, cv=2, error_score="raise")
    search.fit(texts, labels)
    scores = dict(zip(search.cv_results_["param_method"], search.cv_results_["mean_test_score"], strict=True))
    assert scores["majority"] == 0.5
    assert search.best_params_["method"] in ("tfidf", "probe")
    assert search.score(texts, labels) > 0.9
    assert search.classes_.tolist() == ["negative", "positive"]


def test_a_grid_is_searched_over_methods_and_tunings(make, texts, labels):
    grid = {"method": ["prompt:steps=1", "finetune:steps=1"], "tuning": ["lora:r=2", "bitfit", Lora(r=1)]}
    search = GridSearchCV(make("prompt"), grid, cv=2, error_score="raise").fit(texts[:12], labels[:12])
    assert len(search.cv_results_["params"]) == 6
    assert search.predict(texts[:2]).shape == (2,)


def test_a_grid_leaves_the_backbone_as_it_was(reviews_task, fresh, texts, labels):
    backbone = fresh("bert")
    before = {name: one.clone() for name, one in backbone.model.state_dict().items()}
    made = PromptClassifier(reviews_task, method="prompt:steps=1", backbone=backbone)
    GridSearchCV(made, {"tuning": ["full", "top", "lora"]}, cv=2, error_score="raise").fit(texts[:8], labels[:8])
    assert all(one.equal(backbone.model.state_dict()[name]) for name, one in before.items())


def test_a_cell_that_cannot_be_fails_alone(make, texts, labels):
    search = GridSearchCV(make(), {"method": ["tfidf", "tfidf+lora"]}, cv=2)
    with pytest.warns((FitFailedWarning, UserWarning), match="2 fits failed|non-finite"):
        search.fit(texts, labels)
    assert search.best_params_ == {"method": "tfidf"}
    assert np.isnan(search.cv_results_["mean_test_score"][1])
    with pytest.raises(SettingError):
        make("tfidf+lora").fit(texts, labels)


def test_unlabelled_rows_go_through_a_search(make, texts, labels):
    method = "pet:repetitions=1,patterns=p1,steps=1,student_steps=1"
    search = GridSearchCV(make(method), {"tuning": ["lora", "bitfit"]}, cv=2, error_score="raise")
    search.fit(texts[:8], labels[:8], unlabeled=texts[8:])
    assert search.best_estimator_.predictor_.facts["pool"] == 32


def test_folds_are_scored(make, texts, labels):
    scores = cross_val_score(make(), texts, labels, cv=StratifiedKFold(4), error_score="raise")
    assert scores.shape == (4,)
    assert scores.mean() > 0.8


def test_folds_are_scored_by_any_metric(make, texts, labels):
    metrics = ["accuracy", "f1_macro", "neg_log_loss", "roc_auc", "balanced_accuracy"]
    found = cross_validate(make("probe"), texts, labels, cv=2, scoring=metrics, error_score="raise")
    assert all(np.isfinite(found[f"test_{metric}"]).all() for metric in metrics)


def test_folds_of_integers_are_answered_in_integers(make, texts, labels):
    numbers = np.array([int(label == "positive") for label in labels])
    answers = cross_val_predict(make(), texts, numbers, cv=4)
    assert answers.dtype.kind == "i"
    assert np.array_equal(answers == 1, cross_val_predict(make(), texts, labels, cv=4) == "positive")


def test_folds_of_labelled_examples_need_no_labels_beside_them(make, reviews):
    from sklearn.model_selection import KFold

    scores = cross_val_score(make(), reviews, cv=KFold(4, shuffle=True, random_state=0), error_score="raise")
    assert scores.mean() > 0.8


def test_a_search_over_integers_works(make, texts, labels):
    numbers = pd.Series([int(label == "positive") for label in labels])
    search = GridSearchCV(make(), {"method": ["majority", "tfidf"]}, cv=2, error_score="raise").fit(texts, numbers)
    assert search.best_params_["method"] == "tfidf"
    assert search.classes_.tolist() == [0, 1]


def test_log_loss_and_roc_read_the_columns_right_whatever_the_tasks_order(news):
    classifier, rows, y = news
    classifier.fit(rows, y)
    shares = classifier.predict_proba(rows)
    assert classifier.score(rows, y) == 1.0
    assert log_loss(y, shares) < 0.7
    assert roc_auc_score(y, shares, multi_class="ovr") == 1.0
    by_hand = [shares[i, list(classifier.classes_).index(label)] for i, label in enumerate(y)]
    assert log_loss(y, shares) == pytest.approx(-np.log(by_hand).mean())


# tables, series, pipelines


def test_a_table_and_a_series_come_and_go_through_folds(make, texts, labels):
    table = pd.DataFrame({"id": range(len(texts)), "text": texts}, index=range(100, 100 + len(texts)))
    series = pd.Series(labels, index=table.index)
    scores = cross_val_score(make(), table, series, cv=4, error_score="raise")
    assert np.array_equal(scores, cross_val_score(make(), texts, labels, cv=4))


def test_columns_of_another_name_go_through_a_search(make, texts, labels):
    table = pd.DataFrame({"review": texts})
    search = GridSearchCV(make(columns={"text": "review"}), {"method": ["tfidf"]}, cv=2, error_score="raise")
    assert search.fit(table, labels).score(table, labels) > 0.9


def test_arrays_and_categories_come_too(make, texts, labels):
    expected = make().fit(texts, labels).predict_proba(texts)
    for y in (np.array(labels), np.array(labels, dtype=object), pd.Series(labels, dtype="category")):
        assert np.array_equal(make().fit(np.array(texts), y).predict_proba(np.array(texts)), expected)


def test_it_stands_at_the_end_of_a_pipeline(make, texts, labels):
    cleaned = FunctionTransformer(lambda rows: [text.replace("@", "a") for text in rows])
    pipe = make_pipeline(cleaned, make())
    spoilt = [text.replace("a", "@") for text in texts]
    assert pipe.fit(spoilt, labels).score(spoilt, labels) > 0.9
    assert np.array_equal(pipe.predict(spoilt), make().fit(texts, labels).predict(texts))
    assert pipe.classes_.tolist() == ["negative", "positive"]


def test_a_pipeline_is_searched_and_passes_unlabelled_rows_on(make, texts, labels):
    method = "pet:repetitions=1,patterns=p1,steps=1,student_steps=1+lora"
    pipe = Pipeline([("same", FunctionTransformer()), ("clf", make(method))])
    pipe.fit(texts[:8], labels[:8], clf__unlabeled=texts[8:])
    assert pipe.named_steps["clf"].predictor_.facts["pool"] == 32
    search = GridSearchCV(pipe, {"clf__method": ["majority", "tfidf"]}, cv=2, error_score="raise")
    assert search.fit(texts, labels).best_params_ == {"clf__method": "tfidf"}


def test_it_can_be_calibrated(news):
    classifier, rows, y = news
    calibrated = CalibratedClassifierCV(classifier, cv=2).fit(np.array(rows), y)
    assert calibrated.score(np.array(rows), y) == 1.0
