import numpy as np
import pytest

from promptlab.backbone.encode import Encoder
from promptlab.errors import BackboneError, DataError, PatternError, SettingError
from promptlab.language.example import Example
from promptlab.language.task import Task
from promptlab.methods.method import Job, probabilities, restore
from promptlab.methods.predict import Model
from promptlab.methods.zero_shot import ZeroShot


def fit(backbone, job, **settings):
    ((_, predictor),) = ZeroShot(**settings).fit(backbone, None, [job])
    return predictor


@pytest.fixture
def job(reviews_task, reviews):
    return Job(reviews_task, [], [one.unlabelled() for one in reviews[:20]], queries=reviews[20:])


def alone(backbone, job, name):
    return Model(job.task, backbone, Encoder(backbone), job.task.pvp(name))


def test_the_first_pattern_answers_unless_told_otherwise(tiny_bert, job):
    name = job.task.pvps[0].name
    np.testing.assert_array_equal(
        fit(tiny_bert, job).scores(job.queries), alone(tiny_bert, job, name).scores(job.queries)
    )


def test_several_patterns_answer_with_the_mean_of_their_scores(tiny_bert, job):
    each = [alone(tiny_bert, job, pvp.name).scores(job.queries) for pvp in job.task.pvps]
    np.testing.assert_allclose(fit(tiny_bert, job, patterns="all").scores(job.queries), np.mean(each, 0), atol=1e-12)


def test_contextual_calibration_divides_by_the_mean_probability_of_content_free_texts(tiny_bert, job):
    plain = alone(tiny_bert, job, job.task.pvps[0].name)
    free = probabilities(plain.scores([Example({"text": text}) for text in ("", "N/A", "[MASK]")])).mean(0)
    expected = probabilities(plain.scores(job.queries)) / free
    found = probabilities(fit(tiny_bert, job, calibration="contextual").scores(job.queries))
    np.testing.assert_allclose(found, expected / expected.sum(1, keepdims=True), atol=1e-10)


def test_pmi_calibration_subtracts_the_scores_of_the_empty_pattern(tiny_bert, job):
    plain = alone(tiny_bert, job, job.task.pvps[0].name)
    expected = plain.scores(job.queries) - plain.scores([Example({"text": ""})])
    np.testing.assert_allclose(fit(tiny_bert, job, calibration="pmi").scores(job.queries), expected, atol=1e-12)


def test_batch_calibration_makes_the_unlabelled_rows_balanced(tiny_bert, job):
    predictor = fit(tiny_bert, job, calibration="batch")
    scores = predictor.scores(job.unlabelled)
    mean = np.log(probabilities(scores)).mean(0)
    raw = np.log(probabilities(alone(tiny_bert, job, job.task.pvps[0].name).scores(job.unlabelled))).mean(0)
    assert np.ptp((scores - scores.mean(1, keepdims=True)).mean(0)) < 1e-9
    assert np.ptp(mean) < np.ptp(raw)


def test_batch_calibration_on_the_queries_only_on_request_and_the_row_says_so(tiny_bert, job):
    predictor = fit(tiny_bert, job, calibration="batch", transductive=True)
    assert any("transductive" in note for note in predictor.facts["notes"])
    assert np.ptp((lambda s: (s - s.mean(1, keepdims=True)).mean(0))(predictor.scores(job.queries))) < 1e-9
    assert not fit(tiny_bert, job, calibration="batch").facts["notes"]


def test_batch_calibration_without_rows_says_what_to_give(tiny_bert, reviews_task):
    with pytest.raises(DataError, match="--unlabeled"):
        fit(tiny_bert, Job(reviews_task, []), calibration="batch")


def test_an_unknown_calibration_suggests_the_nearest(tiny_bert, job):
    with pytest.raises(SettingError, match="Did you mean 'contextual'"):
        fit(tiny_bert, job, calibration="contextul")


def test_an_unknown_pattern_is_refused(tiny_bert, job):
    with pytest.raises(PatternError):
        fit(tiny_bert, job, patterns="nonesuch")


def test_a_causal_backbone_skips_patterns_it_cannot_use_and_names_them(tiny_gpt2, job):
    predictor = fit(tiny_gpt2, job, patterns="all")
    assert len(predictor.members) == 2
    assert any(job.task.pvps[1].name in note for note in predictor.facts["notes"])


def test_a_causal_backbone_with_no_usable_pattern_is_an_error(tiny_gpt2, reviews):
    task = Task.from_parts(patterns=["{mask}! {text}"], verbalizer={"negative": "terrible", "positive": "great"})
    with pytest.raises(BackboneError, match="causal"):
        fit(tiny_gpt2, Job(task, []))


def test_an_unusable_pattern_asked_for_by_name_is_an_error(tiny_gpt2, job):
    with pytest.raises(BackboneError, match=job.task.pvps[1].name):
        fit(tiny_gpt2, job, patterns=f"{job.task.pvps[0].name}+{job.task.pvps[1].name}")


def test_mass_on_label_words_and_the_share_of_cut_rows_are_reported(tiny_bert, job):
    predictor = fit(tiny_bert, job)
    predictor.scores(job.queries)
    assert 0 < predictor.facts["mass"] < 1
    assert predictor.facts["cut"] == 0.0
    long = [Example({"text": "boring " * 300})]
    predictor.scores(long)
    assert predictor.facts["cut"] == 1.0


def test_saved_and_restored_scores_are_equal_to_the_bit(tiny_bert, job):
    predictor = fit(tiny_bert, job, patterns="all", calibration="contextual")
    again = restore(job.task, tiny_bert, predictor.saved())
    np.testing.assert_array_equal(again.scores(job.queries), predictor.scores(job.queries))
