"""AdaMix: experts, their routes, and what is left of them in the end."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import RobertaConfig, RobertaForMaskedLM

from promptlab import PromptClassifier
from promptlab.backbone.anatomy import anatomy_of
from promptlab.backbone.device import generator
from promptlab.errors import SettingError
from promptlab.registry import TUNINGS
from promptlab.tuning.adamix import AdaMix, AdaMixLora, divergence

CLOSE = {"rtol": 0, "atol": 1e-10}
KINDS = [
    AdaMix(r=3, experts=3),
    AdaMix(r=3, experts=2, share="none"),
    AdaMix(r=3, experts=3, share="down", init="paper"),
    AdaMixLora(r=3, experts=3),
    AdaMixLora(r=3, experts=2, share="none"),
]


def named(tuning):
    return f"{tuning.name}-{tuning.share}"


def moved(learnt):
    with torch.no_grad():
        for name, tensor in learnt.tensors.items():
            tensor.add_(0.3 * torch.randn(tensor.shape, generator=generator(name), dtype=torch.float64).to(tensor))


def learning(backbone, tuning, *keys):
    return tuning.learn(backbone, True, [generator(key) for key in keys or ("a",)])


def ids(rows):
    return torch.arange(5, 5 + 4 * rows).view(rows, 4)


def logits(backbone, rows):
    with torch.no_grad():
        return backbone.model(input_ids=ids(rows)).logits


def kept(learnt):
    return {name: tensor.detach().clone() for name, tensor in learnt.tensors.items()}


def by_hand(hooks, backbone, rows):
    """What the plain backbone says with a function of (number, module's input, output) after some modules."""
    made = lambda number, f: lambda module, x, y: f(number, x[0], y)  # noqa: E731
    handles = [module.register_forward_hook(made(number, f)) for number, module, f in hooks]
    found = logits(backbone, rows)
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_the_forward_is_the_papers_few_lines(float64, family):
    backbone = float64(family)
    with learning(backbone, AdaMix(r=3, experts=3, share="none"), "a", "b") as learnt:
        moved(learnt)
        learnt.route([[0, 1], [0, 1]])
        found, tensors, taken = logits(backbone, 8), kept(learnt), learnt.routes.taken
    act = torch.nn.GELU("tanh" if family == "gpt2" else "none")
    names = [block.ffn_out.name for block in backbone.anatomy.blocks]

    def after(number, x, y):
        down, shift, up, lift = (tensors[f"{names[number]}.{p}"] for p in ("down", "down_bias", "up", "up_bias"))
        out = []
        for group, rows in enumerate(y.chunk(4)):  # two members, two passes
            member, i, j = group // 2, taken[2 * number, group], taken[2 * number + 1, group]
            inner = act(rows @ down[member].view(3, 32, 3)[i] + shift[member].view(3, 3)[i])
            out.append(rows + inner @ up[member].view(3, 3, 32)[j] + lift[member].view(3, 32)[j])
        return torch.cat(out)

    hooks = [(number, block.ffn_out.module, after) for number, block in enumerate(backbone.anatomy.blocks)]
    torch.testing.assert_close(found, by_hand(hooks, backbone, 8), **CLOSE)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_mixed_differences_are_the_papers_few_lines(float64, family):
    backbone = float64(family)
    with learning(backbone, AdaMixLora(r=2, alpha=6, experts=3), "a", "b") as learnt:
        moved(learnt)
        learnt.route([[0, 1], [0, 1]])
        found, tensors, taken = logits(backbone, 8), kept(learnt), learnt.routes.taken
    projections = [one for block in backbone.anatomy.blocks for one in (block.query, block.value)]

    def after(number, x, y):
        own = projections[number]
        a, b = tensors[f"{own.name}.A"], tensors[f"{own.name}.B"]
        y = y.clone()
        for group, (rows, out) in enumerate(zip(x.chunk(4), y.chunk(4), strict=True)):
            chosen = a[group // 2].view(3, 32, 2)[taken[number, group]]
            out[..., own.start : own.stop] += 6 / 2 * rows @ chosen @ b[group // 2]
        return y

    hooks = [(number, one.module, after) for number, one in enumerate(projections)]
    torch.testing.assert_close(found, by_hand(hooks, backbone, 8), **CLOSE)


@pytest.mark.parametrize("tuning", KINDS, ids=named)
def test_merged_answers_as_every_expert_set_to_the_mean(float64, tuning):
    for family in ("bert", "gpt2"):
        backbone = float64(family)
        with learning(backbone, tuning) as learnt:
            moved(learnt)
            state = learnt.state(0)
            with torch.no_grad():
                for name, tensor in learnt.tensors.items():
                    parts = tensor.unflatten(1, (learnt.experts[name], -1))
                    parts.copy_(parts.mean(1, keepdim=True).expand_as(parts))
            learnt.route([[0, 1]])
            wanted = logits(backbone, 4)
        hooks = sum(len(module._forward_hooks) for module in backbone.model.modules())
        with tuning.applied(backbone, state):
            torch.testing.assert_close(logits(backbone, 4), wanted, **CLOSE)
            beside = sum(len(module._forward_hooks) for module in backbone.model.modules()) - hooks
        assert beside == (len(backbone.anatomy.blocks) if tuning.name == "adamix" else 0)  # what is linear folds in


@pytest.mark.parametrize("tuning", KINDS, ids=named)
def test_the_mean_is_of_the_experts_as_they_are_now(float64, tuning):
    backbone = float64("bert")
    with learning(backbone, tuning) as learnt:
        for _ in range(2):
            moved(learnt)
            state, answers = learnt.state(0), logits(backbone, 2)
        last = learnt.state(0)
        assert all(torch.equal(state[name], last[name]) for name in last)
        moved(learnt)
        assert all(not torch.equal(state[name], one) for name, one in learnt.state(0).items())
        later = logits(backbone, 2)
    assert not torch.allclose(answers, later)
    with tuning.applied(backbone, state):
        torch.testing.assert_close(logits(backbone, 2), answers, **CLOSE)


@pytest.mark.parametrize("tuning", KINDS, ids=named)
def test_experts_start_different_from_each_other_and_in_every_member_and_layer(tiny_bert, tuning):
    with learning(tiny_bert, tuning, "a", "b") as learnt:
        own = "up" if tuning.share == "down" else "down" if tuning.name == "adamix" else "A"
        apart = [name for name in learnt.tensors if name.endswith(f".{own}")]
        parts = [
            part for name in apart for part in learnt.tensors[name].unflatten(1, (tuning.experts, -1)).flatten(0, 1)
        ]
        assert len(parts) == len(apart) * 2 * tuning.experts
        assert len({tuple(part.flatten().tolist()) for part in parts}) == len(parts)


def test_the_paper_draws_every_matrix_from_a_normal_distribution(tiny_bert):
    with learning(tiny_bert, AdaMix(r=32, init="paper", share="none"), "a") as learnt:
        for name, tensor in learnt.tensors.items():
            wanted = 0.0 if name.endswith("bias") else 0.02
            assert float(tensor.detach().std()) == pytest.approx(wanted, rel=0.1)


def test_routes_are_drawn_for_each_pass_layer_and_projection(tiny_bert):
    with learning(tiny_bert, AdaMix(r=2, experts=4, share="none"), "a") as learnt:
        drawn = []
        for _ in range(200):
            learnt.route([[0, 1, 2]])
            drawn.append(learnt.routes.taken.clone())
    drawn = torch.stack(drawn)
    assert drawn.shape == (200, 4, 2)  # two layers, down and up, two passes
    assert all(set(one.tolist()) == {0, 1, 2, 3} for one in drawn.flatten(1).T)
    agree = (drawn.flatten(1)[:, :, None] == drawn.flatten(1)[:, None, :]).double().mean(0)
    assert float((agree - torch.eye(8)).max()) < 0.4  # independent ones agree every fourth time


def test_one_route_a_row_goes_with_the_row_and_not_with_its_place(tiny_bert):
    with learning(tiny_bert, AdaMix(r=2, experts=4, routing="row"), "a", "b") as learnt:
        learnt.route([[0, 0, 1, 2, 0], [0, 1, 2, 3, 3]])
        first, second = learnt.routes.taken.view(2, 2, 2, 5).unbind(1)  # places, members, passes, inputs
    assert torch.equal(first[..., 0], first[..., 1])
    assert torch.equal(first[..., 0], first[..., 4])
    assert torch.equal(second[..., 3], second[..., 4])
    assert any(len(set(one.tolist())) > 1 for one in first.flatten(0, 1))
    assert not torch.equal(first[:, 0], first[:, 1])  # the second pass has its own


@pytest.mark.parametrize("routing", ["batch", "row"])
def test_a_members_routes_come_from_its_own_generator_whatever_stands_beside_it(tiny_bert, routing):
    def drawn(*keys, inputs):
        with learning(tiny_bert, AdaMix(r=2, routing=routing), *keys) as learnt:
            found = []
            for _ in range(3):
                learnt.route([[0, 1, *[0] * (inputs - 2)] for _ in keys])
                found.append(learnt.routes.taken.view(2, len(keys), 2, -1)[:, keys.index("b"), :, :2].clone())
            return torch.stack(found)

    assert torch.equal(drawn("b", inputs=2), drawn("a", "b", inputs=5))


def test_the_forward_draws_nothing(tiny_bert):
    with learning(tiny_bert, AdaMix(r=2), "a") as learnt:
        moved(learnt)
        learnt.route([[0]])
        before = [one.get_state() for one in (*learnt.routes.generators, torch.default_generator)]
        assert torch.equal(logits(tiny_bert, 2), logits(tiny_bert, 2))
        after = [one.get_state() for one in (*learnt.routes.generators, torch.default_generator)]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("detach", [True, False])
def test_the_divergence_is_the_symmetric_one_and_skips_labels_that_a_row_lacks(detach):
    a = torch.tensor([[0.3, -1.0, 2.0], [1.0, 0.5, -torch.inf]], dtype=torch.float64, requires_grad=True)
    b = torch.tensor([[0.1, 0.4, -2.0], [0.0, 0.7, -torch.inf]], dtype=torch.float64, requires_grad=True)
    found = divergence(a, b, detach)
    wanted = []
    for row, labels in ((0, 3), (1, 2)):
        p, q = a[row, :labels].log_softmax(0), b[row, :labels].log_softmax(0)
        to, fro = (p.detach(), q.detach()) if detach else (p, q)
        wanted.append(0.5 * ((to.exp() * (to - q)).sum() + (fro.exp() * (fro - p)).sum()))
    torch.testing.assert_close(found, torch.stack(wanted))
    ours, plain = (torch.autograd.grad(sum(one), [a, b]) for one in (found, wanted))
    for one, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("detach", [True, False])
def test_two_numbers_are_their_squared_distance_apart_and_both_are_pulled(detach):
    a = torch.tensor([[0.5], [-1.0]], dtype=torch.float64, requires_grad=True)
    b = torch.tensor([[0.2], [1.5]], dtype=torch.float64, requires_grad=True)
    found = divergence(a, b, detach)
    torch.testing.assert_close(found, torch.tensor([0.3**2, 2.5**2], dtype=torch.float64))
    pull = torch.tensor([[0.3], [-2.5]], dtype=torch.float64) * (1 if detach else 2)  # half of it, where one is given
    for one, wanted in zip(torch.autograd.grad(found.sum(), [a, b]), (pull, -pull), strict=True):
        torch.testing.assert_close(one, wanted)


def test_passes_that_agree_but_for_rounding_move_nothing():
    a = torch.randn(5, 3, generator=generator("a"), dtype=torch.float64, requires_grad=True)
    found = divergence(a, a.detach() + 1e-15, detach=True)
    found.sum().backward()
    assert found.abs().max() == 0
    assert a.grad.abs().max() == 0


def test_a_step_goes_through_once_where_nothing_reads_the_second_pass():
    assert AdaMix().passes == AdaMixLora().passes == 2
    assert AdaMix(consistency=0).passes == 1
    assert AdaMix(consistency=0, second_pass_loss=True).passes == 2
    assert AdaMix().packs
    assert not AdaMix(routing="row").packs


def counted(learnt):
    return sum(one.numel() for one in learnt.tensors.values()), sum(one.numel() for one in learnt.state(0).values())


@pytest.mark.parametrize(
    ("tuning", "training", "stored"),
    [
        (AdaMix(r=16, experts=4, share="up"), 1_992_192, 811_392),
        (AdaMix(r=16, experts=4, share="none"), 3_245_568, 811_392),
        (AdaMix(r=16, experts=4, share="down", init="paper"), 2_064_768, 811_392),
        (AdaMixLora(r=8, experts=4, share="up"), 48 * 5 * 1024 * 8, 786_432),
        (AdaMixLora(r=8, experts=4, share="none"), 4 * 786_432, 786_432),
    ],
)
def test_parameters_of_roberta_large_count_as_in_the_papers(tuning, training, stored):
    config = RobertaConfig(
        vocab_size=50265, hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096
    )
    with torch.device("meta"):
        model = RobertaForMaskedLM(config)
    with learning(
        SimpleNamespace(
            anatomy=anatomy_of(model), stackable=True, no_states=torch.empty(1024, 0, device="meta"), name="large"
        ),
        tuning,
    ) as learnt:
        assert counted(learnt) == (training, stored)


def test_parameters_count_as_the_formula_says(tiny_bert):
    with learning(tiny_bert, AdaMix(r=5, experts=3), "a", "b") as learnt:
        assert counted(learnt) == (2 * 2 * (3 * (32 * 5 + 5) + 5 * 32 + 32), 2 * (2 * 32 * 5 + 5 + 32))


def test_more_hidden_units_than_the_backbone_is_wide_are_refused(tiny_bert):
    for tuning in (AdaMix(r=33), AdaMixLora(r=33)):
        with (
            pytest.raises(SettingError, match=f"{tuning.name}: r={tuning.r} .*Write r from 1 to 32"),
            learning(tiny_bert, tuning),
        ):
            pass
    with pytest.raises(SettingError, match="adamix-lora: no target 'w'"), learning(tiny_bert, AdaMixLora(targets="w")):
        pass


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("adamix", {"experts": "1"}, "experts=1 cannot be. Write a whole number from 2 on"),
        ("adamix", {"share": "ups"}, "share=ups.* Did you mean 'up'"),
        ("adamix", {"routing": "token"}, "routing=token.* Write one of batch, row"),
        ("adamix", {"share": "down"}, "starts all experts alike. Write init=paper"),
        ("adamix-lora", {"share": "down"}, "Write share=up or share=none"),
        ("adamix", {"expert": "3"}, "no setting 'expert'"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_when_it_is_written(name, settings, said):
    with pytest.raises(SettingError, match=f"(?i){said}"):
        TUNINGS.build(name, settings)


@pytest.mark.parametrize("text", [1, "top", None])
def test_objects_are_checked_as_text_is(text):
    with pytest.raises(SettingError, match=f"adamix: share={text} cannot be"):
        AdaMix(share=text)


@pytest.mark.parametrize("method", ["prompt:steps=3", "finetune:steps=3"])
@pytest.mark.parametrize("tuning", ["adamix:r=2,share=none,lr=0.1", "adamix-lora:r=2,experts=3,lr=0.1"])
def test_what_was_saved_predicts_as_before(reviews_task, reviews, tiny_bert, tmp_path, method, tuning):
    made = PromptClassifier(reviews_task, method=method, tuning=tuning, backbone=tiny_bert).fit(reviews[:8])
    made.save_pretrained(tmp_path / "saved")
    again = PromptClassifier.from_pretrained(tmp_path / "saved")
    assert np.array_equal(again.predict_proba(reviews), made.predict_proba(reviews))
    plain = PromptClassifier(reviews_task, method=method, tuning="adamix:lr=0", backbone=tiny_bert).fit(reviews[:8])
    assert not np.array_equal(plain.predict_proba(reviews), made.predict_proba(reviews))


def test_mixed_differences_become_a_plain_checkpoint_and_bottlenecks_do_not(reviews_task, reviews, tiny_bert, tmp_path):
    def fitted(tuning):
        made = PromptClassifier(reviews_task, method="prompt:steps=2", tuning=tuning, backbone=tiny_bert)
        return made.fit(reviews[:8])

    made = fitted("adamix-lora:r=2,lr=0.1")
    made.save_pretrained(tmp_path / "merged", merge=True)
    plain = PromptClassifier(reviews_task, method="zero-shot", backbone=str(tmp_path / "merged")).fit(reviews[:8])
    np.testing.assert_allclose(plain.predict_proba(reviews), made.predict_proba(reviews), rtol=0, atol=1e-5)
    with pytest.raises(SettingError, match="stands beside the weights"):
        fitted("adamix:r=2").save_pretrained(tmp_path / "beside", merge=True)
