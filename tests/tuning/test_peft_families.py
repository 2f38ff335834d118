"""LoRA and IA3 there and back with PEFT, on families that keep their parts, or attend, in a way of their own."""

import re
from ast import literal_eval

import beyond
import pytest
import torch
from interchange import comes_here, goes_there, here, learnt, peft

from promptlab.errors import SettingError
from promptlab.tuning.ia3 import Ia3
from promptlab.tuning.lora import Lora
from promptlab.tuning.peft_format import export_peft, import_peft
from promptlab.tuning.prefix import Prefix

pytestmark = pytest.mark.filterwarnings("ignore:.*:FutureWarning")  # PEFT says transformers' old names

BOTH = {"t5": ["q", "v"], "bart": ["q_proj", "v_proj"]}
OTHERS = {  # what PEFT's LoRA takes there by itself
    "electra": ["query", "value"],
    "deberta-v2": ["query_proj", "value_proj"],
    "gpt_neox": ["query_key_value"],
    "opt": ["q_proj", "v_proj"],
    "qwen2": ["q_proj", "v_proj"],
    "qwen3": ["q_proj", "v_proj"],
    "gptj": ["q_proj", "v_proj"],
}
PRODUCTS = {"electra": ["query"], "opt": ["q_proj"]}  # whose queries and keys meet in nothing but their product
TURNED = {
    "deberta-v2": "query_proj",
    "gpt_neox": "query_key_value",
    **dict.fromkeys(("qwen2", "qwen3", "gptj"), "q_proj"),
}
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


@pytest.mark.parametrize("family", OTHERS)
@pytest.mark.parametrize("tuning", TUNINGS, ids=named)
def test_other_families_go_to_peft_and_come_back(float64, tmp_path, family, tuning):
    back(float64, float64(family), tuning, tmp_path)


@pytest.mark.parametrize("family", OTHERS)
def test_lora_of_peft_comes_here_from_other_families(float64, tmp_path, family):
    comes_here(float64, float64(family), peft.LoraConfig(r=3, target_modules=OTHERS[family]), tmp_path)


@pytest.mark.parametrize("family", ["electra", "deberta-v2", "opt"])
def test_the_ia3_that_peft_takes_comes_here_from_other_families(float64, tmp_path, family):
    names = {"electra": ["key", "value", "output.dense"]}.get(family)  # PEFT has no default for it
    config = peft.IA3Config(target_modules=names, feedforward_modules=names and names[-1:])
    comes_here(float64, float64(family), config, tmp_path)


@pytest.mark.parametrize("family", PRODUCTS)
def test_factors_on_queries_move_to_keys_where_the_two_meet_in_their_product_alone(float64, tmp_path, family):
    comes_here(
        float64, float64(family), peft.IA3Config(target_modules=PRODUCTS[family], feedforward_modules=[]), tmp_path
    )


@pytest.mark.parametrize("family", TURNED)
def test_elsewhere_factors_on_queries_are_refused_with_what_can_be(float64, tmp_path, family):
    config = peft.IA3Config(target_modules=[TURNED[family]], feedforward_modules=[])
    with pytest.raises(SettingError, match=rf"multiplies what .*{TURNED[family]}.* puts out.*target_modules=") as said:
        comes_here(float64, float64(family), config, tmp_path / "refused")
    targets, inner = re.findall(r"\[[^\[]*?\]", str(said.value).partition("target_modules=")[2])
    wanted = peft.IA3Config(target_modules=literal_eval(targets), feedforward_modules=literal_eval(inner))
    comes_here(float64, float64(family), wanted, tmp_path / "told")


def test_peft_takes_queries_of_gpt_j_by_itself_so_its_default_is_refused(float64, tmp_path):
    with pytest.raises(SettingError, match=r"multiplies what transformer.h.0.attn.q_proj puts out.*'attn.k_proj'"):
        comes_here(float64, float64("gptj"), peft.IA3Config(), tmp_path)


@pytest.mark.parametrize("family", ["electra", "gpt_neox", "opt", "qwen2", "qwen3", "gptj"])
def test_a_prefix_of_other_families_goes_to_peft_and_comes_back(float64, tmp_path, family):
    back(float64, float64(family), Prefix(n=3, shift=True), tmp_path / "there")
    kind = "FEATURE_EXTRACTION" if family in beyond.MASKED else "CAUSAL_LM"
    config = peft.PrefixTuningConfig(task_type=kind, num_virtual_tokens=4)
    tuning, _ = comes_here(float64, float64(family), config, tmp_path / "here")
    assert tuning == Prefix(n=4, shift=True)
