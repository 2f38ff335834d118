"""Packed rows say what padded rows say, and compute less."""

import pytest
import torch

from promptlab.backbone.batches import pad
from promptlab.backbone.encode import Encoder
from promptlab.backbone.packing import pack, packable, shared_out
from promptlab.backbone.score import hidden, slot_logits
from promptlab.language.example import Example
from promptlab.language.pattern import Pattern

PACKED = ("bert", "roberta", "distilbert", "albert", "gpt2", "llama")
TEXTS = ["good", "a very slow and boring film", "it was the best of all the films that they make", "fine", "so so"]
LAST = Pattern.parse("p", "{text} It was {mask}")


def rows(backbone, count=5):
    texts = [TEXTS[i % len(TEXTS)] for i in range(count)]
    return Encoder(backbone).cloze(LAST, [Example({"text": text}) for text in texts], 1)


@pytest.mark.parametrize("family", PACKED)
@pytest.mark.parametrize("members", [1, 2])
def test_packed_rows_have_the_states_and_the_logits_of_padded_ones(float64, family, members):
    backbone = float64(family)
    encoded = rows(backbone, 5 * members)
    padded, packed = pad(encoded, range(len(encoded)), backbone), pack(encoded, members, backbone)
    assert packed.inputs["input_ids"].numel() < padded.inputs["input_ids"].numel()
    assert len(packed.inputs["input_ids"]) % members == 0
    assert torch.equal(packed.attention, padded.attention)
    assert torch.equal(packed.slots, padded.slots)
    real = padded.attention.bool()
    with torch.no_grad():
        torch.testing.assert_close(hidden(backbone, packed)[real], hidden(backbone, padded)[real], rtol=0, atol=1e-10)
        torch.testing.assert_close(slot_logits(backbone, packed), slot_logits(backbone, padded), rtol=0, atol=1e-10)


@pytest.mark.parametrize("family", PACKED)
def test_their_gradients_are_equal_too(float64, family):
    backbone = float64(family)
    encoded = rows(backbone)
    weight = backbone.model.get_input_embeddings().weight.requires_grad_(True)
    found = []
    for batch in (pad(encoded, range(len(encoded)), backbone), pack(encoded, 1, backbone)):
        loss = slot_logits(backbone, batch).log_softmax(-1)[..., 5].sum()
        found += torch.autograd.grad(loss, [weight])
    weight.requires_grad_(False)
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-10)


def test_a_model_whose_attention_has_windows_is_padded(tiny):
    backbone = tiny("modernbert")
    assert not packable(backbone)
    encoded = rows(backbone)
    assert pack(encoded, 1, backbone).places is None


def test_a_model_that_is_told_no_positions_is_padded(fresh, monkeypatch):
    backbone = fresh("bert")
    own = backbone.body.forward
    monkeypatch.setattr(backbone.body, "forward", lambda *, position_ids=None, **named: own(**named))
    assert not packable(backbone)


def test_a_row_reads_nothing_of_its_neighbours(float64):
    backbone = float64("bert")
    encoded = rows(backbone)
    with torch.no_grad():
        before = slot_logits(backbone, pack(encoded, 1, backbone))
        encoded.ids[1] = [*encoded.ids[1][:2], 9, 9, *encoded.ids[1][4:]]
        after = slot_logits(backbone, pack(encoded, 1, backbone))
    others = [0, 2, 3, 4]
    torch.testing.assert_close(after[others], before[others], rtol=0, atol=1e-10)
    assert not torch.allclose(after[1], before[1])


def test_bins_hold_every_row_once_as_many_for_each_member_and_no_foreign_row():
    lengths = [3, 50, 7, 20, 60, 5, 5, 5]
    bins = shared_out(lengths, 2, width=384)
    half = len(bins) // 2
    assert sorted(row for one in bins[:half] for row in one) == [0, 1, 2, 3]
    assert sorted(row for one in bins[half:] for row in one) == [4, 5, 6, 7]
    longest = max(sum(lengths[row] for row in one) for one in bins)
    assert len(bins) * longest < 8 * 60


def test_rows_of_one_length_stay_one_a_bin():
    assert shared_out([40] * 6, 1, width=64) == [[row] for row in range(6)]


def test_training_by_packed_rows_is_training_by_padded_ones(float64, reviews, reviews_task):
    import numpy as np

    from promptlab.training.loop import train
    from promptlab.training.member import Member, Recipe
    from promptlab.tuning.lora import Lora

    backbone = float64("roberta")
    chosen = reviews[:8]
    targets = np.array([reviews_task.labels.index(one.label) for one in chosen])
    for pvp in (reviews_task.pvps[0], None):
        members = [Member(key, chosen, targets, 2, ("text",), pvp) for key in "ab"]
        found = []
        for packed in (True, False):
            recipe = Recipe(steps=4, batch=5, budget=10**6, packed=packed)
            found.append([one.state for one in train(backbone, Lora(r=2), members, recipe, Encoder(backbone))])
        for one, other in zip(*found, strict=True):
            for name in one:
                torch.testing.assert_close(one[name], other[name], rtol=0, atol=1e-10)


@pytest.mark.parametrize("how", ["mean", "cls"])
def test_a_member_that_is_lost_does_not_reach_another_by_its_padding(float64, reviews, reviews_task, how):
    import numpy as np

    from promptlab.training.loop import train
    from promptlab.training.member import Member, Recipe
    from promptlab.tuning.lora import Lora

    backbone, chosen = float64("bert"), reviews[:8]
    targets = np.array([reviews_task.labels.index(one.label) for one in chosen])
    lost, sound = (Member(key, chosen, targets, 2, ("text",), None, lr=lr) for key, lr in (("a", 1e300), ("b", 1e-3)))
    recipe = Recipe(steps=4, batch=5, budget=10**6, pool=how)
    first, second = train(backbone, Lora(r=2), [lost, sound], recipe, Encoder(backbone))
    assert first.facts["frozen_at"] == 1
    assert second.facts["frozen_at"] is None
    (alone,) = train(backbone, Lora(r=2), [sound], recipe, Encoder(backbone))
    for name, tensor in alone.state.items():
        torch.testing.assert_close(second.state[name], tensor, rtol=0, atol=1e-10)


def test_padding_stands_for_a_token_of_its_own_row(tiny_bert):
    packed = pack(rows(tiny_bert), 1, tiny_bert)
    lengths = packed.attention.sum(1).tolist()
    own = [set(places[:length].tolist()) for places, length in zip(packed.places, lengths, strict=True)]
    assert all(set(places.tolist()) == one for places, one in zip(packed.places, own, strict=True))
