import pytest

from promptlab.data.steps import STEPS, prepared, step
from promptlab.errors import DataError
from promptlab.language.example import Example

ROWS = [Example({"text": "a"}), Example({"text": "b"})]


@pytest.fixture
def no_first(monkeypatch):
    monkeypatch.setattr("promptlab.data.steps.STEPS", STEPS_COPY := dict(STEPS))

    @step("no-first", "leaves the first row out")
    def run(examples):
        return examples[1:]

    return STEPS_COPY


def test_without_a_step_examples_pass_as_they_are():
    assert prepared(None, ROWS) == ROWS


def test_a_registered_step_is_run_by_its_name(no_first):
    assert prepared("no-first", ROWS) == ROWS[1:]


def test_a_registered_step_says_what_it_does(no_first):
    assert no_first["no-first"].about == "leaves the first row out"


def test_an_unknown_step_suggests_a_known_one(no_first):
    with pytest.raises(DataError, match=r"no step 'no_first'\. Did you mean 'no-first'\?"):
        prepared("no_first", ROWS)
