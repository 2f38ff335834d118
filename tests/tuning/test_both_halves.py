"""Adapters of encoder-decoders: the forward is that of T5 and of BART written out by hand with the papers' formulas."""

import checks
import pytest
import torch
from torch.nn.functional import gelu
from transformers.models.t5.modeling_t5 import T5LayerNorm

from promptlab.backbone.device import generator
from promptlab.tuning.adamix import AdaMix
from promptlab.tuning.houlsby import Houlsby
from promptlab.tuning.ia3 import Ia3
from promptlab.tuning.parallel import Parallel
from promptlab.tuning.pfeiffer import Pfeiffer

TUNINGS = [Pfeiffer(r=4), Parallel(r=4, scale=2.0), Houlsby(r=3), Ia3(), AdaMix(r=3, experts=2)]
TEXTS, REPLIES = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]]), torch.tensor([[5, 6, 7], [9, 10, 11]])


class Written:
    """Both halves by hand, four heads of eight; what a tuning changes is written beside it.

    Args:
        name: of the tuning.
        state: what it has learnt.
    """

    def __init__(self, name, state):
        self.name, self.state = name, state

    def f(self, place, x, act=torch.relu):
        down, shift, up, lift = (self.state[f"{place}.{part}"] for part in ("down", "down_bias", "up", "up_bias"))
        return act(x @ down + shift) @ up + lift

    def times(self, place, x):
        return x * self.state[f"{place}.factor"] if self.name == "ia3" else x

    def attended(self, place, a):
        return a + self.f(place, a, gelu) if self.name == "houlsby" else a

    def fed(self, place, x, o):
        """What follows a feed-forward that reads x and puts out o; Pfeiffer's stands elsewhere under a norm."""
        if self.name == "parallel":
            return o + 2.0 * self.f(place, x)
        return o + self.f(place, o, gelu) if self.name in ("houlsby", "adamix") else o

    def heads(self, q, k, v, bias=0.0):
        q, k, v = (one.unflatten(-1, (4, 8)).transpose(1, 2) for one in (q, k, v))
        return ((q @ k.transpose(-1, -2) + bias).softmax(-1) @ v).transpose(1, 2).flatten(2)

    def t5(self, model):
        states = self.t5_half(model.encoder, "encoder", TEXTS, None)
        return model.lm_head(self.t5_half(model.decoder, "decoder", REPLIES, states) * 32**-0.5)

    def t5_half(self, half, name, ids, states):
        x, tokens = half.embed_tokens(ids), ids.shape[1]
        bias = half.block[0].layer[0].SelfAttention.compute_bias(tokens, tokens) + masked(tokens, name)
        for i, block in enumerate(half.block):
            at, (first, *between, last) = f"{name}.block.{i}.layer", block.layer
            h, own = first.layer_norm(x), first.SelfAttention
            k, v = self.times(f"{at}.0.SelfAttention.k", own.k(h)), self.times(f"{at}.0.SelfAttention.v", own.v(h))
            x = x + self.attended(f"{at}.0.SelfAttention.o", own.o(self.heads(own.q(h), k, v, bias)))
            for cross in between:
                h, own, place = cross.layer_norm(x), cross.EncDecAttention, f"{at}.1.EncDecAttention"
                k, v = self.times(f"{place}.k", own.k(states)), self.times(f"{place}.v", own.v(states))
                x = x + own.o(self.heads(own.q(h), k, v))
            h, place = last.layer_norm(x), f"{at}.{len(between) + 1}.DenseReluDense.wo"
            o = last.DenseReluDense.wo(self.times(place, last.DenseReluDense.wi(h).relu()))
            o = self.fed(place, h, o)
            x = x + (o + self.f(place, o) if self.name == "pfeiffer" else o)
        return half.final_layer_norm(x)

    def bart(self, model):
        states = self.bart_half(model.model.encoder, "encoder", TEXTS, None)
        return model.lm_head(self.bart_half(model.model.decoder, "decoder", REPLIES, states)) + model.final_logits_bias

    def bart_half(self, half, name, ids, states):
        x = half.embed_tokens(ids) + half.embed_positions.weight[2 : 2 + ids.shape[1]]
        x, bias = half.layernorm_embedding(x), masked(ids.shape[1], name)
        for i, block in enumerate(half.layers):
            at, own = f"model.{name}.layers.{i}", block.self_attn
            k, v = self.times(f"{at}.self_attn.k_proj", own.k_proj(x)), own.v_proj(x)
            attended = self.heads(own.q_proj(x) / 8**0.5, k, self.times(f"{at}.self_attn.v_proj", v), bias)
            x = block.self_attn_layer_norm(x + self.attended(f"{at}.self_attn.out_proj", own.out_proj(attended)))
            if states is not None:
                own, place = block.encoder_attn, f"{at}.encoder_attn"
                k, v = own.k_proj(states), own.v_proj(states)
                k, v = self.times(f"{place}.k_proj", k), self.times(f"{place}.v_proj", v)
                attended = self.heads(own.q_proj(x) / 8**0.5, k, v)
                x = block.encoder_attn_layer_norm(x + own.out_proj(attended))
            o = self.fed(f"{at}.fc2", x, block.fc2(self.times(f"{at}.fc2", gelu(block.fc1(x)))))
            s, norm = x + o, block.final_layer_norm
            x = norm(s + self.f(f"{at}.fc2", norm(s))) if self.name == "pfeiffer" else norm(s)
        return x


def masked(tokens, name):
    """Minus infinity at later tokens, in a decoder."""
    return torch.full((tokens, tokens), -torch.inf if name == "decoder" else 0.0, dtype=torch.float64).triu(1)


@pytest.mark.parametrize("family", ["t5", "bart"])
@pytest.mark.parametrize("tuning", TUNINGS, ids=lambda one: one.name)
def test_the_forward_of_both_halves_is_the_formula_of_the_paper(float64, monkeypatch, family, tuning):
    monkeypatch.setattr(T5LayerNorm, "forward", checks.exactly)
    backbone = float64(family)
    plain = checks.logits(backbone)
    with tuning.learn(backbone, True, [generator("m")]) as learnt:
        checks.moved(learnt)
        found, state = checks.logits(backbone), learnt.state(0)
    with torch.no_grad():
        wanted = getattr(Written(tuning.name, state), family)(backbone.model)
        torch.testing.assert_close(getattr(Written("", {}), family)(backbone.model), plain, **checks.CLOSE)
    torch.testing.assert_close(found, wanted, **checks.CLOSE)
    assert (found - plain).abs().max() > 1e-2
