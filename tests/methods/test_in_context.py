import numpy as np
import pytest
import torch

from promptlab.backbone import continuation
from promptlab.errors import BackboneError, DataError, SettingError
from promptlab.language.example import Example
from promptlab.language.task import Task
from promptlab.methods import context
from promptlab.methods.in_context import InContextLearning
from promptlab.methods.method import Job, probabilities, restore
from promptlab.methods.nearest import vectors
from promptlab.methods.zero_shot import ZeroShot

WORDS = {"negative": ["terrible", "slow and dull"], "positive": "great"}
LENGTHS = [1, 9, 3, 6, 2, 12]


@pytest.fixture
def task():
    return Task.from_parts(
        patterns=["{text} It was {mask}.", "Just {mask}! {sep} {text}", "{text} All in all, it was {mask}."],
        verbalizer=WORDS,
        about="Is the review good or bad?",
    )


@pytest.fixture
def job(task, reviews):
    queries = [Example({"text": "slow story " * length + "with a warm scene"}) for length in LENGTHS]
    return Job(task, reviews[:12], [one.unlabelled() for one in reviews[12:24]], queries=queries)


def fit(backbone, job, method=InContextLearning, **settings):
    settings = {"demonstrations": 2, **settings} if method is InContextLearning else settings
    ((_, predictor),) = method(**settings).fit(backbone, None, [job])
    return predictor


def notes(predictor):
    return [note for note in predictor.facts["notes"] if not note.startswith("skipped")]


def scores(backbone, job, **settings):
    return fit(backbone, job, **settings).scores(job.queries)


def by_hand(backbone, text, words=WORDS):
    """Label scores of one text by a plain loop over the model's own tokenizer."""
    found = []
    for listed in words.values():
        each = []
        for word in [listed] if isinstance(listed, str) else listed:
            start, both = (backbone.tokenizer(one)["input_ids"] for one in (text, f"{text} {word}"))
            assert both[: len(start)] == start
            with torch.inference_mode():
                logits = backbone.model(torch.tensor([both])).logits[0].double().log_softmax(-1)
            each.append(sum(float(logits[at - 1, both[at]]) for at in range(len(start), len(both))))
        found.append(np.mean(each))
    return found


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen3"])
def test_scores_are_those_of_a_plain_loop_over_whole_texts(float64, job, family):
    backbone = float64(family)
    predictor = fit(backbone, job)
    (member,) = predictor.members
    found = predictor.scores(job.queries)
    for at, (query, shown) in enumerate(zip(job.queries, member.read(job.queries).shown, strict=True)):
        chosen = [member.rows[row] for row in shown]
        assert len(chosen) == 4
        first = {"negative": "terrible", "positive": "great"}
        texts = [f"{one.fields['text']} It was {first[one.label]}." for one in chosen]
        text = "\n\n".join(["Is the review good or bad?", *texts, f"{query.fields['text']} It was"])
        np.testing.assert_allclose(found[at], by_hand(backbone, text), atol=1e-10)


@pytest.mark.parametrize("settings", [{}, {"order": "similar"}, {"orders": 2}, {"demonstrations": "total:1"}])
@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen3"])
def test_the_cached_beginning_changes_nothing(float64, job, family, settings, monkeypatch):
    backbone = float64(family)
    cached = scores(backbone, job, **settings)
    whole = continuation.continued
    monkeypatch.setattr(context, "continued", lambda *given: whole(*given, cached=False))
    np.testing.assert_allclose(cached, scores(backbone, job, **settings), atol=1e-10)


def test_the_beginning_is_read_once_for_all_rows(tiny_llama, job):
    predictor = fit(tiny_llama, job)
    lengths = predictor.members[0].read(job.queries).encoded.lengths
    seen = []
    handle = tiny_llama.model.get_input_embeddings().register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0].numel())
    )
    predictor.scores(job.queries)
    handle.remove()
    assert max(lengths) < sum(seen) < 0.7 * sum(lengths)


@pytest.mark.parametrize("family", ["bert", "roberta", "albert", "modernbert", "gpt2", "llama"])
def test_every_kind_of_backbone_answers_and_rows_do_not_depend_on_each_other(float64, job, family):
    backbone = float64(family)
    predictor = fit(backbone, job)
    found = predictor.scores(job.queries)
    assert np.isfinite(found).all()
    alone = np.concatenate([predictor.scores([one]) for one in job.queries])
    np.testing.assert_allclose(found, alone, atol=1e-10)


def test_the_order_is_the_seeds(tiny_gpt2, task, reviews):
    jobs = [Job(task, reviews, seed=seed, queries=reviews[:2]) for seed in (0, 1, 0)]
    found = [predictor.scores(reviews[:2]) for _, predictor in InContextLearning(2).fit(tiny_gpt2, None, jobs)]
    np.testing.assert_array_equal(found[0], found[2])
    assert np.abs(found[0] - found[1]).max() > 1e-6


def test_several_orders_are_the_mean_of_each_and_differ_in_rows_and_order(tiny_gpt2, task, reviews):
    job = Job(task, reviews, queries=reviews[:3])
    predictor = fit(tiny_gpt2, job, orders=4)
    each = [member.scores(job.queries) for member in predictor.members]
    assert len({tuple(row.fields["text"] for row in member.rows) for member in predictor.members}) == 4
    np.testing.assert_allclose(predictor.scores(job.queries), np.mean(each, 0), atol=1e-6)
    np.testing.assert_array_equal(each[0], scores(tiny_gpt2, job))


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_similar_shows_each_row_its_nearest_of_each_class_the_nearest_last(tiny, job, family):
    (member,) = fit(tiny(family), job, order="similar", demonstrations=1).members
    known, asked = (vectors(member.encoder, rows, ["text"]) for rows in (job.labelled, job.queries))
    for cosines, shown in zip(asked @ known.T, member.read(job.queries).shown, strict=True):
        best = [
            max((row for row, one in enumerate(job.labelled) if one.label == label), key=cosines.__getitem__)
            for label in job.task.labels
        ]
        assert list(shown) == sorted(best, key=cosines.__getitem__)


def test_demonstrations_that_were_left_out_are_told(tiny_gpt2, task, reviews):
    long = [Example({"text": "slow " * 200}, "negative"), *reviews[:6]]
    predictor = fit(tiny_gpt2, Job(task, long), demonstrations="all")
    predictor.scores([Example({"text": "a film"}), Example({"text": "a film " * 40})])
    assert 1 <= predictor.facts["demonstrations"] < 7
    assert notes(predictor)[0].startswith("2 of 2 rows had fewer than 7 demonstrations")
    predictor.scores([Example({"text": "a film"})])
    assert notes(predictor)[0].startswith("1 of 1 rows")


def test_where_all_fit_nothing_is_noted(tiny_gpt2, job):
    predictor = fit(tiny_gpt2, job)
    predictor.scores(job.queries)
    assert predictor.facts["demonstrations"] == 4
    assert notes(predictor) == []
    assert predictor.facts["cut"] == 0
    assert 0 < predictor.facts["mass"] < 1


def test_a_class_with_fewer_rows_than_asked_is_told(tiny_gpt2, task, reviews):
    predictor = fit(tiny_gpt2, Job(task, reviews[:4]), demonstrations=3)
    predictor.scores(reviews[:1])
    assert notes(predictor) == ["1 of 1 rows had fewer than 6 demonstrations, 4 at least"]


def test_none_that_fits_is_an_error(tiny_gpt2, task):
    job = Job(task, [Example({"text": "slow " * 300}, "negative"), Example({"text": "good " * 300}, "positive")])
    with pytest.raises(DataError, match="no demonstration fits"):
        fit(tiny_gpt2, job).scores([Example({"text": "a film"})])


def test_without_labelled_rows_it_says_what_to_give(tiny_gpt2, task):
    with pytest.raises(DataError, match=r"shows labelled rows, and there are none. Give -k 1 or more"):
        fit(tiny_gpt2, Job(task, []))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"demonstrations": 0}, "demonstrations=0: nothing would be shown"),
        ({"orders": 0}, "orders=0: write 1 or more"),
        ({"orders": 2, "order": "similar"}, "order=similar knows one order"),
        ({"demonstrations": "few"}, "cannot be read"),
    ],
)
def test_settings_that_cannot_be_are_refused(tiny_gpt2, job, settings, said):
    with pytest.raises(SettingError, match=said):
        fit(tiny_gpt2, job, **settings)


# what stands first


def test_zero_shot_reads_the_tasks_instruction_on_a_causal_backbone(float64, job):
    backbone = float64("gpt2")
    for written, before in (("about", "Is the review good or bad?\n\n"), ("none", ""), ("Judge it.", "Judge it.\n\n")):
        found = scores(backbone, job, method=ZeroShot, instruction=written)
        for at, query in enumerate(job.queries):
            text = f"{before}{query.fields['text']} It was"
            np.testing.assert_allclose(found[at], by_hand(backbone, text), atol=1e-10)


def test_a_masked_backbone_reads_an_instruction_only_where_one_is_written(tiny_bert, job):
    plain = scores(tiny_bert, job, method=ZeroShot)
    np.testing.assert_array_equal(plain, scores(tiny_bert, job, method=ZeroShot, instruction="none"))
    assert np.abs(plain - scores(tiny_bert, job, method=ZeroShot, instruction="a good film?")).max() > 1e-6


def test_a_conversation_is_scored_as_its_template_reads(fresh, job):
    backbone = fresh("llama", "float64")
    backbone.tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    found = fit(backbone, job, method=ZeroShot, chat=True).scores(job.queries)
    for at, query in enumerate(job.queries):
        text = f"user: Is the review good or bad?\n\n{query.fields['text']} It was\nassistant:"
        ids = backbone.tokenizer(text, add_special_tokens=False)["input_ids"]
        word = backbone.tokenizer(f"{text} great", add_special_tokens=False)["input_ids"][len(ids) :]
        with torch.inference_mode():
            logits = backbone.model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
        assert len(word) == 1
        assert found[at, 1] == pytest.approx(float(logits[word[0]]), abs=1e-10)


@pytest.mark.parametrize("method", [ZeroShot, InContextLearning])
def test_a_backbone_without_a_template_holds_no_conversation(tiny_gpt2, tiny_bert, job, method):
    with pytest.raises(BackboneError, match="no chat template"):
        fit(tiny_gpt2, job, method=method, chat=True).scores(job.queries)
    with pytest.raises(BackboneError, match="holds no conversation"):
        fit(tiny_bert, job, method=method, chat=True).scores(job.queries)


# with what stands elsewhere


@pytest.mark.parametrize("kind", ["contextual", "pmi", "batch"])
@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_calibration_reads_the_same_demonstrations(tiny, job, family, kind):
    predictor, plain = (fit(tiny(family), job, calibration=one) for one in (kind, "none"))
    (member,) = plain.members
    free = {
        "contextual": lambda: np.log(
            probabilities(member.scores([Example({"text": text}) for text in ("", "N/A", "[MASK]")])).mean(0)
        ),
        "pmi": lambda: member.scores([Example({"text": ""})])[0],
        "batch": lambda: np.log(probabilities(member.scores(job.unlabelled))).mean(0),
    }
    expected = plain.scores(job.queries) - free[kind]()
    np.testing.assert_allclose(predictor.scores(job.queries), expected, atol=1e-5)


@pytest.mark.parametrize(
    "settings", [{"calibration": "pmi"}, {"order": "similar"}, {"orders": 2, "instruction": "Say"}]
)
@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_saved_and_restored_it_shows_the_same_rows(tiny, job, family, settings):
    import json

    predictor = fit(tiny(family), job, **settings)
    saved = predictor.saved()
    saved.config.update(json.loads(json.dumps(saved.config)))
    again = restore(job.task, tiny(family), saved)
    np.testing.assert_array_equal(again.scores(job.queries), predictor.scores(job.queries))


def test_several_patterns_are_shown_each_with_its_own_demonstrations(tiny_bert, tiny_gpt2, job):
    predictor = fit(tiny_bert, job, patterns="all")
    each = [member.scores(job.queries) for member in predictor.members]
    assert len(each) == 3
    np.testing.assert_allclose(predictor.scores(job.queries), np.mean(each, 0), atol=1e-6)
    causal = fit(tiny_gpt2, job, patterns="all")
    assert len(causal.members) == 2
    causal.scores(job.queries)
    assert any("p2" in note for note in causal.facts["notes"])


def test_no_rows_are_no_scores_with_demonstrations(tiny_bert, tiny_gpt2, job):
    for backbone in (tiny_bert, tiny_gpt2):
        assert fit(backbone, job).scores([]).shape == (0, 2)


def test_each_row_with_words_of_its_own_shows_and_scores_them(tiny_gpt2, tiny_bert):
    from promptlab.language.library import read_task

    source = """
task: ends
inputs: [text, choices]
candidates: choices
patterns: {ends: "{text} So {mask}."}
"""
    asked = read_task(source, "ends.yaml")
    rows = [
        Example({"text": "slow.", "choices": ("he left", "she has won", "no")}, "no"),
        Example({"text": "good.", "choices": ("it was great", "yes")}, "yes"),
    ]
    for backbone in (tiny_gpt2, tiny_bert):
        found = fit(backbone, Job(asked, rows), demonstrations=1).scores(rows)
        assert found.shape == (2, 3)
        assert np.isneginf(found[1, 2]) and np.isfinite(found).sum() == 5
        with pytest.raises(SettingError, match="label words of its own. Write calibration=none"):
            fit(backbone, Job(asked, rows), demonstrations=1, calibration="pmi")


@pytest.mark.parametrize("family", ["gpt2", "bert"])
def test_a_classifier_saved_and_loaded_shows_the_same_rows(folder_of, task, reviews, tmp_path, family):
    from promptlab import PromptClassifier

    texts, labels = [row.fields["text"] for row in reviews], [row.label for row in reviews]
    made = PromptClassifier(task, method="in-context:demonstrations=2,order=similar", backbone=str(folder_of(family)))
    made.fit(texts, labels).save_pretrained(tmp_path / "shown")
    again = PromptClassifier.from_pretrained(tmp_path / "shown")
    np.testing.assert_array_equal(made.predict_proba(texts[:5]), again.predict_proba(texts[:5]))
    assert "in-context" in (tmp_path / "shown" / "README.md").read_text(encoding="utf-8")
