"""iPET over PET's parts: which rows each member gets, what is trained, what it costs, and what is refused."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from promptlab.backbone.encode import Encoder
from promptlab.errors import DataError, SettingError
from promptlab.language.example import Example
from promptlab.methods import ensemble, ipet
from promptlab.methods.calibrate import bias
from promptlab.methods.generations import generations_after, wanted
from promptlab.methods.ipet import Ipet
from promptlab.methods.members import accuracy, pool_of
from promptlab.methods.method import Job, probabilities, restore
from promptlab.methods.pet import Pet
from promptlab.methods.predict import Ensemble, Model, merge
from promptlab.methods.presets import PET
from promptlab.tuning.full import Full
from promptlab.tuning.lora import Lora

QUICK = {"repetitions": 2, "steps": 2, "student_steps": 3, "student_batch": 4, "batch": 4}


@pytest.fixture
def job(reviews_task, reviews):
    return Job(reviews_task, reviews[:2], [one.unlabelled() for one in reviews[4:]], queries=reviews[24:])


def fit(backbone, tuning, jobs, **settings):
    return list(Ipet(**{**QUICK, **settings}).fit(backbone, tuning, jobs))


@pytest.fixture
def noted(monkeypatch):
    """Every ensemble that is trained (its members), and every vote: voters' scores, weights."""
    seen = {"members": [], "done": [], "votes": [], "recipes": []}
    train, merged = ensemble.train, ipet._merged

    def training(backbone, tuning, members, recipe, *rest):
        seen["members"].append(list(members))
        seen["recipes"].append(recipe)
        seen["done"].append(list(train(backbone, tuning, members, recipe, *rest)))
        return iter(seen["done"][-1])

    def voting(scores, weights):
        seen["votes"].append((list(scores), weights))
        return merged(scores, weights)

    monkeypatch.setattr(ensemble, "train", training)
    monkeypatch.setattr(ipet, "_merged", voting)
    return seen


def texts(rows):
    return [row.fields["text"] for row in rows]


def trained_model(backbone, job, done):
    return Model(job.task, backbone, Encoder(backbone), done.member.pvp, Lora(r=2), done.state)


# ---------------------------------------------------------------- generations


@pytest.mark.parametrize("settings", [{}, {"weights": "accuracy", "student_repetitions": 2}, {"student": False}])
def test_without_generations_it_is_pet_to_the_bit(tiny_bert, job, settings):
    ((_, ours),) = fit(tiny_bert, Lora(r=2), [job], generations=0, **settings)
    ((_, pet),) = Pet(**QUICK, **settings).fit(tiny_bert, Lora(r=2), [job])
    np.testing.assert_array_equal(ours.scores(job.queries), pet.scores(job.queries))
    assert {name: ours.facts[name] for name in pet.facts} == pet.facts
    assert set(ours.facts) - set(pet.facts) == {"generations", "drawn", "scored"}


def test_each_generation_learns_from_the_labelled_rows_and_five_times_as_many_of_each_label(tiny_bert, job, noted):
    labelled = [*job.labelled, replace(job.labelled[0], fields={"text": "it has bad scenes"})]
    ((_, predictor),) = fit(tiny_bert, Lora(r=2), [replace(job, labelled=labelled)], generations=1, student=False)
    first, second = noted["members"]
    assert all(list(member.examples) == labelled for member in first)
    asked = {"negative": 2 * 4, "positive": 4}
    for member in second:
        assert list(member.examples[:3]) == labelled
        drawn = member.examples[3:]
        assert len(set(texts(drawn))) == len(drawn)
        assert set(texts(drawn)) <= set(texts(job.unlabelled))
        got = Counter(row.label for row in drawn)
        assert all(got[label] <= count for label, count in asked.items())
        assert [job.task.labels[int(at)] for at in member.targets] == [row.label for row in member.examples]
    assert predictor.facts["drawn"] == [
        {label: min(Counter(row.label for row in one.examples[3:])[label] for one in second) for label in asked}
    ]


def asked_themselves(backbone, job, noted):
    """Members that had a say in their own new rows, worked out anew from the trained members."""
    pool = [row for row in job.unlabelled if row.fields not in [one.fields for one in job.labelled]]
    each = [trained_model(backbone, job, one).scores(pool) for one in noted["done"][0]]
    found = []
    assert len(noted["votes"]) == len(each) == 6
    for own, ((scores, weights), member) in enumerate(zip(noted["votes"], noted["members"][1], strict=True)):
        (asked,) = scores  # a quarter of five is one
        assert weights.tolist() == [1.0]
        (voter,) = [other for other in range(6) if np.abs(each[other] - asked).max() < 1e-10]
        found += [own] * (voter == own)
        answers = dict(zip(texts(pool), asked.argmax(1), strict=True))
        assert all(answers[row.fields["text"]] == job.task.labels.index(row.label) for row in member.examples[2:])
    return found


def test_others_label_a_members_rows_never_the_member_itself(float64, job, noted):
    backbone = float64("bert")
    fit(backbone, Lora(r=2), [job], generations=1, student=False)
    assert asked_themselves(backbone, job, noted) == []


def test_a_member_that_was_asked_about_its_own_rows_would_be_seen(float64, job, noted, monkeypatch):
    monkeypatch.setattr(ipet, "voters", lambda own, members, random: [own])
    backbone = float64("bert")
    fit(backbone, Lora(r=2), [job], generations=1, student=False)
    assert asked_themselves(backbone, job, noted) == [0, 1, 2, 3, 4, 5]


def test_the_last_generation_draws_nothing_and_teaches(float64, job, noted):
    backbone = float64("bert")
    taught = []
    real = ipet.question

    def spy(*given):
        taught.append(real(*given))
        return taught[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ipet, "question", spy)
        fit(backbone, Lora(r=2), [job], generations=1)
    assert len(noted["members"]) == 2  # the students are trained elsewhere
    assert len(noted["votes"]) == 6
    models = [trained_model(backbone, job, one) for one in noted["done"][1]]
    merged = merge([model.scores(taught[0].pool) for model in models], np.ones(6))
    np.testing.assert_allclose(taught[0].soft, probabilities(merged / 2), atol=1e-10)


def test_generations_are_the_papers_unless_set(tiny_bert, job, noted):
    ((_, predictor),) = fit(tiny_bert, Lora(r=2), [job], repetitions=1, steps=1, student=False)
    assert predictor.facts["generations"] == generations_after(2) == 4
    assert len(noted["members"]) == 5
    ((_, predictor),) = fit(tiny_bert, Lora(r=2), [job], generations=2, student=False)
    assert predictor.facts["generations"] == 2


def test_a_row_carries_what_was_drawn_and_scored(tiny_bert, job):
    ((_, predictor),) = fit(tiny_bert, Lora(r=2), [job], generations=1, pool=20)
    facts = predictor.facts
    assert facts["scored"] == [20, 20]
    assert facts["pool"] == 20
    assert set(facts["drawn"][0]) == {"negative", "positive"}
    assert facts["examples_seen"] == 2 * 6 * 2 * 4 + 3 * 4


# ---------------------------------------------------------------- what follows from the seed


def test_the_same_seed_draws_the_same_rows_whatever_ran_before(tiny_bert, job, noted):
    fit(tiny_bert, Lora(r=2), [job], generations=1, student=False)
    fit(tiny_bert, Lora(r=2), [replace(job, seed=1)], generations=1, student=False)
    fit(tiny_bert, Lora(r=2), [job], generations=1, student=False)
    first, other, again = (noted["members"][at] for at in (1, 3, 5))
    assert [list(one.examples) for one in first] == [list(one.examples) for one in again]
    assert [list(one.examples) for one in first] != [list(one.examples) for one in other]
    sets = {tuple(texts(one.examples)) for one in first}
    assert len(sets) > 1  # members get rows of their own


def test_jobs_together_learn_what_they_learn_alone(float64, reviews_task, reviews):
    backbone = float64("bert")
    pool = [one.unlabelled() for one in reviews[8:]]
    jobs = [Job(reviews_task, reviews[s : s + 2], pool, queries=reviews[24:], seed=s) for s in (0, 4)]
    together = [one.scores(job.queries) for job, one in fit(backbone, Lora(r=2), jobs, generations=1, budget=10**6)]
    alone = [fit(backbone, Lora(r=2), [job], generations=1)[0][1].scores(job.queries) for job in jobs]
    np.testing.assert_allclose(together, alone, atol=1e-9)


def test_what_is_scored_is_capped_by_the_seed(tiny_bert, job):
    some, more = (pool_of(job, size) for size in (5, 9))
    assert len(some) == 5 and set(texts(some)) < set(texts(more))
    assert pool_of(replace(job, seed=1), 5) != some
    run = ipet._Run(ensemble.Trainer(Ipet(pool=7, **QUICK).settled(), tiny_bert, Lora(), None), [job])
    assert len(run._pool(job, np.array([500, 500]), untrained=False)) == 7


def test_the_pool_is_twice_what_a_generation_draws_and_never_less_than_the_students(tiny_bert, job):
    many = [Example({"text": f"film {i}"}) for i in range(4000)]
    large = replace(job, unlabelled=many)
    run = ipet._Run(ensemble.Trainer(Ipet(**QUICK).settled(), tiny_bert, Lora(), None), [large])
    assert len(run._pool(large, np.array([20, 20]), untrained=False)) == PET["ours"]["pool"] == 600
    assert len(run._pool(large, np.array([620, 620]), untrained=False)) == 2480


def test_grouped_rows_are_capped_by_rows(job):
    grouped = [replace(row, group=f"g{at // 4}") for at, row in enumerate(job.unlabelled)]
    assert len(pool_of(replace(job, unlabelled=grouped), 10)) == 10
    assert len(pool_of(replace(job, unlabelled=grouped), 600)) == len(grouped)
    assert len(pool_of(replace(job, unlabelled=[replace(row, group="") for row in grouped]), 9)) == 9


def test_a_labelled_row_or_a_double_in_the_pool_is_not_drawn_again(tiny_bert, job, noted):
    twice = [one.unlabelled() for one in job.labelled] + [*job.unlabelled, *job.unlabelled]
    fit(tiny_bert, Lora(r=2), [replace(job, unlabelled=twice)], generations=2, student=False)
    for member in [one for members in noted["members"] for one in members]:
        assert len(set(texts(member.examples))) == len(member.examples)


# ---------------------------------------------------------------- no labelled rows


def test_from_no_labelled_rows_the_untrained_patterns_label_the_first_ten(float64, job, noted):
    backbone, empty = float64("bert"), replace(job, labelled=())
    ((_, predictor),) = fit(backbone, Lora(r=2), [empty], generations=2, steps=4)
    first, second = noted["members"]
    assert [len(one.examples) for one in first] == [10] * 6
    assert all(Counter(row.label for row in one.examples) == {"negative": 5, "positive": 5} for one in first)
    plain = [Model(job.task, backbone, Encoder(backbone), pvp).scores(job.unlabelled) for pvp in job.task.pvps]
    for own, (scores, _) in enumerate(noted["votes"][:6]):
        (asked,) = scores
        alike = [pattern for pattern in range(3) if np.abs(plain[pattern] - asked).max() < 1e-10]
        assert len(alike) == 1
        assert alike[0] != own // 2  # the repetitions of a pattern are one untrained model
    assert all(len(one.examples) <= 50 for one in second)
    assert predictor.facts["drawn"][0] == {"negative": 5, "positive": 5}
    assert predictor.scores(job.queries).shape == (16, 2)


def test_it_needs_no_labels_and_pet_does():
    assert (Ipet.needs_labels, Pet.needs_labels) == (False, True)


def test_no_labelled_rows_train_four_generations_by_the_papers_rule(tiny_bert, job, noted):
    fit(tiny_bert, Lora(r=2), [replace(job, labelled=())], repetitions=1, steps=1, student_steps=1, weights="accuracy")
    assert len(noted["members"]) == 4


# ---------------------------------------------------------------- bad input


def test_one_member_has_no_others(tiny_bert, job):
    with pytest.raises(SettingError, match="has no others to label rows for it. Write patterns=all or repetitions=2"):
        fit(tiny_bert, Lora(r=2), [job], patterns="p1", repetitions=1)
    assert fit(tiny_bert, Lora(r=2), [job], patterns="p1", repetitions=1, generations=0)
    assert fit(tiny_bert, Lora(r=2), [job], patterns="p1", repetitions=2, generations=1)


def test_one_untrained_pattern_has_no_others_however_often_it_is_repeated(tiny_bert, job):
    with pytest.raises(SettingError, match="repetitions are all alike. Write patterns=all, or give labelled rows"):
        fit(tiny_bert, Lora(r=2), [replace(job, labelled=())], patterns="p1", repetitions=3)


def test_a_pool_that_runs_short_ends_the_draw_and_is_noted(tiny_bert, job, noted):
    short = replace(job, unlabelled=job.unlabelled[:5])
    ((_, predictor),) = fit(tiny_bert, Lora(r=2), [short], generations=2, batch=25)
    assert all(len(one.examples) <= 7 for one in noted["members"][2])
    said = [note for note in predictor.facts["notes"] if "the pool ran short" in note]
    assert [note.split(":")[0] for note in said] == ["generation 1", "generation 2"]
    assert "of 24 'negative'" in said[1]


def test_without_unlabelled_rows_there_are_no_generations_and_the_row_says_so(tiny_bert, job):
    ((_, predictor),) = fit(tiny_bert, Lora(r=2), [replace(job, unlabelled=())])
    assert isinstance(predictor, Ensemble) and len(predictor.members) == 6
    assert predictor.facts["generations"] == 0
    assert {"no unlabelled rows: no generations", "no unlabelled rows: the ensemble answers"} <= set(
        predictor.facts["notes"]
    )


def test_neither_labelled_nor_unlabelled_rows_are_an_error(tiny_bert, job):
    with pytest.raises(DataError, match="neither labelled nor unlabelled rows"):
        fit(tiny_bert, Lora(r=2), [Job(job.task, ())])
    with pytest.raises(SettingError, match="generations=0 is PET, which learns from labelled rows"):
        fit(tiny_bert, Lora(r=2), [replace(job, labelled=())], generations=0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"generations": -1}, "0 \\(PET\\) or more"),
        ({"preset": "2021"}, "ipet: no preset '2021'. Did you mean '2020'"),
        ({"weights": "equal"}, "uniform or accuracy"),
        ({"calibration": "context"}, "Did you mean 'contextual'"),
    ],
)
def test_a_setting_that_cannot_be_says_what_to_write(settings, said):
    with pytest.raises(SettingError, match=said):
        Ipet(**settings).settled()


def test_presets_are_the_papers():
    first, second = Ipet(preset="2020").settled(), Ipet(preset="superglue").settled()
    assert (first.generations, first.steps, first.mlm, first.weights, first.lr) == (None, 1000, 1e-4, "accuracy", 1e-5)
    assert (second.generations, second.steps, second.batch, second.mlm, second.pool) == (2, 250, 16, 0.0, 20_000)
    assert Ipet(preset="superglue", generations=3).settled().generations == 3
    assert all(getattr(Ipet().settled(), name) == value for name, value in PET["ours"].items() if name != "pool")


# ---------------------------------------------------------------- cost, other tunings, learning


def passes(backbone, work):
    """Rows that went through the backbone in a call; those with a backward pass count three times."""
    rows = []
    handle = backbone.body.register_forward_pre_hook(
        lambda _, given, named: rows.append(
            len(given[0] if given else named["input_ids"]) * (3 if torch.is_grad_enabled() else 1)
        ),
        with_kwargs=True,
    )
    try:
        work()
    finally:
        handle.remove()
    return sum(rows)


@pytest.mark.parametrize("weights", ["uniform", "accuracy"])
def test_generations_cost_pets_ensemble_each_and_one_student(tiny_bert, job, weights):
    settings = {**QUICK, "pool": 30, "weights": weights, "steps": 20, "student_steps": 10}
    generations = 2
    pet = passes(tiny_bert, lambda: list(Pet(**settings).fit(tiny_bert, Lora(r=2), [job])))
    student = 10 * 4 * 3
    ours = passes(tiny_bert, lambda: list(Ipet(**settings, generations=generations).fit(tiny_bert, Lora(r=2), [job])))
    assert ours > (generations + 0.5) * (pet - student)
    assert ours <= 1.1 * (generations + 1) * (pet - student) + student


def test_every_generation_takes_the_steps_of_pets_ensemble(tiny_bert, job, noted):
    fit(tiny_bert, Lora(r=2), [job], generations=2, steps=None, repetitions=1)
    assert [recipe.steps for recipe in noted["recipes"]] == [40, 40, 40]


def test_whole_weights_are_scored_while_they_live(tiny_bert, job):
    before = tiny_bert.model.state_dict()["bert.encoder.layer.0.output.dense.weight"].clone()
    ((_, predictor),) = fit(tiny_bert, Full(lr=1e-3), [job], generations=1, repetitions=1, steps=1)
    assert predictor.scores(job.queries).shape == (16, 2)
    assert before.equal(tiny_bert.model.state_dict()["bert.encoder.layer.0.output.dense.weight"])


@pytest.mark.parametrize("kind", ["contextual", "pmi", "batch"])
def test_each_voters_bias_is_taken_off_before_they_are_merged(float64, job, noted, kind):
    backbone = float64("bert")
    ((_, predictor),) = fit(backbone, Lora(r=2), [job], generations=1, calibration=kind)
    models = [trained_model(backbone, job, one) for one in noted["done"][0]]
    each = [model.scores(job.unlabelled) - bias(kind, model, job, job.unlabelled) for model in models]
    for (asked,), _ in noted["votes"]:
        assert sum(np.abs(one - asked).max() < 1e-10 for one in each) == 1
    assert predictor.facts["calibration"] == kind


def test_an_ensemble_that_answers_is_calibrated_too(tiny_bert, job):
    ((_, plain),) = Pet(**QUICK, student=False).fit(tiny_bert, Lora(r=2), [job])
    ((_, ours),) = Pet(**QUICK, student=False, calibration="pmi").fit(tiny_bert, Lora(r=2), [job])
    expected = merge([one.scores(job.queries) - bias("pmi", one, job, ()) for one in plain.members], plain.weights)
    np.testing.assert_allclose(ours.scores(job.queries), expected, atol=1e-6)
    with pytest.raises(DataError, match="needs unlabelled rows"):
        list(Pet(**QUICK, calibration="batch").fit(tiny_bert, Lora(r=2), [replace(job, unlabelled=())]))


def many_reviews():
    """Rows like those of ``reviews``, told apart by their words, and enough of them to draw from."""
    rows = []
    for label, listed in (
        ("negative", "awful bad boring dull poor slow weak worst"),
        ("positive", "brilliant fine funny good lovely moving warm best"),
    ):
        words = listed.split()
        pairs = [(first, second) for first in words for second in words if first != second]
        rows += [
            Example({"text": "{} actors, {} story and a {} ending".format(*pair, pair[0])}, label) for pair in pairs
        ]
    return rows


def test_ipet_learns_a_small_task_and_saves_to_the_bit(tiny_bert, reviews_task, reviews):
    many = many_reviews()
    job = Job(reviews_task, reviews, [one.unlabelled() for one in many], queries=[one.unlabelled() for one in many])
    settings = {"repetitions": 1, "steps": 60, "student_steps": 100, "student_batch": 16, "batch": 12, "head_lr": 3e-2}
    ((_, predictor),) = Ipet(**settings, generations=1).fit(tiny_bert, Lora(r=8, lr=2e-2), [job])
    scores = predictor.scores(job.queries)
    assert accuracy(scores, [reviews_task.labels.index(one.label) for one in many]) >= 0.85
    again = restore(reviews_task, tiny_bert, predictor.saved())
    np.testing.assert_array_equal(again.scores(job.queries), scores)


def test_wanted_rows_of_a_generation_are_those_of_the_rows_the_task_has(tiny_bert, job):
    long = Ipet(**{**QUICK, "steps": 3}).settled()  # 12 rows
    run = ipet._Run(ensemble.Trainer(long, tiny_bert, Lora(), None), [job])
    assert run._due(run.lines[0], 1).tolist() == wanted(np.array([1, 1]), 1).tolist() == [4, 4]
