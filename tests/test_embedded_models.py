"""The backbones that need no hub: mini and smollm2, where the packages that carry them are installed."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from promptlab import PromptClassifier, load_backbone, load_task, sample_shots
from promptlab.backbone.catalog import ALIASES, ASSETS
from promptlab.backbone.checkpoint import quiet
from promptlab.backbone.packaged import PACKAGES, in_package

BASE, SMOLLM2 = "sentence-transformers/all-MiniLM-L6-v2", ALIASES["smollm2"]


def carried(model):
    missing = in_package(model) is None
    return pytest.mark.skipif(missing, reason=f"not installed; type: {PACKAGES[model].install}")


needs_mini, needs_smollm2 = carried(BASE), carried(SMOLLM2)
SHARED = Path(__file__).parents[2] / "shared" / "data"
FILM = "The movie was boring."


@pytest.fixture(scope="module")
def mini():
    return load_backbone("mini", device="cpu")


@pytest.fixture(scope="module")
def smollm2():
    pytest.importorskip("gguf")
    return load_backbone("smollm2", device="cpu")


@needs_mini
def test_mini_loads_in_seconds_with_a_head_of_its_own(mini):
    began = time.perf_counter()
    again = load_backbone("mini", device="cpu")
    assert time.perf_counter() - began < 10  # a busy machine may be slow
    assert not again.new_head and again.fingerprint == mini.fingerprint
    assert again.model.get_output_embeddings().weight is again.model.get_input_embeddings().weight


def test_mini_takes_no_more_than_24_megabytes():
    assert sum(file.stat().st_size for file in (ASSETS / "mini").iterdir()) <= 24_000_000


@needs_mini
def test_mini_has_an_opinion_of_a_boring_film(mini):
    shown = list(PromptClassifier("reviews", method="zero-shot", backbone=mini).show(FILM))
    assert shown[0]["probabilities"]["negative"] > 0.7
    assert {"awful", "dreadful"} & {word for word, _ in shown[0]["guesses"]}


@needs_mini
def test_asking_mini_beats_always_saying_one_label_once_it_is_calibrated(mini):
    _, _, test = sample_shots(load_task("reviews"), shots=0)
    asking = PromptClassifier("reviews", method="zero-shot:patterns=in-summary,calibration=pmi", backbone=mini).fit()
    assert asking.score(test) > 0.56  # .612 measured on these very rows


@needs_mini
def test_what_the_card_says_of_mini_is_what_its_training_noted():
    about = json.loads((ASSETS / "mini" / "adapt.json").read_text(encoding="utf-8"))
    card = (ASSETS / "mini" / "README.md").read_text(encoding="utf-8")
    assert f"{about['tokens']:,} tokens in {about['steps']:,} steps" in card
    assert f"| {about['stored']['loss']:.3f} | {about['stored']['accuracy']:.3f} |" in card
    assert about["stored"]["accuracy"] > 0.377


def plain_scores(backbone, texts, words):
    """Log-probabilities of two words after each text, one text at a time, by transformers alone."""
    ids = [backbone.tokenizer(f" {word}", add_special_tokens=False)["input_ids"] for word in words]
    assert all(len(one) == 1 for one in ids)
    found = []
    for text in texts:
        inputs = backbone.tokenizer(f"Review: {text}\nSentiment:", return_tensors="pt")
        with torch.inference_mode(), quiet():
            logits = backbone.model(**inputs).logits[0, -1].float()
        found.append(logits.log_softmax(-1)[[one[0] for one in ids]])
    return torch.stack(found).double().numpy()


def scored_twice(backbone, test):
    """Label scores of the same rows: ours, and the plain loop's."""
    asking = PromptClassifier(
        patterns=["Review: {text}\nSentiment: {mask}"],
        verbalizer={"negative": "negative", "positive": "positive"},
        method="zero-shot",
        backbone=backbone,
    ).fit()
    texts = [row.fields["text"] for row in test]
    return asking.predictor_.scores(test), plain_scores(backbone, texts, ("negative", "positive"))


@needs_smollm2
def test_zero_shot_scores_of_smollm2_equal_a_plain_loop(smollm2):
    _, _, test = sample_shots(load_task("reviews"), shots=0, limit=12)
    np.testing.assert_allclose(*scored_twice(smollm2, test), atol=1e-4)


@needs_smollm2
@pytest.mark.slow
@pytest.mark.shared
def test_they_do_on_200_film_reviews_most_of_which_it_answers_rightly(smollm2):
    if not (SHARED / "mr").is_dir():
        pytest.skip("needs ../shared/data/mr")
    _, _, test = sample_shots(load_task("mr"), shots=0, limit=200, data=SHARED)
    ours, plain = scored_twice(smollm2, test)
    np.testing.assert_allclose(ours, plain, atol=1e-4)
    gold = np.array([["negative", "positive"].index(row.label) for row in test])
    assert (ours.argmax(1) == gold).mean() > 0.7


@needs_smollm2
def test_smollm2_reads_digits_one_by_one_and_spells_its_own_tokens_only_by_itself(smollm2):
    ids = smollm2.tokenizer("In 2019.", add_special_tokens=False)["input_ids"]
    assert [smollm2.tokenizer.decode([one]) for one in ids] == ["In", " ", "2", "0", "1", "9", "."]


@needs_smollm2
def test_smollm2_may_be_saved_as_plain_weights(smollm2, tmp_path):
    smollm2.model.save_pretrained(tmp_path)
    smollm2.tokenizer.save_pretrained(tmp_path)
    again = load_backbone(str(tmp_path), device="cpu")
    ids = torch.tensor([smollm2.tokenizer("The capital of France is")["input_ids"]])
    with torch.inference_mode():
        assert torch.equal(again.model(input_ids=ids).logits, smollm2.model(input_ids=ids).logits)
