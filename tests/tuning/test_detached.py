"""After a tuning has let go, the backbone is bit for bit what it was."""

import pytest
import torch

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
from promptlab.tuning.pfeiffer import Pfeiffer
from promptlab.tuning.prefix import Prefix
from promptlab.tuning.tuning import by_member
from promptlab.tuning.unipelt import UniPelt

BESIDE = [Houlsby(r=2), Pfeiffer(r=2), Parallel(r=2), Lin(r=2), Ia3()]
MIXED = [AdaMix(r=2, experts=3), AdaMix(r=2, experts=2, share="none"), AdaMixLora(r=2, share="none", targets="all")]
TUNINGS = [Full(), Top(layers=1), BitFit(), Lora(r=2), Lora(r=2, targets="all"), *BESIDE, *MIXED, Prefix(n=2)]
TUNINGS += [UniPelt(adapter_r=2, n=2, mid=4, r=2)]


def named(tuning):
    return f"{tuning.name}-{getattr(tuning, 'targets', '')}-{getattr(tuning, 'share', '')}".rstrip("-")


def bits(backbone):
    return {name: tensor.clone() for name, tensor in backbone.model.state_dict().items()}


def moved(learnt):
    """Changes every learnt tensor, as training would."""
    with torch.no_grad():
        for tensor in learnt.tensors.values():
            tensor.add_(torch.randn(tensor.shape, generator=generator("moved")).to(tensor))


def logits(backbone, tokens=((5, 6, 7, 8), (9, 10, 11, 12))):
    with torch.no_grad():
        return backbone.model(input_ids=torch.tensor(tokens)).logits


@pytest.mark.parametrize("tuning", TUNINGS, ids=named)
def test_the_backbone_is_bit_for_bit_what_it_was(each, tuning):
    if isinstance(tuning, BitFit) and each.config.model_type in ("llama", "modernbert"):
        pytest.skip("no biases to learn, which has a test of its own")
    before, answers = bits(each), logits(each)
    with tuning.learn(each, True, [generator("m")]) as learnt:
        moved(learnt)
        assert not torch.equal(logits(each), answers)
        state = learnt.state(0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in each.model.state_dict().items())
    with tuning.applied(each, state):
        assert not torch.equal(logits(each), answers)
    assert all(torch.equal(tensor, before[name]) for name, tensor in each.model.state_dict().items())
    assert torch.equal(logits(each), answers)
    assert not any(parameter.requires_grad for parameter in each.model.parameters())
    assert all(parameter.grad is None for parameter in each.model.parameters())


@pytest.mark.parametrize("tuning", TUNINGS, ids=named)
def test_tied_embeddings_stay_tied(tiny_bert, tuning):
    with tuning.learn(tiny_bert, True, [generator("m")]) as learnt:
        assert tiny_bert.model.get_output_embeddings().weight is tiny_bert.model.get_input_embeddings().weight
        state = learnt.state(0)
    with tuning.applied(tiny_bert, state):
        assert tiny_bert.model.get_output_embeddings().weight is tiny_bert.model.get_input_embeddings().weight
    assert tiny_bert.model.get_output_embeddings().weight is tiny_bert.model.get_input_embeddings().weight


@pytest.mark.parametrize("tuning", [Lora(r=2), Lora(r=2, targets="all"), BitFit(), *BESIDE, *MIXED], ids=named)
def test_a_parameter_efficient_start_equals_the_plain_backbone(each_masked, tuning):
    if isinstance(tuning, BitFit) and each_masked.config.model_type == "modernbert":
        pytest.skip("no biases to learn")
    answers = logits(each_masked)
    with tuning.learn(each_masked, True, [generator("m")]):
        torch.testing.assert_close(logits(each_masked), answers, rtol=0, atol=1e-6)


@pytest.mark.parametrize("tuning", TUNINGS, ids=named)
def test_the_applied_state_answers_as_the_trained_member_did(float64, tuning):
    for family in ("bert", "gpt2", "albert"):
        backbone = float64(family)
        with tuning.learn(backbone, True, [generator("m")]) as learnt:
            moved(learnt)
            trained, state = logits(backbone), learnt.state(0)
        with tuning.applied(backbone, state):
            torch.testing.assert_close(logits(backbone), trained, rtol=0, atol=1e-10)


@pytest.mark.parametrize("tuning", [Lora(r=2), BitFit(), *BESIDE, *MIXED], ids=named)
def test_each_member_of_a_stack_reads_only_its_own_rows(float64, tuning):
    backbone = float64("bert")
    with tuning.learn(backbone, True, [generator("a"), generator("b")]) as learnt:
        moved(learnt)
        rows = ((5, 6, 7, 8), (9, 10, 11, 12))
        together, states = logits(backbone, rows), [learnt.state(0), learnt.state(1)]
    for row, state in enumerate(states):
        with tuning.applied(backbone, state):
            torch.testing.assert_close(logits(backbone, rows[row : row + 1])[0], together[row], rtol=0, atol=1e-10)


def test_members_start_from_their_own_generators_whatever_stands_beside_them(tiny_bert):
    def start(*keys):
        with Lora(r=2).learn(tiny_bert, True, [generator(key) for key in keys]) as learnt:
            return [learnt.state(i) for i in range(len(keys))]

    first, second = start("a", "b")
    (alone,) = start("b")
    assert all(torch.equal(second[name], alone[name]) for name in alone)
    assert any(not torch.equal(first[name], second[name]) for name in first)


def test_top_learns_the_last_blocks_and_nothing_else(tiny_bert, tiny_gpt2):
    with Top(layers=1).learn(tiny_bert, True, [generator("m")]) as learnt:
        assert {name.split(".")[3] for name in learnt.tensors} == {"1"}
    with Top(layers=1).learn(tiny_gpt2, True, [generator("m")]) as learnt:
        assert {name.split(".")[1] for name in learnt.tensors} == {"h", "ln_f"}
        assert all(name.split(".")[2] == "1" for name in learnt.tensors if ".h." in name)


def test_full_learns_the_head_under_a_cloze_only(tiny_bert):
    with Full().learn(tiny_bert, True, [generator("m")]) as learnt:
        assert any(name.startswith("cls.") for name in learnt.tensors)
    with Full().learn(tiny_bert, False, [generator("m")]) as learnt:
        assert all(name.startswith("bert.") for name in learnt.tensors)


def test_bitfit_on_a_backbone_without_biases_is_refused(tiny_llama):
    with pytest.raises(BackboneError, match="no biases to learn"), BitFit().learn(tiny_llama, True, [generator("m")]):
        pass


def test_bitfit_reaches_every_bias_of_the_encoder(tiny_bert):
    wanted = {name.removeprefix("bert.").removesuffix(".bias") for name, _ in tiny_bert.model.named_parameters()
              if name.startswith("bert.") and name.endswith("bias")}  # fmt: skip
    with BitFit().learn(tiny_bert, True, [generator("m")]) as learnt:
        assert {name.removesuffix(".shift") for name in learnt.tensors} == wanted


@pytest.mark.parametrize(
    ("tuning", "said"),
    [
        (Lora(r=999), "r=999 does not fit"),
        (Lora(targets="q+w"), "no target 'w'"),
        (Top(layers=9), "layers=9"),
    ],
)
def test_a_setting_that_cannot_be_says_what_to_write(tiny_bert, tuning, said):
    with pytest.raises(SettingError, match=said) as caught, tuning.learn(tiny_bert, True, [generator("m")]):
        pass
    assert "Write" in str(caught.value) or "Known" in str(caught.value)


def test_rows_that_are_no_multiple_of_the_members_are_refused():
    with pytest.raises(SettingError, match="5 rows are no multiple of 2 members"):
        by_member(torch.zeros(5, 3, 4), 2)


def test_a_narrower_backbone_takes_larger_steps(tiny_bert):
    assert Full().rate(tiny_bert, True) == pytest.approx(1e-5 * 1024 / 32)
    assert Full(lr=3e-4).rate(tiny_bert, True) == 3e-4


def test_stacking_a_tuning_that_changes_the_backbone_is_refused(tiny_bert):
    with (
        pytest.raises(SettingError, match="one member at a time"),
        Full().learn(tiny_bert, True, [generator("a"), generator("b")]),
    ):
        pass
