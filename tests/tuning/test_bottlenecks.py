"""Bottleneck adapters: each is what its paper's formula says, on every family, and passes every check."""

from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import checks
import pytest
import torch
from torch.nn import functional
from transformers import AutoModel, BertConfig, GPT2Config, RobertaConfig

from promptlab.backbone.anatomy import anatomy_of
from promptlab.backbone.device import generator
from promptlab.errors import SettingError
from promptlab.tuning.houlsby import Houlsby
from promptlab.tuning.ia3 import Ia3
from promptlab.tuning.inject import beside
from promptlab.tuning.lin import Lin
from promptlab.tuning.parallel import Parallel
from promptlab.tuning.pfeiffer import Pfeiffer

TUNINGS = [Houlsby(r=3), Houlsby(r=3, act="relu"), Pfeiffer(r=4), Parallel(r=4, scale=2.0), Lin(r=4)]
FAMILIES = ["bert", "roberta", "distilbert", "albert", "modernbert", "gpt2", "llama", "qwen3"]
POST_NORM = FAMILIES[:4]


def named(tuning):
    return f"{tuning.name}-{getattr(tuning, 'act', '')}"


def bottleneck(learnt, name, act):
    """The bottleneck of a name as a plain function, written out anew."""
    part = {key: learnt.tensors[f"{name}.{key}"][0] for key in ("down", "down_bias", "up", "up_bias")}
    turned = {"gelu": functional.gelu, "relu": torch.relu}[act]
    return lambda x: turned(x @ part["down"] + part["down_bias"]) @ part["up"] + part["up_bias"]


@contextmanager
def recorded(backbone):
    """The last input and output of every module, as they are when this is entered: later hooks come after."""
    seen, handles = {}, []

    def keep(module, inputs, output):
        seen[module] = (inputs[0] if inputs else None, output)

    for module in backbone.model.modules():
        handles.append(module.register_forward_hook(keep))
    yield seen
    for handle in handles:
        handle.remove()


def expected(tuning, block, before, learnt, post_norm):
    """Each place of a block that an adapter changes, and what it must put out there, by the papers' formulas."""
    out = block.ffn_out
    if tuning.name == "houlsby":
        for one in (block.attention_out, out):
            y = before[one.module][1]
            yield one.module, y + bottleneck(learnt, one.name, tuning.act)(y)
    elif tuning.name == "parallel":
        read, y = before[block.ffn_in.module][0], before[out.module][1]
        yield out.module, y + tuning.scale * bottleneck(learnt, out.name, "relu")(read)
    elif tuning.name == "lin":
        y = before[block.module][1]
        norm = (learnt.tensors[f"{block.name}.{key}"][0] for key in ("norm", "norm_bias"))
        yield block.module, y + bottleneck(learnt, block.name, "relu")(functional.layer_norm(y, y.shape[-1:], *norm))
    elif post_norm:
        norm = block.norms[-1][1]
        total, h = before[norm]
        again = total + bottleneck(learnt, out.name, "relu")(h)
        yield norm, functional.layer_norm(again, again.shape[-1:], norm.weight, norm.bias, norm.eps)
    else:
        y = before[out.module][1]
        yield out.module, y + bottleneck(learnt, out.name, "relu")(y)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tuning", TUNINGS, ids=named)
def test_the_forward_is_the_formula_of_the_paper(float64, family, tuning):
    backbone = float64(family)
    with recorded(backbone) as before, tuning.learn(backbone, True, [generator("m")]) as learnt:
        checks.moved(learnt)
        with recorded(backbone) as after:
            checks.logits(backbone)
        for block in backbone.anatomy.blocks:
            places = list(expected(tuning, block, before, learnt, family in POST_NORM))
            assert len(places) == (2 if tuning.name == "houlsby" else 1)
            for module, wanted in places:
                torch.testing.assert_close(after[module][1], wanted, **checks.CLOSE)
                assert (before[module][1] - wanted).abs().max() > 1e-2


def test_a_block_that_gives_more_than_its_states_keeps_the_rest():
    class Talkative(torch.nn.Module):
        def forward(self, x):
            return x, "weights"

    class Doubled:
        module, tensors = Talkative(), {}

        def __call__(self, x, y):
            return 2 * y

    with beside({"it": Doubled()}):
        assert Doubled.module(torch.ones(1)) == (torch.tensor([2.0]), "weights")


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


LARGE = {
    "roberta-large": RobertaConfig(
        vocab_size=9, hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096
    ),
    "bert-base": BertConfig(vocab_size=9),
    "gpt2-medium": GPT2Config(vocab_size=9, n_embd=1024, n_layer=24, n_head=16),
}


@pytest.mark.parametrize(
    ("name", "tuning", "count"),
    [
        ("roberta-large", Houlsby(r=8), 835_968),
        ("roberta-large", Houlsby(r=64), 6_343_680),
        ("roberta-large", Pfeiffer(r=16), 811_392),
        ("roberta-large", Pfeiffer(r=64), 3_171_840),
        ("roberta-large", Parallel(r=16), 811_392),
        ("roberta-large", Ia3(), 24 * (1024 + 1024 + 4096)),
        ("bert-base", Pfeiffer(r=48), 894_528),
        ("bert-base", Houlsby(r=24), 903_744),
        ("gpt2-medium", Lin(r=6), 368_784),
        ("gpt2-medium", Lin(r=224), 11_089_152),
        ("gpt2-medium", Houlsby(r=112, act="relu"), 11_064_576),
    ],
    ids=lambda given: getattr(given, "name", str(given)),
)
def test_the_papers_models_count_as_their_tables_say(name, tuning, count):
    with torch.device("meta"):
        model = AutoModel.from_config(LARGE[name])
    states = model.get_input_embeddings().weight.new_empty(model.config.hidden_size, 0)
    backbone = SimpleNamespace(name=name, model=model, body=model, anatomy=anatomy_of(model), no_states=states)
    with tuning.learn(backbone, True, [generator("m")]) as learnt:
        assert sum(one[0].numel() for one in learnt.tensors.values()) == count


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
        ({"act": "swich"}, "act=swich cannot be. Did you mean 'swish'.* Write one of gelu, gelu-tanh, swish, relu."),
        ({"init": "papers"}, "init=papers cannot be. Did you mean 'paper'.* Write one of zero, paper."),
    ],
)
def test_a_setting_out_of_range_says_what_to_write(settings, said):
    with pytest.raises(SettingError, match=f"parallel: {said}"):
        Parallel(**settings)


def test_an_adapters_rate_grows_as_the_backbone_narrows(tiny_bert):
    assert Pfeiffer().rate(tiny_bert, True) == pytest.approx(3e-4 * 1024 / 32)
    assert Pfeiffer(lr=1e-4).rate(tiny_bert, True) == 1e-4
