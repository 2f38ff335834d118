"""A backbone in half precision learns as in single precision: what a step adds is not rounded off."""

import checks
import pytest

from promptlab.tuning.full import Full
from promptlab.tuning.houlsby import Houlsby
from promptlab.tuning.lora import Lora
from promptlab.tuning.soft import Soft

RATES = {"full": 5e-5, "lora": 1e-3, "houlsby": 1e-3, "soft": 1e-3}


@pytest.mark.parametrize("tuning", [Full(), Lora(), Houlsby(), Soft(n=3)], ids=lambda one: one.name)
def test_half_precision_learns_as_single_does(fresh, reviews, tuning):
    begun, last = {}, {}
    one = checks.member(reviews, "a", lr=RATES[tuning.name])
    for dtype in ("float32", "bfloat16"):
        backbone, recipe = fresh("bert", dtype=dtype), {"batch": 8, "warmup": 0.0}
        begun[dtype], last[dtype] = (
            checks.trained(backbone, tuning, [one], steps=steps, **recipe)[0].facts["loss"] for steps in (1, 40)
        )
    fell = {dtype: begun[dtype] - last[dtype] for dtype in begun}
    assert fell["float32"] > 0
    assert fell["bfloat16"] == pytest.approx(fell["float32"], rel=0.2)
