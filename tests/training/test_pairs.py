"""Texts are learnt by their own tokens alone, in a stack as alone."""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, kl_div

from promptlab.backbone.encode import Encoder
from promptlab.backbone.pairs import end_ids
from promptlab.errors import DataError, SettingError
from promptlab.training import loop
from promptlab.training.loop import step_losses, train
from promptlab.training.member import Member, Recipe, Step
from promptlab.training.pairs import NONE, Texts, dealt, text_losses
from promptlab.tuning.adamix import AdaMix, AdaMixLora
from promptlab.tuning.full import Full
from promptlab.tuning.houlsby import Houlsby
from promptlab.tuning.lora import Lora
from promptlab.tuning.mix import Mix
from promptlab.tuning.prefix import Prefix
from promptlab.tuning.prelayer import Prelayer
from promptlab.tuning.soft import Soft
from promptlab.tuning.tuning import Usual

CLOSE = {"rtol": 0, "atol": 1e-10}
TUNINGS = [
    Lora(r=2), Houlsby(r=2), Soft(n=2), Prefix(n=2), Prelayer(n=2), AdaMix(r=2, experts=2), AdaMixLora(r=2, experts=2)
]  # fmt: skip


def named(tuning):
    return tuning.name


def member(task, notes, key="a", pattern=0, rows=range(8), **rates):
    chosen = [(notes[row], text) for row in rows for text in notes[row].right]
    return Member(
        key, [row for row, _ in chosen], np.empty(0), 0, ("source",), texts=[text for _, text in chosen],
        pattern=task.pvps[pattern].pattern, **rates,
    )  # fmt: skip


def trained(backbone, tuning, members, **recipe):
    settings = {"steps": 4, "batch": 3, "budget": 10**6, **recipe}
    return list(train(backbone, tuning, members, Recipe(**settings), Encoder(backbone)))


def states(found):
    return [{name: tensor.clone() for name, tensor in one.state.items()} for one in found]


def loss_of(backbone, members, taken=range(5), tuning=None, **recipe):
    """Each member's loss on the rows of those numbers."""
    recipe = Recipe(**{"steps": 1, "batch": 5, "packed": False, **recipe})
    encoder = tuning.reading(Encoder(backbone)) if tuning else Encoder(backbone)
    rows = [Texts(one, recipe, backbone, encoder) for one in members]
    return step_losses(backbone, rows, [one.take(taken) for one in rows], recipe, None, tuning or Usual())


def plain(backbone, one, taken, smoothing=0.0):
    """The loss by transformers' model itself, a row at a time."""
    encoder, tokens = Encoder(backbone), []
    for row in taken:
        asked = encoder.source(one.pattern, [one.examples[row]])
        said = backbone.tokenizer(" " * (backbone.kind == "causal") + one.texts[row], add_special_tokens=False)
        said = torch.tensor([*said["input_ids"], end_ids(backbone)[0]])
        if backbone.kind == "causal":
            logits = backbone.model(torch.tensor([[*asked.ids[0], *said[:-1]]])).logits[0, len(asked.ids[0]) - 1 :]
        else:
            reply = torch.tensor([[*asked.replies[0], *said[:-1]]])
            logits = backbone.model(input_ids=torch.tensor(asked.ids), decoder_input_ids=reply).logits[0]
            logits = logits[len(asked.replies[0]) - 1 :]
        tokens += [(logits, said)]
    logits, said = (torch.cat(part) for part in zip(*tokens, strict=True))
    return cross_entropy(logits, said, label_smoothing=smoothing)


@pytest.mark.parametrize("family", ["gpt2", "llama", "t5", "bart"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_a_plain_loop_over_transformers_model(float64, notes_task, notes, family, smoothing):
    backbone, one = float64(family), member(notes_task, notes)
    with torch.no_grad():
        for packed in (False, family == "gpt2"):
            (found,) = loss_of(backbone, [one], smoothing=smoothing, packed=packed)
            torch.testing.assert_close(found, plain(backbone, one, range(5), smoothing), **CLOSE)


def test_a_token_counts_as_much_as_any_other_of_the_step(float64, notes_task, notes):
    backbone, one = float64("gpt2"), member(notes_task, notes)
    with torch.no_grad():
        (both,) = loss_of(backbone, [one], [0, 1])
        each = [loss_of(backbone, [one], [row])[0] for row in (0, 1)]
        sizes = [int((dealt(one, Recipe(1, 2), backbone, Encoder(backbone)).take([row]).targets != NONE).sum())
                 for row in (0, 1)]  # fmt: skip
    assert sizes[0] != sizes[1]
    torch.testing.assert_close(both, (sizes[0] * each[0] + sizes[1] * each[1]) / sum(sizes), **CLOSE)


def test_logits_are_made_at_target_places_alone(tiny_gpt2, notes_task, notes):
    seen = []
    head = tiny_gpt2.model.get_output_embeddings()
    handle = head.register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape[:-1])))
    try:
        loss_of(tiny_gpt2, [member(notes_task, notes)], [1, 3])  # texts of five tokens and the end
    finally:
        handle.remove()
    assert seen == [(2, 6)]


@pytest.mark.parametrize("tuning", TUNINGS, ids=named)
@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_a_stack_trains_each_member_exactly_as_it_would_train_alone(float64, notes_task, notes, tuning, family):
    backbone = float64(family)
    members = [
        member(notes_task, notes, "a", lr=1e-2),
        member(notes_task, notes, "b", 1, range(3), lr=3e-3, weight_decay=0.1),
        member(notes_task, notes, "c", 0, range(2, 7), lr=5e-3),
    ]
    found = trained(backbone, tuning, members)
    assert found[0].facts["stack"] == ["a", "b", "c"]
    for together, one in zip(states(found), members, strict=True):
        (alone,) = states(trained(backbone, tuning, [one]))
        assert together.keys() == alone.keys()
        for name in alone:
            torch.testing.assert_close(together[name], alone[name], **CLOSE)


@contextmanager
def checkpointing(model):
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})
    for module in model.train().modules():
        if isinstance(getattr(module, "dropout", None), float):  # T5's attention drops without a module
            module.dropout = 0.0
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    yield


@pytest.mark.parametrize("tuning", [Lora(r=2), Prefix(n=2), Prelayer(n=2), AdaMix(r=2, experts=2)], ids=named)
@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_blocks_that_are_computed_again_give_the_same_gradients(float64, notes_task, notes, tuning, family):
    backbone, one = float64(family), member(notes_task, notes)
    encoder = tuning.reading(Encoder(backbone))
    draw = torch.Generator().manual_seed(3)
    with tuning.begin(encoder, [one.reads], [draw]) as learnt:
        for tensor in learnt.tensors.values():
            tensor.data.add_(0.1 * torch.randn(tensor.shape, generator=draw, dtype=tensor.dtype))
        learnt.route([list(range(5))])

        def gradients():
            (loss,) = loss_of(backbone, [one], tuning=tuning)
            return torch.autograd.grad(loss, list(learnt.tensors.values()))

        kept = gradients()
        with checkpointing(backbone.model):
            again = gradients()
    assert all(gradient.abs().max() > 0 for gradient in kept)
    for one_gradient, other in zip(kept, again, strict=True):
        torch.testing.assert_close(one_gradient, other, **CLOSE)


@pytest.mark.parametrize(
    "tuning", [AdaMix(r=2, experts=2, init="paper"), Mix(parts="adamix+prefix", r=2, n=2)], ids=named
)
def test_how_far_two_passes_are_apart_counts_a_hundredfold_on_every_token(tuning):
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 7, generator=draw, dtype=torch.float64)  # passes, rows, slots, vocabulary
    targets = torch.tensor([[1, 2, 3, NONE], [4, NONE, NONE, NONE], [5, 6, 0, 1]])
    steps = [Step(None, targets, [])] * 2
    (found,) = text_losses(logits.flatten(0, 1), steps, 0.1, tuning)
    real = targets.flatten() != NONE
    first, second = (one.flatten(0, 1)[real].log_softmax(-1) for one in logits)
    apart = kl_div(first, second.exp(), reduction="batchmean") + kl_div(second, first.exp(), reduction="batchmean")
    wanted = cross_entropy(first, targets.flatten()[real], label_smoothing=0.1) + 100 * 0.5 * apart
    torch.testing.assert_close(found, wanted, **CLOSE)


def test_a_member_that_becomes_non_finite_is_frozen_and_the_others_go_on(float64, notes_task, notes):
    backbone = float64("gpt2")
    good, bad = member(notes_task, notes, "a", lr=1e-2), member(notes_task, notes, "b", lr=1e300)
    found = trained(backbone, Lora(r=2), [good, bad])
    (alone,) = states(trained(backbone, Lora(r=2), [good]))
    assert found[0].facts["frozen_at"] is None
    assert found[1].facts["frozen_at"] is not None
    for name in alone:
        torch.testing.assert_close(found[0].state[name], alone[name], **CLOSE)


def test_running_out_of_memory_restarts_the_stack_with_fewer_members(float64, notes_task, notes, monkeypatch):
    backbone, members = float64("gpt2"), [member(notes_task, notes, key) for key in "ab"]
    whole, real = states(trained(backbone, Lora(r=2), members)), loop.step_losses

    def tight(backbone, rows, *rest):
        if len(rows) > 1:
            raise torch.OutOfMemoryError
        return real(backbone, rows, *rest)

    monkeypatch.setattr(loop, "step_losses", tight)
    found = trained(backbone, Lora(r=2), members)
    assert [len(one.facts["stack"]) for one in found] == [1, 1]
    for one, other in zip(whole, states(found), strict=True):
        for name in one:
            torch.testing.assert_close(one[name], other[name], **CLOSE)


def test_full_fine_tuning_leaves_the_backbone_as_it_was(float64, notes_task, notes):
    backbone = float64("gpt2")
    before = {name: one.clone() for name, one in backbone.model.named_parameters()}
    for _ in train(backbone, Full(lr=1e-3), [member(notes_task, notes)], Recipe(2, 3), Encoder(backbone)):
        pass
    assert all(torch.equal(before[name], one) for name, one in backbone.model.named_parameters())


def test_an_empty_text_and_texts_without_a_pattern_are_refused(tiny_gpt2, notes_task, notes):
    one = member(notes_task, notes)
    with pytest.raises(DataError, match="row 2: the text to be written is empty"):
        trained(tiny_gpt2, Lora(r=2), [replace(one, texts=["a", " ", *one.texts[2:]])])
    with pytest.raises(SettingError, match="Write both"):
        trained(tiny_gpt2, Lora(r=2), [replace(one, pattern=None)])
