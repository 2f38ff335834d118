import pytest
from promptlab.language.task import Task
from promptlab.language.example import Example
from promptlab.methods.method import Job
from promptlab.methods.prompt import Prompt
from promptlab.methods.zero_shot import ZeroShot
from promptlab.tuning.words import Words


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2", "llama"])
def test_label_words_of_several_tokens(tiny, reviews, family):
    words = {"negative": ["terrible zebra", "bad"], "positive": "greatest quiz"}
    task = Task.from_parts(patterns=["{text} {soft:It was} so {soft:2} {mask}"], verbalizer=words)
    found = next(Prompt(steps=4, batch=4).fit(tiny(family), Words(candidates=8, judge=6), [Job(task, reviews[:12])]))[1]
    (written,) = found.facts["words"]
    assert all(s["after"] < s["before"] for s in found.facts["swaps"][0])
    task = Task.from_parts(patterns=[written], verbalizer=words)
    plain = next(ZeroShot().fit(tiny(family), None, [Job(task, reviews[:8])]))[1]
    assert found.scores(reviews) == pytest.approx(plain.scores(reviews), abs=1e-5)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_candidates_a_row(tiny, reviews, family, tmp_path):
    text = "task: t\nabout: x\ninputs: [text, choices]\ncandidates: choices\npatterns:\n  one: '{text} {soft:It was} {mask}'\n"
    (tmp_path / "t.yaml").write_text(text)
    from promptlab import load_task

    task = load_task(tmp_path / "t.yaml")
    rows = [
        Example(
            {"text": r.text("text"), "choices": (("bad zebra", "great", "so so") if i % 2 else ("great", "bad"))},
            "great",
        )
        for i, r in enumerate(reviews[:12])
    ]
    found = next(Prompt(steps=4, batch=4).fit(tiny(family), Words(candidates=8, judge=6), [Job(task, rows)]))[1]
    print(found.facts["words"], found.scores(rows)[:3])
