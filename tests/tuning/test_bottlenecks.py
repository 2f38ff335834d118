"""Bottleneck adapters: each is what its paper's formula says, on every family, and passes every check."""

from dataclasses import replace

import checks
import pytest
import torch
from torch.nn import functional

from promptlab.backbone.anatomy import Projection
from promptlab.backbone.device import generator
from promptlab.errors import SettingError
from promptlab.tuning.houlsby import Houlsby
from promptlab.tuning.lin import Lin
from promptlab.tuning.parallel import Parallel
from promptlab.tuning.pfeiffer import Pfeiffer

TUNINGS = [Houlsby(r=3), Houlsby(r=3, act="relu"), Pfeiffer(r=4), Parallel(r=4, scale=2.0), Lin(r=4)]
FAMILIES = ["bert", "roberta", "distilbert", "albert", "modernbert", "gpt2", "llama", "qwen3"]
POST_NORM = FAMILIES[:4]


def named(tuning):
    return f"{tuning.name}-{getattr(tuning, 'act', '')}"


def one(learnt, name, act):
    """The bottleneck of a name as a plain function, written out anew."""
    part = {key: learnt.tensors[f"{name}.{key}"][0] for key in ("down", "down_bias", "up", "up_bias")}
    turned = {"gelu": functional.gelu, "relu": torch.relu}[act]
    return lambda x: turned(x @ part["down"] + part["down_bias"]) @ part["up"] + part["up_bias"]


class Recorder:
    """What went in and came out of every module of a block in one pass, hooked after the adapters' own hooks."""

    def __init__(self, backbone):
        self.seen, self.handles = {}, []
        for module in backbone.model.modules():
            self.handles.append(module.register_forward_hook(self.keep))

    def keep(self, module, inputs, output):
        self.seen[module] = (inputs[0] if inputs else None, output)

    def __getitem__(self, module):
        return self.seen[module]


def watched(backbone):
    recorder = Recorder(backbone)
    checks.logits(backbone)
    for handle in recorder.handles:
        handle.remove()
    return recorder


def plain(projection: Projection, x):
    """A projection without any hook."""
    return projection.module.forward(x)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tuning", TUNINGS, ids=named)
def test_the_forward_is_the_formula_of_the_paper(float64, family, tuning):
    backbone = float64(family)
    with tuning.learn(backbone, True, [generator("m")]) as learnt:
        checks.moved(learnt)
        seen = watched(backbone)
        for block in backbone.anatomy.blocks:
            out = block.ffn_out
            x, found = seen[out.module]
            if tuning.name == "houlsby":
                a, changed = seen[block.attention_out.module]
                before = plain(block.attention_out, a)
                f = one(learnt, block.attention_out.name, tuning.act)
                torch.testing.assert_close(changed, before + f(before), **checks.CLOSE)
                before, f = plain(out, x), one(learnt, out.name, tuning.act)
                torch.testing.assert_close(found, before + f(before), **checks.CLOSE)
            elif tuning.name == "parallel":
                read, _ = seen[block.ffn_in.module]
                wanted = plain(out, x) + 2.0 * one(learnt, out.name, "relu")(read)
                torch.testing.assert_close(found, wanted, **checks.CLOSE)
            elif tuning.name == "pfeiffer" and family in POST_NORM:
                norm, f = block.norms[-1][1], one(learnt, out.name, "relu")
                total, found = seen[norm]
                wanted = norm.forward(total + f(norm.forward(total)))
                torch.testing.assert_close(found, wanted, **checks.CLOSE)
            elif tuning.name == "pfeiffer":
                before, f = plain(out, x), one(learnt, out.name, "relu")
                torch.testing.assert_close(found, before + f(before), **checks.CLOSE)
            else:
                norm = (learnt.tensors[f"{block.name}.{key}"][0] for key in ("norm", "norm_bias"))
                read, found = seen[block.module]
                before = block.module.forward(read) if family in POST_NORM else None
                if before is not None:
                    normed = functional.layer_norm(before, before.shape[-1:], *norm)
                    wanted = before + one(learnt, block.name, "relu")(normed)
                    torch.testing.assert_close(found, wanted, **checks.CLOSE)


def test_lin_changes_what_a_block_of_gpt2_puts_out(float64):
    backbone, tuning = float64("gpt2"), Lin(r=4)
    x = torch.randn(1, 5, 32, generator=generator("x"), dtype=torch.float64)
    before = backbone.anatomy.blocks[0].module(x)
    with tuning.learn(backbone, True, [generator("m")]) as learnt:
        checks.moved(learnt)
        name = backbone.anatomy.blocks[0].name
        norm = (learnt.tensors[f"{name}.{key}"][0] for key in ("norm", "norm_bias"))
        wanted = before + one(learnt, name, "relu")(functional.layer_norm(before, (32,), *norm, 1e-5))
        torch.testing.assert_close(backbone.anatomy.blocks[0].module(x), wanted, **checks.CLOSE)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tuning", TUNINGS, ids=named)
def test_an_adapter_lets_go_starts_plain_and_answers_as_it_trained(float64, reviews, family, tuning):
    backbone = float64(family)
    checks.starts_plain(backbone, tuning)
    checks.let_go(backbone, tuning)
    if family not in ("gpt2", "llama", "qwen3"):  # a causal backbone reads patterns that end in the mask
        checks.applies(backbone, tuning, reviews)


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
@pytest.mark.parametrize("tuning", TUNINGS, ids=named)
def test_gradients_equal_finite_differences_and_survive_checkpointing(float64, reviews, family, tuning):
    backbone = float64(family)
    smooth = replace(tuning, act="gelu-tanh") if family in checks.SINGLE else tuning
    checks.differentiates(backbone, smooth, reviews)
    checks.recomputes(backbone, tuning, reviews)


@pytest.mark.parametrize("tuning", TUNINGS, ids=named)
def test_gradients_under_a_head_equal_finite_differences(float64, reviews, tuning):
    checks.differentiates(float64("bert"), tuning, reviews, head=True)


@pytest.mark.parametrize("head", [False, True], ids=["cloze", "head"])
@pytest.mark.parametrize("family", ["bert", "distilbert", "gpt2"])
@pytest.mark.parametrize("tuning", [*TUNINGS[1:], Houlsby(r=2, init="paper")], ids=named)
def test_a_stack_trains_each_member_as_alone_and_rows_may_be_packed(float64, reviews, family, tuning, head):
    backbone = float64(family)
    checks.stacks(backbone, tuning, reviews, head)
    if family != "distilbert":  # it takes no positions
        checks.packs(backbone, tuning, reviews, head)


@pytest.mark.parametrize("head", [False, True], ids=["cloze", "head"])
@pytest.mark.parametrize("family", ["bert", "albert", "llama"])
@pytest.mark.parametrize("tuning", TUNINGS, ids=named)
def test_the_loss_falls_and_what_is_saved_predicts_as_before(tiny, reviews, family, tuning, head):
    backbone = tiny(family)
    checks.learns(backbone, tuning, reviews, lr=1e-2, head=head)
    checks.reloads(backbone, tuning, reviews, head=head)


@pytest.mark.parametrize(
    ("tuning", "family", "count"),
    [
        (Houlsby(r=3), "bert", 2 * 2 * (2 * 32 * 3 + 3 + 32)),
        (Pfeiffer(r=4), "bert", 2 * (2 * 32 * 4 + 4 + 32)),
        (Pfeiffer(r=4), "albert", 2 * (2 * 32 * 4 + 4 + 32)),
        (Parallel(r=4), "llama", 2 * (2 * 32 * 4 + 4 + 32)),
        (Lin(r=4), "gpt2", 2 * (2 * 32 * 4 + 4 + 32 + 2 * 32)),
    ],
    ids=lambda given: getattr(given, "name", str(given)),
)
def test_a_member_counts_as_the_formula_says(tiny, tuning, family, count):
    with tuning.learn(tiny(family), True, [generator("a"), generator("b")]) as learnt:
        assert sum(one.numel() for one in learnt.state(0).values()) == count
        assert sum(one.numel() for one in learnt.tensors.values()) == 2 * count


@pytest.mark.parametrize("tuning", [Houlsby(init="paper"), Pfeiffer(init="paper"), Lin(init="paper")], ids=named)
def test_the_papers_start_has_the_papers_spread_and_is_not_the_plain_backbone(tiny_bert, tuning):
    answers = checks.logits(tiny_bert)
    with tuning.learn(tiny_bert, True, [generator("m")]) as learnt:
        assert not torch.equal(checks.logits(tiny_bert), answers)
        for name, tensor in learnt.tensors.items():
            if name.endswith((".down", ".up")):
                spread = float(tensor.detach().std()) / tuning.std
                assert 0.8 * (0.88 if tuning.cut else 1) < spread < 1.2
                assert tuning.cut is None or tensor.abs().max() <= tuning.cut * tuning.std
            elif name.endswith("bias"):
                assert not tensor.any()
    assert not any(learnt_from(tiny_bert, Parallel(init="paper"))["up"])


def learnt_from(backbone, tuning):
    with tuning.learn(backbone, True, [generator("m")]) as learnt:
        return {"up": [one.any() for name, one in learnt.tensors.items() if name.endswith(".up")]}


@pytest.mark.parametrize("kind", [Houlsby, Pfeiffer, Parallel, Lin])
def test_a_bottleneck_wider_than_the_backbone_is_refused(tiny_bert, kind):
    with (
        pytest.raises(SettingError, match=f"{kind.name}: r=33 .* Write r from 1 to 32."),
        kind(r=33).learn(tiny_bert, True, [generator("m")]),
    ):
        pass
    with kind(r=32).learn(tiny_bert, True, [generator("m")]):
        pass


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"r": 0}, "r=0 cannot be. Write a number of units from 1 on."),
        ({"act": "swich"}, "act=swich cannot be. Did you mean 'swish'.* Write one of gelu, gelu-tanh, swish, relu."),
        ({"init": "papers"}, "init=papers cannot be. Did you mean 'paper'.* Write one of zero, paper."),
        ({"scale": 0.0}, "scale=0.0 cannot be. Write a number above 0."),
        ({"scale": float("inf")}, "scale=inf cannot be."),
    ],
)
def test_a_setting_out_of_range_says_what_to_write(settings, said):
    with pytest.raises(SettingError, match=f"parallel: {said}"):
        Parallel(**settings)


def test_an_adapters_rate_grows_as_the_backbone_narrows(tiny_bert):
    assert Pfeiffer().rate(tiny_bert, True) == pytest.approx(3e-4 * 1024 / 32)
    assert Pfeiffer(lr=1e-4).rate(tiny_bert, True) == 1e-4
