import pytest

from promptlab.errors import SettingError
from promptlab.training.adapt import Settings
from promptlab.training.budget import Budget, budget, read_tokens, slope


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("20M", 20_000_000),
        ("1.5B", 1_500_000_000),
        ("300k", 300_000),
        (" 2 m ", 2_000_000),
        ("1.1M", 1_100_000),
        ("0.001k", 1),
        ("7", 7),
        (4096, 4096),
    ],
)
def test_an_amount_of_tokens_is_a_number_with_or_without_a_unit(text, tokens):
    found = read_tokens(text)
    assert (found, type(found)) == (tokens, int)


@pytest.mark.parametrize(
    "text", ["", "M", "20MB", "20T", "-5", -5, 0, "0k", "0.0001k", "1e6", "1,000", "2M3", "nan", "inf", "M20", "2.M"]
)
def test_what_is_no_amount_is_refused(text):
    with pytest.raises(SettingError) as caught:
        read_tokens(text)
    assert str(caught.value) == f"tokens={text} is no amount. Write 20M, 300k or a number."


@pytest.mark.xfail(strict=True, raises=OverflowError, reason="round(float('9' * 400))")
def test_an_amount_beyond_all_numbers_is_refused_too():
    with pytest.raises(SettingError, match="is no amount"):
        read_tokens("9" * 400)


def test_the_budget_is_tokens_or_minutes_or_the_whole_text_once():
    assert budget("2k", None, 77) == Budget(2000, None)
    assert budget(5, None, 77) == Budget(5, None)
    assert budget(None, 1.5, 77) == Budget(None, 90.0)
    assert budget(None, None, 77) == Budget(77, None)


def test_tokens_and_minutes_at_once_are_refused():
    with pytest.raises(SettingError, match="two ends for one training. Write one of them"):
        budget("2k", 1.0, 77)


@pytest.mark.parametrize("minutes", [0, -1, float("inf"), float("nan")])
def test_minutes_that_are_no_length_of_time_are_refused(minutes):
    with pytest.raises(SettingError) as caught:
        budget(None, minutes, 77)
    assert str(caught.value) == f"minutes={minutes} is no length of time. Write a number above 0."


def test_tokens_alone_end_a_budget_of_tokens():
    found = Budget(200, None)
    assert [found.share(tokens, 1e9) for tokens in (0, 50, 199, 200, 201)] == [0.0, 0.25, 0.995, 1.0, 1.0]
    assert [found.done(tokens, 1e9) for tokens in (0, 50, 199, 200, 201)] == [0, 50, 199, 200, 200]
    assert found.total == 200


def test_time_alone_ends_a_budget_of_minutes():
    found = Budget(None, 90.0)
    assert [found.share(10**9, seconds) for seconds in (0.0, 22.5, 90.0, 91.0)] == [0.0, 0.25, 1.0, 1.0]
    assert [found.done(10**9, seconds) for seconds in (0.0, 22.5, 90.0, 91.0)] == [0, 22, 90, 90]
    assert found.total == 90
    assert Budget(None, 0.06).total == 1  # a bar wants something to count to
    assert Budget(None, 0.06).share(0, 0.03) == 0.5


@pytest.mark.parametrize("warmup", [0.05, 0.5, 0.9])
def test_the_rate_rises_in_a_line_to_one_and_falls_in_a_line_to_nothing(warmup):
    assert slope(0.0, warmup) == 0.0
    assert slope(warmup / 4, warmup) == pytest.approx(0.25)
    assert slope(warmup, warmup) == 1.0
    assert slope((1 + warmup) / 2, warmup) == pytest.approx(0.5)
    assert slope(1.0, warmup) == 0.0
    assert slope(warmup - 1e-9, warmup) == pytest.approx(slope(warmup + 1e-9, warmup), abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"length": 7}, "length=7 cannot be. Write a number from 8 on."),
        ({"batch": 0}, "batch=0 cannot be. Write a number from 8 on."),
        ({"every": -1}, "every=-1 cannot be. Write a number from 0 on."),
        ({"every": float("nan")}, "every=nan cannot be. Write a number from 0 on."),
        ({"mask_rate": 0.0}, "mask_rate=0.0 cannot be. Write a share between 0 and 1."),
        ({"mask_rate": 1}, "mask_rate=1 cannot be. Write a share between 0 and 1."),
        ({"warmup": 1.0}, "warmup=1.0 cannot be. Write a share between 0 and 1."),
        ({"minutes": -1}, "minutes=-1 is no length of time. Write a number above 0."),
        ({"tokens": "many"}, "tokens=many is no amount. Write 20M, 300k or a number."),
        ({"tokens": 5, "minutes": 1}, "tokens and minutes are two ends for one training. Write one of them."),
    ],
    ids=lambda one: "-".join(one) if isinstance(one, dict) else "",
)
def test_settings_say_at_once_what_cannot_be(settings, said):
    with pytest.raises(SettingError) as caught:
        Settings(**settings)
    assert str(caught.value) == said


def test_settings_take_the_edges():
    found = Settings(length=8, batch=8, every=0, mask_rate=0.999, warmup=0.001, tokens="20M")
    assert (found.length, found.batch, found.every, found.tokens) == (8, 8, 0, "20M")
