"""Searched words beside label words of several tokens, and beside rows' own candidates."""

import pytest

from promptlab import load_task
from promptlab.language.example import Example
from promptlab.language.task import Task
from promptlab.methods.method import Job
from promptlab.methods.prompt import Prompt
from promptlab.methods.zero_shot import ZeroShot
from promptlab.tuning.words import Words

CHOICES = "task: t\nabout: x\ninputs: [text, choices]\ncandidates: choices\npatterns:\n  one: '{}'\n"


def searched(backbone, task, rows):
    return next(Prompt(steps=4, batch=4).fit(backbone, Words(candidates=8, judge=6), [Job(task, rows)]))[1]


def asked(backbone, task, rows):
    return next(ZeroShot(instruction="none").fit(backbone, None, [Job(task, rows)]))[1].scores(rows)


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2", "llama"])
def test_label_words_of_several_tokens(tiny, reviews, family):
    words = {"negative": ["terrible zebra", "bad"], "positive": "greatest quiz"}
    task = Task.from_parts(patterns=["{text} {soft:It was} so {soft:2} {mask}"], verbalizer=words)
    found = searched(tiny(family), task, reviews[:12])
    (written,) = found.facts["words"]
    assert all(swap["after"] < swap["before"] for swap in found.facts["swaps"][0])
    plain = Task.from_parts(patterns=[written], verbalizer=words)
    assert found.scores(reviews) == pytest.approx(asked(tiny(family), plain, reviews), abs=1e-5)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_candidates_a_row(tiny, reviews, family, tmp_path):
    def task(pattern):
        path = tmp_path / "t.yaml"
        path.write_text(CHOICES.replace("{}", pattern))
        return load_task(path)

    def row(i, example):
        choices = ("bad zebra", "great", "so so") if i % 2 else ("great", "bad")
        return Example({"text": example.text("text"), "choices": choices}, "great")

    rows = [row(i, example) for i, example in enumerate(reviews[:12])]
    found = searched(tiny(family), task("{text} {soft:It was} {mask}"), rows)
    (written,) = found.facts["words"]
    assert found.scores(rows) == pytest.approx(asked(tiny(family), task(written), rows), abs=1e-5)
