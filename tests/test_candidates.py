"""Rows with their own candidates, and label words of any length, through the whole house."""

import json

import numpy as np
import pytest

from promptlab.backbone.encode import Encoder
from promptlab.classifier import PromptClassifier
from promptlab.errors import DataError, PatternError, PromptlabError, SettingError
from promptlab.lab.plan import Plan
from promptlab.language.example import Example
from promptlab.language.library import read_task
from promptlab.language.task import Task
from promptlab.methods.members import cloze_member, gold
from promptlab.methods.method import Job
from promptlab.methods.predict import Ensemble, Model, merge, own_choices
from promptlab.methods.prompt import Prompt
from promptlab.methods.zero_shot import ZeroShot
from promptlab.tuning.lora import Lora

QUIZ = read_task("""
task: quiz
inputs: [text, options]
candidates: options
patterns:
  plain: "{text} It was {mask}."
  warm: "{text} All in all, it was {mask}."
""")
COPA = read_task("""
task: pairs
inputs: [text, one, two]
labels: [first, second]
verbalizers: {default: {first: "{one|lower_first}", second: "{two|lower_first}"}}
patterns: {p: "{one} or {two}? {text} It was {mask}."}
""")
WRONG = [("boring",), ("a slow story", "bad"), ("plot", "two actors", "awful music")]
RIGHT = ["good", "brilliant film", "so funny"]


def rows(number, ending=""):
    """Candidates in unequal numbers; the right one is praise. With an ending all are two words."""
    found = []
    for i in range(number):
        options, right = list(WRONG[i % 3]), RIGHT[i // 2 % 3]
        options.insert(i % (len(options) + 1), right)
        told, *options = [" ".join([*one.split(), ending][-2:]).strip() if ending else one for one in [right, *options]]
        found.append(Example({"text": f"film {i % 7}", "options": tuple(options)}, told))
    return found


def pairs(number, ending=""):
    listed = [("Good film", "bad plot"), ("awful music", "Brilliant plot"), ("so funny", "so boring")]
    right = ["first", "second", "first"]
    return [
        Example({"text": f"film {i % 7}", "one": listed[i % 3][0], "two": listed[i % 3][1]}, right[i % 3])
        for i in range(number)
    ]


@pytest.mark.parametrize("family", ["bert", "gpt2"])
@pytest.mark.parametrize(("task", "make"), [(QUIZ, rows), (COPA, pairs)], ids=["candidates", "words"])
def test_a_prompt_learns_what_to_choose(tiny, family, task, make):
    """Tiny random models are no judges of long words against short ones: here all are of two, read with masks open."""
    backbone, test = tiny(family), make(30, "film")
    job = Job(task, make(24, "film"), queries=[one.unlabelled() for one in test])
    ((_, predictor),) = Prompt(steps=60, decoding="parallel").fit(backbone, Lora(lr=2e-2), [job])
    scores, choices = predictor.scores(job.queries), [task.choices(one) for one in job.queries]
    assert scores.shape == (30, max(map(len, choices)))
    assert [int(np.isfinite(row).sum()) for row in scores] == list(map(len, choices))
    assert (scores.argmax(1) == [task.gold(one) for one in test]).mean() >= 0.8
    assert 0 <= predictor.facts["mass"] <= 1


def test_a_classifier_answers_with_the_text_of_the_candidate_and_comes_back_from_disk(tiny_bert, tmp_path):
    train, test = rows(24), rows(30)
    classifier = PromptClassifier(
        QUIZ, method="prompt:steps=30,patterns=all", tuning="lora:lr=0.02", backbone=tiny_bert
    )
    classifier.fit(train)
    said, sure = classifier.predict(test), classifier.predict_proba(test)
    assert all(one in row.fields["options"] for one, row in zip(said, test, strict=True))
    assert sure.shape == (30, 4)
    assert [int((row > 0).sum()) for row in sure] == [len(row.fields["options"]) for row in test]
    np.testing.assert_allclose(sure.sum(1), 1)
    assert classifier.score(test) == np.mean([one == row.label for one, row in zip(said, test, strict=True)])
    assert classifier.score(test, [row.label for row in test]) == classifier.score(test)
    back = PromptClassifier.from_pretrained(classifier.save_pretrained(tmp_path / "saved"), backbone=tiny_bert)
    assert back.predict(test).tolist() == said.tolist()
    np.testing.assert_allclose(back.decision_function(test), classifier.decision_function(test))
    assert len(back.classes_) == len(back.predict([])) == 0


def test_a_classifier_takes_candidates_and_answers_apart(tiny_bert):
    given, right = [dict(one.fields) for one in rows(12)], [one.label for one in rows(12)]
    classifier = PromptClassifier(QUIZ, method="prompt:steps=2", tuning="lora:r=2", backbone=tiny_bert).fit(
        given, right
    )
    assert len(classifier.predict(given)) == 12


def test_the_way_of_decoding_is_passed_on_and_saved(tiny_bert, tmp_path):
    task = Task.from_parts(["{text} It was {mask}."], {"bad": "badly made", "good": "so very funny"})
    texts, found = ["a film", "two actors and one story"], {}
    examples = [Example({"text": "a film"}, "good"), Example({"text": "a plot"}, "bad")]
    for decoding in ("confident", "parallel"):
        made = PromptClassifier(
            task, method=f"prompt:steps=1,decoding={decoding}", tuning="lora:r=2", backbone=tiny_bert
        )
        found[decoding] = made.fit(examples).decision_function(texts)
        back = PromptClassifier.from_pretrained(made.save_pretrained(tmp_path / decoding), backbone=tiny_bert)
        np.testing.assert_allclose(back.decision_function(texts), found[decoding])
    assert not np.allclose(found["confident"], found["parallel"])
    with pytest.raises(SettingError, match="decoding=best: no such way"):
        list(Prompt(decoding="best").fit(tiny_bert, Lora(), [Job(task, examples)]))


def test_the_lab_writes_a_row_of_a_task_with_candidates(tiny_bert_folder, tmp_path):
    folder = tmp_path / "data" / "quiz"
    folder.mkdir(parents=True)
    for split, number in (("train", 12), ("test", 9)):
        written = [{**one.fields, "label": one.label} for one in rows(number)]
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, written)) + "\n", encoding="utf-8")
    plan = Plan([QUIZ], "zero-shot,prompt:steps=2+lora:r=2,tfidf", backbone=str(tiny_bert_folder), shots="total:8",
                data=tmp_path / "data")  # fmt: skip
    results = plan.run()
    assert {row["system"].split(":")[0] for row in results.rows} == {"zero-shot", "prompt"}
    for row in results.rows:
        assert 0 <= row["metrics"]["accuracy"] <= 1
        assert 0 <= row["metrics"]["ece"] <= 1
        assert row["labelled_rows"] == (8 if row["method"] == "prompt" else row["labelled_rows"])
    (reason,) = results.failures.values()
    assert "tfidf chooses among fixed labels, and the rows of 'quiz' bring their own candidates" in reason


def test_several_right_answers_teach_a_row_each_against_the_wrong_ones():
    one = Example({"text": "so", "options": ("a", "b", "c", "d")}, "d", answers=("d", "b"))
    job = Job(QUIZ, [one, Example({"text": "it", "options": ("x", "y")}, "y")])
    member = cloze_member(job, QUIZ.pvps[0], "key")
    assert list(member.choices) == [("a", "c", "d"), ("a", "b", "c"), ("x", "y")]
    assert member.targets.tolist() == [2, 1, 1]
    assert gold(job).tolist() == [3, 1]


def test_an_ensemble_is_the_mean_of_its_members_and_keeps_padding(float64):
    backbone, asked = float64("bert"), rows(9)
    ((_, both),) = ZeroShot(patterns="all").fit(backbone, None, [Job(QUIZ, [])])
    each = [Model(QUIZ, backbone, Encoder(backbone), pvp).scores(asked) for pvp in QUIZ.pvps]
    np.testing.assert_allclose(both.scores(asked), (each[0] + each[1]) / 2, rtol=0, atol=1e-10)
    assert np.isneginf(both.scores(asked)).any()


@pytest.mark.parametrize("weights", [[1.0, 1.0], [1.0, 0.0]])
def test_a_member_without_numbers_has_no_say_and_padding_is_none(weights):
    good = np.array([[-1.0, -2.0, -np.inf], [-3.0, -1.0, -2.0]])
    lost = np.array([[np.nan, np.nan, -np.inf], [np.nan, np.nan, np.nan]])
    np.testing.assert_array_equal(merge([good, lost], np.array(weights)), good)
    np.testing.assert_array_equal(merge([good, good], np.array(weights)), good)


# ---------------------------------------------------------------- bad input


def test_a_head_refuses_rows_with_their_own_candidates(tiny_bert):
    for method in ("finetune:steps=1", "probe"):
        tuning = "full" if method.startswith("finetune") else None
        with pytest.raises(
            SettingError, match=r"quiz: its rows bring their own candidates \('options'\).*Write a meth"
        ):
            PromptClassifier(QUIZ, method=method, tuning=tuning, backbone=tiny_bert).fit(rows(6))


def test_a_row_without_candidates_is_named(tiny_bert):
    asked = [rows(1)[0], Example({"text": "so", "options": ()})]
    with pytest.raises(DataError, match="row 2: 'options' is an empty list"):
        own_choices(QUIZ, asked)
    with pytest.raises(PromptlabError, match="empty list"):
        Model(QUIZ, tiny_bert, Encoder(tiny_bert), QUIZ.pvps[0]).scores(asked)


def test_a_label_that_is_no_candidate_is_named(tiny_bert):
    wrong = [rows(1)[0], Example({"text": "so", "options": ("a", "b")}, "c")]
    with pytest.raises(DataError, match="labelled row 2: 'c' is not among the candidates"):
        list(Prompt(steps=1).fit(tiny_bert, Lora(), [Job(QUIZ, wrong)]))


def test_equal_words_of_two_labels_and_unknown_ones_are_refused_before_anything_is_trained(tiny_bert):
    job = [Example({"text": "so"}, "a")]
    for words, said in (({"a": "Good film", "b": "good film"}, "in common"), ({"a": "gut☃", "b": "bad"}, "characters")):
        with pytest.raises(PatternError, match=said):
            list(Prompt(steps=1).fit(tiny_bert, Lora(), [Job(Task.from_parts(["{text} {mask}."], words), job)]))


def test_an_ensemble_of_no_rows_answers_nothing(tiny_bert):
    model = Model(QUIZ, tiny_bert, Encoder(tiny_bert), QUIZ.pvps[0])
    assert Ensemble([model], np.ones(1)).scores([]).shape == (0, 0)
