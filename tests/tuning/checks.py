"""What every tuning must keep: checks for any test to call, on a tiny backbone in double precision.

    let_go          after its blocks the backbone is bit for bit what it was
    starts_plain    untrained, it answers as the plain backbone does
    applies         the applied state answers as the trained member did, also where it is folded into the weights
    differentiates  gradients of the training loss equal finite differences
    recomputes      gradient checkpointing changes neither loss nor gradients
    packs           rows laid end to end give the loss of padded rows
    stacks          a stack trains each member exactly as it would train alone
    learns          a few steps bring the loss down
    reloads         what was saved predicts as before

``from checks import ...`` works in every test (pyproject names this folder). ``reviews`` is conftest's fixture.
"""

from contextlib import contextmanager

import numpy as np
import torch

from promptlab.backbone.device import generator
from promptlab.backbone.encode import Encoder
from promptlab.backbone.heads import default_pool, head_for
from promptlab.backbone.packing import packable
from promptlab.language.task import Task
from promptlab.methods.predict import Model, restore_model
from promptlab.training.head import HeadStack
from promptlab.training.loop import step_losses, train
from promptlab.training.member import Member, Recipe, Rows

TASK = Task.from_parts(
    patterns=["{text} It was {mask}.", "{text} All in all, it was {mask}."],
    verbalizer={"negative": ["terrible", "bad"], "positive": ["great", "good"]},
)
CLOSE = {"rtol": 0, "atol": 1e-10}
SINGLE = ("modernbert", "llama", "mistral", "qwen2", "qwen3")  # rotate or norm in single precision, whatever is asked


def member(reviews, key, pvp=0, rows=8, head=False, **rates):
    """A member that asks pattern ``pvp`` of the task above, or trains a head on the bare text."""
    targets = np.array([TASK.labels.index(one.label) for one in reviews[:rows]])
    return Member(key, reviews[:rows], targets, 2, ("text",), None if head else TASK.pvps[pvp], **rates)


def three(reviews, head=False):
    """Two patterns, three rates, and one of them with fewer rows than a batch."""
    return [
        member(reviews, "a", 0, head=head, lr=1e-2),
        member(reviews, "b", 1, rows=3, head=head, lr=3e-3, weight_decay=0.1),
        member(reviews, "c", 0, head=head, lr=5e-3),
    ]


def trained(backbone, tuning, members, **recipe):
    """The members, trained in one stack: ``Trained`` each."""
    settings = {"steps": 3, "batch": 5, "budget": 10**6, **recipe}
    return list(train(backbone, tuning, members, Recipe(**settings), Encoder(backbone)))


def states(found):
    """Copies of the learnt tensors of each."""
    return [{name: tensor.clone() for name, tensor in one.state.items()} for one in found]


def moved(learnt, by=0.3):
    """Changes every learnt tensor, as training would, and each its own way."""
    with torch.no_grad():
        for name, tensor in learnt.tensors.items():
            tensor.add_(by * torch.randn(tensor.shape, generator=generator(name), dtype=torch.float64).to(tensor))


def bits(backbone):
    """A copy of every weight and buffer."""
    return {name: tensor.clone() for name, tensor in backbone.model.state_dict().items()}


def logits(backbone, tokens=((5, 6, 7, 8), (9, 10, 11, 12))):
    """What the backbone says of some token ids, without gradients."""
    decoder = {"decoder_input_ids": torch.tensor(tokens)[:, :3]} if backbone.kind == "seq2seq" else {}
    with torch.no_grad():
        return backbone.model(input_ids=torch.tensor(tokens), **decoder).logits


def exactly(norm, states):
    """T5's norm in the precision of the states: its own sums squares in single precision."""
    return norm.weight * states * torch.rsqrt(states.square().mean(-1, keepdim=True) + norm.variance_epsilon)


class Stepping:
    """One step's loss of members, again and again on the same rows: call it inside ``tuning.learn``."""

    def __init__(self, backbone, tuning, members, **recipe):
        self.backbone, self.members = backbone, members
        self.recipe = Recipe(**{"steps": 1, "batch": 3, "packed": False, **recipe})
        encoder = tuning.reading(Encoder(backbone))
        self.rows = [Rows(one, self.recipe, backbone, encoder) for one in members]
        self.steps = [one.next() for one in self.rows]
        self.head = None
        if members[0].pvp is None:
            shape = head_for(backbone, 2, default_pool(backbone))
            made = [generator(one.key) for one in members]
            self.head = HeadStack(shape, made, tuning.pooler, like=next(backbone.model.parameters()))

    def __call__(self):
        """The members' losses, ``(members,)``."""
        return step_losses(self.backbone, self.rows, self.steps, self.recipe, self.head)


@contextmanager
def learning(backbone, tuning, members):
    """``tuning.learn`` for these members, with every learnt tensor moved away from its start."""
    with tuning.learn(backbone, members[0].pvp is not None, [generator(one.key) for one in members]) as learnt:
        moved(learnt)
        yield learnt


def gradients(loss, learnt):
    """The gradient of the summed loss by each learnt tensor; zeros where it has none."""
    found = torch.autograd.grad(loss.sum(), list(learnt.tensors.values()), allow_unused=True)
    named = zip(learnt.tensors.items(), found, strict=True)
    return {name: torch.zeros_like(tensor) if one is None else one for (name, tensor), one in named}


def let_go(backbone, tuning):
    """After its blocks the backbone is bit for bit what it was, and inside them it was not."""
    before, answers = bits(backbone), logits(backbone)

    def same():
        return all(torch.equal(tensor, before[name]) for name, tensor in backbone.model.state_dict().items())

    with tuning.learn(backbone, True, [generator("m")]) as learnt:
        moved(learnt)
        assert not torch.equal(logits(backbone), answers)
        state = learnt.state(0)
    assert same()
    with tuning.applied(backbone, state):
        assert not torch.equal(logits(backbone), answers)
    assert same()
    assert torch.equal(logits(backbone), answers)
    assert not any(one.requires_grad or one.grad is not None for one in backbone.model.parameters())
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in backbone.model.modules())


def starts_plain(backbone, tuning):
    """Untrained, the backbone answers as without it."""
    answers = logits(backbone)
    with tuning.learn(backbone, True, [generator("a"), generator("b")]):
        torch.testing.assert_close(logits(backbone), answers, **CLOSE)


def applies(backbone, tuning, reviews):
    """The applied state answers as each member of a stack did while it trained."""
    members = [member(reviews, "a"), member(reviews, "b", 1)]
    with learning(backbone, tuning, members) as learnt:
        wanted = Stepping(backbone, tuning, members)().detach()
        kept = [learnt.state(0), learnt.state(1)]
    for i, state in enumerate(kept):
        with tuning.applied(backbone, state):
            found = Stepping(backbone, tuning, members[i : i + 1])().detach()
        torch.testing.assert_close(found[0], wanted[i], **CLOSE)


def differentiates(backbone, tuning, reviews, head=False, shorter=1):
    """The gradient of the training loss, along a random direction of each learnt tensor, is its finite difference.

    A kink (relu) is seldom met within 1e-5; where a family needs longer steps, ask for a smooth tuning. Many
    learnt parts at once bend the loss more: ask for steps that many times ``shorter``.
    """
    single = backbone.config.model_type in SINGLE
    step, near = (1e-3, {"rtol": 1e-3, "atol": 3e-4}) if single else (1e-5, {"rtol": 1e-5, "atol": 1e-8})
    step /= shorter
    members = [member(reviews, key, head=head) for key in ("ab" if tuning.stackable else "a")]
    with learning(backbone, tuning, members) as learnt:
        loss = Stepping(backbone, tuning, members)
        exact = gradients(loss(), learnt)
        for name, tensor in learnt.tensors.items():
            way = torch.randn(tensor.shape, generator=generator(f"{name}/way"), dtype=torch.float64)
            ends = []
            for sign in (1, -2):  # to one side, then as far to the other
                with torch.no_grad():
                    tensor.add_(sign * step * way)
                    ends.append(float(loss().sum()))
            with torch.no_grad():
                tensor.add_(step * way)
            found = torch.tensor((ends[0] - ends[1]) / (2 * step), dtype=torch.float64)
            wanted = (exact[name] * way).sum()
            torch.testing.assert_close(found, wanted, **near, msg=lambda said, name=name: f"{name}: {said}")
        assert any(one.abs().max() > 0 for one in exact.values())


def recomputes(backbone, tuning, reviews):
    """Gradient checkpointing changes neither losses nor gradients."""
    members, passed = [member(reviews, "a"), member(reviews, "b", 1)][: 2 if tuning.stackable else 1], []
    with learning(backbone, tuning, members) as learnt:
        loss = Stepping(backbone, tuning, members)
        wanted = loss()
        exact = gradients(wanted, learnt)
        with _checkpointing(backbone):
            query = backbone.anatomy.blocks[-1].query.module
            count = query.register_forward_pre_hook(lambda *_: passed.append(1))
            found = loss()
            again = gradients(found, learnt)
            count.remove()
    assert len(passed) == 2, "the last block was not computed again"
    torch.testing.assert_close(found, wanted, **CLOSE)
    for name, one in exact.items():
        torch.testing.assert_close(again[name], one, **CLOSE)


@contextmanager
def _checkpointing(backbone):
    model = backbone.model
    drops = {one: one.p for one in model.modules() if isinstance(one, torch.nn.Dropout)}
    for one in drops:
        one.p = 0.0
    model.activation_checkpointing_enable({"use_reentrant": False})
    model.train()
    try:
        yield
    finally:
        model.activation_checkpointing_disable()
        model.eval()
        for one, p in drops.items():
            one.p = p


def packs(backbone, tuning, reviews, head=False):
    """Rows laid end to end give each member the loss of padded rows."""
    members = [member(reviews, "a", head=head), member(reviews, "b", head=head)]
    assert packable(backbone)  # and tried before anything is hooked, as the loop does
    with learning(backbone, tuning, members):
        padded, packed = (Stepping(backbone, tuning, members, packed=one, batch=6)() for one in (False, True))
    torch.testing.assert_close(packed, padded, **CLOSE)


def stacks(backbone, tuning, reviews, head=False, **recipe):
    """A stack trains each member exactly as it would train alone."""
    members = three(reviews, head)
    found = trained(backbone, tuning, members, **recipe)
    assert found[0].facts["stack"] == ["a", "b", "c"]
    for together, one in zip(states(found), members, strict=True):
        (alone,) = states(trained(backbone, tuning, [one], **recipe))
        assert together.keys() == alone.keys()
        for name in alone:
            torch.testing.assert_close(together[name], alone[name], **CLOSE)


def learns(backbone, tuning, reviews, lr, head=False, steps=3):
    """The loss falls within a few steps over the same rows."""
    one = member(reviews, "a", head=head, lr=lr)
    recipe = {"batch": 8, "warmup": 0.0, "head_lr": lr if head else None}
    first, last = (trained(backbone, tuning, [one], steps=many, **recipe)[0].facts["loss"] for many in (1, steps + 1))
    assert last < first


def reloads(backbone, tuning, reviews, head=False):
    """What was saved predicts as before, and through its settings alone."""
    one = member(reviews, "a", head=head, lr=1e-2)
    (done,) = trained(backbone, tuning, [one])
    pool = default_pool(backbone)
    model = Model(TASK, backbone, Encoder(backbone), one.pvp, tuning, done.state, pool=pool)
    saved = model.saved()
    again = restore_model(TASK, backbone, saved.config, dict(saved.tensors))
    assert again.tuning == tuning
    np.testing.assert_array_equal(again.scores(reviews), model.scores(reviews))
    plain = Model(TASK, backbone, Encoder(backbone), one.pvp, pool=pool)
    if not head:
        assert np.abs(plain.scores(reviews) - model.scores(reviews)).max() > 0
