"""IA3: factors where the paper puts them, merged into the weights, on fused, gated and grouped projections."""

import checks
import pytest
import torch

from promptlab.backbone.device import generator
from promptlab.tuning.ia3 import Ia3

FAMILIES = ["bert", "roberta", "distilbert", "albert", "modernbert", "gpt2", "llama", "qwen3"]
CAUSAL = FAMILIES[5:]


@pytest.mark.parametrize("family", FAMILIES)
def test_keys_values_and_inner_units_are_multiplied(float64, family):
    backbone = float64(family)
    block = backbone.anatomy.blocks[0]
    x = torch.randn(1, 4, 32, generator=generator("x"), dtype=torch.float64)
    inner = torch.randn(1, 4, 48, generator=generator("inner"), dtype=torch.float64)
    plain = {role: getattr(block, role).take(getattr(block, role).module(x)) for role in ("query", "key", "value")}
    out = block.ffn_out
    with Ia3().learn(backbone, True, [generator("m")]) as learnt:
        checks.moved(learnt)
        factor = {
            role: learnt.tensors[f"{getattr(block, role).name}.factor"][0] for role in ("key", "value", "ffn_out")
        }
        for role, before in plain.items():
            found = getattr(block, role).take(getattr(block, role).module(x))
            torch.testing.assert_close(found, before * factor.get(role, 1.0), **checks.CLOSE)
        wanted = out.module.forward(inner * factor["ffn_out"])
        torch.testing.assert_close(out.module(inner), wanted, **checks.CLOSE)


@pytest.mark.parametrize("family", FAMILIES)
def test_ia3_lets_go_starts_plain_and_merged_equals_unmerged(float64, reviews, family):
    backbone, tuning = float64(family), Ia3()
    checks.starts_plain(backbone, tuning)
    checks.let_go(backbone, tuning)
    with tuning.learn(backbone, True, [generator("m")]) as learnt:
        checks.moved(learnt)
        beside, state = checks.logits(backbone), learnt.state(0)
    with tuning.applied(backbone, state):
        hooks = sum(len(one._forward_hooks) for one in backbone.model.modules())
        torch.testing.assert_close(checks.logits(backbone), beside, **checks.CLOSE)
    assert (hooks > 0) == (family == "albert")  # its blocks share weights, so no factor folds in
    if family not in CAUSAL:
        checks.applies(backbone, tuning, reviews)


@pytest.mark.parametrize("family", ["bert", "modernbert", "gpt2", "qwen3"])
def test_gradients_equal_finite_differences_and_survive_checkpointing(float64, reviews, family):
    backbone = float64(family)
    checks.differentiates(backbone, Ia3(), reviews)
    checks.recomputes(backbone, Ia3(), reviews)


@pytest.mark.parametrize("head", [False, True], ids=["cloze", "head"])
@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
def test_a_stack_trains_each_member_as_alone_and_rows_may_be_packed(float64, reviews, family, head):
    backbone = float64(family)
    checks.stacks(backbone, Ia3(), reviews, head)
    checks.packs(backbone, Ia3(), reviews, head)


@pytest.mark.parametrize("head", [False, True], ids=["cloze", "head"])
@pytest.mark.parametrize("family", ["bert", "albert", "llama"])
def test_the_loss_falls_and_what_is_saved_predicts_as_before(tiny, reviews, family, head):
    checks.learns(tiny(family), Ia3(), reviews, lr=1e-2, head=head)
    checks.reloads(tiny(family), Ia3(), reviews, head=head)


@pytest.mark.parametrize(
    ("family", "count"),
    [("bert", 2 * (32 + 32 + 48)), ("gpt2", 2 * (32 + 32 + 48)), ("llama", 2 * (16 + 16 + 48)),
     ("qwen3", 2 * (32 + 32 + 48)), ("modernbert", 2 * (32 + 32 + 48))],
)  # fmt: skip
def test_a_member_counts_as_the_formula_says(tiny, family, count):
    with Ia3().learn(tiny(family), True, [generator("a"), generator("b")]) as learnt:
        assert sum(one.numel() for one in learnt.state(0).values()) == count
        assert sum(one.numel() for one in learnt.tensors.values()) == 2 * count


def test_factors_have_no_weight_decay_and_the_papers_rate_at_width_1024(tiny_bert):
    assert Ia3().weight_decay == 0
    assert Ia3().rate(tiny_bert, True) == pytest.approx(3e-3 * 1024 / 32)
