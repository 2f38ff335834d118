"""Frozen layers of eight and four bits: what stands beside them learns, and they are left as they are."""

import checks
import pytest
import torch
from torch import nn

from promptlab.errors import BackboneError
from promptlab.tuning.houlsby import Houlsby
from promptlab.tuning.lora import Lora
from promptlab.tuning.prefix import Prefix
from promptlab.tuning.soft import Soft


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
    return f"{tuning.name}-{getattr(tuning, 'mid', 0)}"


@pytest.mark.parametrize("kind", [Eight, Four])
@pytest.mark.parametrize("family", ["bert", "llama"])
@pytest.mark.parametrize("tuning", [Prefix(n=3), Prefix(n=3, mid=8), Soft(n=3), Houlsby(r=4)], ids=named)
def test_what_stands_beside_few_bits_learns_and_leaves_them_alone(fresh, reviews, family, kind, tuning):
    backbone = quantised(fresh(family), kind)
    before = checks.bits(backbone)
    checks.learns(backbone, tuning, reviews, lr=1e-2)
    assert any(isinstance(module, kind) for module in backbone.model.modules())
    assert all(torch.equal(one, before[name]) for name, one in backbone.model.state_dict().items())


@pytest.mark.parametrize("kind", [Eight, Four])
def test_low_rank_differences_are_refused_with_what_goes_instead(fresh, reviews, kind):
    with pytest.raises(BackboneError, match=r"keeps its weights in few bits.* Write prefix, soft or a bottleneck"):
        checks.trained(quantised(fresh("bert"), kind), Lora(), [checks.member(reviews, "a")])
