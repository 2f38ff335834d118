"""Training with label words of several tokens: one pass, hinge over the choices, for masked and causal backbones."""

import numpy as np
import pytest
import torch

from promptlab.backbone.encode import Encoder
from promptlab.backbone.words import row_words
from promptlab.language.example import Example
from promptlab.language.library import read_task
from promptlab.language.task import Task
from promptlab.training.loop import stack_size, step_losses, train
from promptlab.training.member import Member, Recipe, Rows
from promptlab.tuning.lora import Lora

LONG = Task.from_parts(["{text} It was {mask}."], {"negative": ["terrible", "badly made"], "positive": "very funny"})
OTHER = Task.from_parts(["{text} All in all, it was {mask}."], {"negative": "so very bad", "positive": "great"})
PLAIN = Task.from_parts(["{text} It was {mask}."], {"negative": "terrible", "positive": "great"})
QUIZ = read_task("{task: quiz, inputs: [text, options], candidates: options, patterns: {p: '{text} It was {mask}.'}}")
OPTIONS = [("great", "badly made"), ("his brilliant actors", "great", "worst"), ("moving", "qx", "so so", "fun")]


def member(reviews, key, task=LONG, rows=6, **more):
    chosen = reviews[:rows]
    targets = np.array([task.labels.index(one.label) for one in chosen])
    return Member(key, chosen, targets, 2, ("text",), task.pvps[0], **more)


def quizzed(reviews, key, rows=6, **more):
    examples = [Example({**one.fields, "options": OPTIONS[i % 3]}) for i, one in enumerate(reviews[:rows])]
    targets, choices = np.array([i % 2 for i in range(rows)]), [QUIZ.choices(one) for one in examples]
    return Member(key, examples, targets, 0, ("text",), QUIZ.pvps[0], choices, **more)


def one_step(backbone, one, **recipe):
    rows = [Rows(one, Recipe(steps=1, batch=4, **recipe), backbone, Encoder(backbone))]
    order = Rows(one, Recipe(steps=1, batch=4, **recipe), backbone, Encoder(backbone)).stream.next()
    return step_losses(backbone, rows, [rows[0].next()], rows[0].recipe, None)[0], list(order)


def plain_scores(backbone, one, row):
    """Scores of a row's choices with nothing but transformers, a list of tensors."""
    example = one.examples[row]
    words = row_words(backbone, one.pvp, [example], None if one.choices is None else [one.choices[row]]).take([0])[0]
    listed = [[word[word >= 0].tolist() for word in label if word[0] >= 0] for label in words]
    longest = max(len(word) for label in listed for word in label)
    if backbone.kind == "masked":
        encoded = Encoder(backbone).cloze(one.pvp.pattern, [example], longest)
        kinds = {} if encoded.segments is None else {"token_type_ids": torch.tensor(encoded.segments)}
        log_p = backbone.model(torch.tensor(encoded.ids), **kinds).logits[0].log_softmax(-1)

        def score(word):
            return sum(log_p[slot, piece] for slot, piece in zip(encoded.slots[0], word, strict=False))
    elif backbone.kind == "seq2seq":
        encoded = Encoder(backbone).cloze(one.pvp.pattern, [example], longest)
        begun = encoded.replies[0]

        def score(word):
            inputs = {"input_ids": torch.tensor(encoded.ids), "decoder_input_ids": torch.tensor([begun + word])}
            log_p = backbone.model(**inputs).logits[0].log_softmax(-1)
            return sum(log_p[len(begun) - 1 + i, piece] for i, piece in enumerate(word))
    else:
        prompt = Encoder(backbone).cloze(one.pvp.pattern, [example], longest).ids[0]

        def score(word):
            log_p = backbone.model(torch.tensor([prompt + word])).logits[0].log_softmax(-1)
            return sum(log_p[len(prompt) - 1 + i, piece] for i, piece in enumerate(word))

    return torch.stack([torch.stack([score(word) for word in label]).mean() for label in listed])


def plain_hinge(scores, right):
    return sum(
        max(torch.zeros_like(one), 1 - scores[right] + one, key=float) for at, one in enumerate(scores) if at != right
    )


@pytest.mark.parametrize("make", [member, quizzed], ids=["labels", "candidates"])
@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2", "llama", "t5", "bart"])
def test_the_loss_is_the_hinge_over_the_choices_in_one_pass(float64, reviews, family, make):
    backbone, one = float64(family), make(reviews, "a")
    found, order = one_step(backbone, one)
    with torch.no_grad():
        each = [plain_hinge(plain_scores(backbone, one, row), one.targets[row]) for row in order]
    torch.testing.assert_close(found, torch.stack(each).mean(), rtol=0, atol=1e-10)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_soft_labels_are_learnt_through_words_of_several_tokens(float64, reviews, family):
    backbone, soft = float64(family), np.array([[0.2, 0.8], [0.9, 0.1], [0.5, 0.5], [1.0, 0.0]])
    one = Member(**{**vars(member(reviews, "a", rows=4)), "targets": soft})
    found, order = one_step(backbone, one)
    each = []
    with torch.no_grad():
        for row in order:
            log_p = (plain_scores(backbone, one, row) / 2).log_softmax(-1)
            each.append(4 * sum(q * (np.log(q) - p) for q, p in zip(soft[row], log_p.tolist(), strict=True) if q))
    torch.testing.assert_close(found.item(), float(np.mean(each)), rtol=0, atol=1e-10)


def test_soft_labels_of_rows_with_their_own_candidates_leave_padding_out(float64, reviews):
    soft = np.array([[0.7, 0.3, 0, 0], [0.1, 0.2, 0.7, 0], [0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0, 0]])
    one = Member(**{**vars(quizzed(reviews, "a", rows=4)), "targets": soft})
    backbone = float64("bert")
    found, order = one_step(backbone, one)
    assert found.isfinite()
    with torch.no_grad():
        each = []
        for row in order:
            log_p = (plain_scores(backbone, one, row) / 2).log_softmax(-1).tolist()
            each.append(4 * sum(q * (np.log(q) - p) for q, p in zip(soft[row], log_p, strict=False) if q))
    torch.testing.assert_close(found.item(), float(np.mean(each)), rtol=0, atol=1e-10)


def test_one_token_words_keep_the_cross_entropy(float64, reviews):
    backbone, one = float64("bert"), member(reviews, "a", PLAIN)
    found, order = one_step(backbone, one)
    with torch.no_grad():
        each = [-plain_scores(backbone, one, row).log_softmax(-1)[one.targets[row]] for row in order]
    torch.testing.assert_close(found, torch.stack(each).mean(), rtol=0, atol=1e-10)


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2", "llama", "t5", "bart"])
def test_a_stack_of_words_of_all_lengths_trains_each_member_as_alone(float64, reviews, family):
    backbone = float64(family)
    members = [
        member(reviews, "a", LONG, lr=1e-2),
        quizzed(reviews, "b", lr=3e-3),
        member(reviews, "c", PLAIN, rows=3, lr=5e-3),
        member(reviews, "d", OTHER, lr=1e-2),
    ]
    recipe = Recipe(steps=3, batch=4, budget=10**6)
    found = list(train(backbone, Lora(r=2), members, recipe, Encoder(backbone)))
    assert found[0].facts["stack"] == ["a", "b", "c", "d"]
    for together, one in zip(found, members, strict=True):
        (alone,) = train(backbone, Lora(r=2), [one], recipe, Encoder(backbone))
        for name, tensor in alone.state.items():
            torch.testing.assert_close(together.state[name], tensor, rtol=0, atol=1e-10)


def test_the_auxiliary_loss_keeps_members_of_all_lengths_apart(float64, reviews):
    backbone, pool = float64("bert"), [one.unlabelled() for one in reviews[20:]]
    members = [member(reviews, "a", LONG, unlabelled=pool), member(reviews, "b", PLAIN, unlabelled=pool)]
    recipe = Recipe(steps=3, batch=4, mlm=0.3, mlm_batch=3, budget=10**6)
    found = list(train(backbone, Lora(r=2), members, recipe, Encoder(backbone)))
    for together, one in zip(found, members, strict=True):
        (alone,) = train(backbone, Lora(r=2), [one], recipe, Encoder(backbone))
        for name, tensor in alone.state.items():
            torch.testing.assert_close(together.state[name], tensor, rtol=0, atol=1e-10)


def test_a_masked_step_costs_one_input_a_row_and_a_causal_one_knows_how_many_it_takes(tiny_bert, tiny_gpt2, reviews):
    recipe = Recipe(steps=1, batch=4)
    masked, causal = (Rows(quizzed(reviews, "a"), recipe, one, Encoder(one)) for one in (tiny_bert, tiny_gpt2))
    assert (len(masked.next().rows), masked.spread) == (4, 1)
    sizes = [len(causal.next().rows) for _ in range(6)]
    assert 4 < max(sizes) <= 4 * causal.spread
    assert stack_size([causal], recipe, 1) == 1


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_a_small_task_is_learnt_through_words_of_several_tokens(tiny, reviews, family):
    from promptlab.methods.predict import Model

    task = Task.from_parts(["{text} It was {mask}."], {"negative": "a bad film", "positive": "a good film"})
    backbone, one = tiny(family), member(reviews, "a", task, rows=32)
    recipe = Recipe(steps=80, batch=16)
    (done,) = train(backbone, Lora(lr=2e-2), [one], recipe, Encoder(backbone))
    model = Model(task, backbone, Encoder(backbone), one.pvp, Lora(lr=2e-2), done.state)
    gold = [task.labels.index(each.label) for each in reviews]
    assert (model.scores(reviews).argmax(1) == gold).mean() >= 0.9
