import numpy as np
import pytest
import torch

from promptlab.backbone.encode import Encoder
from promptlab.backbone.heads import default_pool
from promptlab.errors import SettingError
from promptlab.methods import ensemble, teach
from promptlab.methods.members import accuracy, gold, pool_of
from promptlab.methods.method import Job, restore
from promptlab.methods.pet import Pet
from promptlab.methods.predict import Ensemble, Model, Remembered, merge
from promptlab.training.loop import step_losses
from promptlab.training.member import Member, Recipe, Rows
from promptlab.tuning.full import Full
from promptlab.tuning.lora import Lora

QUICK = {"repetitions": 2, "steps": 3, "student_steps": 4, "student_batch": 4, "batch": 4}


@pytest.fixture
def job(reviews_task, reviews):
    return Job(reviews_task, reviews[:8], [one.unlabelled() for one in reviews[8:24]], queries=reviews[24:])


def fit(backbone, tuning, jobs, **settings):
    return list(Pet(**{**QUICK, **settings}).fit(backbone, tuning, jobs))


def test_soft_labels_and_the_students_loss_equal_plain_lines(float64, job):
    """What the student is taught: softmax of the weighted mean over T, and T^2 KL, written out with numpy."""
    backbone, seen = float64("bert"), {}
    real = ensemble.train

    def spy(backbone, tuning, members, recipe, encoder, label=""):
        seen[label.split()[0]] = (list(members), recipe)
        found = list(real(backbone, tuning, members, recipe, encoder, label))
        seen[label.split()[0] + "-states"] = found
        return iter(found)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ensemble, "train", spy)
        patch.setattr(teach, "train", spy)
        fit(backbone, Lora(r=2), [job], weights="accuracy")
    (student,), recipe = seen["student"]
    each, weights = [], []
    for done in seen["pet-states"]:
        pvp = done.member.pvp
        each.append(Model(job.task, backbone, Encoder(backbone), pvp, Lora(r=2), done.state).scores(student.examples))
        plain = Model(job.task, backbone, Encoder(backbone), pvp).scores(job.labelled)
        weights.append((plain.argmax(1) == gold(job)).mean())
    mean = sum(w * s for w, s in zip(weights, each, strict=True)) / sum(weights)
    soft = np.exp(mean / 2) / np.exp(mean / 2).sum(1, keepdims=True)
    np.testing.assert_allclose(student.targets, soft, atol=1e-10)

    rows = [Rows(student, recipe, backbone, Encoder(backbone))]
    step = rows[0].next()
    logits = torch.randn(4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        found = step_losses(backbone, rows, [step], recipe, lambda pooled: logits)[0].item()
    log_p = (logits / 2).log_softmax(-1).numpy()
    q = step.targets.numpy()
    assert found == pytest.approx(4 * (q * (np.log(q) - log_p)).sum(1).mean(), abs=1e-12)


def test_the_ensemble_weighs_scores_and_divides_by_the_weights():
    scores = [np.array([[1.0, 3.0]]), np.array([[5.0, 0.0]])]
    np.testing.assert_allclose(merge(scores, np.array([1.0, 3.0])), [[(1 + 15) / 4, 3 / 4]])


def test_a_member_that_answers_nothing_finite_does_not_silence_the_others():
    scores = [np.array([[1.0, 3.0]]), np.array([[np.nan, 0.0]]), np.array([[5.0, 0.0]])]
    np.testing.assert_allclose(merge(scores, np.array([1.0, 9.0, 3.0])), [[(1 + 15) / 4, 3 / 4]])


def test_weights_are_each_patterns_accuracy_before_training(tiny_bert, job):
    ((_, predictor),) = fit(tiny_bert, Lora(r=2), [job], weights="accuracy")
    plain = [Model(job.task, tiny_bert, Encoder(tiny_bert), pvp) for pvp in job.task.pvps]
    each = [accuracy(one.scores(job.labelled), gold(job)) for one in plain]
    assert predictor.facts["weights"] == list(np.repeat(each, 2))


def test_there_is_a_member_for_every_pattern_and_repetition_each_with_its_own_stream(tiny_bert, job):
    ((_, predictor),) = fit(tiny_bert, Lora(r=2), [job], student=False, budget=10**6)
    keys = predictor.facts["stack"]
    assert len(keys) == len(set(keys)) == 6
    first, second = predictor.members[:2]
    assert first.pvp == second.pvp
    assert any(not torch.equal(first.state[name], second.state[name]) for name in first.state)


def test_without_unlabelled_rows_the_ensemble_answers_and_the_row_says_so(tiny_bert, job):
    lonely = Job(job.task, job.labelled, queries=job.queries)
    ((_, predictor),) = fit(tiny_bert, Lora(r=2), [lonely])
    assert isinstance(predictor, Ensemble)
    assert len(predictor.members) == 6
    assert any("no unlabelled rows" in note for note in predictor.facts["notes"])


def test_the_student_reads_the_bare_text(tiny_bert, job):
    ((_, predictor),) = fit(tiny_bert, Lora(r=2), [job])
    assert [member.pvp for member in predictor.members] == [None]


def test_jobs_together_learn_what_they_learn_alone(float64, reviews_task, reviews):
    backbone = float64("bert")
    pool = [one.unlabelled() for one in reviews[8:20]]
    jobs = [Job(reviews_task, reviews[s : s + 8], pool, queries=reviews[24:], seed=s) for s in (0, 4)]
    together = [predictor.scores(job.queries) for job, predictor in fit(backbone, Lora(r=2), jobs, budget=10**6)]
    alone = [fit(backbone, Lora(r=2), [job])[0][1].scores(job.queries) for job in jobs]
    np.testing.assert_allclose(together, alone, atol=1e-9)


def test_the_pool_is_capped_by_the_runs_seed(tiny_bert, job):
    sizes = [predictor.facts["pool"] for _, predictor in fit(tiny_bert, Lora(r=2), [job], pool=5)]
    assert sizes == [5]
    draws = [pool_of(Job(job.task, [], job.unlabelled, seed=seed), 5) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_whole_weights_without_a_student_are_scored_while_they_live(tiny_bert, job):
    lonely = Job(job.task, job.labelled, queries=job.queries)
    ((_, predictor),) = fit(tiny_bert, Full(lr=1e-3), [lonely], repetitions=1)
    assert all(isinstance(member, Remembered) for member in predictor.members)
    assert predictor.scores(job.queries).shape == (len(job.queries), 2)
    with pytest.raises(SettingError, match="knows only its job's queries"):
        predictor.scores(job.queries[:3])
    ((_, lasting),) = fit(tiny_bert, Full(lr=1e-3), [Job(job.task, job.labelled)], repetitions=1)
    np.testing.assert_allclose(lasting.scores(job.queries), predictor.scores(job.queries), atol=1e-5)


def test_presets_are_the_papers():
    first, second = Pet(preset="2020").settled(), Pet(preset="superglue").settled()
    assert (first.steps, first.batch, first.mlm_batch, first.mlm, first.student_steps) == (1000, 4, 12, 1e-4, 5000)
    assert (first.weights, first.temperature, first.repetitions, first.student_repetitions, first.lr) == (
        "accuracy",
        2.0,
        3,
        3,
        1e-5,
    )
    assert (second.steps, second.batch, second.mlm, second.student_steps, second.student_repetitions) == (
        250,
        16,
        0.0,
        5000,
        1,
    )
    assert second.pool == 20_000


def test_a_setting_that_was_written_wins_over_the_preset():
    assert Pet(preset="2020", steps=7).settled().steps == 7
    assert Pet(preset="2020", mlm=0.0).settled().mlm == 0.0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"preset": "2021"}, "Did you mean '2020'"),
        ({"weights": "equal"}, "uniform or accuracy"),
        ({"repetitions": 0}, "at least 1"),
    ],
)
def test_a_setting_that_cannot_be_says_what_to_write(settings, said):
    with pytest.raises(SettingError, match=said):
        Pet(**settings).settled()


def test_a_causal_backbone_teaches_a_student_through_its_last_token(tiny_gpt2, job):
    ((_, predictor),) = fit(tiny_gpt2, Lora(r=2), [job])
    assert default_pool(tiny_gpt2) == "last"
    assert predictor.scores(job.queries).shape == (16, 2)
    assert any("skipped" in note for note in predictor.facts["notes"])


def test_several_students_answer_together(tiny_bert, job):
    ((_, predictor),) = fit(tiny_bert, Lora(r=2), [job], student_repetitions=2)
    assert len(predictor.members) == 2


def test_pet_learns_a_small_task_and_saves_to_the_bit(tiny_bert, reviews_task, reviews):
    job = Job(reviews_task, reviews[:32], [one.unlabelled() for one in reviews], queries=reviews[32:])
    settings = {"repetitions": 1, "steps": 100, "student_steps": 120, "student_batch": 16, "batch": 12, "head_lr": 3e-2}
    ((_, predictor),) = Pet(**settings).fit(tiny_bert, Lora(r=8, lr=2e-2), [job])
    scores = predictor.scores(job.queries)
    targets = [reviews_task.labels.index(one.label) for one in job.queries]
    assert accuracy(scores, targets) >= 0.85
    again = restore(reviews_task, tiny_bert, predictor.saved())
    np.testing.assert_array_equal(again.scores(job.queries), scores)


def test_the_tuning_and_head_sizes_are_reported(tiny_bert, job):
    ((_, predictor),) = fit(tiny_bert, Lora(r=2), [job])
    assert predictor.facts["stored_parameters"] == tiny_bert.layers * 4 * 32 * 2
    assert predictor.facts["head_parameters"] > 0


def test_a_member_carries_the_jobs_own_rates(tiny_bert, job):
    one = Member("k", job.labelled, gold(job), 2, ("text",), lr=0.5)
    rows = Rows(one, Recipe(steps=1, batch=4), tiny_bert, Encoder(tiny_bert))
    assert rows.member.lr == 0.5
