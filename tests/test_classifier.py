import numpy as np
import pandas as pd
import pytest
from datasets import Dataset

from promptlab.classifier import PromptClassifier
from promptlab.errors import BackboneError, SettingError
from promptlab.language.example import Example
from promptlab.language.library import load_task
from promptlab.language.task import Task
from promptlab.methods.baselines import Tfidf
from promptlab.methods.method import Job, probabilities
from promptlab.methods.prompt import Prompt
from promptlab.tuning.lora import Lora

PATTERNS = ["{text} It was {mask}."]
WORDS = {"negative": "terrible", "positive": "great"}
TEXTS = ["a good film", "a bad film", "a fine film", "an awful film"]
LABELS = ["positive", "negative", "positive", "negative"]


def make(method="tfidf", **settings):
    return PromptClassifier(**{"patterns": PATTERNS, "verbalizer": WORDS, "method": method, **settings})


@pytest.fixture
def pair_task():
    return Task.from_parts(["{premise} {mask} {hypothesis}"], {"no": "no", "yes": "yes"}, name="pairs")


# learning


def test_a_classifier_learns_from_texts_and_labels_without_any_file():
    classifier = make().fit(TEXTS, LABELS)
    assert classifier.predict(["a good story", "a bad story"]).tolist() == ["positive", "negative"]


def test_fit_returns_the_classifier_itself():
    classifier = make()
    assert classifier.fit(TEXTS, LABELS) is classifier


def test_a_classifier_does_what_its_method_does(reviews_task, reviews, tiny_bert):
    classifier = PromptClassifier(
        reviews_task, method="prompt:steps=3", tuning="lora:r=2", backbone=tiny_bert, random_state=5
    ).fit(reviews[:8])
    [(_, predictor)] = Prompt(steps=3).fit(tiny_bert, Lora(r=2), [Job(reviews_task, reviews[:8], seed=5)])
    assert np.array_equal(classifier.predict_proba(reviews), probabilities(predictor.scores(reviews)))


def test_settings_may_be_objects_or_text(reviews_task, reviews, tiny_bert):
    one = PromptClassifier(reviews_task, method="prompt:steps=2", tuning="lora:r=2", backbone=tiny_bert)
    two = PromptClassifier(reviews_task, method=Prompt(steps=2), tuning=Lora(r=2), backbone=tiny_bert)
    three = PromptClassifier(reviews_task, method="prompt:steps=2+lora:r=2", backbone=tiny_bert)
    answers = [each.fit(reviews[:8]).predict_proba(TEXTS) for each in (one, two, three)]
    assert np.array_equal(answers[0], answers[1])
    assert np.array_equal(answers[0], answers[2])


def test_unlabelled_rows_reach_the_method(reviews_task, reviews, tiny_bert):
    method = "pet:repetitions=1,steps=1,student_steps=1+lora"
    taught = PromptClassifier(reviews_task, method=method, backbone=tiny_bert).fit(reviews[:4], unlabeled=TEXTS)
    alone = PromptClassifier(reviews_task, method=method, backbone=tiny_bert).fit(reviews[:4])
    assert taught.predictor_.facts["pool"] == 4
    assert "pool" not in alone.predictor_.facts


def test_labels_of_unlabelled_rows_are_left_unread(reviews_task, reviews, tiny_bert):
    method = "zero-shot:calibration=batch"
    seen = PromptClassifier(reviews_task, method=method, backbone=tiny_bert).fit(unlabeled=reviews[:8])
    blind = PromptClassifier(reviews_task, method=method, backbone=tiny_bert).fit(
        unlabeled=[row.unlabelled() for row in reviews[:8]]
    )
    assert np.array_equal(seen.predict_proba(TEXTS), blind.predict_proba(TEXTS))


def test_zero_shot_needs_no_rows(tiny_bert):
    classifier = make("zero-shot", backbone=tiny_bert).fit()
    assert classifier.classes_.tolist() == ["negative", "positive"]
    assert classifier.predict(TEXTS).shape == (4,)


def test_zero_shot_takes_the_names_of_labels_alone(tiny_bert):
    assert make("zero-shot", backbone=tiny_bert).fit(None, ["positive", "negative"]).predict(TEXTS).shape == (4,)
    assert make("zero-shot", backbone=tiny_bert).fit(None, [0, 1]).classes_.tolist() == [0, 1]


def test_rows_without_labels_are_unlabelled_rows_to_a_method_that_needs_none(tiny_bert):
    given = make("zero-shot:calibration=batch", backbone=tiny_bert).fit(TEXTS)
    named = make("zero-shot:calibration=batch", backbone=tiny_bert).fit(unlabeled=TEXTS)
    assert np.array_equal(given.predict_proba(TEXTS), named.predict_proba(TEXTS))


def test_learnt_parameters_are_counted(reviews_task, reviews, tiny_bert):
    classifier = PromptClassifier(reviews_task, method="finetune:steps=1+lora:r=2", backbone=tiny_bert)
    assert classifier.fit(reviews[:4]).n_learnt_ == 2 * 2 * 2 * (32 + 32)
    assert make("majority").fit(TEXTS, LABELS).n_learnt_ == 0


def test_the_same_seed_gives_the_same_model_and_another_seed_another(reviews_task, reviews, tiny_bert):
    def answers(seed):
        classifier = PromptClassifier(
            reviews_task, method="finetune:steps=2+lora", backbone=tiny_bert, random_state=seed
        )
        return classifier.fit(reviews[:8]).predict_proba(TEXTS)

    assert np.array_equal(answers(3), answers(np.int64(3)))
    assert np.array_equal(answers(np.random.RandomState(1)), answers(np.random.RandomState(1)))
    assert not np.array_equal(answers(3), answers(4))


def test_without_a_seed_each_fit_draws_its_own(reviews_task, reviews, tiny_bert):
    np.random.seed(0)
    classifier = PromptClassifier(reviews_task, method="finetune:steps=1+lora", backbone=tiny_bert, random_state=None)
    first = classifier.fit(reviews[:8]).predict_proba(TEXTS)
    assert not np.array_equal(first, classifier.fit(reviews[:8]).predict_proba(TEXTS))


# rows of every kind


@pytest.mark.parametrize(
    "rows",
    [
        TEXTS,
        tuple(TEXTS),
        np.array(TEXTS),
        np.array(TEXTS, dtype=object),
        np.array(TEXTS)[:, None],
        pd.Series(TEXTS),
        pd.DataFrame({"text": TEXTS, "other": 1}),
        Dataset.from_dict({"text": TEXTS}),
        Dataset.from_dict({"text": TEXTS})["text"],
        Dataset.from_dict({"text": TEXTS})[:],
        [{"text": text, "label": "nonsense"} for text in TEXTS],
        [(text,) for text in TEXTS],
        [Example({"text": text}) for text in TEXTS],
        np.array([Example({"text": text}) for text in TEXTS], dtype=object),
        (text for text in TEXTS),
    ],
    ids=lambda rows: type(rows).__name__,
)
def test_rows_come_in_many_kinds(rows):
    expected = make().fit(TEXTS, LABELS).predict_proba(TEXTS)
    classifier = make().fit(rows, LABELS)
    assert np.array_equal(classifier.predict_proba(TEXTS), expected)


@pytest.mark.parametrize(
    "rows",
    [
        [Example({"text": text}, label) for text, label in zip(TEXTS, LABELS, strict=True)],
        [{"text": text, "label": label} for text, label in zip(TEXTS, LABELS, strict=True)],
        list(zip(TEXTS, LABELS, strict=True)),
        np.array([TEXTS, LABELS]).T,
        pd.DataFrame({"text": TEXTS, "label": LABELS}),
        Dataset.from_dict({"text": TEXTS, "label": LABELS}),
    ],
    ids=lambda rows: type(rows).__name__,
)
def test_rows_may_bring_their_labels(rows):
    expected = make().fit(TEXTS, LABELS).predict_proba(TEXTS)
    classifier = make().fit(rows)
    assert np.array_equal(classifier.predict_proba(rows), expected)
    assert classifier.score(rows) == 1.0


def test_rows_come_from_files(tmp_path):
    table = tmp_path / "rows.csv"
    pd.DataFrame({"review": TEXTS, "label": LABELS}).to_csv(table, index=False)
    classifier = make(columns={"text": "review"})
    assert classifier.fit(str(table)).score(table) == 1.0
    assert classifier.predict(table).tolist() == LABELS


def test_labels_given_apart_win_over_those_of_the_rows():
    rows = [Example({"text": text}, "negative") for text in TEXTS]
    assert make().fit(rows, LABELS).predict(TEXTS).tolist() == LABELS


def test_two_inputs_come_as_pairs_columns_or_fields(pair_task):
    pairs = [("a cat", "a dog"), ("rain", "rain"), ("a cat", "a bird"), ("sun", "sun")]
    y = ["no", "yes", "no", "yes"]
    expected = PromptClassifier(pair_task, method="tfidf").fit(pairs, y).predict_proba(pairs)
    named = [{"premise": one, "hypothesis": two} for one, two in pairs]
    for rows in (np.array(pairs), named, pd.DataFrame(named)):
        assert np.array_equal(PromptClassifier(pair_task, method="tfidf").fit(rows, y).predict_proba(rows), expected)


# answers


def test_answers_come_in_the_words_they_were_learnt_in():
    classifier = make().fit(TEXTS, ["Positive", "Negative", "Positive", "Negative"])
    assert classifier.predict(["a good film"]).tolist() == ["Positive"]


def test_whole_numbers_in_whole_numbers_out():
    classifier = make().fit(TEXTS, np.array([1, 0, 1, 0]))
    assert classifier.classes_.tolist() == [0, 1]
    assert classifier.predict(TEXTS).dtype.kind == "i"
    assert classifier.predict(["a good film"]).tolist() == [1]


def test_probabilities_stand_in_the_order_of_the_classes(tiny_bert):
    words = {"World": "world", "Sports": "sports", "Business": "business"}
    classifier = make("zero-shot", verbalizer=words, backbone=tiny_bert).fit()
    assert classifier.classes_.tolist() == ["Business", "Sports", "World"]
    shares = classifier.predict_proba(TEXTS)
    shown = classifier.show(TEXTS[0]).to_dict()["texts"][0]["probabilities"]
    assert shares.sum(1) == pytest.approx(np.ones(4))
    assert [shown[label] for label in classifier.classes_] == pytest.approx(shares[0].tolist())
    assert np.array_equal(classifier.classes_[shares.argmax(1)], classifier.predict(TEXTS))


def test_the_decision_function_is_a_lead_for_two_labels_and_scores_for_more(tiny_bert):
    two = make("zero-shot", backbone=tiny_bert).fit()
    lead = two.decision_function(TEXTS)
    assert 1 / (1 + np.exp(-lead)) == pytest.approx(two.predict_proba(TEXTS)[:, 1])
    three = make("zero-shot", verbalizer={**WORDS, "neither": "fine"}, backbone=tiny_bert).fit()
    assert probabilities(three.decision_function(TEXTS)) == pytest.approx(three.predict_proba(TEXTS))


def test_no_rows_get_no_answers(tiny_bert):
    classifier = make("zero-shot", backbone=tiny_bert).fit()
    assert classifier.predict([]).shape == (0,)
    assert classifier.predict_proba([]).shape == (0, 2)


def test_an_empty_text_is_answered_too(tiny_bert):
    assert make("zero-shot", backbone=tiny_bert).fit().predict_proba([""]).sum() == pytest.approx(1)


def test_a_score_that_is_no_number_never_wins():
    classifier = make("majority").fit(TEXTS, LABELS)
    classifier.predictor_.each = np.array([np.nan, -5.0])
    assert classifier.predict(TEXTS).tolist() == ["positive"] * 4


def test_accuracy_takes_labels_in_any_way_the_task_does():
    classifier = make().fit(TEXTS, LABELS)
    assert classifier.score(TEXTS, LABELS) == 1.0
    assert classifier.score(TEXTS, [1, 0, 1, 1]) == 0.75
    assert classifier.score(TEXTS, pd.Series(["POSITIVE"] * 4)) == 0.5
    assert classifier.score(TEXTS, [1, 0, 1, 1], sample_weight=[1, 1, 1, 0]) == 1.0


# looking


def test_a_classifier_shows_what_it_reads_before_it_has_learnt(tiny_bert):
    classifier = make("pet", backbone=tiny_bert)
    shown = classifier.show("a good film")
    assert "a good film It was ▁▁▁." in str(shown)
    assert "mass on label words" in str(shown)
    assert not hasattr(classifier, "predictor_")


def test_a_learnt_classifier_shows_its_answer(reviews_task, reviews, tiny_bert):
    classifier = PromptClassifier(reviews_task, method="prompt:steps=2+lora", backbone=tiny_bert).fit(reviews[:8])
    (text,) = classifier.show("a good film").to_dict()["texts"]
    assert text["label"] == classifier.predict(["a good film"])[0]


@pytest.mark.parametrize(
    "one", ["a good film", {"text": "a good film"}, Example({"text": "a good film"}), ("a good film",)]
)
def test_one_text_is_shown_however_it_is_written(tiny_bert, one):
    shown = make("zero-shot", backbone=tiny_bert).show(one)
    assert [text["fields"] for text in shown.texts] == [{"text": "a good film"}]


def test_several_texts_are_shown_one_after_the_other(tiny_bert, pair_task):
    assert len(make("zero-shot", backbone=tiny_bert).show(TEXTS).texts) == 4
    assert len(make("zero-shot", backbone=tiny_bert).show(tuple(TEXTS)).texts) == 4
    assert len(PromptClassifier(pair_task, backbone=tiny_bert).show(("rain", "sun")).texts) == 1


def test_a_baseline_shows_itself_once_it_has_learnt():
    assert str(make().fit(TEXTS, LABELS).show("a good film")).startswith("a good film\n  positive .")


def test_nothing_to_show_without_a_backbone_says_what_to_write():
    with pytest.raises(SettingError, match="pet needs a language model. Write backbone="):
        make("pet", backbone=None).show("a good film")


# the backbone


def test_a_backbone_is_loaded_by_name_and_kept_for_the_next_fit(tiny_bert_folder):
    classifier = make("zero-shot", backbone=str(tiny_bert_folder), device="cpu")
    classifier.show("a good film")
    shown = classifier._held[1]
    assert classifier.fit().backbone_ is shown
    assert classifier.set_params(dtype="float64").fit().backbone_ is not shown


def test_a_baseline_loads_no_backbone():
    assert make("majority", backbone="nobody/nothing").fit(TEXTS, LABELS).backbone_ is None


def test_learning_leaves_the_backbone_as_it_was(reviews_task, reviews, fresh):
    backbone = fresh("bert")
    before = {name: one.clone() for name, one in backbone.model.state_dict().items()}
    classifier = PromptClassifier(reviews_task, method="prompt:steps=2", backbone=backbone).fit(reviews[:8])
    classifier.predict(TEXTS)
    assert all(one.equal(backbone.model.state_dict()[name]) for name, one in before.items())


def test_a_model_without_a_head_is_refused_unless_a_new_one_is_allowed(folder_of, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(folder_of("bert"), tmp_path / "headless")
    weights = load_file(folder / "model.safetensors")
    encoder = {name: one for name, one in weights.items() if name.startswith("bert.")}
    save_file(encoder, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(BackboneError, match="has no language-model head"):
        make("zero-shot", backbone=folder, device="cpu").fit()
    assert make("zero-shot", backbone=folder, device="cpu", allow_new_head=True).fit().backbone_.new_head


# tasks


def test_a_task_is_named_or_read_from_a_file(tmp_path, tiny_bert):
    assert PromptClassifier("mr", method="majority").fit(TEXTS, LABELS).task_ == load_task("mr")
    (tmp_path / "films.yaml").write_text(load_task("mr").to_yaml().replace("task: mr", "task: films"), encoding="utf-8")
    for path in (tmp_path / "films.yaml", str(tmp_path / "films.yaml")):
        assert PromptClassifier(path, method="majority").fit(TEXTS, LABELS).task_.name == "films"


def test_patterns_may_have_names_and_labels_several_words(tiny_bert):
    classifier = make(
        "zero-shot:patterns=short",
        patterns={"long": "{text} All in all it was {mask}.", "short": "{text} {mask}"},
        verbalizer={"negative": ["bad", "awful"], "positive": ["good", "fine"]},
        backbone=tiny_bert,
    ).fit()
    assert [row["pattern"] for row in classifier.show("a film")] == ["short"]


def test_labels_of_a_verbalizer_may_be_numbers():
    classifier = make(verbalizer={0: "terrible", 1: "great"}).fit(TEXTS, [1, 0, 1, 0])
    assert classifier.predict(TEXTS).tolist() == [1, 0, 1, 0]


def test_a_method_object_of_settings_is_kept_as_it_is():
    method = Tfidf(C=1.0)
    classifier = make(method)
    assert classifier.method is method
    assert classifier.fit(TEXTS, LABELS).method is method
