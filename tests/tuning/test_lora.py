"""LoRA's targets: what this backbone has, all of it, and nothing twice."""

import checks
import pytest

from promptlab.backbone.device import generator
from promptlab.errors import SettingError
from promptlab.tuning.adamix import AdaMixLora
from promptlab.tuning.lora import Lora
from promptlab.tuning.mix import Mix


def count(backbone, tuning):
    with tuning.learn(backbone, True, [generator("m")]) as learnt:
        return sum(one.numel() for one in learnt.state(0).values())


@pytest.mark.parametrize("tuning", [Lora, AdaMixLora, lambda targets: Mix("lora+ia3", targets=targets)])
@pytest.mark.parametrize(
    ("targets", "said"),
    [
        ("gate", r"lora: no target 'gate' in .*bert.*Known: q\+k\+v\+o\+in\+out, or all"),
        ("q+gate", "no target 'gate'"),
        ("q+outt", r"no target 'outt' in .*Did you mean 'out'\? Known: q\+k\+v\+o\+in\+out, or all"),
        ("q+v+q", r"targets=q\+v\+q names a target twice. Write each once"),
    ],
)
def test_a_target_that_no_block_has_or_that_comes_twice_is_refused_before_anything_learns(
    tiny_bert, reviews, tuning, targets, said
):
    with pytest.raises(SettingError, match=said):
        checks.trained(tiny_bert, tuning(targets=targets), [checks.member(reviews, "a")])
    assert not any(one._forward_hooks for one in tiny_bert.model.modules())


@pytest.mark.parametrize(("family", "targets"), [("bert", "q+k+v+o+in+out"), ("llama", "q+k+v+o+in+gate+out")])
def test_all_means_what_the_backbone_has(tiny, family, targets):
    backbone = tiny(family)
    assert count(backbone, Lora(r=2, targets="all")) == count(backbone, Lora(r=2, targets=targets))
