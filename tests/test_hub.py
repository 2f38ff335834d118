"""Saved, and back again: equal answers, clear errors, nothing half-written."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from promptlab.backbone.identity import ABOUT
from promptlab.backbone.stacks import apart
from promptlab.classifier import PromptClassifier
from promptlab.errors import BackboneError, OutputError, PatternError
from promptlab.hub import CARD, FORMAT, TASK, WEIGHTS
from promptlab.language.task import Task
from promptlab.registry import TUNINGS

TEXTS = ["a good film", "a bad film", "", "a very slow and boring story about two actors"]
SHORT = "steps=2"
METHODS = {
    "majority": "majority",
    "tfidf": "tfidf",
    "probe": "probe",
    "zero-shot": "zero-shot:patterns=all",
    "calibrated": "zero-shot:calibration=batch",
    **{f"{name}+{tuning}": f"{spec}+{tuning}" for tuning in ("full", "top", "bitfit", "lora") for name, spec in (
        ("prompt", "prompt:steps=2,patterns=p1+p2"),
        ("finetune", "finetune:steps=2"),
        ("pet", "pet:repetitions=1,steps=2,student_steps=2,student_batch=4"),
        ("ensemble", "pet:repetitions=2,steps=1,student=false,weights=accuracy,patterns=p1+p2"),
    )},
}  # fmt: skip


@pytest.fixture
def fitted(reviews_task, reviews):
    def fit(backbone, method="zero-shot", **settings):
        classifier = PromptClassifier(reviews_task, method=method, backbone=backbone, **settings)
        return classifier.fit(reviews[:8], unlabeled=reviews[8:16])

    return fit


@pytest.fixture
def saved(fitted, tiny_bert, tmp_path):
    """A small model on disk."""
    fitted(tiny_bert, "prompt:steps=1", tuning="lora:r=2").save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


@pytest.fixture(scope="module")
def deep(fresh):
    """24 layers."""
    small = fresh("bert")
    config = type(small.config)(**{**small.config.to_dict(), "num_hidden_layers": 24})
    return replace(small, model=type(small.model)(config).eval().requires_grad_(False))


def about(folder):
    return json.loads((folder / ABOUT).read_text(encoding="utf-8"))


def rewrite(folder, **changes):
    (folder / ABOUT).write_text(json.dumps({**about(folder), **changes}), encoding="utf-8")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# the same again


@pytest.mark.parametrize("name", METHODS)
def test_what_comes_back_answers_the_same_to_the_bit(name, fitted, tiny_bert, tmp_path):
    classifier = fitted(tiny_bert, METHODS[name])
    classifier.save_pretrained(tmp_path / "saved")
    again = PromptClassifier.from_pretrained(tmp_path / "saved", device="cpu")
    assert np.array_equal(again.predict_proba(TEXTS), classifier.predict_proba(TEXTS))
    assert again.n_learnt_ == classifier.n_learnt_
    if again.backbone_ is not None:  # loaded anew, and left as it was
        assert again.backbone_ is not tiny_bert


def test_a_pet_without_unlabelled_rows_comes_back_as_the_ensemble_it_is(reviews_task, reviews, tiny_bert, tmp_path):
    classifier = PromptClassifier(reviews_task, method="pet:repetitions=1,steps=1+lora", backbone=tiny_bert)
    classifier.fit(reviews[:8]).save_pretrained(tmp_path / "saved")
    again = PromptClassifier.from_pretrained(tmp_path / "saved", device="cpu")
    assert len(again.predictor_.members) == 3
    assert np.array_equal(again.predict_proba(TEXTS), classifier.predict_proba(TEXTS))


@pytest.mark.parametrize("family", ["roberta", "albert", "modernbert", "gpt2", "llama"])
def test_other_families_come_back_too(family, fitted, tiny, tmp_path):
    classifier = fitted(tiny(family), "prompt:steps=2,patterns=p1+p3", tuning="lora:lr=0.1")
    classifier.save_pretrained(tmp_path / "saved")
    again = PromptClassifier.from_pretrained(tmp_path / "saved", device="cpu")
    assert np.array_equal(again.predict_proba(TEXTS), classifier.predict_proba(TEXTS))


@pytest.mark.parametrize("tuning", ["full", "lora:lr=0.1"])
@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_every_number_format_comes_back_as_it_was(fitted, fresh, tmp_path, dtype, tuning):
    classifier = fitted(fresh("bert", dtype=dtype), "finetune:steps=2", tuning=tuning)
    classifier.save_pretrained(tmp_path / "saved")
    again = PromptClassifier.from_pretrained(tmp_path / "saved", device="cpu", dtype=dtype)
    assert np.array_equal(again.predict_proba(TEXTS), classifier.predict_proba(TEXTS))
    kinds = {str(one.dtype) for name, one in load_file(tmp_path / "saved" / WEIGHTS).items() if "head." not in name}
    assert kinds == {f"torch.{dtype}"}


def test_a_saved_model_can_be_read_in_another_number_format(fitted, fresh, tmp_path):
    classifier = fitted(fresh("bert", dtype="bfloat16"), "prompt:steps=2", tuning="full:lr=0.001")
    classifier.save_pretrained(tmp_path / "saved")
    again = PromptClassifier.from_pretrained(tmp_path / "saved", device="cpu")
    assert again.backbone_.dtype == torch.float32
    assert again.predict_proba(TEXTS) == pytest.approx(classifier.predict_proba(TEXTS), abs=0.05)


def test_a_loaded_classifier_is_saved_again_with_all_it_knew(saved, tmp_path):
    again = PromptClassifier.from_pretrained(saved, device="cpu")
    again.save_pretrained(tmp_path / "twice")
    first, second = about(saved), about(tmp_path / "twice")
    for key in first.keys() - {"backbone", "notes"}:
        assert second[key] == first[key]
    assert second["backbone"]["fingerprint"] == first["backbone"]["fingerprint"]
    assert (saved / WEIGHTS).read_bytes() == (tmp_path / "twice" / WEIGHTS).read_bytes()


def test_a_loaded_classifier_knows_its_parameters_and_learns_anew(saved, reviews, fitted, tiny_bert):
    again = PromptClassifier.from_pretrained(saved, device="cpu")
    assert (again.method, again.tuning, again.random_state) == ("prompt:steps=1", "lora:r=2", 0)
    same = fitted(tiny_bert, "prompt:steps=1", tuning="lora:r=2")
    assert np.array_equal(again.fit(reviews[:8]).predict_proba(TEXTS), same.predict_proba(TEXTS))


def test_classes_come_back_in_the_values_they_were_given_in(reviews_task, tmp_path):
    classifier = PromptClassifier(reviews_task, method="majority").fit(["a", "b", "c"], [1, 1, 0])
    classifier.save_pretrained(tmp_path / "saved")
    again = PromptClassifier.from_pretrained(tmp_path / "saved")
    assert again.classes_.dtype == classifier.classes_.dtype
    assert again.predict(["x"]).tolist() == [1]


def test_columns_are_known_again(reviews_task, tmp_path):
    classifier = PromptClassifier(reviews_task, method="majority", columns={"text": "review"})
    classifier.fit([{"review": "a"}, {"review": "b"}], ["negative", "negative"]).save_pretrained(tmp_path / "saved")
    again = PromptClassifier.from_pretrained(tmp_path / "saved")
    assert again.predict([{"review": "c", "text": 3}]).tolist() == ["negative"]


# what is written


def test_a_saved_folder_holds_four_files(saved):
    assert names(saved) == sorted([ABOUT, TASK, WEIGHTS, CARD]) == about(saved)["files"]


def test_the_folder_says_everything_about_the_model(saved, tiny_bert, reviews_task):
    found = about(saved)
    assert (found["format"], found["seed"], found["labels"]) == (FORMAT, 0, ["negative", "positive"])
    assert found["system"]["method"] == {"name": "prompt", "text": "prompt:steps=1", "settings": {"steps": "1"}}
    assert found["settings"]["tuning"]["alpha"] == 16.0
    assert found["backbone"]["fingerprint"] == tiny_bert.fingerprint
    assert found["data"] == {"labelled_rows": 8, "unlabelled_rows": 8}
    assert found["versions"].keys() >= {"torch", "transformers"}
    assert found["parameters"]["stored"] == 2 * 2 * 2 * (32 + 32)  # layers x (q, v) x r x (in + out)
    from promptlab.language.library import load_task

    assert load_task(saved / TASK).digest == reviews_task.digest


def test_only_what_was_learnt_is_written(saved):
    sizes = {name: tuple(one.shape) for name, one in load_file(saved / WEIGHTS).items()}
    layer = "0.bert.encoder.layer.{0-1}.attention.self"
    assert sizes == {
        "weights": (1,),
        **{f"{layer}.{role}.A": (2, 32, 2) for role in ("query", "value")},
        **{f"{layer}.{role}.B": (2, 2, 32) for role in ("query", "value")},
    }


def test_a_folder_with_a_tensor_a_name_is_read_as_well(saved):
    wanted = PromptClassifier.from_pretrained(saved, device="cpu").predict_proba(TEXTS)
    tensors = apart(load_file(saved / WEIGHTS))
    assert len(tensors) == 9
    save_file(tensors, saved / WEIGHTS)
    rewrite(saved, format=1, tensors={name: list(one.shape) for name, one in tensors.items()})
    assert np.array_equal(PromptClassifier.from_pretrained(saved, device="cpu").predict_proba(TEXTS), wanted)


@pytest.mark.parametrize("tuning", sorted(set(TUNINGS.entries) - {"full", "top", "words"}))
@pytest.mark.parametrize("method", ["prompt", "finetune"])
def test_a_member_takes_little_more_than_its_numbers(fitted, deep, tmp_path, method, tuning):
    settings = ":adapter_r=16" if tuning == "unipelt" else ""  # the default is wider than this backbone
    classifier = fitted(deep, f"{method}:steps=1", tuning=tuning + settings)
    classifier.save_pretrained(tmp_path / "saved")
    facts = classifier.predictor_.facts
    most = 4 * (facts["stored_parameters"] + facts["head_parameters"]) + 16_000
    assert sum(path.stat().st_size for path in (tmp_path / "saved").iterdir()) <= most
    again = PromptClassifier.from_pretrained(tmp_path / "saved", backbone=deep)
    assert np.array_equal(again.predict_proba(TEXTS), classifier.predict_proba(TEXTS))


def test_scores_are_written_into_the_card(fitted, tiny_bert, tmp_path):
    fitted(tiny_bert).save_pretrained(tmp_path / "saved", metrics={"accuracy": np.float32(0.875)})
    assert "| accuracy | 0.875 |" in (tmp_path / "saved" / CARD).read_text(encoding="utf-8")
    assert about(tmp_path / "saved")["metrics"] == {"accuracy": 0.875}


def test_everybody_may_read_what_one_wrote(saved):
    assert len({path.stat().st_mode for path in saved.iterdir()}) == 1


def test_a_pattern_that_a_causal_teacher_skipped_is_not_in_the_card(fitted, tiny_gpt2, tmp_path):
    fitted(tiny_gpt2, "pet:repetitions=1,steps=1,student_steps=1+lora").save_pretrained(tmp_path / "saved")
    assert about(tmp_path / "saved")["patterns"] == ["p1", "p3"]


def test_patterns_with_several_verbalizers_come_back(tiny_bert, reviews, tmp_path):
    from promptlab.language.library import read_task

    task = read_task("""
task: films
inputs: [text]
labels: [negative, positive]
verbalizers:
  default: {negative: terrible, positive: great}
  other: {negative: bad, positive: good}
patterns:
  both: {pattern: "{text} It was {mask}.", verbalizer: [default, other]}
""")
    classifier = PromptClassifier(task, method="prompt:steps=1,patterns=all+lora", backbone=tiny_bert)
    classifier.fit(reviews[:4]).save_pretrained(tmp_path / "saved")
    again = PromptClassifier.from_pretrained(tmp_path / "saved", device="cpu")
    assert about(tmp_path / "saved")["patterns"] == ["both/default", "both/other"]
    assert np.array_equal(again.predict_proba(TEXTS), classifier.predict_proba(TEXTS))


# where it is written


def test_a_model_is_saved_over_the_one_before(fitted, tiny_bert, saved):
    fitted(tiny_bert, "majority").save_pretrained(saved)
    assert about(saved)["system"]["method"]["name"] == "majority"
    assert names(saved.parent) == ["saved"]


def test_a_folder_of_somebody_elses_is_left_alone(fitted, tiny_bert, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="holds something else"):
        fitted(tiny_bert).save_pretrained(tmp_path)
    assert names(tmp_path) == ["thesis.txt"]


def test_a_place_that_cannot_be_written_is_an_error(fitted, tiny_bert, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        fitted(tiny_bert).save_pretrained(tmp_path / "file" / "saved")


def test_a_full_disk_leaves_the_model_before_and_nothing_half(fitted, tiny_bert, saved, monkeypatch):
    before = (saved / WEIGHTS).read_bytes()
    monkeypatch.setattr("promptlab.hub.save_file", lambda *words: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(OutputError, match="cannot be written: No space left"):
        fitted(tiny_bert).save_pretrained(saved)
    assert (saved / WEIGHTS).read_bytes() == before
    assert names(saved.parent) == ["saved"]


# what cannot be read


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: shutil.rmtree(folder), "no folder .*saved. Write the folder that save_pretrained"),
        (lambda folder: (folder / ABOUT).unlink(), "holds no model of promptlab"),
        (lambda folder: (folder / ABOUT).write_text("{"), "promptlab.json cannot be read: Expecting property name"),
        (lambda folder: (folder / ABOUT).write_bytes(b"\xff"), "promptlab.json cannot be read"),
        (lambda folder: (folder / ABOUT).write_text("[]"), "promptlab.json says no format"),
        (lambda folder: rewrite(folder, format="one"), "promptlab.json says no format"),
        (lambda folder: rewrite(folder, predictor={}), "do not belong together .KeyError"),
        (lambda folder: rewrite(folder, predictor={"kind": "bomb", "config": {}}), "do not belong together"),
        (lambda folder: rewrite(folder, backbone={"name": "x"}), "do not belong together"),
        (lambda folder: rewrite(folder, system=None), "do not belong together"),
        (lambda folder: rewrite(folder, labels=["a", "b"]), "the labels negative, positive, but the model learnt a, b"),
        (lambda folder: (folder / TASK).unlink(), "has no task.yaml. Copy the folder anew"),
        (lambda folder: (folder / WEIGHTS).unlink(), "weights.safetensors cannot be read"),
        (lambda folder: (folder / WEIGHTS).write_bytes(b"version https://git-lfs"), "weights.safetensors cannot be"),
        (lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-9]), "cannot be read"),
        (lambda folder: save_file({"x": torch.zeros(1)}, folder / WEIGHTS), "holds other weights than promptlab.json"),
    ],
)  # fmt: skip
def test_a_damaged_folder_says_what_is_damaged(saved, spoil, message):
    spoil(saved)
    with pytest.raises(OutputError, match=message):
        PromptClassifier.from_pretrained(saved, device="cpu").predict(TEXTS)


@pytest.mark.parametrize("gone_for_good", [True, False])
def test_weights_that_are_missing_or_of_another_shape_are_told_at_loading(saved, gone_for_good):
    tensors = load_file(saved / WEIGHTS)
    gone = next(name for name in tensors if name.endswith(".A"))
    spoilt = tensors.pop(gone)
    save_file(tensors if gone_for_good else {**tensors, gone: spoilt[:1].clone()}, saved / WEIGHTS)
    with pytest.raises(OutputError, match=f"holds other weights than promptlab.json says .{gone}"):
        PromptClassifier.from_pretrained(saved, device="cpu")


def test_another_backbone_of_another_shape_is_told_at_loading(saved, tiny_distilbert):
    with pytest.raises(OutputError, match="its files, or its backbone, do not belong together"):
        PromptClassifier.from_pretrained(saved, backbone=tiny_distilbert, allow_other_backbone=True)


def test_a_faulty_task_file_says_where(saved):
    (saved / TASK).write_text((saved / TASK).read_text().replace("terrible", "''"))
    with pytest.raises(PatternError, match=r"task.yaml:\d+: "):
        PromptClassifier.from_pretrained(saved)


def test_a_newer_format_asks_for_a_newer_promptlab(saved):
    rewrite(saved, format=FORMAT + 1, versions={"promptlab": "9.0"})
    with pytest.raises(OutputError, match="written by promptlab 9.0; this one reads formats up to 2. Update it"):
        PromptClassifier.from_pretrained(saved)


def test_a_plain_model_is_told_to_be_a_backbone(tiny_bert_folder):
    with pytest.raises(OutputError, match="It is a plain model: write it as backbone="):
        PromptClassifier.from_pretrained(tiny_bert_folder)


def test_another_backbone_is_refused_unless_allowed(saved, tiny_distilbert, fresh):
    with pytest.raises(BackboneError, match="is another model"):
        PromptClassifier.from_pretrained(saved, backbone=tiny_distilbert.name, device="cpu")
    same = fresh("bert")
    assert PromptClassifier.from_pretrained(saved, backbone=same).backbone_ is same


def test_another_backbone_of_the_same_shape_answers_when_allowed(saved, tiny_bert_folder, tmp_path):
    other = shutil.copytree(tiny_bert_folder, tmp_path / "other")
    (other / "config.json").write_text((other / "config.json").read_text() + "\n")
    again = PromptClassifier.from_pretrained(saved, backbone=other, device="cpu", allow_other_backbone=True)
    assert again.predict(TEXTS).shape == (4,)


def test_a_backbone_that_is_not_there_any_more_is_asked_for(fitted, tiny_bert_folder, tmp_path):
    from promptlab.backbone.backbone import load_backbone

    folder = shutil.copytree(tiny_bert_folder, tmp_path / "bert")
    fitted(load_backbone(str(folder), device="cpu")).save_pretrained(tmp_path / "saved")
    folder.rename(tmp_path / "moved")
    with pytest.raises(BackboneError, match="which is not there"):
        PromptClassifier.from_pretrained(tmp_path / "saved")
    again = PromptClassifier.from_pretrained(tmp_path / "saved", backbone=tmp_path / "moved", device="cpu")
    assert again.predict(TEXTS).shape == (4,)


# odds and ends


def test_saving_goes_by_the_whole_path_whatever_the_working_folder(fitted, tiny_bert, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = fitted(tiny_bert).save_pretrained("saved")
    assert place == (tmp_path / "saved").resolve()
    monkeypatch.chdir("/")
    assert PromptClassifier.from_pretrained(place, device="cpu").predict(["x"]).shape == (1,)


def test_a_task_without_a_name_of_its_own_reads_back(tiny_bert, tmp_path):
    words = {"no way": "no", "Yes: indeed": "yes"}
    classifier = PromptClassifier(patterns=["{text}: {mask}"], verbalizer=words, method="zero-shot", backbone=tiny_bert)
    classifier.fit().save_pretrained(tmp_path / "saved")
    again = PromptClassifier.from_pretrained(tmp_path / "saved", device="cpu")
    assert isinstance(again.task, Task)
    assert again.classes_.tolist() == ["Yes: indeed", "no way"]
    assert np.array_equal(again.predict_proba(TEXTS), classifier.predict_proba(TEXTS))
