"""LoRA against PEFT: equal weights in, equal outputs and gradients out."""

import pytest
import torch

from promptlab.backbone.device import generator
from promptlab.tuning.lora import Lora

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")  # PEFT asks the old name

TARGETS = {"bert": ["query", "value"], "llama": ["q_proj", "v_proj"], "distilbert": ["q_lin", "v_lin"]}


def logits(model, tokens=((5, 6, 7, 8, 9),)):
    return model(input_ids=torch.tensor(tokens)).logits


@pytest.mark.parametrize("family", TARGETS)
def test_outputs_and_gradients_equal_pefts(float64, family):
    ours, theirs = float64(family), float64(family)
    config = peft.LoraConfig(r=3, lora_alpha=6, lora_dropout=0.0, target_modules=TARGETS[family])
    wrapped = peft.get_peft_model(theirs.model, config).eval()
    wrapped.double()
    with Lora(r=3, alpha=6).learn(ours, True, [generator("m")]) as learnt:
        peers = _peers(wrapped)
        with torch.no_grad():
            for name, tensor in learnt.tensors.items():
                tensor.copy_(0.3 * torch.randn(tensor.shape, generator=generator(name), dtype=torch.float64))
                peers[name].copy_(tensor[0].T)
        here, there = logits(ours.model), logits(wrapped)
        torch.testing.assert_close(here, there, rtol=0, atol=1e-10)
        here.square().sum().backward()
        there.square().sum().backward()
        for name, tensor in learnt.tensors.items():
            torch.testing.assert_close(tensor.grad[0].T, peers[name].grad, rtol=1e-8, atol=1e-8)


def _peers(wrapped):
    """PEFT's A and B by our names; theirs are stored the other way round."""
    found = {}
    for name, parameter in wrapped.named_parameters():
        if "lora_" in name:
            module, part = name.removeprefix("base_model.model.").split(".lora_")
            found[f"{module}.{part[0]}"] = parameter
    return found


def test_on_gpt2_q_and_v_learn_and_k_stays(float64):
    backbone = float64("gpt2")
    attention = backbone.anatomy.blocks[0].query.module
    x = torch.randn(1, 4, 32, generator=generator("x"), dtype=torch.float64)
    plain = attention(x)
    with Lora(r=2).learn(backbone, True, [generator("m")]) as learnt, torch.no_grad():
        for tensor in learnt.tensors.values():
            tensor.add_(0.5)
        changed = attention(x) - plain
    q, k, v = changed.split(32, dim=-1)
    assert k.abs().max() == 0
    assert q.abs().min() > 0
    assert v.abs().min() > 0


def test_parameters_count_as_the_formula_says(tiny_bert):
    with Lora(r=4).learn(tiny_bert, True, [generator("a"), generator("b")]) as learnt:
        assert sum(one.numel() for one in learnt.state(0).values()) == tiny_bert.layers * 4 * 32 * 4
        assert sum(one.numel() for one in learnt.tensors.values()) == 2 * tiny_bert.layers * 4 * 32 * 4
