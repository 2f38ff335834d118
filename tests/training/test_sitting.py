"""What a killed training finds when it is called again."""

import pytest

from promptlab.training import adapt as training
from promptlab.training.adapt import Settings, adapt

TEXTS = [f"the {word} film was a good film" for word in ["fine", "slow", "warm"] * 30]
SHORT = Settings(length=8, batch=64, tokens=200)


def test_a_text_read_before_the_first_checkpoint_is_not_read_again(folder_of, tmp_path, monkeypatch):
    def killed(point):
        raise KeyboardInterrupt

    folder, out = str(folder_of("bert")), tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        adapt(TEXTS, folder, out, SHORT, device="cpu", report=killed)
    assert not (out / "training" / "checkpoint.safetensors").exists()
    monkeypatch.setattr(training, "read_passages", None)
    again = adapt(TEXTS, folder, out, SHORT, device="cpu")
    monkeypatch.undo()
    fresh = adapt(TEXTS, folder, tmp_path / "fresh", SHORT, device="cpu")
    assert [one["loss"] for one in again["curve"]] == [one["loss"] for one in fresh["curve"]]
