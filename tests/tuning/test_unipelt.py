"""UniPELT: bottlenecks, a prefix and low-rank differences behind gates that average over a row's real tokens."""

import checks
import pytest
import torch

from promptlab import PromptClassifier
from promptlab.backbone.batches import pad
from promptlab.backbone.cache import reusable
from promptlab.backbone.device import generator
from promptlab.backbone.encode import Encoder
from promptlab.backbone.rows import whole_rows
from promptlab.backbone.score import slot_logits
from promptlab.errors import BackboneError, SettingError
from promptlab.methods.predict import Model
from promptlab.registry import TUNINGS
from promptlab.tuning.unipelt import UniPelt

SMALL = {"adapter_r": 3, "n": 3, "mid": 4, "r": 2}
APL, DIRECT = UniPelt(**SMALL), UniPelt(**{**SMALL, "mid": 0})
AP, AL = UniPelt("ap", adapter_r=3, n=3, mid=4, init="paper"), UniPelt("adapter+lora", adapter_r=3, r=2)
EACH = [APL, DIRECT, AP, AL, UniPelt("prefix", n=3, mid=4), UniPelt("lora", r=2)]
FAMILIES = ["bert", "roberta", "distilbert", "albert", "modernbert", "gpt2", "llama", "qwen3", "mistral", "opt"]


def named(tuning):
    return f"{tuning.parts}-{tuning.mid}"


def told_apart(backbone, tuning, seed="m"):
    """A state that training may have reached."""
    with tuning.learn(backbone, True, [generator(seed)]) as learnt:
        checks.moved(learnt)
        return learnt.state(0)


@pytest.mark.parametrize("family", FAMILIES)
def test_it_lets_go_and_the_stored_state_answers_as_each_member_did(float64, reviews, family):
    backbone = float64(family)
    for tuning in (APL, AP):
        checks.let_go(backbone, tuning)
        if family not in checks.SINGLE:
            checks.applies(backbone, tuning, reviews)


@pytest.mark.parametrize(
    ("tuning", "family"), [*((one, family) for one in EACH for family in ("bert", "gpt2")), (APL, "opt")],
    ids=lambda one: named(one) if isinstance(one, UniPelt) else one,
)  # fmt: skip
def test_a_stack_trains_each_member_as_alone(float64, reviews, tuning, family):
    checks.stacks(float64(family), tuning, reviews, head=family == "gpt2")


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2", "llama"])
def test_gradients_are_finite_differences(float64, reviews, family):
    for tuning in (APL, DIRECT):
        checks.differentiates(float64(family), tuning, reviews)


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2"])
def test_checkpointing_changes_nothing(float64, reviews, family):
    checks.recomputes(float64(family), APL, reviews)


def test_rows_are_not_packed_though_the_backbone_would_allow_it(float64, reviews):
    backbone, one = float64("bert"), [checks.member(reviews, "a", lr=1e-2)]
    (packed,), (padded,) = (checks.states(checks.trained(backbone, APL, one, packed=how)) for how in (True, False))
    assert all(torch.equal(packed[name], padded[name]) for name in padded)
    with pytest.raises(BackboneError, match=r"averages over rows.*Write another tuning"):
        checks.packs(backbone, APL, reviews)


@pytest.mark.parametrize("head", [False, True], ids=["cloze", "head"])
def test_it_learns_and_what_was_saved_predicts_as_before(tiny, reviews, head):
    for backbone in map(tiny, ("bert", "gpt2", "llama", "opt")):
        checks.learns(backbone, APL, reviews, 1e-2, head=head)
        checks.reloads(backbone, APL, reviews, head=head)


class Plainly:
    """One row alone through a model of four heads, by the formulas.

    Args:
        state: what was learnt.
        row: token ids.
    """

    def __init__(self, state, row):
        self.state, self.ids, self.places = state, torch.tensor(row), torch.arange(len(row))

    def opened(self, name, x):
        return torch.sigmoid(x @ self.state[f"{name}.gate"] + self.state[f"{name}.gate_bias"]).mean()

    def low(self, name, x):
        return self.opened(name, x) * x @ self.state[f"{name}.A"] @ self.state[f"{name}.B"]

    def bottleneck(self, name, x):
        inner = (x @ self.state[f"{name}.down"] + self.state[f"{name}.down_bias"]).relu()
        return self.opened(name, x) * (inner @ self.state[f"{name}.up"] + self.state[f"{name}.up_bias"])

    def attention(self, i, x, qkv, query, value, causal):
        keys, values = self.opened(f"gate.{query}", x) * self.state["prefix.prefix"][i]
        q, k, v = qkv
        q, k = q + self.low(f"lora.{query}", x), torch.cat([keys, k])
        v = torch.cat([values, v + self.low(f"lora.{value}", x)])
        later = torch.full((len(q), len(k)), -torch.inf if causal else 0.0, dtype=q.dtype).triu(len(k) - len(q) + 1)
        parts = [slice(j, j + 8) for j in range(0, 32, 8)]
        return torch.cat([(q[:, j] @ k[:, j].T / 8**0.5 + later).softmax(-1) @ v[:, j] for j in parts], -1)

    def bert(self, body):
        x = body.embeddings(self.ids[None])[0]
        for i, block in enumerate(body.encoder.layer):
            one, at = block.attention.self, f"bert.encoder.layer.{i}.attention.self"
            qkv = one.query(x), one.key(x), one.value(x)
            attended = self.attention(i, x, qkv, f"{at}.query", f"{at}.value", causal=False)
            x = block.attention.output(attended, x)
            summed, name = block.output.dense(block.intermediate(x)) + x, f"adapter.bert.encoder.layer.{i}.output.dense"
            x = block.output.LayerNorm(summed + self.bottleneck(name, block.output.LayerNorm(summed)))
        return x

    def gpt2(self, body):
        x = body.wte(self.ids) + body.wpe(self.places)
        for i, block in enumerate(body.h):
            h, at = block.ln_1(x), f"transformer.h.{i}.attn.c_attn"
            qkv = block.attn.c_attn(h).split(32, -1)
            x = x + block.attn.c_proj(self.attention(i, h, qkv, f"{at}[query]", f"{at}[value]", causal=True))
            o = block.mlp(block.ln_2(x))
            x = x + o + self.bottleneck(f"adapter.transformer.h.{i}.mlp.c_proj", o)
        return body.ln_f(x)

    def opt(self, body):
        x = body.decoder.project_in(body.decoder.embed_tokens(self.ids))
        x = x + body.decoder.embed_positions.weight[2 + self.places]
        for i, block in enumerate(body.decoder.layers):
            h, one, at = block.self_attn_layer_norm(x), block.self_attn, f"model.decoder.layers.{i}.self_attn"
            qkv = one.q_proj(h), one.k_proj(h), one.v_proj(h)
            x = x + one.out_proj(self.attention(i, h, qkv, f"{at}.q_proj", f"{at}.v_proj", causal=True))
            o = block.fc2(block.fc1(block.final_layer_norm(x)).relu())
            x = x + o + self.bottleneck(f"adapter.model.decoder.layers.{i}.fc2", o)
        return body.decoder.project_out(body.decoder.final_layer_norm(x))


@pytest.mark.parametrize("family", ["bert", "gpt2", "opt"])
def test_a_forward_is_that_of_the_formulas_and_padding_moves_nothing(float64, family):
    backbone = float64(family)
    state, rows = told_apart(backbone, APL), [[5, 6, 7, 8, 9, 10], [11, 12, 13]]
    inputs = torch.tensor([rows[0], rows[1] + [0] * 3])
    with APL.applied(backbone, state), torch.no_grad():
        found = backbone.body(input_ids=inputs, attention_mask=(inputs > 0).long()).last_hidden_state
    for row, states in zip(rows, found, strict=True):
        with torch.no_grad():
            wanted = getattr(Plainly(state, row), family)(backbone.body)
        torch.testing.assert_close(states[: len(row)], wanted, **checks.CLOSE)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_row_is_answered_hangs_on_no_other_row(float64, reviews, family):
    backbone, near = float64(family), {"rtol": 0, "atol": 1e-5 if family in checks.SINGLE else 1e-10}
    rows = [reviews[0], type(reviews[0])({"text": "a very good film and " * 4}, "positive")]
    encoded = Encoder(backbone).cloze(checks.TASK.pvps[0].pattern, rows)
    with APL.applied(backbone, told_apart(backbone, APL)), torch.no_grad():
        beside, alone = (slot_logits(backbone, pad(encoded, chosen, backbone))[0] for chosen in ([0, 1], [0]))
        batch = pad(encoded, [0, 1], backbone)
        whole = backbone.model(**batch.inputs).logits
    torch.testing.assert_close(beside, alone, **near)
    torch.testing.assert_close(beside, whole[0, batch.slots[0]], **near)  # the last block is not narrowed


def test_a_forward_without_a_mask_does_not_remember_an_earlier_one(float64):
    backbone, ids = float64("bert"), torch.tensor([[5, 6, 7, 8]])
    with APL.applied(backbone, told_apart(backbone, APL)), torch.no_grad():
        first = backbone.model(input_ids=ids).logits
        backbone.model(input_ids=ids, attention_mask=torch.tensor([[1, 1, 0, 0]]))
        assert torch.equal(backbone.model(input_ids=ids).logits, first)
        backbone.model(ids, torch.tensor([[1, 1, 0, 0]]))  # by place, not by name
        with whole_rows(backbone) as real:
            backbone.model(ids, torch.tensor([[1, 1, 0, 0]]))
    assert real.of(torch.zeros(1, 4, 1)).tolist() == [[1, 1, 0, 0]]


@pytest.mark.parametrize("family", ["bert", "opt"])
def test_without_a_mask_every_token_is_real_and_what_a_call_reads_may_be_embeddings(float64, family):
    backbone, ids = float64(family), torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])
    vectors = backbone.model.get_input_embeddings()(ids)
    with APL.applied(backbone, told_apart(backbone, APL)), torch.no_grad():
        wanted = backbone.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        for given in ({"input_ids": ids}, {"inputs_embeds": vectors}):
            torch.testing.assert_close(backbone.model(**given).logits, wanted, **checks.CLOSE)


def test_tokens_in_one_run_are_parted_into_rows_or_refused(tiny_bert):
    with whole_rows(tiny_bert) as real, torch.no_grad():
        with pytest.raises(BackboneError, match=r"states of 4 tokens where the batch has .*Write another tuning"):
            real.rows(torch.zeros(4, 3))
        tiny_bert.model(torch.tensor([[5, 6, 7], [8, 9, 10]]))
        assert torch.equal(real.rows(torch.arange(12.0).view(6, 2)), torch.arange(12.0).view(2, 3, 2))
        with pytest.raises(BackboneError, match="states of 5 tokens where the batch has 2 x 3"):
            real.rows(torch.zeros(5, 2))


def test_no_beginning_is_shared_while_rows_are_read_whole(tiny_gpt2):
    assert reusable(tiny_gpt2, 20)
    with AL.applied(tiny_gpt2, told_apart(tiny_gpt2, AL)):
        with AL.applied(tiny_gpt2, told_apart(tiny_gpt2, AL)):
            assert not reusable(tiny_gpt2, 20)
        assert not reusable(tiny_gpt2, 20)
    assert reusable(tiny_gpt2, 20)


def test_without_a_prefix_the_start_equals_the_plain_backbone(float64):
    for family in ("bert", "gpt2"):
        checks.starts_plain(float64(family), AL)


def test_gates_start_half_open_and_bottlenecks_as_asked(tiny_bert):
    def start(tuning, *keys):
        with tuning.learn(tiny_bert, True, [generator(key) for key in keys]) as learnt:
            return [learnt.state(i) for i in range(len(keys))]

    first, second = start(APL, "a", "b")
    weights = torch.cat([one for name, one in first.items() if name.endswith(".gate")])
    assert 0.015 < float(weights.std()) < 0.025
    assert not any(one.any() for name, one in first.items() if name.endswith(".gate_bias"))
    assert all(torch.equal(one, second[name]) for name, one in start(APL, "b")[0].items())
    assert not torch.equal(first["prefix.prefix"], second["prefix.prefix"])
    ups = [
        (one, bool(paper[name].any()))
        for paper in start(AP, "a")
        for name, one in first.items()
        if name.endswith(".up")
    ]
    assert all(there and not one.any() for one, there in ups)


@pytest.mark.parametrize("family", ["bert", "gpt2", "qwen3"])
def test_parameters_count_as_the_formulas_say(tiny, family):
    backbone, d, layers = tiny(family), 32, 2
    kv = 32 if family != "qwen3" else 2 * 16  # key-value heads, not heads
    q = 32 if family != "qwen3" else 4 * 16
    adapter, prefix = layers * (2 * d * 3 + 3 + d), layers * 2 * 3 * kv
    lora, gate = layers * 2 * (d + q + d + kv), layers * (d + 1)
    for tuning, stored in (
        (APL, adapter + prefix + lora + 4 * gate),
        (AP, adapter + prefix + 2 * gate),
        (AL, adapter + lora + 3 * gate),
    ):
        with tuning.learn(backbone, True, [generator("m")]) as learnt:
            assert sum(one.numel() for one in learnt.state(0).values()) == stored
    through = 3 * d + (d + 1) * 4 + (4 + 1) * layers * 2 * kv
    with AP.learn(backbone, True, [generator("m")]) as learnt:
        assert sum(one.numel() for one in learnt.tensors.values()) == adapter + through + 2 * gate


def test_one_rate_for_all_and_no_decay_on_the_prefix(tiny_bert):
    assert APL.rate(tiny_bert, True) == pytest.approx(5e-4 * 1024 / 32)
    assert UniPelt(lr=0.1).rate(tiny_bert, True) == 0.1
    with APL.learn(tiny_bert, True, [generator("m")]) as learnt:
        assert {name.partition(".")[0] for name, (_, decay) in learnt.factors.items() if not decay} == {"prefix"}
        assert {faster for faster, _ in learnt.factors.values()} == {1.0}


def test_names_for_short_and_any_order_are_the_same_tuning():
    assert UniPelt("ap") == UniPelt("prefix+adapter")
    assert UniPelt("apl") == UniPelt("lora+prefix+adapter") == TUNINGS.build("unipelt")


def test_what_drops_while_it_learns_drops_nothing_when_it_answers(float64, reviews):
    backbone, tuning = float64("bert"), UniPelt(**SMALL, dropout=0.3)
    with tuning.learn(backbone, True, [generator("m")]) as learnt:
        checks.moved(learnt)
        assert not checks.logits(backbone).equal(checks.logits(backbone))
        state = learnt.state(0)
    with tuning.applied(backbone, state):
        found = checks.logits(backbone)
        assert found.equal(checks.logits(backbone))
    with UniPelt(**SMALL).applied(backbone, state):
        torch.testing.assert_close(found, checks.logits(backbone), **checks.CLOSE)


def test_a_saved_classifier_predicts_equally_and_does_not_merge(tiny_bert, reviews_task, reviews, tmp_path):
    from promptlab.methods.merge import write_merged

    system = "prompt:steps=2+unipelt:parts=apl,adapter_r=3,n=3,mid=4,r=2"
    first = PromptClassifier(reviews_task, method=system, backbone=tiny_bert).fit(reviews[:8])
    first.save_pretrained(tmp_path / "first")
    texts = [one.fields["text"] for one in reviews[8:16]]
    again = PromptClassifier.from_pretrained(tmp_path / "first")
    assert (again.predict_proba(texts) == first.predict_proba(texts)).all()
    state = told_apart(tiny_bert, APL)
    model = Model(checks.TASK, tiny_bert, Encoder(tiny_bert), checks.TASK.pvps[0], APL, state)
    with pytest.raises(SettingError, match="stands beside the weights"):
        write_merged(model, tmp_path, "prompt+unipelt")


@pytest.mark.parametrize("method", ["pet", "ipet:generations=1"])
def test_it_learns_under_ensembles_too(tiny_bert, reviews_task, reviews, method):
    more = "," if ":" in method else ":"
    system = f"{method}{more}repetitions=1,steps=2,student_steps=2+unipelt:parts=ap,adapter_r=3,n=3,mid=4"
    taught = PromptClassifier(reviews_task, method=system, backbone=tiny_bert)
    taught.fit(reviews[:8], unlabeled=[one.unlabelled() for one in reviews[20:]])
    assert len(taught.predict([one.fields["text"] for one in reviews[8:12]])) == 4


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"parts": "adapter+prefx"}, "no part 'prefx'. Did you mean 'prefix'"),
        ({"parts": "adapter+adapter"}, "names a part twice"),
        ({"parts": "ap", "r": 4}, "r= is for lora, and parts=adapter.prefix"),
        ({"parts": "lora", "mid": 0}, "mid= is for prefix"),
        ({"init": "random"}, "init=random cannot be"),
    ],
)
def test_a_setting_that_cannot_be_says_what_to_write(settings, said):
    with pytest.raises(SettingError, match=said) as caught:
        TUNINGS.build("unipelt", {key: str(value) for key, value in settings.items()})
    assert "Write" in str(caught.value)


@pytest.mark.parametrize(
    ("tuning", "said"),
    [
        (UniPelt(), "adapter_r=48 does not fit .*, which is 32 wide. Write adapter_r from 1 to 32"),
        (UniPelt("lora", r=33), "r=33 does not fit"),
        (UniPelt("prefix", n=128), "n=128, but .* reads 128 tokens"),
    ],
)
def test_what_the_backbone_cannot_have_is_refused_before_training(tiny_bert, tuning, said):
    with pytest.raises(SettingError, match=said) as caught, tuning.learn(tiny_bert, True, [generator("m")]):
        pass
    assert "Write" in str(caught.value)
