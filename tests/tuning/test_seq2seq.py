"""Tunings of encoder-decoders: attached to both halves, or to the encoder where soft tokens stand."""

import checks
import pytest
import torch
from transformers.models.t5.modeling_t5 import T5DenseActDense, T5LayerNorm

from promptlab.backbone.attention import attentions
from promptlab.backbone.device import generator
from promptlab.errors import BackboneError, SettingError
from promptlab.tuning.adamix import AdaMix, AdaMixLora
from promptlab.tuning.bitfit import BitFit
from promptlab.tuning.full import Full, Top
from promptlab.tuning.houlsby import Houlsby
from promptlab.tuning.ia3 import Ia3
from promptlab.tuning.lin import Lin
from promptlab.tuning.lora import Lora
from promptlab.tuning.parallel import Parallel
from promptlab.tuning.peft_format import export_peft
from promptlab.tuning.pfeiffer import Pfeiffer
from promptlab.tuning.prefix import Prefix
from promptlab.tuning.prelayer import Prelayer
from promptlab.tuning.soft import Soft
from promptlab.tuning.unipelt import UniPelt

BOTH = ["t5", "bart"]
RATES = ("p", "dropout", "attention_dropout", "activation_dropout")
ANY = [
    Full(), Top(layers=1), Lora(r=2, targets="all"), Houlsby(r=2), Pfeiffer(r=2), Parallel(r=2), Lin(r=2), Ia3(),
    Prefix(n=2), Prefix(n=2, mid=4),
]  # fmt: skip
SOFT = [Soft(n=3), Prelayer(n=3)]
STACKED = [Lora(r=2, targets="q+k+v+o"), Ia3(), Houlsby(r=2, init="paper"), Prefix(n=2, mid=4), *SOFT]


def named(tuning):
    return f"{tuning.name}{'-mid' * bool(getattr(tuning, 'mid', 0))}"


@pytest.mark.parametrize("family", BOTH)
@pytest.mark.parametrize("tuning", [*ANY, AdaMix(r=2, experts=2), AdaMixLora(r=2, experts=2)], ids=named)
def test_the_backbone_is_bit_for_bit_what_it_was(float64, family, tuning):
    checks.let_go(float64(family), tuning)


@pytest.mark.parametrize("family", BOTH)
@pytest.mark.parametrize("tuning", STACKED, ids=named)
def test_the_applied_state_answers_as_the_member_did(float64, reviews, family, tuning):
    checks.applies(float64(family), tuning, reviews)


@pytest.mark.parametrize(("family", "attentions", "blocks"), [("t5", 2 + 2 * 3, 5), ("bart", 2 + 2 * 2, 4)])
def test_every_attention_learns_the_decoders_to_the_encoder_too(tiny, family, attentions, blocks):
    def count(tuning):
        with tuning.learn(tiny(family), True, [generator("m")]) as learnt:
            return sum(one.numel() for one in learnt.state(0).values())

    assert count(Lora(r=3, targets="q")) == count(Lora(r=3, targets="o")) == attentions * 3 * (32 + 32)
    assert count(Lora(r=3)) == count(AdaMixLora(r=3)) == 2 * attentions * 3 * (32 + 32)
    assert count(Lora(r=3, targets="in")) == blocks * 3 * (32 + 48)
    assert count(Ia3()) == attentions * 2 * 32 + blocks * 48


@pytest.mark.parametrize("family", BOTH)
@pytest.mark.parametrize("head", [False, True], ids=["cloze", "head"])
@pytest.mark.parametrize("tuning", [*STACKED, AdaMix(r=2, experts=2)], ids=named)
def test_a_stack_trains_each_member_as_alone(float64, reviews, family, tuning, head):
    checks.stacks(float64(family), tuning, reviews, head)


@pytest.mark.parametrize("family", BOTH)
@pytest.mark.parametrize("tuning", [Lora(r=2), Prefix(n=2, mid=4), *SOFT], ids=named)
def test_gradients_are_finite_differences(float64, reviews, monkeypatch, family, tuning):
    backbone = float64(family)
    monkeypatch.setattr(T5LayerNorm, "forward", checks.exactly)
    for module in backbone.model.modules():
        if isinstance(module, T5DenseActDense):
            module.act = torch.nn.GELU()  # which has no kinks
    checks.differentiates(backbone, tuning, reviews, shorter=10 if tuning.name == "lora" else 1)


@pytest.mark.parametrize("family", BOTH)
@pytest.mark.parametrize("tuning", [Lora(r=2), Prefix(n=2, mid=4), *SOFT], ids=named)
def test_gradient_checkpointing_changes_nothing(float64, reviews, family, tuning):
    backbone = float64(family)
    for module in backbone.model.modules():  # the dropout of attentions is no module
        for name in RATES[1:]:
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    checks.recomputes(backbone, tuning, reviews)


@pytest.mark.parametrize("family", BOTH)
def test_a_prefix_stands_in_all_three_attentions_and_its_mlp_runs_once_a_forward(tiny, family):
    backbone, runs = tiny(family), []
    assert len(attentions(backbone.model)) == len(backbone.anatomy.blocks) + len(backbone.anatomy.decoder)
    with Prefix(n=2, mid=4).learn(backbone, True, [generator("a")]) as learnt:
        own = learnt.whole
        learnt.whole = lambda: runs.append(1) or own()
        checks.logits(backbone)
    assert runs == [1]
    assert learnt.state(0)["prefix"].shape == (len(attentions(backbone.model)), 2, 2, 32)


@pytest.mark.parametrize("family", BOTH)
def test_soft_tokens_activations_stand_in_the_encoder_alone(tiny, family):
    backbone = tiny(family)
    with Prelayer(n=3).learn(backbone, True, [generator("a")]) as learnt:
        names = [f"{block.name}.P" for block in backbone.anatomy.blocks if block.cross is None]
        assert list(learnt.tensors) == names


def test_a_prefix_that_counts_as_tokens_learns_in_bart_and_is_refused_in_t5(float64, tiny_t5, reviews):
    backbone, tuning = float64("bart"), Prefix(n=2, shift=True)
    checks.let_go(backbone, tuning)
    checks.applies(backbone, tuning, reviews)
    with pytest.raises(BackboneError, match="'t5' model cannot be shifted"):
        tuning.learn(tiny_t5, True, [generator("a")]).__enter__()


def test_bitfit_learns_bart_and_finds_no_bias_in_t5(float64, tiny_t5, reviews):
    checks.let_go(float64("bart"), BitFit())
    with pytest.raises(BackboneError, match="has no biases to learn. Write lora"):
        BitFit().learn(tiny_t5, True, [generator("a")])


@pytest.mark.parametrize("parts", ["adapter+prefix+lora", "adapter+lora"])
def test_a_gate_over_one_row_is_refused_where_two_are_read(tiny_bart, parts):
    with pytest.raises(BackboneError, match="an encoder-decoder reads two at a time. Write mix or lora"):
        UniPelt(parts=parts).learn(tiny_bart, True, [generator("a")]).__enter__()


@pytest.mark.parametrize("tuning", [Soft(n=2), Prefix(n=2)], ids=named)
def test_peft_gives_the_halves_tokens_of_their_own_so_its_format_is_refused(tiny_bart, tmp_path, tuning):
    with tuning.learn(tiny_bart, True, [generator("a")]) as learnt:
        state = learnt.state(0)
    with pytest.raises(SettingError, match="halves other .* tokens than were learnt here. Write format='promptlab'"):
        export_peft(tmp_path, tiny_bart, tuning, state)


def test_peft_reads_what_lora_has_learnt_in_both_halves(float64, tmp_path):
    peft = pytest.importorskip("peft")
    backbone, tuning = float64("bart"), Lora(r=2)
    with tuning.learn(backbone, True, [generator("a")]) as learnt:
        checks.moved(learnt)
        state = learnt.state(0)
    with tuning.applied(backbone, state):
        wanted = checks.logits(backbone)
    export_peft(tmp_path, backbone, tuning, state)
    with pytest.warns(FutureWarning, match="is_gradient_checkpointing"):  # what peft asks for
        backbone.model = peft.PeftModel.from_pretrained(backbone.model, tmp_path).double()
    torch.testing.assert_close(checks.logits(backbone), wanted, **checks.CLOSE)


@pytest.mark.parametrize("family", BOTH)
def test_dropout_has_one_rate_everywhere_and_its_own_afterwards(fresh, reviews, family):
    backbone, seen = fresh(family), []

    def rates():
        named = [getattr(one, name, None) for one in backbone.model.modules() for name in RATES]
        return [one for one in named if isinstance(one, float)]

    before = rates()
    handle = backbone.entry.register_forward_pre_hook(lambda *_: seen.append(set(rates())))
    checks.trained(backbone, Lora(r=2, dropout=0.25), [checks.member(reviews, "a")], steps=1)
    handle.remove()
    assert seen == [{0.25}]
    assert rates() == before != []
