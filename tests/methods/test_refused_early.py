"""What cannot be is said before anything is trained, and what was left out is told."""

from dataclasses import replace

import numpy as np
import pytest

from promptlab.errors import DataError, SettingError
from promptlab.language.example import Example
from promptlab.language.library import read_task
from promptlab.methods import ensemble, prompt
from promptlab.methods.in_context import InContextLearning
from promptlab.methods.ipet import Ipet
from promptlab.methods.members import cloze_member
from promptlab.methods.method import Job, probabilities
from promptlab.methods.pet import Pet
from promptlab.methods.prompt import Prompt
from promptlab.methods.zero_shot import ZeroShot
from promptlab.tuning.lora import Lora

QUICK = {"repetitions": 1, "steps": 2, "student_steps": 3, "student_batch": 4, "batch": 4}
METHODS = {
    "zero-shot": ZeroShot(),
    "in-context": InContextLearning(demonstrations=1),
    "prompt": Prompt(steps=2),
    "pet": Pet(**QUICK),
    "ipet": Ipet(**QUICK),
}
LEARNING = ("prompt", "pet", "ipet")
COPA = read_task(
    "{task: causes, inputs: [text, one, two], labels: [first, second], "
    "verbalizers: {default: {first: '{one}', second: '{two}'}}, "
    "patterns: {p: '{text} It was {mask}.', q: '{text} All in all, it was {mask}.'}}"
)
SOME = read_task("""
task: some
inputs: [text, question]
labels: [negative, positive]
verbalizers: {default: {negative: terrible, positive: great}}
patterns:
  all-rows: "{text} It was {mask}."
  causes: {pattern: "{text} because it was {mask}.", when: {question: cause}}
""")


@pytest.fixture
def job(reviews_task, reviews):
    return Job(reviews_task, reviews[:4], [one.unlabelled() for one in reviews[8:24]], queries=reviews[24:30])


@pytest.fixture
def untrained(monkeypatch):
    """Training anything fails."""

    def train(*given, **named):
        raise AssertionError("something was trained")

    for module in (ensemble, prompt):
        monkeypatch.setattr(module, "train", train)


def fit(method, backbone, job):
    return list(method.fit(backbone, Lora(r=2), [job]))


@pytest.mark.parametrize("name", METHODS)
def test_a_pattern_for_some_rows_only_is_refused_with_what_to_write(tiny_bert, reviews, name, untrained):
    rows = [replace(one, fields={**one.fields, "question": "cause"}) for one in reviews[:4]]
    job = Job(SOME, rows, [one.unlabelled() for one in rows])
    said = r"some: 'causes' would be asked of some rows only \(when:\).* Write other patterns=.*\{link\}"
    with pytest.raises(SettingError, match=said):
        fit(replace(METHODS[name], patterns="all"), tiny_bert, job)


def test_a_task_with_such_a_pattern_is_asked_through_its_others(tiny_bert, tiny_gpt2, reviews):
    rows = [replace(one, fields={**one.fields, "question": "cause"}) for one in reviews[:4]]
    for backbone in (tiny_bert, tiny_gpt2):
        ((_, found),) = fit(ZeroShot(), backbone, Job(SOME, rows))
        assert [member.pvp.name for member in found.members] == ["all-rows"]


@pytest.mark.parametrize("name", LEARNING)
def test_calibration_of_rows_with_their_own_words_is_refused_before_training(tiny_bert, reviews, name, untrained):
    rows = [Example({**one.fields, "one": "bad", "two": "great"}, "first") for one in reviews[:4]]
    job = Job(COPA, rows, [one.unlabelled() for one in rows])
    with pytest.raises(SettingError, match="calibration=pmi finds one number a label"):
        fit(replace(METHODS[name], calibration="pmi"), tiny_bert, job)


@pytest.mark.parametrize("name", LEARNING)
def test_calibration_without_rows_is_refused_before_training(tiny_bert, job, name, untrained):
    with pytest.raises(DataError, match="calibration=batch needs unlabelled rows"):
        fit(replace(METHODS[name], calibration="batch"), tiny_bert, replace(job, unlabelled=()))


@pytest.mark.parametrize("name", ["zero-shot", "in-context", "prompt"])
def test_transductive_without_batch_is_refused(tiny_bert, job, name, untrained):
    with pytest.raises(SettingError, match="transductive=true has no place beside calibration=none"):
        fit(replace(METHODS[name], transductive=True), tiny_bert, job)


@pytest.mark.parametrize("name", METHODS)
def test_a_way_of_decoding_that_is_none_is_refused_on_causal_backbones_too(tiny_gpt2, job, name, untrained):
    with pytest.raises(SettingError, match="decoding=confidant: no such way. Did you mean 'confident'"):
        fit(replace(METHODS[name], decoding="confidant"), tiny_gpt2, job)


def test_an_order_that_is_none_is_refused(tiny_bert, job):
    with pytest.raises(SettingError, match="order=simlar cannot be. Write seed or similar"):
        fit(InContextLearning(order="simlar"), tiny_bert, job)


def test_batch_calibration_averages_over_rows_drawn_by_the_seed_not_over_the_first(tiny_bert, job):
    ordered = replace(job, unlabelled=sorted(job.unlabelled, key=lambda one: one.fields["text"]))
    ((_, plain),) = fit(ZeroShot(), tiny_bert, ordered)
    first = np.log(probabilities(plain.scores(ordered.unlabelled[:4]))).mean(0)
    found = [fit(ZeroShot(calibration="batch", pool=4), tiny_bert, replace(ordered, seed=seed)) for seed in (0, 0, 1)]
    one, again, other = (predictor.members[0].bias for ((_, predictor),) in found)
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, other)
    assert not np.allclose(one, first)


@pytest.mark.parametrize("method", [Prompt(steps=2, mlm=0.1), Pet(**QUICK, mlm=0.1)], ids=["prompt", "pet"])
def test_a_masked_loss_without_unlabelled_rows_is_told_once(tiny_bert, job, method):
    note = "no unlabelled rows: trained without the masked-LM loss"
    ((_, without),) = fit(method, tiny_bert, replace(job, unlabelled=()))
    assert without.facts["notes"].count(note) == 1
    ((_, beside),) = fit(method, tiny_bert, job)
    assert note not in beside.facts["notes"]


def test_a_masked_loss_on_a_causal_backbone_or_of_no_rows_is_refused(tiny_bert, tiny_gpt2, job):
    with pytest.raises(SettingError, match="is causal and fills in no masks. Write mlm=0"):
        fit(Prompt(steps=2, mlm=0.1), tiny_gpt2, job)
    with pytest.raises(SettingError, match="mlm_batch=0 rows a step. Write 1 or more"):
        fit(Pet(preset="superglue", mlm=1e-4, steps=2), tiny_bert, job)


def test_a_job_with_unlabelled_rows_keeps_its_generations_beside_one_without(tiny_bert, job):
    bare = replace(job, unlabelled=(), seed=1)
    found = {
        one.seed: predictor for one, predictor in Ipet(**QUICK, generations=1).fit(tiny_bert, Lora(r=2), [bare, job])
    }
    assert found[0].facts["generations"] == 1
    assert "no unlabelled rows: no generations" not in found[0].facts["notes"]
    assert "no unlabelled rows: no generations" in found[1].facts["notes"]


def test_a_masked_loss_of_some_jobs_leaves_the_others_alone(tiny_bert, job):
    jobs = [replace(job, seed=0), replace(job, seed=1), replace(job, unlabelled=(), seed=2)]
    assert len(list(Prompt(steps=2, mlm=0.1).fit(tiny_bert, Lora(r=2), jobs))) == 3


def test_letters_are_those_of_the_list_where_several_answers_are_right():
    task = read_task(
        '{task: quiz, inputs: [text, options], candidates: options, patterns: {by: "{text} {labels} So {mask}"}}'
    )
    options = ("bad", "great", "good", "worst")
    row = Example({"text": "fine", "options": options}, "good", answers=("good", "great"))
    one, seen = cloze_member(Job(task, [row]), task.pvps[0], "k"), []
    for example, target, choices in zip(one.examples, one.targets, one.choices, strict=True):
        letter = one.pvp.verbalizer.spoken(example, choices)[target][0]
        seen.append((choices[target], letter))
        assert f"{letter}: {choices[target]}" in one.pvp.pattern.fill(example)
    assert [choice for choice, _ in seen] == ["good", "great"]
