import pytest

from promptlab.progress import track, use


class Recorder:
    def __init__(self):
        self.events = []

    def start(self, label, total):
        self.events.append(("start", label, total))
        return len(self.events)

    def advance(self, job, steps):
        self.events.append(("advance", job, steps))

    def finish(self, job):
        self.events.append(("finish", job))


def test_without_a_reporter_nothing_happens():
    with track("quiet", 3) as advance:
        assert advance() is None
        assert advance(2) is None


def test_a_reporter_is_told_of_every_step():
    recorder = Recorder()
    with use(recorder), track("mr", 3) as advance:
        advance()
        advance(2)
    assert recorder.events == [("start", "mr", 3), ("advance", 1, 1), ("advance", 1, 2), ("finish", 1)]


def test_a_job_is_closed_when_it_fails():
    recorder = Recorder()
    with pytest.raises(ValueError), use(recorder), track("mr", 3):
        raise ValueError
    assert recorder.events[-1] == ("finish", 1)


def test_jobs_nest_and_close_from_the_inside():
    recorder = Recorder()
    with use(recorder), track("outer", 1), track("inner", 1) as advance:
        advance()
    assert [event[:2] for event in recorder.events] == [
        ("start", "outer"),
        ("start", "inner"),
        ("advance", 2),
        ("finish", 2),
        ("finish", 1),
    ]


def test_a_reporter_is_forgotten_after_its_block():
    recorder = Recorder()
    with use(recorder):
        pass
    with track("later", 1) as advance:
        advance()
    assert recorder.events == []
