"""What only a CUDA device shows: half precision, its memory, and what moves between it and a CPU."""

import checks
import numpy as np
import pytest
import torch

from promptlab.backbone.backbone import load_backbone
from promptlab.backbone.device import peak_memory_bytes, reset_peak, token_budget
from promptlab.backbone.encode import Encoder
from promptlab.hub import Origin, load_predictor, save_predictor
from promptlab.methods.chosen import choose
from promptlab.methods.method import Job
from promptlab.registry import TUNINGS
from promptlab.training import loop
from promptlab.training.adapt import Settings, adapt
from promptlab.training.recorded import Recorded
from promptlab.tuning.houlsby import Houlsby
from promptlab.tuning.lora import Lora
from promptlab.tuning.prefix import Prefix
from promptlab.tuning.soft import Soft

pytestmark = pytest.mark.gpu

SHORT = "repetitions=1,steps=3,batch=8,student_steps=3,student_batch=8,pool=8"
TEXTS = [f"the {noun} was {word} and the ending is {word}" for noun in ("film", "plot", "scene", "story")
         for word in ("brilliant", "awful", "fine", "dull", "moving", "poor")] * 8  # fmt: skip


def fitted(backbone, reviews, system):
    chosen = choose(system)
    job = Job(checks.TASK, reviews[:8], [one.unlabelled() for one in reviews[8:20]])
    ((_, found),) = chosen.method.fit(backbone, chosen.tuning, [job])
    return found.keep(), Origin(chosen.system, chosen.settings)


@pytest.mark.parametrize("tuning", [Lora(), Prefix(n=3), Houlsby(), Soft(n=3)], ids=lambda one: one.name)
def test_half_precision_is_the_default_and_learns_as_single_does(on_cuda, reviews, tuning):
    half, single = on_cuda("bert", "auto"), on_cuda("bert", "float32")
    assert half.dtype == torch.bfloat16
    one, recipe = checks.member(reviews, "a", lr=1e-2), {"steps": 30, "batch": 8, "warmup": 0.0}
    found, wanted = (checks.trained(each, tuning, [one], **recipe)[0].facts["loss"] for each in (half, single))
    assert found == pytest.approx(wanted, abs=0.03)


@pytest.mark.parametrize("tuning", [Lora(), Prefix(n=3)], ids=lambda one: one.name)
def test_a_stack_trains_each_member_as_alone(on_cuda, reviews, tuning):
    checks.stacks(on_cuda("bert"), tuning, reviews)


STEADY = [entry.name for entry in TUNINGS if entry.load().stackable and TUNINGS.build(entry.name).passes == 1
          and entry.name != "words"]  # fmt: skip


@pytest.mark.parametrize("head", [False, True], ids=["cloze", "head"])
@pytest.mark.parametrize("name", STEADY)
def test_steps_are_recorded_and_change_nothing(on_cuda, reviews, monkeypatch, name, head):
    tuning = TUNINGS.build(name, {"adapter_r": 4} if name == "unipelt" else {})
    backbone, members, made = on_cuda("bert"), checks.three(reviews, head), []
    monkeypatch.setattr(loop, "Recorded", lambda *given: made.append(Recorded(*given)) or made[-1])
    found = checks.trained(backbone, tuning, members, steps=8)
    assert [one for each in made for one in each.graphs] and all(one.able for one in made)
    monkeypatch.setattr(loop, "recordable", lambda *_: False)
    for one, other in zip(found, checks.trained(backbone, tuning, members, steps=8), strict=True):
        assert one.facts["loss"] == pytest.approx(other.facts["loss"], abs=1e-9)
        for part, tensor in other.state.items():
            torch.testing.assert_close(one.state[part], tensor, rtol=0, atol=1e-9)


def test_dropout_follows_the_member_and_leaves_the_devices_numbers_alone(on_cuda, reviews):
    backbone, one = on_cuda("bert", "float32"), checks.member(reviews, "a", lr=1e-2)
    before = torch.cuda.get_rng_state()
    runs = [checks.states(checks.trained(backbone, Lora(dropout=0.3), [one]))[0] for _ in range(2)]
    assert torch.equal(torch.cuda.get_rng_state(), before)
    plain = checks.states(checks.trained(backbone, Lora(), [one]))[0]
    for name, tensor in runs[0].items():
        torch.testing.assert_close(runs[1][name], tensor)
    assert any(not torch.allclose(plain[name], tensor) for name, tensor in runs[0].items())


@pytest.mark.parametrize("system", ["prompt+lora:r=2", "finetune+prefix:n=3", f"pet:{SHORT}+lora", f"ipet:{SHORT}"])
def test_what_was_trained_here_answers_on_a_cpu(on_cuda, fresh, reviews, tmp_path, system):
    predictor, origin = fitted(on_cuda("bert", "float32"), reviews, system)
    scores = predictor.scores(reviews[20:])
    save_predictor(tmp_path / "it", predictor, on_cuda("bert", "float32"), origin)
    again = load_predictor(tmp_path / "it", fresh("bert")).predictor
    np.testing.assert_allclose(again.scores(reviews[20:]), scores, rtol=0, atol=1e-4)


def test_memory_is_the_devices(on_cuda, reviews):
    reset_peak()
    checks.trained(on_cuda("bert", "float32"), Lora(), [checks.member(reviews, "a")])
    assert peak_memory_bytes() == torch.cuda.max_memory_allocated() > 0


def test_stacks_are_larger_than_on_a_cpu():
    assert token_budget(torch.device("cuda")) >= 4 * token_budget(torch.device("cpu"))


def test_a_stack_that_finds_no_memory_is_halved(on_cuda, reviews, caplog):
    backbone = on_cuda("bert", "float32")
    members = [checks.member(reviews, f"{i}", lr=1e-2) for i in range(512)]
    whole = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    allowed = torch.cuda.memory_reserved() + 400 * 2**20
    torch.cuda.set_per_process_memory_fraction(allowed / whole)
    try:
        found = checks.trained(backbone, Lora(), members, steps=2, batch=8, budget=10**9)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "the stack restarts with 256 members" in caplog.text
    (alone,) = checks.trained(backbone, Lora(), members[:1], steps=2, batch=8)
    for name, tensor in found[0].state.items():
        torch.testing.assert_close(alone.state[name], tensor, rtol=0, atol=1e-5)


def test_adapt_learns_and_its_backbone_loads_anywhere(folder_of, tmp_path):
    how = Settings("full:lr=3e-3", tokens=12_000, length=16, batch=256, every=1e6)
    about = adapt(TEXTS, str(folder_of("bert")), tmp_path / "out", how, device="cuda")
    first, last = about["curve"][0]["loss"], about["curve"][-1]["loss"]
    assert last < first - 0.5
    here = load_backbone(str(tmp_path / "out"), device="cpu")
    there = load_backbone(str(tmp_path / "out"), device="cuda", dtype="float32")
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        torch.testing.assert_close(there.model(ids.cuda()).logits.cpu(), here.model(ids).logits, rtol=0, atol=1e-4)
    assert len(Encoder(here).backbone.tokenizer) == len(Encoder(there).backbone.tokenizer)
