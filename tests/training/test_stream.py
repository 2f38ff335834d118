from collections import Counter

from promptlab.backbone.device import generator
from promptlab.training.stream import Stream


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
