import io

import pytest

from promptlab.progress import track, use
from promptlab.training.trackers import Bars, Lines, reporter, spell


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    """Each job step of the tests takes as long as it says."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def lines(every=10.0):
    stream, clock = io.StringIO(), Clock()
    return Lines(stream, every, clock), stream, clock


def run(told, clock, total, seconds, label="mr"):
    with use(told), track(label, total) as advance:
        for _ in range(total):
            clock.now += seconds
            advance()


def test_a_terminal_gets_bars_and_a_file_gets_lines():
    assert isinstance(reporter(Terminal()), Bars)
    assert isinstance(reporter(io.StringIO()), Lines)


def test_a_short_job_says_a_line_a_step():
    told, stream, clock = lines()
    run(told, clock, total=4, seconds=1)
    assert len(stream.getvalue().splitlines()) == 4


def test_a_long_job_says_a_line_a_tenth():
    told, stream, clock = lines()
    run(told, clock, total=1000, seconds=1)
    said = stream.getvalue().splitlines()
    assert len(said) == 10
    assert said[0].startswith("mr  100/1000  10 %")


def test_a_line_says_the_time_left_from_the_pace_so_far():
    told, stream, clock = lines()
    run(told, clock, total=4, seconds=30)
    assert [line.rsplit("left ", 1)[1] for line in stream.getvalue().splitlines()] == ["1:30", "1:00", "0:30", "0:00"]


def test_inner_jobs_are_indented_and_keep_quiet_between_lines():
    told, stream, clock = lines(every=10)
    with use(told), track("plan", 2) as outer:
        run(told, clock, total=10, seconds=4, label="train")
        outer()
    said = stream.getvalue().splitlines()
    assert [line for line in said if line.startswith("plan  1/2")]
    inner = [line for line in said if line.startswith("  train")]
    assert len(inner) == 3  # at 12, 24 and 36 seconds, not at all ten steps


def test_a_step_of_several_counts_as_several():
    told, stream, _ = lines()
    with use(told), track("mr", 10) as advance:
        advance(5)
    assert stream.getvalue().startswith("mr  5/10  50 %")


def test_a_job_of_no_steps_divides_by_nothing():
    told, stream, _ = lines()
    with use(told), track("empty", 0) as advance:
        advance()
    assert stream.getvalue().startswith("empty  1/0")


def test_bars_show_nested_jobs_and_leave_nothing_behind():
    stream = Terminal()
    bars = Bars(stream)
    with use(bars), track("outer", 2) as outer:
        with track("inner", 3) as inner:
            inner(3)
            bars._progress.refresh()
        outer()
    assert "outer" in stream.getvalue()
    assert "inner" in stream.getvalue()
    assert bars._progress.task_ids == []
    assert not bars._progress.live.is_started


def test_bars_can_be_used_again_after_the_last_job():
    bars = Bars(Terminal())
    for _ in range(2):
        with use(bars), track("again", 1) as advance:
            advance()
    assert not bars._progress.live.is_started


def test_what_is_printed_during_a_job_goes_to_stdout_untouched(capsys):
    with use(Bars(Terminal())), track("job", 1):
        print("a result")
    assert capsys.readouterr().out == "a result\n"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (42.4, "0:42"), (60, "1:00"), (3723, "1:02:03"), (59.9, "1:00")]
)
def test_seconds_are_spelt_as_on_a_clock(seconds, text):
    assert spell(seconds) == text
