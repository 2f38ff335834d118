"""LoRA and IA3 there and back with PEFT, on families that keep their parts, or attend, in a way of their own."""

import pytest
import torch
from interchange import comes_here, goes_there, here, learnt, peft

from promptlab.tuning.ia3 import Ia3
from promptlab.tuning.lora import Lora
from promptlab.tuning.peft_format import export_peft, import_peft

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")  # PEFT asks the old name

BOTH = {"t5": ["q", "v"], "bart": ["q_proj", "v_proj"]}
TUNINGS = [Lora(r=3, alpha=5), Lora(r=3, alpha=5, targets="all"), Ia3()]


def named(tuning):
    return f"{tuning.name}-{getattr(tuning, 'targets', '')}".rstrip("-")


def back(float64, backbone, tuning, folder):
    """Written here, read by PEFT with equal outputs, and read here again as it was."""
    config, state = goes_there(float64, backbone, tuning, folder)
    _, found = import_peft(folder, backbone)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state)
    return config


@pytest.mark.parametrize("family", BOTH)
@pytest.mark.parametrize("tuning", TUNINGS, ids=named)
def test_all_attentions_of_an_encoder_decoder_go_to_peft_and_come_back(float64, tmp_path, family, tuning):
    back(float64, float64(family), tuning, tmp_path)


@pytest.mark.parametrize("family", BOTH)
def test_what_peft_learns_in_all_attentions_of_an_encoder_decoder_comes_here(float64, tmp_path, family):
    backbone = float64(family)
    tuning, _ = comes_here(float64, backbone, peft.LoraConfig(r=3, target_modules=BOTH[family]), tmp_path / "lora")
    assert tuning.targets == "q+v"
    comes_here(float64, backbone, peft.IA3Config(), tmp_path / "ia3")
    every = peft.LoraConfig(r=3, target_modules="all-linear")
    comes_here(float64, backbone, every, tmp_path / "all")


@pytest.mark.parametrize("family", BOTH)
@pytest.mark.parametrize("tuning", TUNINGS[1:], ids=named)
def test_what_was_saved_before_cross_attentions_learnt_answers_as_it_did(float64, tmp_path, family, tuning):
    backbone, state = float64(family), learnt(float64(family), tuning)
    old = {name: one for name, one in state.items() if name.rpartition(".")[0] not in backbone.anatomy.across}
    assert len(old) < len(state)
    still = {name: one.new_ones(()) * float(tuning.name == "ia3") for name, one in state.items() if name not in old}
    plain = {**old, **{name: one.expand(state[name].shape) for name, one in still.items()}}
    wanted = here(backbone, tuning, plain)
    torch.testing.assert_close(here(backbone, tuning, old), wanted, rtol=0, atol=0)
    export_peft(tmp_path, backbone, tuning, old)
    torch.testing.assert_close(here(backbone, *import_peft(tmp_path, backbone)), wanted, rtol=0, atol=0)


def test_the_feed_forwards_modules_are_some_of_the_targets_also_where_only_some_attentions_learnt(float64, tmp_path):
    backbone = float64("t5")
    state = learnt(backbone, Ia3())
    old = {name: one for name, one in state.items() if name.rpartition(".")[0] not in backbone.anatomy.across}
    export_peft(tmp_path, backbone, Ia3(), old)
    config = peft.PeftConfig.from_pretrained(tmp_path)
    assert set(config.feedforward_modules) < set(config.target_modules)
