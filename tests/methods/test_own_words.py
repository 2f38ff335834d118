"""PET and iPET where words have several tokens, or rows bring words or candidates of their own (COPA, WSC, ReCoRD)."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from promptlab.errors import SettingError
from promptlab.language.example import Example
from promptlab.language.library import read_task
from promptlab.language.task import Task
from promptlab.methods import ensemble
from promptlab.methods.ipet import Ipet
from promptlab.methods.method import Job, restore
from promptlab.methods.pet import Pet
from promptlab.methods.predict import Ensemble
from promptlab.tuning.lora import Lora

PATTERNS = "patterns: {p: '{text} It was {mask}.', q: '{text} All in all, it was {mask}.'}"
LONG = Task.from_parts(
    ["{text} It was {mask}.", "Just {mask}! {sep} {text}"],
    {"negative": ["terrible", "badly made"], "positive": "very funny"},
)
COPA = read_task(
    "{task: causes, inputs: [text, one, two], labels: [first, second], "
    "verbalizers: {default: {first: '{one}', second: '{two}'}}, " + PATTERNS + "}"
)
QUIZ = read_task("{task: quiz, inputs: [text, options], candidates: options, " + PATTERNS + "}")
QUICK = {"repetitions": 1, "steps": 2, "student_steps": 3, "student_batch": 4, "batch": 4}
NOTE = "rows with label words of their own: no student, the ensemble answers"


def copa(reviews):
    rows = [replace(row, fields={**row.fields, "one": "badly made", "two": "great"}) for row in reviews]
    return rows, ["first" if row.label == "negative" else "second" for row in reviews], COPA


def quiz(reviews):
    options = [("great", "badly made"), ("his brilliant actors", "great", "worst"), ("moving", "so so", "fun", "bad")]
    rows = [Example({**row.fields, "options": options[at % 3]}) for at, row in enumerate(reviews)]
    return rows, [options[at % 3][at % 2] for at in range(len(rows))], QUIZ


def job_of(made):
    rows, labels, task = made
    labelled = [replace(row, label=label) for row, label in zip(rows[:3], labels, strict=False)]
    pool = [replace(row, label=None) for row in rows[4:30]]
    return Job(task, labelled, pool, queries=[replace(row, label=None) for row in rows[30:]])


@pytest.mark.parametrize("make", [copa, quiz])
@pytest.mark.parametrize("method", [Pet(**QUICK), Ipet(**QUICK, generations=1)], ids=["pet", "ipet"])
def test_rows_with_words_of_their_own_teach_no_student_and_the_row_says_so(tiny_bert, reviews, make, method):
    job = job_of(make(reviews))
    ((_, predictor),) = method.fit(tiny_bert, Lora(r=2), [job])
    assert isinstance(predictor, Ensemble)
    assert [member.pvp.name for member in predictor.members] == ["p", "q"]
    assert NOTE in predictor.facts["notes"]
    assert "pool" not in predictor.facts
    scores = predictor.scores(job.queries)
    for row, found in zip(job.queries, scores, strict=True):
        there = len(job.task.choices(row))
        assert np.isfinite(found[:there]).all() and np.isneginf(found[there:]).all()
    again = restore(job.task, tiny_bert, predictor.saved())
    np.testing.assert_array_equal(again.scores(job.queries), scores)


def test_no_student_is_noted_only_where_one_was_wanted(tiny_bert, reviews):
    ((_, predictor),) = Pet(**QUICK, student=False).fit(tiny_bert, Lora(r=2), [job_of(copa(reviews))])
    assert NOTE not in predictor.facts["notes"]


@pytest.mark.parametrize("make", [copa, quiz])
def test_drawn_rows_are_labelled_with_their_own_choices(tiny_bert, reviews, make, monkeypatch):
    seen, real = [], ensemble.train

    def spy(backbone, tuning, members, *rest):
        seen.append(list(members))
        return real(backbone, tuning, members, *rest)

    monkeypatch.setattr(ensemble, "train", spy)
    job = job_of(make(reviews))
    ((_, predictor),) = Ipet(**{**QUICK, "steps": 4}, generations=1).fit(tiny_bert, Lora(r=2), [job])
    for member in seen[1]:
        assert list(member.examples[:3]) == list(job.labelled)
        assert all(row.label in job.task.choices(row) for row in member.examples)
    if make is quiz:  # candidates are no classes: four new rows for each labelled one, whatever they answer
        assert [len(member.examples) for member in seen[1]] == [15, 15]
        assert predictor.facts["drawn"] == [{"rows": 12}]
    else:
        had = Counter(row.label for row in job.labelled)
        got = Counter(row.label for row in seen[1][0].examples[3:])
        assert all(got[label] <= 4 * had[label] for label in job.task.labels)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
@pytest.mark.parametrize("method", [Pet(**QUICK), Ipet(**QUICK, generations=1)], ids=["pet", "ipet"])
def test_words_of_several_tokens_vote_and_teach(tiny, reviews, family, method):
    job = Job(LONG, reviews[:4], [row.unlabelled() for row in reviews[4:]], queries=reviews[30:])
    if family == "gpt2":
        job = replace(
            job,
            task=Task.from_parts(["{text} It was {mask}", "{text} Just {mask}"], dict(LONG.pvps[0].verbalizer.words)),
        )
    ((_, predictor),) = method.fit(tiny(family), Lora(r=2), [job])
    assert [member.pvp for member in predictor.members] == [None]
    assert np.isfinite(predictor.scores(job.queries)).all()


def test_the_way_of_decoding_reaches_every_member(tiny_bert, reviews):
    job = Job(LONG, reviews[:4], queries=reviews[30:])
    scores = {}
    for way in ("confident", "parallel"):
        ((_, predictor),) = Pet(**QUICK, decoding=way).fit(tiny_bert, Lora(r=2), [job])
        assert {member.decoding for member in predictor.members} == {way}
        scores[way] = predictor.scores(job.queries)
    assert np.abs(scores["confident"] - scores["parallel"]).max() > 0
    with pytest.raises(SettingError, match="Did you mean 'parallel'"):
        Pet(decoding="paralel").settled()
