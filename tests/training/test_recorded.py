"""Steps that are recorded once and then run again: on a CPU by a stand-in that computes anew at the fixed places."""

from contextlib import contextmanager
from types import SimpleNamespace

import checks
import pytest
import torch

from promptlab.training import loop, recorded
from promptlab.training.recorded import Recorded, recordable
from promptlab.tuning.adamix import AdaMix, AdaMixLora
from promptlab.tuning.full import Full
from promptlab.tuning.inject import Beside
from promptlab.tuning.lora import Lora
from promptlab.tuning.mix import Mix, Union
from promptlab.tuning.prefix import Prefix


class Standing(Recorded):
    """Runs a recorded step by computing its losses at its places again."""

    count = 0

    def _record(self, key, laid):
        super()._record(key, laid)
        found = self.graphs.get(key)
        if found:
            Standing.count += 1
            found.graph.replay = lambda: self._again(found)

    def _again(self, found):
        losses, gradients = self._both(found.places)
        found.losses.copy_(losses)
        for one, gradient in zip(found.gradients, gradients, strict=True):
            assert (one is None) == (gradient is None)
            if one is not None:
                one.copy_(gradient)


@contextmanager
def nothing(*_, **__):
    yield


@pytest.fixture
def standing(monkeypatch):
    monkeypatch.setattr(torch.cuda, "CUDAGraph", SimpleNamespace)
    monkeypatch.setattr(torch.cuda, "graph", nothing)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: 1)
    monkeypatch.setattr(loop, "Recorded", Standing)
    monkeypatch.setattr(loop, "recordable", lambda *_: True)
    Standing.count = 0


RECORDED = [Lora(), Prefix(n=3), AdaMix(r=4), AdaMix(r=4, consistency=0), AdaMixLora(r=2), Mix("lora+adamix", r=2)]


@pytest.mark.parametrize("head", [False, True], ids=["cloze", "head"])
@pytest.mark.parametrize("tuning", RECORDED, ids=lambda one: f"{one.name}-{getattr(one, 'passes', '')}")
def test_recorded_steps_are_the_steps(float64, reviews, monkeypatch, standing, tuning, head):
    backbone, members = float64("bert"), checks.three(reviews, head)
    recipe = {"steps": 9, "batch": 3, "packed": False}
    found = checks.trained(backbone, tuning, members, **recipe)
    assert Standing.count > 0
    monkeypatch.setattr(loop, "recordable", lambda *_: False)
    plain = checks.trained(backbone, tuning, members, **recipe)
    for one, other in zip(found, plain, strict=True):
        assert one.facts["loss"] == pytest.approx(other.facts["loss"], abs=1e-10)
        for name, tensor in other.state.items():
            torch.testing.assert_close(one.state[name], tensor, **checks.CLOSE)


def test_what_cannot_be_recorded_is_computed_as_ever(float64, reviews, monkeypatch, standing):
    @contextmanager
    def refusing(*_, **__):
        yield
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(torch.cuda, "graph", refusing)
    members, recipe = checks.three(reviews), {"steps": 6, "packed": False}
    found = checks.trained(float64("bert"), Lora(), members, **recipe)
    assert Standing.count == 0
    monkeypatch.setattr(loop, "recordable", lambda *_: False)
    for one, other in zip(found, checks.trained(float64("bert"), Lora(), members, **recipe), strict=True):
        for name, tensor in other.state.items():
            torch.testing.assert_close(one.state[name], tensor, **checks.CLOSE)


def test_a_lack_of_memory_is_said(float64, reviews, monkeypatch, standing):
    @contextmanager
    def full(*_, **__):
        raise torch.OutOfMemoryError("no more")
        yield

    monkeypatch.setattr(torch.cuda, "graph", full)
    with pytest.raises(Exception, match="no memory for one member"):
        checks.trained(float64("bert"), Lora(), checks.three(reviews)[:1], steps=6, packed=False)


def test_few_and_small_shapes_are_recorded(float64, reviews, monkeypatch, standing):
    def count(steps=30):
        Standing.count = 0
        checks.trained(float64("bert"), Lora(), checks.three(reviews)[:1], steps=steps, batch=1, packed=False)
        return Standing.count

    assert count() == 1  # rows are padded to a multiple, so they have one shape
    monkeypatch.setattr(loop, "MULTIPLE", 1)
    assert count() > 1
    monkeypatch.setattr(recorded, "MOST", 1)
    assert count() == 1
    monkeypatch.setattr(recorded, "LARGEST", 1)
    assert count() == 0


def test_what_draws_or_holds_whole_weights_is_not_recorded():
    def asked(tuning, device="cuda", stacked=True, texts=None, mlm=0.0, **learnt):
        rows = [SimpleNamespace(backbone=SimpleNamespace(device=torch.device(device)),
                                member=SimpleNamespace(texts=texts))]  # fmt: skip
        return recordable(rows, SimpleNamespace(mlm=mlm), tuning, SimpleNamespace(stacked=stacked, **learnt))

    assert asked(Lora())
    assert not asked(Lora(), device="cpu")
    assert not asked(Lora(dropout=0.1))
    assert asked(AdaMix(), by_row=False)
    assert not asked(AdaMix(routing="row"), by_row=True)
    assert not asked(Full(), stacked=False)
    assert not asked(Lora(), texts=["so"])
    assert not asked(Lora(), mlm=1e-4)


@pytest.mark.parametrize("tuning", [AdaMix(r=4), AdaMix(r=4, routing="row")], ids=lambda one: one.routing)
def test_what_experts_draw_says_whether_its_numbers_follow_the_rows(tiny_bert, tuning):
    with tuning.learn(tiny_bert, True, [torch.Generator().manual_seed(0)]) as learnt:
        assert learnt.by_row == (tuning.routing == "row")
        assert Union({"lora": Beside({}), "adamix": learnt}, dict.fromkeys(("lora", "adamix"), (1.0, 1.0))).by_row == (
            tuning.routing == "row"
        )
