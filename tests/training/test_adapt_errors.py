"""A training that is killed, refused, or meets a full disk or wild gradients: what is kept, and what is said."""

import errno
import json
import os
import shutil
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import BertModel

from promptlab.backbone import difference as difference_file
from promptlab.backbone.backbone import load_backbone
from promptlab.backbone.checkpoint import quiet
from promptlab.errors import BackboneError, DataError, OutputError, SettingError, TrainingError
from promptlab.training import adapt as training
from promptlab.training import sitting
from promptlab.training.adapt import PATIENCE, Settings, adapt

ADJECTIVES = "brilliant fine funny good lovely awful bad boring dull poor".split()
RANDOM = np.random.default_rng(1)
TEXTS = [f"the {noun} was {RANDOM.choice(ADJECTIVES)}" for noun in ["film", "story", "plot", "music"] * 60]
LOW = "lora:r=2,targets=all"
SHORT = {"tokens": 1000, "length": 16, "batch": 128, "every": 0.0}  # eight steps, a checkpoint after each


class Killed(BaseException):
    """As sudden as a signal."""


def run(folder, out, tuning="full", texts=TEXTS, report=lambda point: None, options=None, **settings):
    how = Settings(tuning, **{**SHORT, **settings})
    return adapt(texts, str(folder), out, how, device="cpu", report=report, **(options or {}))


def killed_at(number):
    """A report that kills when it is called for the ``number``-th time."""
    calls = []

    def report(point):
        calls.append(point)
        if len(calls) == number:
            raise Killed

    return report


def weights(out):
    return load_file(out / "model.safetensors")


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def files_in(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def bert(folder_of):
    return folder_of("bert")


@pytest.fixture(scope="module")
def whole(folder_of, tmp_path_factory):
    """whole("bert", "full"): weights and note of a training that was never stopped."""
    made = {}

    def get(family, tuning):
        if (family, tuning) not in made:
            out = tmp_path_factory.mktemp("whole") / "out"
            made[family, tuning] = SimpleNamespace(about=run(folder_of(family), out, tuning), weights=weights(out))
        return made[family, tuning]

    return get


# ---------------------------------------------------------------- killed


@pytest.mark.parametrize("tuning", ["full", LOW], ids=["full", "lora"])
@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_a_training_killed_again_and_again_ends_bit_for_bit_as_one_never_killed(
    folder_of, tmp_path, whole, family, tuning
):
    out, kills, about = tmp_path / "out", 0, None
    while about is None and kills < 20:
        begun = (out / "training" / "checkpoint.safetensors").is_file()
        try:
            about = run(folder_of(family), out, tuning, report=killed_at(3 if begun else 1 + kills))
        except Killed:
            kills += 1
            assert json.loads((out / "adapt.json").read_text())["finished"] is False
    assert kills >= 4  # before the first step, after it, and three points further on each time
    expected = whole(family, tuning)
    assert same(weights(out), expected.weights)
    assert (about["tokens"], about["steps"]) == (expected.about["tokens"], expected.about["steps"])
    for one, other in zip(about["curve"], expected.about["curve"], strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}


def test_checkpoints_and_judgements_in_between_change_nothing_of_what_is_learnt(bert, tmp_path, whole):
    about = run(bert, tmp_path / "out", every=1e6)
    assert [len(about["curve"]), len(whole("bert", "full").about["curve"])] == [2, 1 + about["steps"]]
    assert same(weights(tmp_path / "out"), whole("bert", "full").weights)


def test_training_leaves_the_global_random_numbers_alone(bert, tmp_path):
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    run(bert, tmp_path / "out", LOW, tokens=200)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]


class Clock:
    """A second a step, and none for anything else."""

    def __init__(self, monkeypatch):
        self.now, real = 1000.0, training.learn_from
        monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr(training, "learn_from", lambda *rest: self.tick() or real(*rest))

    def tick(self):
        self.now += 1.0


def test_minutes_count_over_all_sittings_and_the_time_between_them_does_not(bert, tmp_path, monkeypatch):
    clock, settings = Clock(monkeypatch), {"tokens": None, "minutes": 0.25, "every": 4.0}
    expected = run(bert, tmp_path / "whole", **settings)
    assert (expected["steps"], expected["seconds"]) == (15, 15.0)
    assert [one["seconds"] for one in expected["curve"]] == [0.0, 4.0, 8.0, 12.0, 15.0]
    with pytest.raises(Killed):
        run(bert, tmp_path / "out", report=killed_at(4), **settings)  # at 12 seconds; 8 are kept
    clock.now += 1e6
    about = run(bert, tmp_path / "out", **settings)
    assert {**about, "curve": expected["curve"]} == expected
    assert same(weights(tmp_path / "out"), weights(tmp_path / "whole"))


# ---------------------------------------------------------------- the same folder again

OTHER = [
    ({"tokens": 2000}, "tokens=1000"),
    ({"tokens": None, "minutes": 1.0}, "tokens=1000, minutes=None"),
    ({"seed": 7}, "seed=0"),
    ({"tuning": LOW}, "tuning=full"),
    ({"mask_rate": 0.3}, "mask_rate=0.15"),
    ({"length": 32}, "length=16"),
    ({"options": {"difference": True}}, "difference=False"),
    ({"texts": TEXTS[1:]}, "another text"),
]


@pytest.fixture(scope="module")
def two_folders(folder_of, tmp_path_factory):
    """The folder of a finished training, and of one that was killed."""
    out = tmp_path_factory.mktemp("folders")
    finished = run(folder_of("bert"), out / "finished")
    with pytest.raises(Killed):
        run(folder_of("bert"), out / "killed", report=killed_at(4))
    return SimpleNamespace(finished=out / "finished", killed=out / "killed", about=finished)


@pytest.mark.parametrize(("changed", "was"), OTHER, ids=lambda one: next(iter(one)) if isinstance(one, dict) else "")
@pytest.mark.parametrize("state", ["finished", "killed"])
def test_other_settings_over_the_same_folder_are_refused(bert, two_folders, state, changed, was):
    out = getattr(two_folders, state)
    before = files_in(out)
    with pytest.raises(OutputError) as caught:
        run(bert, out, **changed)
    assert str(caught.value) == (
        f"{out} holds a training of other settings ({was}). Write a new folder, or the same settings."
    )
    assert files_in(out) == before


def test_another_backbone_over_the_same_folder_is_refused(bert, folder_of, two_folders):
    with pytest.raises(OutputError, match="other settings") as caught:
        run(folder_of("gpt2"), two_folders.killed)
    assert f"backbone={bert}" in str(caught.value)


@pytest.mark.parametrize("kill", [0, 4], ids=["finished", "killed"])
def test_a_changed_backbone_under_the_same_name_is_refused(bert, tmp_path, kill):
    own, out = Path(shutil.copytree(bert, tmp_path / "own")), tmp_path / "out"
    with suppress(Killed):
        run(own, out, report=killed_at(kill))
    before, changed = files_in(out), weights(own)
    changed["bert.embeddings.LayerNorm.bias"][0] += 1
    save_file(changed, own / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(OutputError) as caught:
        run(own, out)
    assert f"{out} holds a training of other settings (another backbone). Write a new folder" in str(caught.value)
    assert files_in(out) == before
    shutil.copy(bert / "model.safetensors", own)  # the old one again
    assert run(own, out)["finished"]


def test_a_finished_training_is_not_trained_again(bert, two_folders, monkeypatch):
    before, points = files_in(two_folders.finished), []
    monkeypatch.setattr(training, "load_backbone", None)  # not even loaded
    assert run(bert, two_folders.finished, report=points.append) == two_folders.about
    assert two_folders.about == json.loads((two_folders.finished / "adapt.json").read_text())
    assert points == []
    assert files_in(two_folders.finished) == before


@pytest.mark.parametrize("thing", ["a file of somebody's", "a file in its place", "a file beside the training"])
def test_a_folder_that_holds_something_else_is_left_as_it_is(bert, tmp_path, two_folders, monkeypatch, thing):
    monkeypatch.setattr(training, "load_backbone", None)
    out = tmp_path / "out"
    if thing == "a file in its place":
        out.write_text("years of work")
    else:
        shutil.copytree(two_folders.killed, out) if thing == "a file beside the training" else out.mkdir()
        (out / "thesis.txt").write_text("years of work")
    before = files_in(tmp_path)
    with pytest.raises(OutputError, match=f"^{out} (is a file|holds something else|holds thesis.txt beside)"):
        run(bert, out)
    assert files_in(tmp_path) == before


# ---------------------------------------------------------------- no room

NO_ROOM = [
    OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),  # what it does raise
]


def full_disk(monkeypatch, module, error, at=1):
    """The ``at``-th file that ``module`` writes finds no room, half way through."""
    real, calls = module.save_file, []

    def save_file(tensors, path, *rest):
        calls.append(path)
        if len(calls) != at:
            return real(tensors, path, *rest)
        Path(path).write_bytes(b"half a checkpoint")
        raise error

    monkeypatch.setattr(module, "save_file", save_file)


@pytest.mark.parametrize("error", NO_ROOM, ids=lambda error: type(error).__name__)
def test_a_full_disk_leaves_the_last_checkpoint_whole_to_go_on_from(bert, tmp_path, monkeypatch, whole, error):
    out = tmp_path / "out"
    checkpoint, points = out / "training" / "checkpoint.safetensors", []
    with monkeypatch.context() as patch:
        full_disk(patch, sitting, error, at=2)
        with pytest.raises(OutputError, match="No space left on device") as caught:
            run(bert, out, report=points.append)
    assert f"The last checkpoint is whole ({checkpoint})." in str(caught.value)
    assert sorted(path.name for path in checkpoint.parent.iterdir()) == ["checkpoint.safetensors", "text"]
    assert load_file(checkpoint)["o.steps"] == 1
    points.clear()
    run(bert, out, report=points.append)
    assert points[0]["tokens"] == whole("bert", "full").about["curve"][2]["tokens"]  # the second step, once more
    assert same(weights(out), whole("bert", "full").weights)


@pytest.mark.parametrize("was", [b"whole", None], ids=["over an old file", "over none"])
@pytest.mark.parametrize("fault", ["while it is written", "while it is put there"])
def test_what_is_not_written_whole_leaves_what_was_there_and_no_half(tmp_path, monkeypatch, was, fault):
    place = tmp_path / "file"
    if was is not None:
        place.write_bytes(was)
    before = files_in(tmp_path)

    def write(half):
        half.write_bytes(b"the new one, half ")
        assert before.items() <= files_in(tmp_path).items()  # the old one stands while it is written
        if fault == "while it is written":
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Path, "replace", Mock(side_effect=Killed))
        sitting._replace(place, write)
    assert files_in(tmp_path) == before
    sitting._replace(place, lambda half: half.write_bytes(b"new"))
    assert files_in(tmp_path) == {Path("file"): b"new"}


def test_a_disk_full_at_the_first_checkpoint_does_not_speak_of_an_earlier_one(bert, tmp_path, monkeypatch):
    full_disk(monkeypatch, sitting, NO_ROOM[0])
    with pytest.raises(OutputError, match=r"No space left on device\. Make room or name another --out"):
        run(bert, tmp_path / "out")


def test_a_disk_full_while_the_text_is_written_leaves_no_half_of_it(bert, tmp_path, monkeypatch, whole):
    with monkeypatch.context() as patch:
        patch.setattr(np, "save", Mock(side_effect=NO_ROOM[0]))
        with pytest.raises(OutputError, match="No space left on device"):
            run(bert, tmp_path / "out")
    assert not (tmp_path / "out" / "training" / "text").exists()
    run(bert, tmp_path / "out")
    assert same(weights(tmp_path / "out"), whole("bert", "full").weights)


@pytest.mark.parametrize("error", NO_ROOM, ids=lambda error: type(error).__name__)
def test_a_disk_full_at_the_end_loses_no_training(bert, tmp_path, monkeypatch, error):
    out, options = tmp_path / "out", {"options": {"difference": True}}
    with monkeypatch.context() as patch:
        full_disk(patch, difference_file, error)
        with pytest.raises(OutputError, match="No space left on device"):
            run(bert, out, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    monkeypatch.setattr(training, "learn_from", None)  # no further step
    assert run(bert, out, **options)["finished"] is True
    assert not (out / "training").exists()


# ---------------------------------------------------------------- texts, models and settings that cannot be

WRONG = {
    "text": ("bert", {"texts": TEXTS[:20]}, DataError, "and 40 are the least to train and judge on"),
    "rank": ("bert", {"tuning": "lora:r=99"}, SettingError, "r=99 does not fit"),
    "shared": ("albert", {"tuning": LOW}, SettingError, "shares weights between blocks, so lora .* Write -t full"),
    "killed": ("bert", {"length": 24, "seed": 9, "report": killed_at(1)}, Killed, "^$"),  # its text is saved by then
}


@pytest.mark.parametrize(("family", "wrong", "error", "said"), WRONG.values(), ids=WRONG)
def test_a_call_that_never_trained_leaves_its_folder_free(folder_of, tmp_path, whole, family, wrong, error, said):
    out = tmp_path / "out"
    with pytest.raises(error, match=said):
        run(folder_of(family), out, **wrong)
    assert not list(out.glob("**/*.safetensors"))  # no checkpoint, and there would be one after the first step
    assert run(folder_of(family), out)["settings"]["length"] == 16
    assert same(weights(out), whole(family, "full").weights)


def test_a_model_without_a_head_wants_a_new_one_allowed(bert, tmp_path):
    bare, out = Path(shutil.copytree(bert, tmp_path / "bare")), tmp_path / "out"
    with quiet():
        BertModel.from_pretrained(bare).save_pretrained(bare)
    with pytest.raises(BackboneError, match="has no language-model head.*--new-head"):
        run(bare, out)
    assert not out.exists()
    run(bare, out, options={"new_head": True, "difference": True})
    assert load_backbone(str(out), device="cpu").new_head is False


# ---------------------------------------------------------------- gradients that are no numbers


def wild(monkeypatch, steps):
    """Gradients of these steps are no numbers; the weights as each step finds them are handed back."""
    real, seen = training.learn_from, []

    def learn_from(backbone, *rest):
        seen.append(torch.cat([one.detach().flatten() for one in backbone.model.parameters()]))
        loss = real(backbone, *rest)
        if len(seen) in steps:
            next(backbone.model.parameters()).grad[0] = torch.nan
        return loss

    monkeypatch.setattr(training, "learn_from", learn_from)
    return seen


def test_ten_steps_in_a_row_without_finite_gradients_end_the_training(bert, tmp_path, monkeypatch):
    seen = wild(monkeypatch, range(3, 99))
    with pytest.raises(TrainingError, match=r"not finite since step 3\. Write a smaller lr"):
        run(bert, tmp_path / "out", tokens=4000)
    assert len(seen) == 2 + PATIENCE


def test_a_rate_far_too_large_ends_in_an_error_and_not_in_a_model(bert, tmp_path):
    with pytest.raises(TrainingError, match="gradients are not finite since step 2"):
        run(bert, tmp_path / "out", "full:lr=1e30", tokens=4000)
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_fewer_than_ten_are_passed_over_and_leave_the_weights_to_the_bit(bert, tmp_path, monkeypatch):
    lost = {*range(2, 11), *range(12, 21)}
    seen = wild(monkeypatch, lost)
    about = run(bert, tmp_path / "out", tokens=2900)
    assert about["steps"] == len(seen) > 21
    still = {step for step in range(1, len(seen)) if torch.equal(seen[step - 1], seen[step])}
    assert still == lost
    assert all(one.isfinite().all() for one in weights(tmp_path / "out").values())


def test_a_step_passed_over_does_not_change_what_a_killed_training_comes_to(bert, tmp_path, monkeypatch):
    for name, kill in (("whole", 0), ("out", 5)):
        with monkeypatch.context() as patch, suppress(Killed):
            wild(patch, {2})
            run(bert, tmp_path / name, report=killed_at(kill))
    run(bert, tmp_path / "out")
    assert same(weights(tmp_path / "out"), weights(tmp_path / "whole"))
