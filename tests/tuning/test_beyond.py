"""Every tuning on families beyond those of conftest.py: it answers as it trained, and lets go of the backbone."""

import checks
import pytest
import torch

from promptlab.backbone.device import generator
from promptlab.errors import BackboneError, SettingError
from promptlab.registry import TUNINGS

FAMILIES = ["electra", "deberta-v2", "qwen2", "gpt_neox", "opt"]
SMALL = {
    "top": {"layers": 1}, "soft": {"n": 3}, "prefix": {"n": 3}, "prelayer": {"n": 3}, "mix": {"n": 3, "r": 4},
    "unipelt": {"adapter_r": 4, "n": 3, "mid": 4, "r": 2}, "adamix": {"experts": 2},
    "adamix-lora": {"experts": 2, "consistency": 0},
}  # fmt: skip
ALL = [entry.name for entry in TUNINGS if entry.name != "words"]  # which finds text
ATTENDS = "'deberta-v2' .* cannot be given keys and values: no prefix can stand there. Write lora, soft or another"
REFUSED = {
    "prefix": ATTENDS,
    "mix": ATTENDS,
    "unipelt": "also read positions that belong to no row.* Write mix:parts=pfeiffer.lora",
    "unipelt:ap": ATTENDS,
    "adamix-lora:two": "relative positions.* Write consistency=0, or adamix",
}
"""By DeBERTa, which attends in its own way and reads relative positions."""
CASES = [(name, family) for name in ALL for family in FAMILIES if family != "deberta-v2" or name not in REFUSED]


def built(name):
    return TUNINGS.build(name, SMALL.get(name, {}))


@pytest.mark.parametrize(("name", "family"), CASES)
def test_what_was_trained_is_what_answers_and_the_backbone_is_let_go(float64, name, family):
    backbone, tuning = float64(family), built(name)
    tokens = ((5, 6, 7, 8), (9, 10, 11, 12))
    ids = tuple((-1, -2, -3, *row) for row in tokens) if name in ("soft", "prelayer") else tokens
    before, answers = checks.bits(backbone), checks.logits(backbone)
    with tuning.learn(backbone, True, [generator("m")]) as learnt:
        checks.moved(learnt)
        trained, state = checks.logits(backbone, ids), learnt.state(0)
    with tuning.applied(backbone, state):
        torch.testing.assert_close(checks.logits(backbone, ids), trained, **checks.CLOSE)
    assert not torch.equal(trained[:, -4:], answers)
    assert all(torch.equal(one, before[key]) for key, one in backbone.model.state_dict().items())
    assert torch.equal(checks.logits(backbone), answers)
    assert not any(one.requires_grad or one.grad is not None for one in backbone.model.parameters())
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in backbone.model.modules())


@pytest.mark.parametrize(("name", "said"), REFUSED.items(), ids=REFUSED)
def test_deberta_refuses_what_it_cannot_have_and_says_what_to_write(float64, name, said):
    name, _, more = name.partition(":")
    settings = {"ap": {"parts": "ap", "adapter_r": 4, "n": 3, "mid": 4}, "two": {"experts": 2}}.get(more)
    tuning, backbone = TUNINGS.build(name, settings or SMALL[name]), float64("deberta-v2")
    before = checks.bits(backbone)
    with pytest.raises((BackboneError, SettingError), match=said):
        tuning.learn(backbone, True, [generator("m")]).__enter__()
    assert all(torch.equal(one, before[key]) for key, one in backbone.model.state_dict().items())
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in backbone.model.modules())
