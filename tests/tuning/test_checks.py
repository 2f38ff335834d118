"""The checks hold for the tunings that were there before them, and fail where a tuning is wrong."""

import checks
import pytest

from promptlab.tuning.bitfit import BitFit
from promptlab.tuning.full import Full, Top
from promptlab.tuning.lora import Lora

TUNINGS = [Lora(r=2), BitFit()]


def named(tuning):
    return tuning.name


def labelled(tuning):
    return f"{tuning.name}-{getattr(tuning, 'targets', '')}"


@pytest.mark.parametrize("tuning", TUNINGS, ids=named)
def test_lora_and_bitfit_pass_every_check(float64, reviews, tuning):
    backbone = float64("bert")
    checks.let_go(backbone, tuning)
    checks.starts_plain(backbone, tuning)
    checks.applies(backbone, tuning, reviews)
    checks.differentiates(backbone, tuning, reviews)
    checks.differentiates(backbone, tuning, reviews, head=True)
    checks.recomputes(backbone, tuning, reviews)
    checks.packs(backbone, tuning, reviews)
    checks.stacks(backbone, tuning, reviews)
    checks.learns(backbone, tuning, reviews, lr=1e-2)
    checks.reloads(backbone, tuning, reviews)


@pytest.mark.parametrize("tuning", [BitFit(), Lora(r=2), Lora(r=2, targets="all")], ids=labelled)
def test_their_gradients_are_finite_differences_on_fused_projections(float64, reviews, tuning):
    backbone = float64("gpt2")
    checks.differentiates(backbone, tuning, reviews, shorter=10)
    checks.recomputes(backbone, tuning, reviews)


@pytest.mark.parametrize(
    ("tuning", "family", "head"),
    [(Full(), "bert", False), (Full(), "gpt2", True), (Top(layers=1), "bert", True), (Top(layers=1), "gpt2", False)],
    ids=lambda one: getattr(one, "name", one),
)
def test_the_backbones_own_weights_have_gradients_that_are_finite_differences(float64, reviews, tuning, family, head):
    backbone = float64(family)
    checks.differentiates(backbone, tuning, reviews, head)
    checks.recomputes(backbone, tuning, reviews)


class Forgetful(Lora):
    """Hides a part of what it computes from the gradient."""

    def learn(self, backbone, cloze, generators):
        learnt = super().learn(backbone, cloze, generators)
        value = backbone.anatomy.blocks[-1].value.module
        value.register_forward_hook(lambda module, inputs, output: output + 0.1 * (output - output.detach()))
        return learnt


def test_a_tuning_that_leaves_a_hook_behind_or_a_wrong_gradient_is_caught(float64, reviews):
    backbone = float64("bert")
    with pytest.raises(AssertionError):
        checks.let_go(backbone, Forgetful(r=2))
    with pytest.raises(AssertionError):
        checks.differentiates(float64("bert"), Forgetful(r=2), reviews)
