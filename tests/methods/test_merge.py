"""What is written merged is loaded with transformers alone, and must answer as our predictor does."""

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    pipeline,
)

from promptlab.backbone.backbone import load_backbone
from promptlab.backbone.checkpoint import quiet
from promptlab.errors import SettingError
from promptlab.language.task import Task
from promptlab.methods.chosen import choose
from promptlab.methods.merge import manner, mergeable, write_merged
from promptlab.methods.method import Job, restore

TEXTS = ["a good film", "a very slow and boring story about two actors"]
CASES = ["full", "top:layers=1", "bitfit", "lora:r=2,lr=0.1", "ia3:lr=0.1"]


@pytest.fixture
def fitted(reviews_task, reviews):
    def fit(backbone, method, tuning=None, unlabelled=(), task=reviews_task):
        chosen = choose(method, tuning)
        job = Job(task, reviews[:8], unlabelled)
        [predictor] = [one.keep() for _, one in chosen.method.fit(backbone, chosen.tuning, [job])]
        return predictor

    return fit


def write(predictor, folder):
    model = mergeable(predictor, "it")
    write_merged(model, folder, "it")
    return manner(model)


def loaded(kind, folder, **options):
    with quiet():
        return kind.from_pretrained(folder, **options).eval(), AutoTokenizer.from_pretrained(folder)


def asked(texts=TEXTS):
    from promptlab.language.example import Example

    return [Example({"text": text}) for text in texts]


def plain_label_scores(folder, kind, texts, words):
    """log p(word) at the mask, or of the next word, by nothing but transformers."""
    model, tokenizer = loaded(kind, folder)
    found = []
    for text in texts:
        batch = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            logits = model(**batch).logits[0].log_softmax(-1)
        mask = tokenizer.mask_token_id
        place = (batch["input_ids"][0] == mask).nonzero()[0, 0] if kind is AutoModelForMaskedLM else -1
        found.append([logits[place, word].item() for word in words])
    return np.array(found)


@pytest.mark.parametrize("tuning", CASES)
def test_a_merged_cloze_model_answers_as_the_predictor_does(tiny_bert, fitted, tmp_path, tuning):
    predictor = fitted(tiny_bert, "prompt:steps=3", tuning)
    assert write(predictor, tmp_path / "m") == "cloze"
    ids = tiny_bert.tokenizer.convert_tokens_to_ids(["terrible", "great"])
    found = plain_label_scores(tmp_path / "m", AutoModelForMaskedLM, [f"{t} It was [MASK]." for t in TEXTS], ids)
    assert found == pytest.approx(predictor.scores(asked()), abs=1e-5)
    untrained = fitted(tiny_bert, "zero-shot")
    assert np.abs(found - untrained.scores(asked())).max() > 1e-4  # it did learn, so equality says something


@pytest.mark.parametrize("family", ["roberta", "distilbert", "modernbert"])
def test_other_masked_families_merge_too(tiny, fitted, tmp_path, family):
    backbone = tiny(family)
    predictor = fitted(backbone, "prompt:steps=2", "lora:r=2,lr=0.1")
    write(predictor, tmp_path / "m")
    again = load_backbone(str(tmp_path / "m"), device="cpu")
    assert fitted(again, "zero-shot").scores(asked()) == pytest.approx(predictor.scores(asked()), abs=1e-5)


def test_weights_that_modernbert_calls_head_are_its_language_models(tiny_modernbert, fitted, tmp_path):
    predictor = fitted(tiny_modernbert, "prompt:steps=3", "full:lr=1e-2")
    model = mergeable(predictor, "it")
    assert model.facts["head_parameters"] == 0
    learnt = model.state["head.dense.weight"]
    assert not learnt.equal(tiny_modernbert.model.state_dict()["head.dense.weight"])
    write(predictor, tmp_path / "m")
    again = load_backbone(str(tmp_path / "m"), device="cpu")
    assert learnt.equal(again.model.state_dict()["head.dense.weight"])
    assert fitted(again, "zero-shot").scores(asked()) == pytest.approx(predictor.scores(asked()), abs=1e-5)
    restored = restore(model.task, tiny_modernbert, model.saved())
    np.testing.assert_array_equal(restored.scores(asked()), model.scores(asked()))


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("tuning", ["full", "lora:r=2,lr=0.1", "ia3:lr=0.1"])
def test_a_merged_causal_model_answers_as_the_predictor_does(tiny, fitted, tmp_path, family, tuning):
    backbone = tiny(family)
    predictor = fitted(backbone, "prompt:steps=2", tuning)
    assert write(predictor, tmp_path / "m") == "continuation"
    mark = {"gpt2": "Ġ", "llama": "▁"}[family]
    ids = backbone.tokenizer.convert_tokens_to_ids([f"{mark}terrible", f"{mark}great"])
    found = plain_label_scores(tmp_path / "m", AutoModelForCausalLM, [f"{t} It was" for t in TEXTS], ids)
    assert found == pytest.approx(predictor.scores(asked()), abs=1e-5)


def test_albert_merges_where_its_blocks_learn_together(tiny_albert, fitted, tmp_path):
    predictor = fitted(tiny_albert, "prompt:steps=3", "full:lr=0.01")
    write(predictor, tmp_path / "m")
    again = load_backbone(str(tmp_path / "m"), device="cpu")
    assert again.config.num_hidden_groups == tiny_albert.config.num_hidden_groups == 1
    assert fitted(again, "zero-shot").scores(asked()) == pytest.approx(predictor.scores(asked()), abs=1e-5)


def test_albert_is_refused_where_each_block_learnt_its_own(tiny_albert, fitted, tmp_path):
    predictor = fitted(tiny_albert, "prompt:steps=1", "lora:r=2")
    with pytest.raises(SettingError, match="stands beside the weights"):
        write(predictor, tmp_path / "m")


@pytest.mark.parametrize("tuning", ["houlsby", "pfeiffer", "parallel", "lin"])
def test_an_adapter_is_refused_for_no_weight_can_hold_its_activation(tiny_bert, fitted, tmp_path, tuning):
    predictor = fitted(tiny_bert, "prompt:steps=1", f"{tuning}:r=2")
    with pytest.raises(SettingError, match="stands beside the weights"):
        write(predictor, tmp_path / "m")


@pytest.mark.parametrize(
    ("family", "tuning"),
    [*((family, tuning) for family in ("bert", "roberta", "distilbert") for tuning in CASES),
     *(("modernbert", tuning) for tuning in CASES if tuning != "bitfit")],  # it has no biases
)  # fmt: skip
def test_a_merged_head_answers_as_the_predictor_does(tiny, fitted, tmp_path, family, tuning):
    predictor = fitted(tiny(family), "finetune:steps=2,head_lr=0.1", tuning)
    assert write(predictor, tmp_path / "m") == "head"
    model, tokenizer = loaded(AutoModelForSequenceClassification, tmp_path / "m")
    batch = tokenizer(TEXTS, return_tensors="pt", padding=True)
    with torch.no_grad():
        found = model(**batch).logits.numpy()
    assert found == pytest.approx(predictor.scores(asked()), abs=1e-5)
    assert model.config.id2label == {0: "negative", 1: "positive"}


def test_a_merged_head_of_a_causal_model_reads_the_last_token(tiny_llama, fitted, tmp_path):
    predictor = fitted(tiny_llama, "finetune:steps=2,head_lr=0.1", "lora:r=2")
    write(predictor, tmp_path / "m")
    model, tokenizer = loaded(AutoModelForSequenceClassification, tmp_path / "m")
    with torch.no_grad():
        found = [model(**tokenizer(text, return_tensors="pt")).logits[0].numpy() for text in TEXTS]
    assert np.array(found) == pytest.approx(predictor.scores(asked()), abs=1e-5)


def test_a_merged_albert_head_answers_as_the_predictor_does(tiny_albert, fitted, tmp_path):
    predictor = fitted(tiny_albert, "finetune:steps=2,head_lr=0.1", "full:lr=0.01")
    write(predictor, tmp_path / "m")
    model, tokenizer = loaded(AutoModelForSequenceClassification, tmp_path / "m")
    with torch.no_grad():
        found = model(**tokenizer(TEXTS, return_tensors="pt", padding=True)).logits.numpy()
    assert found == pytest.approx(predictor.scores(asked()), abs=1e-5)


def test_a_merged_student_goes_through_a_transformers_pipeline(tiny_bert, fitted, reviews, tmp_path):
    pool = [example.unlabelled() for example in reviews]
    predictor = fitted(tiny_bert, "pet:repetitions=1,steps=1,student_steps=2,student_batch=4", "lora", pool)
    write(predictor, tmp_path / "m")
    with quiet():
        (said,) = pipeline("text-classification", str(tmp_path / "m"), device="cpu")(TEXTS[:1])
    best = predictor.scores(asked())[0].argmax()
    assert said["label"] == ("negative", "positive")[best]


def test_modernbert_merges_with_either_of_its_own_poolings(tiny_modernbert, fitted, tmp_path):
    predictor = fitted(tiny_modernbert, "finetune:steps=1,pool=mean,head_lr=0.1", "lora:r=2")
    write(predictor, tmp_path / "m")
    model, tokenizer = loaded(AutoModelForSequenceClassification, tmp_path / "m")
    with torch.no_grad():
        found = model(**tokenizer(TEXTS, return_tensors="pt", padding=True)).logits.numpy()
    assert found == pytest.approx(predictor.scores(asked()), abs=1e-5)


def test_a_head_that_reads_what_a_plain_one_would_not_is_refused(tiny_bert, fitted, tmp_path):
    predictor = fitted(tiny_bert, "finetune:steps=1,pool=mean", "lora")
    with pytest.raises(SettingError, match=r"reads pool=mean, .* bert reads cls.*Write finetune:pool=cls"):
        write(predictor, tmp_path / "m")


def test_double_precision_stays_double(float64, fitted, tmp_path):
    backbone = float64("bert")
    predictor = fitted(backbone, "finetune:steps=2,head_lr=0.1", "full:lr=0.01")
    write(predictor, tmp_path / "m")
    model, tokenizer = loaded(AutoModelForSequenceClassification, tmp_path / "m", dtype=torch.float64)
    with torch.no_grad():
        found = model(**tokenizer(TEXTS, return_tensors="pt", padding=True)).logits.numpy()
    assert found == pytest.approx(predictor.scores(asked()), abs=1e-12)


def test_writing_leaves_the_backbone_as_it_was(fresh, fitted, tmp_path):
    backbone = fresh("bert")
    before = {name: one.clone() for name, one in backbone.model.state_dict().items()}
    write(fitted(backbone, "prompt:steps=2", "full:lr=0.01"), tmp_path / "m")
    after = backbone.model.state_dict()
    assert all(one.equal(after[name]) for name, one in before.items())
    assert backbone.model.get_output_embeddings().weight is backbone.model.get_input_embeddings().weight


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("majority", "changes no weights of a backbone"),
        ("probe", "changes no weights of a backbone"),
        ("zero-shot", "changes no weights of a backbone"),
        ("pet:repetitions=1,steps=1", "is 3 models together, and a plain checkpoint holds one"),
    ],
)
def test_what_is_no_single_learnt_model_is_refused(tiny_bert, fitted, method, message):
    with pytest.raises(SettingError, match=message):
        mergeable(fitted(tiny_bert, method), "it")


def test_a_calibrated_model_is_refused(tiny_bert, fitted):
    predictor = fitted(tiny_bert, "prompt:steps=1", "lora")
    predictor.members[0].bias = np.zeros(2)
    with pytest.raises(SettingError, match="is calibrated"):
        mergeable(predictor, "it")


def test_a_task_of_three_labels_merges_with_three(tiny_bert, fitted, tmp_path, reviews):
    task = Task.from_parts(["{text} {mask}"], {"negative": "bad", "positive": "good", "neither": "fine"})
    write(fitted(tiny_bert, "finetune:steps=1", "lora", task=task), tmp_path / "m")
    model, _ = loaded(AutoModelForSequenceClassification, tmp_path / "m")
    assert model.config.label2id == {"negative": 0, "positive": 1, "neither": 2}


def test_hooks_of_the_users_own_do_not_stop_a_merge(tiny_bert, fitted, tmp_path):
    predictor = fitted(tiny_bert, "prompt:steps=3", "lora:r=2")
    handle = tiny_bert.body.register_forward_hook(lambda module, inputs, output: None)
    try:
        assert write(predictor, tmp_path / "m") == "cloze"
    finally:
        handle.remove()
