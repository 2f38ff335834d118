import pytest

from promptlab.errors import SettingError
from promptlab.training.adapt import Settings, _settings, adapt
from promptlab.training.budget import Budget, budget, read_tokens, slope
from promptlab.training.learners import learner_of
from promptlab.tuning.full import Full
from promptlab.tuning.lora import Lora


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


@pytest.mark.parametrize("text", ["9" * 400, "9" * 16, f"{10**400}B", "0." + "9" * 400])
def test_an_amount_of_absurdly_many_digits_is_refused_too(text):
    with pytest.raises(SettingError, match="is no amount"):
        read_tokens(text)


def test_the_most_digits_that_an_amount_may_have_are_read_to_the_last():
    assert read_tokens("9" * 15) == 999_999_999_999_999
    assert read_tokens("2." + "0" * 14 + "1k") == 2000


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


@pytest.mark.parametrize("warmup", [0.05, 0.25, 0.5])
def test_the_rate_rises_in_a_line_stands_level_and_falls_in_a_line_over_the_second_half(warmup):
    for part in (0.0, 0.25, 0.5, 0.75, 1.0):
        assert slope(part * warmup, warmup) == pytest.approx(part)
        assert slope(warmup + part * (0.5 - warmup), warmup) == 1.0
        assert slope(0.5 + 0.5 * part, warmup) == pytest.approx(1 - part)
    assert (slope(0.0, warmup), slope(1.0, warmup)) == (0.0, 0.0)


def test_a_rise_beyond_the_middle_meets_the_fall_and_goes_down_with_it():
    assert [slope(share, 0.8) for share in (0.2, 0.4, 0.6, 0.75, 1.0)] == pytest.approx([0.25, 0.5, 0.75, 0.5, 0.0])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"length": 7}, "length=7 cannot be. Write a number from 8 on."),
        ({"batch": 0}, "batch=0 cannot be. Write a number from 8 on."),
        ({"every": -1}, "every=-1 cannot be. Write a number from 0 on."),
        ({"every": float("nan")}, "every=nan cannot be. Write a number from 0 on."),
        ({"mask_rate": 0.0}, "mask_rate=0.0 cannot be. Write a share between 0 and 1."),
        ({"mask_rate": 1}, "mask_rate=1 cannot be. Write a share between 0 and 1."),
        ({"warmup": 1.0}, "warmup=1.0 cannot be. Write a share between 0 and 0.5."),
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


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"minutes": 1, "tokens": 5}, "tokens and minutes are two ends for one training. Write one of them."),
        ({"tokens": "20 apples"}, "tokens=20 apples is no amount. Write 20M, 300k or a number."),
        ({"tuning": "bitfit"}, "a language model is adapted with full or lora, not with bitfit. Write -t full."),
        ({"tuning": "top:layers=1"}, "a language model is adapted with full or lora, not with top. Write -t full."),
        ({"tuning": "lroa"}, "Did you mean 'lora'?"),
        ({"tuning": "full:dropout=0.1"}, "dropout=0.1: a corpus is trained on without. Leave dropout out."),
        ({"tuning": "lora:dropout=0.2,r=4"}, "dropout=0.2: a corpus is trained on without. Leave dropout out."),
    ],
    ids=lambda one: "-".join(map(str, one.values())) if isinstance(one, dict) else "",
)
def test_settings_that_cannot_be_are_refused_before_anything_is_made(folder_of, tmp_path, settings, said):
    with pytest.raises(SettingError) as caught:
        adapt(["a film"] * 999, str(folder_of("bert")), tmp_path / "out", Settings(**settings), device="cpu")
    assert said in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("tuning", [Full, Lora])
def test_dropout_is_refused_and_none_of_it_is_not(tuning):
    with pytest.raises(SettingError, match="Leave dropout out"):
        learner_of(tuning(dropout=0.1))
    assert learner_of(tuning(dropout=0.0)).tuning == tuning()


def test_settings_may_be_written_by_name():
    assert _settings(None, {"minutes": 3, "seed": 1}) == Settings(minutes=3, seed=1)
    assert _settings(Settings(length=64), {"seed": 1}) == Settings(length=64, seed=1)


def test_an_unknown_setting_suggests_the_nearest():
    with pytest.raises(SettingError, match="adapt has no setting 'minute'. Did you mean 'minutes'"):
        _settings(None, {"minute": 3})
