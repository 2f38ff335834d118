"""Texts against transformers' ``generate``, one row at a time, and against reading all again at every step."""

import random
from collections import Counter
from dataclasses import replace
from itertools import chain

import pytest
import torch
from transformers import LogitsProcessor

from promptlab.backbone import generate as module
from promptlab.backbone.encode import Encoded
from promptlab.backbone.generate import Decoding, generate
from promptlab.backbone.pairs import end_ids
from promptlab.backbone.reply import beginning
from promptlab.backbone.steps import Reader

CAUSAL, BOTH = ("gpt2", "llama", "qwen3"), ("t5", "bart")
LENGTHS = (3, 9, 5, 14, 9)
PLAIN = Decoding(max_tokens=12, stop="none")


def rows_of(backbone, lengths=LENGTHS):
    """Rows of random tokens; on an encoder-decoder with what its decoder begins with."""
    numbers = random.Random(1)
    ids = [[numbers.randrange(10, backbone.vocab) for _ in range(length)] for length in lengths]
    if backbone.kind == "causal":
        return Encoded(ids, None, [[len(row) - 1] for row in ids], [False] * len(ids))
    reply = beginning(backbone, writes=True)
    return Encoded(ids, None, [[len(reply) - 1]] * len(ids), [False] * len(ids), [reply] * len(ids))


def theirs(backbone, encoded, **options):
    """What ``generate`` writes after each row alone, in token ids."""
    found, ends = [], list(end_ids(backbone))
    for row, ids in enumerate(encoded.ids):
        given = {"inputs": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
        begun = len(ids) if encoded.replies is None else len(encoded.replies[row])
        if encoded.replies is not None:
            given["decoder_input_ids"] = torch.tensor([encoded.replies[row]])
        usual = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": ends, "pad_token_id": ends[0]}
        usual["use_cache"] = encoded.replies is None  # it makes too few layers where a T5's decoder is the deeper half
        with torch.no_grad():
            found.append(backbone.model.generate(**given, **{**usual, **options})[0, begun:].tolist())
    return found


def said(backbone, rows):
    """Their texts, without the token that ends them."""
    ends, decode = end_ids(backbone), backbone.tokenizer.decode
    return [decode(ids[:-1] if ids[-1] in ends else ids, skip_special_tokens=True).strip() for ids in rows]


def telling(texts):
    """End tokens at which these texts would end at as many different steps as can be."""
    chosen = [{ids[(first + 2 * row) % len(ids)] for row, ids in enumerate(texts)} for first in range(len(texts[0]))]
    return max(
        chosen, key=lambda ends: len({next((i for i, one in enumerate(ids) if one in ends), -1) for ids in texts})
    )


@pytest.fixture(scope="module")
def writers(fresh):
    """writers("llama"): a backbone in double precision whose greedy texts end at different tokens."""
    made = {}

    def get(family):
        if family not in made:
            backbone = fresh(family, dtype="float64")
            if family in BOTH:  # tied, their heads would say what was read over and over
                numbers, head = torch.Generator().manual_seed(0), backbone.model.lm_head
                head.weight = torch.nn.Parameter(torch.randn(head.weight.shape, generator=numbers).double())
            backbone.model.generation_config.update(eos_token_id=None, forced_eos_token_id=None)
            first = theirs(backbone, rows_of(backbone))
            backbone.model.generation_config.eos_token_id = sorted(telling(first))
            made[family] = backbone, Counter(chain(*first)).most_common(1)[0][0]
        return made[family][0]

    get.usual = lambda family: made[family][1]
    return get


def budget(monkeypatch, tokens):
    monkeypatch.setattr(module, "token_budget", lambda device: tokens)


@pytest.mark.parametrize("family", [*CAUSAL, *BOTH])
def test_greedy_texts_are_those_of_generate(writers, monkeypatch, family):
    backbone = writers(family)
    rows, expected = rows_of(backbone), theirs(backbone, rows_of(backbone))
    assert len({len(ids) for ids in expected}) > 2  # they end at different steps
    for tokens in (1, 40, 1000):
        budget(monkeypatch, tokens)
        assert generate(backbone, rows, PLAIN) == said(backbone, expected)
    assert generate(backbone, rows, PLAIN, cached=False) == said(backbone, expected)


PENALTIES = [(family, 5, 0.4) for family in (*CAUSAL, *BOTH)]
PENALTIES += [(family, *one) for family in ("gpt2", "t5") for one in ((2, 1.0), (3, 2.0), (3, -0.5))]


@pytest.mark.parametrize(("family", "beams", "penalty"), PENALTIES)
def test_beams_are_those_of_generate(writers, monkeypatch, family, beams, penalty):
    backbone = writers(family)
    rows = rows_of(backbone, LENGTHS[:3])
    expected = theirs(backbone, rows, num_beams=beams, length_penalty=penalty, early_stopping=False)
    how = replace(PLAIN, beams=beams, length_penalty=penalty)
    for tokens in (1, 60, 5000):
        budget(monkeypatch, tokens)
        assert generate(backbone, rows, how) == said(backbone, expected)
    assert generate(backbone, rows, how, cached=False) == said(backbone, expected)


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_beams_of_one_end_token_are_those_of_generate(writers, family):
    backbone = writers(family)
    own, end = backbone.model.generation_config.eos_token_id, writers.usual(family)
    backbone.model.generation_config.eos_token_id = end
    try:
        rows = rows_of(backbone)
        expected = theirs(backbone, rows, num_beams=3, early_stopping=False)
        assert any(ids[-1] == end for ids in expected)
        assert generate(backbone, rows, replace(PLAIN, beams=3)) == said(backbone, expected)
    finally:
        backbone.model.generation_config.eos_token_id = own


class OverWritten(LogitsProcessor):
    """No run of tokens twice, what was read left aside."""

    def __init__(self, size, begun):
        self.size, self.begun = size, begun

    def __call__(self, input_ids, scores):
        for row, ids in enumerate(input_ids[:, self.begun :].tolist()):
            runs = [tuple(ids[i : i + self.size]) for i in range(len(ids) - self.size + 1)]
            last = tuple(ids[len(ids) - self.size + 1 :])
            scores[row, [run[-1] for run in runs if run[:-1] == last]] = -torch.inf
        return scores


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_runs_are_blocked_over_what_was_written_alone(writers, family, size, beams):
    backbone = writers(family)
    rows = rows_of(backbone, [6] * 3)
    block = [OverWritten(size, 6 if rows.replies is None else 1)]
    options = {
        "max_new_tokens": 20,
        "min_new_tokens": 19,
        "num_beams": beams,
        "early_stopping": False if beams > 1 else None,
    }
    expected = said(backbone, theirs(backbone, rows, logits_processor=block, **options))
    how = Decoding(max_tokens=20, beams=beams, no_repeat=size, stop="none", min_tokens=19)
    assert generate(backbone, rows, how) == expected
    assert generate(backbone, rows, replace(how, no_repeat=0)) != expected


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("family", ["llama", "bart"])
def test_nothing_ends_before_the_fewest_tokens_nor_goes_on_after_the_most(writers, family, beams):
    backbone, rows = writers(family), rows_of(writers(family))
    options = {"num_beams": beams, "min_new_tokens": 7, "max_new_tokens": 9}
    expected = theirs(backbone, rows, **options, early_stopping=False if beams > 1 else None)
    how = replace(PLAIN, beams=beams, min_tokens=7, max_tokens=9)
    assert generate(backbone, rows, how) == said(backbone, expected)
    assert generate(backbone, rows, replace(how, min_tokens=0)) != said(backbone, expected)
    one = generate(backbone, rows, replace(how, min_tokens=1, max_tokens=1))
    assert one == said(backbone, theirs(backbone, rows, num_beams=beams, min_new_tokens=1, max_new_tokens=1))
    assert all(one)


@pytest.mark.parametrize("beams", [1, 3])
def test_a_model_that_looks_back_over_few_tokens_reads_all_again(writers, beams):
    backbone = writers("mistral")  # seven tokens before each
    rows = rows_of(backbone)
    assert not Reader(backbone, rows, 12).cached
    expected = theirs(backbone, rows, num_beams=beams, early_stopping=False if beams > 1 else None)
    assert generate(backbone, rows, replace(PLAIN, beams=beams)) == said(backbone, expected)
    few = rows_of(backbone, [2, 3])
    assert Reader(backbone, few, 4).cached
    short = replace(PLAIN, beams=beams, max_tokens=4)
    assert generate(backbone, few, short) == generate(backbone, few, short, cached=False)


@pytest.mark.parametrize("beams", [1, 3])
def test_what_all_rows_begin_with_is_read_once(writers, beams):
    backbone, own = writers("llama"), rows_of(writers("llama"))
    begin = list(range(20, 40))
    rows = replace(own, ids=[begin + ids for ids in own.ids], slots=[[19 + len(ids)] for ids in own.ids])
    read, how = [], replace(PLAIN, beams=beams)
    hook = backbone.model.get_input_embeddings().register_forward_pre_hook(lambda _, x: read.append(x[0].shape))
    try:
        found = generate(backbone, rows, how)
    finally:
        hook.remove()
    assert read[:2] == [(1, 20), (5, 14)] and all(length == 1 for _, length in read[2:])
    assert found == generate(backbone, rows, how, cached=False)
    expected = theirs(backbone, rows, num_beams=beams, early_stopping=False if beams > 1 else None)
    assert found == said(backbone, expected)


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_rows_that_have_ended_leave_the_batch(writers, family, cached):
    backbone, rows = writers(family), rows_of(writers(family), LENGTHS)
    lengths, read = [len(ids) for ids in theirs(backbone, rows)], []
    side = backbone.model.get_decoder() if family == "t5" else backbone.model
    hook = side.get_input_embeddings().register_forward_pre_hook(lambda _, x: read.append(len(x[0])))
    try:
        generate(backbone, rows, PLAIN, cached=cached)
    finally:
        hook.remove()
    read = read[1:] if family == "gpt2" and cached and read[0] == 1 else read
    assert read == [sum(length > step for length in lengths) for step in range(max(lengths))]
    assert read[-1] < 5


def test_every_batch_is_told_whole_longest_rows_first(writers, monkeypatch):
    backbone, rows = writers("gpt2"), rows_of(writers("gpt2"))
    budget(monkeypatch, 30)
    told = []
    texts = generate(backbone, rows, PLAIN, told=lambda *batch: told.append(batch))
    assert [row for batch, _ in told for row in batch] == [3, 1, 4, 2, 0]
    assert len(told) > 2
    assert all(texts[row] == text for batch, found in told for row, text in zip(batch, found, strict=True))


def test_what_was_told_before_a_break_is_what_the_whole_would_say(writers, monkeypatch):
    backbone, rows = writers("llama"), rows_of(writers("llama"))
    budget(monkeypatch, 30)
    done = {}

    def tell(batch, texts):
        done.update(zip(batch, texts, strict=True))
        if len(done) > 2:
            raise KeyboardInterrupt

    how = replace(PLAIN, sample=True, seed=3)
    with pytest.raises(KeyboardInterrupt):
        generate(backbone, rows, how, told=tell)
    left = [row for row in range(5) if row not in done]
    assert left
    done.update(zip(left, generate(backbone, rows.take(left), how), strict=True))
    assert [done[row] for row in range(5)] == generate(backbone, rows, how)


def test_no_rows_are_no_texts(writers):
    for family in ("gpt2", "t5"):
        assert generate(writers(family), rows_of(writers(family), []), PLAIN) == []
