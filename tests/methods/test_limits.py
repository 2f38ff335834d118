"""Numbers that cannot be are refused when the method is made."""

import pytest

from promptlab.errors import SettingError
from promptlab.methods.finetune import Finetune
from promptlab.methods.in_context import InContextLearning
from promptlab.methods.ipet import Ipet
from promptlab.methods.method import Job
from promptlab.methods.pet import Pet
from promptlab.methods.prompt import Prompt
from promptlab.methods.zero_shot import ZeroShot
from promptlab.registry import METHODS
from promptlab.tuning.lora import Lora


# steps=0 once meant "as many as by default", and batch=0 a division by zero
@pytest.mark.parametrize(
    ("make", "settings", "said"),
    [
        (Prompt, {"steps": 0}, "prompt: steps=0 cannot be. Write 1 or more."),
        (Prompt, {"batch": -2}, "prompt: batch=-2 cannot be. Write 1 or more."),
        (Prompt, {"mlm": 2.0}, "prompt: mlm=2.0 cannot be. Write a number from 0 to 1."),
        (Prompt, {"mlm": float("nan")}, "prompt: mlm=nan cannot be. Write a number from 0 to 1."),
        (
            Prompt,
            {"mlm": 0.1, "mlm_batch": 0},
            "mlm=0.1 has mlm_batch=0 rows a step. Write 1 or more, or mlm=0.",
        ),
        (Prompt, {"budget": 0}, "prompt: budget=0 cannot be. Write 1 or more."),
        (Prompt, {"pool": -1}, "prompt: pool=-1 cannot be. Write 0 or more."),
        (Finetune, {"steps": 0}, "finetune: steps=0 cannot be. Write 1 or more."),
        (Finetune, {"head_lr": -1.0}, "finetune: head_lr=-1.0 cannot be. Write 0 or more."),
        (Pet, {"student_steps": 0}, "pet: student_steps=0 cannot be. Write 1 or more."),
        (Pet, {"temperature": 0.0}, "pet: temperature=0 cannot be. Write a number above 0."),
        (Pet, {"temperature": -1.0}, "pet: temperature=-1.0 cannot be. Write a number above 0."),
        (Ipet, {"pool": -3}, "ipet: pool=-3 cannot be. Write 0 or more."),
        (Ipet, {"lr": float("inf")}, "ipet: lr=inf cannot be. Write 0 or more."),
        (ZeroShot, {"max_length": 0}, "zero-shot: max_length=0 cannot be. Write 1 or more."),
        (InContextLearning, {"max_length": -5}, "in-context: max_length=-5 cannot be. Write 1 or more."),
        (InContextLearning, {"demonstrations": "-1"}, "demonstrations=-1 cannot be read. Write 4"),
        (InContextLearning, {"demonstrations": 0}, "demonstrations=0: nothing would be shown"),
    ],
)
def test_a_number_that_cannot_be_is_refused_when_the_method_is_made(make, settings, said):
    with pytest.raises(SettingError) as caught:
        make(**settings)
    assert said in str(caught.value)


def test_what_a_preset_settles_is_looked_at_too():
    with pytest.raises(SettingError, match="pet: mlm=0.1 has mlm_batch=0 rows a step"):
        Pet(preset="superglue", mlm=0.1).settled()
    assert Pet(preset="superglue").settled().mlm_batch == 0


@pytest.mark.parametrize("name", ["zero-shot", "in-context", "prompt", "finetune", "pet", "ipet"])
def test_messages_call_a_method_as_the_user_does(name):
    wrong = {"max_length": "0"} if name in ("zero-shot", "in-context") else {"steps": "0"}
    with pytest.raises(SettingError, match=f"^{name}: "):
        METHODS.build(name, wrong)


@pytest.mark.parametrize("make", [Prompt(steps=1, mlm=0.1), Pet(preset="2020")], ids=["prompt", "pet"])
def test_a_masked_loss_is_refused_where_nothing_is_masked(tiny_gpt2, reviews_task, reviews, make):
    job = Job(reviews_task, reviews[:2], [row.unlabelled() for row in reviews[4:8]], queries=reviews[8:10])
    with pytest.raises(SettingError, match=r"mlm=0.*causal and fills in no masks. Write mlm=0"):
        list(make.fit(tiny_gpt2, Lora(r=2), [job]))


@pytest.mark.parametrize("method", [Prompt(steps=1, mlm=0.1), Pet(steps=1, mlm=0.1, repetitions=2)])
def test_a_masked_loss_without_unlabelled_rows_is_noted_once(tiny_bert, reviews_task, reviews, method):
    said = []
    for pool in ([], [row.unlabelled() for row in reviews[4:8]]):
        job = Job(reviews_task, reviews[:2], pool, queries=reviews[8:10])
        ((_, predictor),) = method.fit(tiny_bert, Lora(r=2), [job])
        said.append(predictor.facts["notes"].count("no unlabelled rows: trained without the masked-LM loss"))
    assert said == [1, 0]
