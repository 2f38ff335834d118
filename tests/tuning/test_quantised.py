"""Frozen layers of eight and four bits: what stands beside them learns, and they are left as they are."""

import checks
import pytest
import torch
from torch import nn

from promptlab.backbone.device import generator
from promptlab.backbone.encode import Encoder
from promptlab.errors import BackboneError, SettingError
from promptlab.methods.merge import write_merged
from promptlab.methods.predict import Model
from promptlab.registry import TUNINGS
from promptlab.tuning.adamix import AdaMix, AdaMixLora
from promptlab.tuning.bitfit import BitFit
from promptlab.tuning.full import Full, Top
from promptlab.tuning.houlsby import Houlsby
from promptlab.tuning.ia3 import Ia3
from promptlab.tuning.lin import Lin
from promptlab.tuning.lora import Lora
from promptlab.tuning.mix import Mix
from promptlab.tuning.parallel import Parallel
from promptlab.tuning.pfeiffer import Pfeiffer
from promptlab.tuning.prefix import Prefix
from promptlab.tuning.prelayer import Prelayer
from promptlab.tuning.soft import Soft
from promptlab.tuning.unipelt import UniPelt


class Eight(nn.Module):
    """A linear layer whose weight is whole numbers and a scale a row, as in int8."""

    def __init__(self, linear):
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        scale = linear.weight.abs().amax(1, keepdim=True) / 127
        self.register_buffer("scale", scale.detach())
        self.weight = nn.Parameter((linear.weight / scale).round().to(torch.int8), requires_grad=False)
        self.bias = linear.bias

    def forward(self, x):
        return nn.functional.linear(x, self.weight.to(x) * self.scale, self.bias)


class Four(Eight):
    """Two numbers of four bits a byte, in one column, as bitsandbytes keeps them."""

    def __init__(self, linear):
        super().__init__(linear)
        self.scale *= 127 / 7
        whole = (linear.weight / self.scale).round().clamp(-7, 7).to(torch.int16).flatten() + 8
        self.weight = nn.Parameter((whole[::2] * 16 + whole[1::2]).to(torch.uint8)[:, None], requires_grad=False)

    def forward(self, x):
        both = torch.stack([self.weight // 16, self.weight % 16], 1).view(self.out_features, self.in_features)
        return nn.functional.linear(x, (both.to(x) - 8) * self.scale, self.bias)


def quantised(backbone, kind):
    """Every linear layer of the blocks in few bits."""
    for block in backbone.anatomy.blocks:
        for parent in list(block.module.modules()):
            for name, module in list(parent.named_children()):
                if isinstance(module, nn.Linear):
                    setattr(parent, name, kind(module))
    vars(backbone).pop("anatomy", None)
    return backbone


def named(tuning):
    return f"{tuning.name}-{getattr(tuning, 'parts', '')}-{getattr(tuning, 'mid', 0)}"


BESIDE = [
    Prefix(n=3), Prefix(n=3, mid=8), Soft(n=3), Prelayer(n=3), Houlsby(r=4), Pfeiffer(r=4), Parallel(r=4), Lin(r=4),
    Ia3(), AdaMix(r=4, experts=2), Mix(n=3, r=4), Mix("prefix+ia3", n=3), UniPelt("ap", adapter_r=4, n=3, mid=4),
]  # fmt: skip
REFUSED = [Full(), Top(layers=1), BitFit(), Lora(), AdaMixLora(), Mix("prefix+lora", n=3), UniPelt(adapter_r=4)]
EACH = [(Eight, "bert"), (Four, "llama"), (Four, "bert"), (Eight, "llama")]
CASES = [(tuning, *one) for tuning in BESIDE for one in EACH[: 4 if tuning.name in ("prefix", "ia3", "adamix") else 2]]


@pytest.mark.parametrize(("tuning", "kind", "family"), CASES, ids=lambda one: named(one) if hasattr(one, "lr") else one)
def test_what_stands_beside_few_bits_learns_and_leaves_them_alone(fresh, reviews, tuning, kind, family):
    backbone = quantised(fresh(family), kind)
    before = checks.bits(backbone)
    checks.learns(backbone, tuning, reviews, lr=1e-2)
    assert any(isinstance(module, kind) for module in backbone.model.modules())
    assert all(torch.equal(one, before[name]) for name, one in backbone.model.state_dict().items())


@pytest.mark.parametrize("tuning", BESIDE, ids=named)
def test_it_answers_beside_them_as_it_did_while_it_trained(float64, tuning):
    backbone = quantised(float64("bert"), Four)
    plain, ids = checks.logits(backbone), ((-1, -2, -3, 5, 6, 7), (-1, -2, -3, 8, 9, 10))
    ids = ids if tuning.name in ("soft", "prelayer") else ((5, 6, 7, 8), (9, 10, 11, 12))
    with tuning.learn(backbone, True, [generator("m")]) as learnt:
        checks.moved(learnt)
        wanted, state = checks.logits(backbone, ids), learnt.state(0)
    with tuning.applied(backbone, state):
        torch.testing.assert_close(checks.logits(backbone, ids), wanted, **checks.CLOSE)
    assert torch.equal(checks.logits(backbone), plain)
    assert len(ids[0]) > 4 or not torch.equal(wanted, plain)


@pytest.mark.parametrize("kind", [Eight, Four])
@pytest.mark.parametrize("tuning", REFUSED, ids=named)
def test_what_changes_weights_is_refused_with_what_goes_instead(fresh, kind, tuning):
    backbone = quantised(fresh("bert"), kind)
    before, told = checks.bits(backbone), "bitfit: .* is a (Eight|Four), whose bias a shift of its output cannot stand"
    said = told if tuning.name == "bitfit" else "keeps its weights in few bits, .* (small step|full precision)"
    instead = "unipelt:parts=adapter.prefix." if tuning.name == "unipelt" else "prefix, soft or a bottleneck"
    with pytest.raises(BackboneError, match=f"{said}.* Write {instead}") as caught:
        tuning.learn(backbone, True, [generator("m")]).__enter__()
    assert str(caught.value).startswith(f"{'lora' if tuning.name == 'mix' else tuning.name}: ")
    assert all(torch.equal(one, before[name]) for name, one in backbone.model.state_dict().items())
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in backbone.model.modules())


def test_every_tuning_that_takes_steps_is_tried_on_few_bits():
    names = {one.name for one in (*BESIDE, *REFUSED)}
    assert names == {entry.name for entry in TUNINGS} - {"words"}  # which finds text


def test_what_answers_beside_few_bits_is_not_merged_into_them(fresh, reviews, tmp_path):
    backbone = quantised(fresh("bert"), Eight)
    with Ia3().learn(backbone, True, [generator("m")]) as learnt:
        state = learnt.state(0)
    model = Model(checks.TASK, backbone, Encoder(backbone), checks.TASK.pvps[0], Ia3(), state)
    with pytest.raises(SettingError, match="stands beside the weights.*Save it without merge"):
        write_merged(model, tmp_path, "prompt+ia3")
