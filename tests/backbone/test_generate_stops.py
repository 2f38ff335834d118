"""What ends a text, what may be drawn, and what is refused."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import TopKLogitsWarper, TopPLogitsWarper

from promptlab.backbone import generate as module
from promptlab.backbone.encode import Encoded
from promptlab.backbone.generate import Decoding, generate
from promptlab.backbone.pairs import end_ids
from promptlab.backbone.sampling import drawn, likeliest
from promptlab.backbone.stops import Stops, newlines
from promptlab.errors import BackboneError, DataError, SettingError

DRAWING = Decoding(max_tokens=10, stop="none", sample=True)


def encoded(rows):
    return Encoded(rows, None, [[len(row) - 1] for row in rows], [False] * len(rows))


@pytest.fixture
def says(tiny, monkeypatch):
    """says("abc\\n"): a backbone whose likeliest texts are that one, token by token, whatever it reads."""
    backbone = tiny("gpt2")

    def get(text):
        ids = backbone.tokenizer(text)["input_ids"] + [end_ids(backbone)[0]]

        class Scripted:
            def __init__(self, rows):
                self.rows, self.at = rows, 0

            def first(self):
                return self.scores(self.rows)

            def spread(self, beams):
                self.rows *= beams

            def next(self, tokens):
                self.at += 1
                return self.scores(len(tokens))

            def order(self, order):
                pass

            def keep(self, sequences):
                self.rows = len(sequences)

            def scores(self, rows):
                found = torch.zeros(rows, backbone.vocab, dtype=torch.float64)
                found[:, ids[min(self.at, len(ids) - 1)]] = 50
                return found

        monkeypatch.setattr(module.Reader, "read", lambda self, rows: Scripted(len(rows)))
        return backbone

    return get


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize(
    ("stop", "written", "expected"),
    [
        ("line", "a fine film\nand more", "a fine film"),
        ("blank", "a fine film\nand more\n\nno", "a fine film\nand more"),
        ("blank", "a fine film\n \nno", "a fine film"),
        ("none", "a fine film\n\nno", "a fine film\n\nno"),
        ("line", "\n\na fine film\nno", "a fine film"),
        ("blank", "\n\n a fine film \n\nno", "a fine film"),
        ("line", "a fine film", "a fine film"),
        ("blank", "a fine film\n", "a fine film"),
    ],
)
def test_a_text_ends_at_a_newline_or_an_empty_line_but_not_before_it_has_begun(says, stop, written, expected, beams):
    backbone = says(written)
    assert generate(backbone, encoded([[5, 6], [7]]), Decoding(stop=stop, beams=beams)) == [expected] * 2


def test_no_newline_ends_a_text_before_its_fewest_tokens(says):
    backbone = says("a\nfine film\nno")
    found = generate(backbone, encoded([[5, 6]]), Decoding(stop="line", min_tokens=3))
    assert found[0].endswith("ine film") and "\n" not in found[0]


@pytest.mark.parametrize("family", ["gpt2", "llama", "t5"])
def test_tokens_with_a_newline_are_found_whatever_the_tokenizer(tiny, family):
    tokenizer = tiny(family).tokenizer
    brute = {one for one in range(len(tokenizer)) if "\n" in tokenizer.decode([one])}
    assert newlines(tiny(family)) == brute
    assert bool(brute) == (family != "t5")


def test_special_tokens_are_no_part_of_a_text(tiny):
    backbone = tiny("llama")
    ids = backbone.tokenizer("a fine film", add_special_tokens=False)["input_ids"]
    stops = Stops(backbone, Decoding())
    assert stops.text([1, *ids, 2]) == "a fine film"
    assert stops.text([2]) == ""


# ---------------------------------------------------------------- drawing


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.7, "top_k": 20}, {"top_p": 0.8, "no_repeat": 2}])
def test_neither_the_batch_nor_a_cache_changes_what_is_drawn(float64, monkeypatch, settings):
    backbone = float64("llama")
    rows = encoded([[20 + i, 30 + i, 40][: 1 + i % 3] for i in range(8)])
    how, found = replace(DRAWING, seed=4, **settings), []
    for tokens in (1, 20, 1000):
        monkeypatch.setattr(module, "token_budget", lambda device, tokens=tokens: tokens)
        found.append(generate(backbone, rows, how))
    assert found[0] == found[1] == found[2] == generate(backbone, rows, how, cached=False)
    assert generate(backbone, rows.take([5, 2]), how) == [found[0][5], found[0][2]]
    assert generate(backbone, rows, replace(how, seed=5)) != found[0]


def test_rows_that_read_the_same_draw_differently(float64):
    found = generate(float64("gpt2"), encoded([[20, 30, 40]] * 4), DRAWING)
    assert len(set(found)) == 4
    assert found[:2] == generate(float64("gpt2"), encoded([[20, 30, 40]] * 2), DRAWING)


@pytest.mark.parametrize("top_k", [0, 1, 5, 30])
@pytest.mark.parametrize("top_p", [0.01, 0.5, 0.9, 1.0])
def test_what_is_drawn_from_is_what_transformers_would_draw_from(top_k, top_p):
    scores = 2 * torch.randn(6, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scores[0, :4] = scores[0].max() + 1  # as likely as one another
    expected = scores if not top_k else TopKLogitsWarper(top_k)(None, scores)
    expected = expected if top_p == 1 else TopPLogitsWarper(top_p)(None, expected)
    assert torch.equal(likeliest(scores, top_k, top_p), expected)


def test_tokens_are_drawn_as_often_as_they_are_likely():
    logits = torch.randn(1, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    grid = (torch.arange(20000, dtype=torch.float64) + 0.5) / 20000
    how = replace(DRAWING, temperature=0.5, top_k=7)
    counts = Counter(drawn(logits.expand(20000, -1), how, grid).tolist())
    chances = likeliest(logits / 0.5, 7, 1.0).softmax(-1)[0].numpy()
    np.testing.assert_allclose([counts[one] / 20000 for one in range(12)], chances, atol=1e-4)
    assert sum(one > 0 for one in chances) == 7
    ends = torch.tensor([0.0, 1 - 1e-16], dtype=torch.float64)
    assert drawn(logits.expand(2, -1), how, ends).tolist() == [chances.nonzero()[0].min(), chances.nonzero()[0].max()]


def test_a_banned_token_is_never_drawn(float64):
    backbone = float64("gpt2")
    how = replace(DRAWING, no_repeat=1, max_tokens=30, min_tokens=30)
    for row in range(3):
        read = []
        hook = backbone.model.get_input_embeddings().register_forward_pre_hook(lambda _, x: read.append(x[0]))  # noqa: B023
        generate(backbone, encoded([[20 + row, 30]]), how)
        hook.remove()
        written = torch.cat([one.flatten() for one in read if one.shape == (1, 1)])[-29:].tolist()
        assert len(set(written)) == 29


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beams": 0}, "beams=0 cannot be. Write 1 or more"),
        ({"max_tokens": 0}, "max_tokens=0 cannot be. Write 1 or more"),
        ({"no_repeat": -1}, "no_repeat=-1 cannot be"),
        ({"min_tokens": 70}, "min_tokens=70 is more than max_tokens=64"),
        ({"stop": "blanc"}, "stop=blanc: nothing known .*Did you mean 'blank'.*Write line, blank or none"),
        ({"sample": True, "temperature": 0.0}, "temperature=0.0 cannot be.*sample=false"),
        ({"sample": True, "top_p": 1.5}, "top_p=1.5 cannot be. Write a number above 0, up to 1"),
        ({"sample": True, "beams": 2}, "beams=2 follows several. Write beams=1"),
        ({"top_k": 5}, "top_k=5 has no effect .* Write sample=true"),
        ({"temperature": 0.5}, "temperature=0.5 has no effect"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(SettingError, match=message):
        Decoding(**settings)


def test_a_masked_backbone_writes_nothing(tiny):
    with pytest.raises(BackboneError, match=r"fills in masks and writes no text. Write a causal model"):
        generate(tiny("bert"), encoded([[5, 6]]), Decoding())


def test_a_text_that_may_not_fit_is_refused_before_anything_is_read(tiny):
    backbone = tiny("gpt2")  # reads 128
    rows = encoded([[5] * 3, [5] * 120])
    assert generate(backbone, rows, Decoding(max_tokens=9, min_tokens=9))
    with pytest.raises(DataError, match=r"row 2: 120 tokens are read and max_tokens=10 .* room for 128"):
        generate(backbone, rows, Decoding(max_tokens=10))
