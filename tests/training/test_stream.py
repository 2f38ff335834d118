from collections import Counter

import pytest
import torch

from promptlab.backbone.device import generator
from promptlab.training.stream import Buckets, Stream


def test_every_step_has_the_same_number_of_rows_whatever_the_set():
    stream = Stream(5, 4, generator("a"))
    assert [len(stream.next()) for _ in range(6)] == [4] * 6


def test_a_pass_shows_every_row_once_before_any_comes_again():
    stream = Stream(5, 4, generator("a"))
    dealt = [row for _ in range(5) for row in stream.next()]
    assert all(Counter(dealt[start : start + 5]) == Counter(range(5)) for start in range(0, 20, 5))


def test_a_batch_larger_than_the_set_takes_from_several_passes():
    assert Counter(Stream(3, 7, generator("a")).next()) in [Counter({0: 2, 1: 2, 2: 2, i: 3}) for i in range(3)]


def test_equal_keys_deal_equally_and_other_keys_do_not():
    deals = [[Stream(50, 8, generator(key)).next() for _ in range(1)] for key in ("a", "a", "b")]
    assert deals[0] == deals[1] != deals[2]


def lengths(rows, key=""):
    """Tokens of rows like E2E's: meaning representations of three to eight slots, and a sentence for each."""
    draw = generator(f"lengths {key}")
    slots = torch.randint(3, 9, (rows,), generator=draw)
    source = slots * 6 + torch.randint(0, 6, (rows,), generator=draw)
    return (source + (slots * 4.5 + 5 * torch.randn(rows, generator=draw)).clamp_min(6).long()).tolist()


def padding(batches):
    """Share of padded batches that is padding."""
    whole = sum(len(batch) * max(batch) for batch in batches)
    return 1 - sum(map(sum, batches)) / whole


@pytest.mark.parametrize("rows", [50, 200, 500, 5000])
def test_padding_stays_under_a_tenth_where_rows_of_like_length_are_dealt_together(rows):
    known = lengths(rows)
    alike, mixed = Buckets(known, 8, generator("a")), Stream(rows, 8, generator("a"))
    alike, mixed = ([[known[row] for row in stream.next()] for _ in range(100)] for stream in (alike, mixed))
    assert padding(alike) < 0.1 < padding(mixed)


def test_members_of_a_stack_are_dealt_batches_of_like_length_at_the_same_step():
    known = [lengths(rows, rows) for rows in (500, 490, 510)]
    streams = [Buckets(one, 8, generator(str(i))) for i, one in enumerate(known)]
    steps = [[one[row] for one, stream in zip(known, streams, strict=True) for row in stream.next()] for _ in range(90)]
    assert padding(steps) < 0.1


@pytest.mark.parametrize(("rows", "batch"), [(50, 8), (403, 8), (5, 8), (8, 8), (1, 3)])
def test_every_row_comes_as_often_as_any_other_but_for_less_than_a_batch_that_is_kept(rows, batch):
    stream = Buckets(lengths(rows), batch, generator("a"))
    seen = Counter()
    for _ in range(-(-rows // batch) * 6):
        seen.update(stream.next())
        if not stream.buckets:
            assert len(stream.over) < batch
            whole = seen + Counter(stream.over) + Counter(stream.left)
            assert len({whole[row] for row in range(rows)}) == 1


def test_no_two_passes_make_the_same_batches_and_another_key_makes_others():
    def passes(key):
        stream = Buckets(lengths(48), 8, generator(key))
        return [{tuple(sorted(stream.next())) for _ in range(6)} for _ in range(2)]

    (first, second), other = passes("a"), passes("b")
    assert first != second
    assert first != other[0]
    assert [first, second] == passes("a")
