"""Writing with what a backbone has learnt: from kept keys as from reading all again, in double precision."""

import checks
import pytest
import torch

from promptlab.backbone.device import generator
from promptlab.backbone.encode import Encoder
from promptlab.backbone.generate import Decoding, generate
from promptlab.backbone.pairs import sources
from promptlab.backbone.steps import Reader
from promptlab.language.pattern import Pattern
from promptlab.tuning.houlsby import Houlsby
from promptlab.tuning.lora import Lora
from promptlab.tuning.prefix import Prefix
from promptlab.tuning.prelayer import Prelayer
from promptlab.tuning.soft import Soft
from promptlab.tuning.unipelt import UniPelt

PATTERN = Pattern.parse("short", "{text} In short: {target}")
TUNINGS = {
    "prefix": Prefix(n=3),
    "shifted": Prefix(n=3, shift=True),
    "soft": Soft(n=3),
    "front": Soft(n=3, place="front"),
    "prelayer": Prelayer(n=3),
    "lora": Lora(),
    "houlsby": Houlsby(),
}
CASES = [(name, family) for name in TUNINGS for family in ("gpt2", "llama", "t5", "bart") if name != "shifted"]
CASES += [("shifted", "gpt2"), ("shifted", "llama"), ("shifted", "bart"), ("prefix", "qwen3")]


def learnt(backbone, tuning):
    """A state that is far from the start."""
    with tuning.begin(Encoder(backbone), [None], [generator("m")]) as found:
        checks.moved(found)
        return {name: tensor.clone() for name, tensor in found.state(0).items()}


def shaken(steps):
    """Logits on a way through the rows on which sequences spread, change places and leave."""
    found = [steps.first()]
    steps.spread(2)
    for step in range(4):
        rows = len(found[-1]) // (2 if step else 1)
        tokens = 10 + torch.arange(2 * rows) * 3 + step
        found.append(steps.next(tokens))
        if step == 1:
            steps.order(torch.arange(2 * rows).view(rows, 2).flip(1).flatten())
        if step == 2:
            kept = torch.arange(2, 2 * rows - 2)
            steps.keep(kept)
            found.append(found[-1][kept])
    return found


def alike(backbone, encoded):
    """Every way of reading gives the same logits, and the same texts."""
    rows, close = range(len(encoded)), 1e-5 if backbone.config.model_type in checks.SINGLE else 1e-10
    with torch.inference_mode():
        ways = [shaken(Reader(backbone, encoded, 5, cached=cached).read(rows)) for cached in (True, False)]
    for kept, whole in zip(*ways, strict=True):
        torch.testing.assert_close(kept, whole, rtol=0, atol=close)
    assert not torch.allclose(ways[0][-1][0], ways[0][-1][1])  # sequences of one row are told apart
    for beams in (1, 3):
        how = Decoding(max_tokens=6, min_tokens=2, beams=beams, stop="none")
        assert generate(backbone, encoded, how) == generate(backbone, encoded, how, cached=False)


@pytest.mark.parametrize(("name", "family"), CASES)
def test_kept_keys_are_those_of_reading_all_again(float64, reviews, name, family):
    backbone, tuning = float64(family), TUNINGS[name]
    state = learnt(backbone, tuning)
    encoded = sources(tuning.reading(Encoder(backbone)), PATTERN, reviews[:5], room=6)
    with tuning.applied(backbone, state):
        assert Reader(backbone, encoded, 6).cached
        alike(backbone, encoded)
        with torch.inference_mode():
            tuned = Reader(backbone, encoded, 5).read(range(5)).first()
    plain = sources(Encoder(backbone), PATTERN, reviews[:5], room=6)
    with torch.inference_mode():
        assert not torch.allclose(tuned, Reader(backbone, plain, 5).read(range(5)).first(), atol=1e-4)


@pytest.mark.parametrize("family", ["gpt2", "qwen3", "t5", "bart"])
def test_so_they_are_on_a_plain_backbone(float64, reviews, family):
    backbone = float64(family)
    alike(backbone, sources(Encoder(backbone), PATTERN, reviews[:5], room=6))


def test_a_learnt_part_that_looks_at_whole_rows_has_them_read_again(float64, reviews):
    backbone, tuning = float64("gpt2"), UniPelt(adapter_r=8)
    state = learnt(backbone, tuning)
    encoded = sources(tuning.reading(Encoder(backbone)), PATTERN, reviews[:3], room=6)
    with tuning.applied(backbone, state):
        assert not Reader(backbone, encoded, 6).cached
        assert generate(backbone, encoded, Decoding(max_tokens=6))
    assert Reader(backbone, encoded, 6).cached


def test_what_rows_share_is_read_once_with_soft_tokens_in_it(float64, reviews):
    backbone, tuning = float64("llama"), Soft(n=9)
    state = learnt(backbone, tuning)
    encoded = sources(tuning.reading(Encoder(backbone)), PATTERN, reviews[:4], room=6)
    assert min(encoded.ids[0]) == -9
    with tuning.applied(backbone, state):
        assert Reader(backbone, encoded, 6).alike >= 9
        alike(backbone, encoded)
