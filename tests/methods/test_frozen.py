"""A member that turned non-finite is told of in the row, whatever the method."""

import pytest

from promptlab.methods.finetune import Finetune
from promptlab.methods.ipet import Ipet
from promptlab.methods.method import Job
from promptlab.methods.pet import Pet
from promptlab.methods.prompt import Prompt
from promptlab.tuning.lora import Lora

WILD = {"lr": "inf"}


@pytest.mark.parametrize(
    "method",
    [
        Prompt(steps=4),
        Finetune(steps=4, head_lr=None),
        Pet(repetitions=1, steps=4, student=False),
        Pet(repetitions=1, steps=4, student_steps=4),
        Ipet(repetitions=1, steps=4, student_steps=4, generations=1),
    ],
    ids=["prompt", "finetune", "pet without a student", "pet", "ipet"],
)
def test_the_row_names_the_frozen_member_and_the_other_seed_is_untouched(tiny_bert, reviews_task, reviews, method):
    pool = [one.unlabelled() for one in reviews[8:20]]
    jobs = [Job(reviews_task, reviews[:8], pool, seed=seed, settings=WILD if seed else {}) for seed in (0, 1)]
    notes = {job.seed: predictor.facts["notes"] for job, predictor in method.fit(tiny_bert, Lora(r=2), jobs)}
    assert not any("frozen" in note for note in notes[0])
    assert any("seed1 became non-finite and was frozen at step" in note for note in notes[1])
    if method == Pet(repetitions=1, steps=4, student_steps=4):
        assert any("student" in note for note in notes[1])
