"""PromptGenerator over a tiny causal backbone; what texts are worth is left to the metrics' own tests."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.base import clone

from promptlab import PromptClassifier, PromptGenerator
from promptlab.errors import DataError, OutputError, SettingError
from promptlab.language.task import Task

SOURCES = ["a good film", "a bad plot", "fine music", "a slow ending"]
TEXTS = ["this film is good", "the plot is weak", "lovely music", "the ending is slow"]
PATTERN = "{source} : {target}"


@pytest.fixture
def make(tiny_llama):
    def new(**changes):
        method = changes.pop("method", "finetune:steps=2,batch=2,max_tokens=4")
        return PromptGenerator(**{"patterns": [PATTERN], "method": method, "backbone": tiny_llama, **changes})

    return new


@pytest.fixture
def fitted(make):
    return make().fit(SOURCES, TEXTS)


@pytest.fixture
def counting(monkeypatch):
    """A metric that says what it was given."""
    seen = SimpleNamespace(
        score_texts=lambda said, right, names, **more: seen.asked.append((said, right)) or {names[0]: 0.25},
        missing=lambda name: f"{name}: no Java here.",
        asked=[],
    )
    monkeypatch.setitem(sys.modules, "promptlab.metrics.texts", seen)
    return seen


def test_a_generator_stores_its_parameters_and_clones(make, tiny_llama):
    generator = make(random_state=3)
    assert generator.get_params()["random_state"] == 3
    twin = clone(generator)
    assert twin.backbone is tiny_llama and not hasattr(twin, "predictor_")


def test_it_learns_from_lists_of_texts_and_writes_one_a_row(fitted):
    texts = fitted.predict(SOURCES[:3])
    assert texts.shape == (3,) and texts.dtype == object
    assert all(isinstance(text, str) for text in texts)
    assert fitted.n_learnt_ > 0


def test_the_same_seed_writes_the_same(make, fitted):
    assert make().fit(SOURCES, TEXTS).predict(SOURCES).tolist() == fitted.predict(SOURCES).tolist()


def test_no_rows_give_no_texts(fitted):
    assert fitted.predict([]).tolist() == []


def test_a_row_may_have_several_right_texts(make):
    generator = make().fit(SOURCES[:2], [TEXTS[:2], TEXTS[2]])
    assert generator.predictor_.facts["texts"] == 3


def test_rows_may_bring_their_texts(make):
    rows = [{"source": source, "target": text} for source, text in zip(SOURCES, TEXTS, strict=True)]
    assert make().fit(rows).predict(["a film"]).shape == (1,)


def test_it_memorises_what_it_is_shown_often_enough(make):
    settings = "finetune:steps=150,batch=4,max_tokens=8"
    generator = make(method=settings, tuning="full:lr=0.003").fit(SOURCES, TEXTS)
    assert generator.predict(SOURCES).tolist() == TEXTS


def test_score_is_the_tasks_first_metric(fitted, counting):
    assert fitted.score(SOURCES[:2], [TEXTS[0], TEXTS[1:3]]) == 0.25
    [(_, right)] = counting.asked
    assert [list(one) for one in right] == [[TEXTS[0]], TEXTS[1:3]]


def test_a_score_that_cannot_be_had_is_an_error(fitted, counting, monkeypatch):
    monkeypatch.setattr(counting, "score_texts", lambda said, right, names: {names[0]: None})
    with pytest.raises(SettingError, match="no Java here"):
        fitted.score(SOURCES, TEXTS)


def test_show_tells_what_was_read_and_written(fitted):
    [row] = fitted.show("a good film")
    assert row["text"].startswith("a good film :")
    assert row["tokens"] == len(fitted.backbone_.tokenizer("a good film :")["input_ids"])
    assert row["written"] == fitted.predict(["a good film"])[0]
    json.dumps(fitted.show(SOURCES[:2]).to_dict())


def test_show_before_learning_asks_the_plain_backbone(make):
    shown = make(patterns=[PATTERN, "{source} {target} ."]).show(SOURCES[:1])
    assert len(shown) == 2
    assert "tokens" in str(shown) and "wrote" in str(shown)


def test_what_learns_nothing_passes_the_tuning_over(make):
    generator = make(method="in-context:demonstrations=2,max_tokens=4").fit(SOURCES, TEXTS)
    assert (generator.n_learnt_, len(generator.predict(["a plot"]))) == (0, 1)
    [row] = generator.show("a plot")
    assert any(TEXTS[0] in line or TEXTS[1] in line or TEXTS[2] in line or TEXTS[3] in line for line in row["context"])


def test_zero_shot_needs_no_rows(make):
    assert len(make(method="zero-shot:max_tokens=3").fit().predict(SOURCES)) == 4


def test_a_saved_generator_writes_the_same(fitted, tiny_llama, tmp_path):
    fitted.save_pretrained(tmp_path / "mine", metrics={"bleu": 0.5})
    again = PromptGenerator.from_pretrained(tmp_path / "mine", tiny_llama)
    assert again.predict(SOURCES).tolist() == fitted.predict(SOURCES).tolist()
    assert again.get_params()["tuning"] == "lora"
    card = (tmp_path / "mine" / "README.md").read_text(encoding="utf-8")
    assert "PromptGenerator.from_pretrained" in card and "pipeline_tag: text-generation" in card


def test_a_folder_is_read_by_the_class_that_wrote_it(fitted, tmp_path, tiny_llama):
    fitted.save_pretrained(tmp_path / "mine")
    with pytest.raises(OutputError, match="holds a generator.*Write PromptGenerator"):
        PromptClassifier.from_pretrained(tmp_path / "mine", tiny_llama)
    words = {"negative": "bad", "positive": "good"}
    sorter = PromptClassifier(patterns=["{text} {mask}"], verbalizer=words, method="majority", backbone=None)
    sorter.fit(["a", "b"], ["negative", "positive"]).save_pretrained(tmp_path / "other")
    with pytest.raises(OutputError, match="holds a classifier.*Write PromptClassifier"):
        PromptGenerator.from_pretrained(tmp_path / "other")


def test_a_tuning_that_folds_in_is_saved_as_a_plain_model(fitted, tmp_path):
    folder = fitted.save_pretrained(tmp_path / "plain", merge=True)
    plain = PromptGenerator(
        folder / "task.yaml", method="zero-shot:max_tokens=4,instruction=none", tuning=None, backbone=str(folder)
    )
    assert plain.fit().predict(SOURCES).tolist() == fitted.predict(SOURCES).tolist()
    assert "PromptGenerator(task" in (folder / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "rows", "texts", "error", "told"),
    [
        ({}, SOURCES, TEXTS[:2], DataError, "4 rows and y 2 texts"),
        ({}, SOURCES[:1], [""], DataError, r"y\[0\] is ''"),
        ({}, SOURCES[:1], [3], DataError, r"y\[0\] is 3"),
        ({}, None, None, DataError, "there are none"),
        ({"patterns": None}, SOURCES, TEXTS, SettingError, "nothing says what to write"),
        ({"task": "restaurants"}, SOURCES, TEXTS, SettingError, "Leave patterns= out"),
        ({"task": "reviews", "patterns": None}, SOURCES, TEXTS, SettingError, "Write PromptClassifier"),
        ({"method": "pet"}, SOURCES, TEXTS, SettingError, "Write finetune, in-context or zero-shot"),
        ({"backbone": None}, SOURCES, TEXTS, SettingError, "Write backbone='smollm2'"),
        ({"task": 3, "patterns": None}, SOURCES, TEXTS, SettingError, "task is a int"),
    ],
    ids=str,
)
def test_what_cannot_be_is_told(make, changes, rows, texts, error, told):
    with pytest.raises(error, match=told):
        make(**changes).fit(rows, texts)


def test_a_masked_backbone_is_told_what_to_write(make, tiny_bert):
    with pytest.raises(Exception, match="smollm2"):
        make(backbone=tiny_bert).fit(SOURCES, TEXTS)


def test_a_classifier_refuses_a_task_that_asks_for_texts(tiny_llama):
    with pytest.raises(SettingError, match="Write PromptGenerator"):
        PromptClassifier(Task.from_parts([PATTERN]), backbone=tiny_llama).fit(SOURCES, TEXTS)


def test_texts_come_as_an_array_too(fitted):
    assert fitted.predict(np.array(SOURCES)).shape == (4,)
