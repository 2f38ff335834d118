"""Who is told how far a long job is.

    with track("pet mr", total=steps) as advance:
        ...
        advance()

Silent unless a reporter is in use: the command line brings one (training/trackers.py), the library none.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol


class Reporter(Protocol):
    """Shows jobs, which may nest."""

    def start(self, label: str, total: int) -> int:
        """Opens a job and returns its number."""

    def advance(self, job: int, steps: int) -> None:
        """Moves a job on."""

    def finish(self, job: int) -> None:
        """Closes a job."""


_reporter: ContextVar[Reporter | None] = ContextVar("promptlab_reporter", default=None)


@contextmanager
def use(reporter: Reporter) -> Iterator[None]:
    """Tells ``reporter`` about every job inside the block."""
    token = _reporter.set(reporter)
    try:
        yield
    finally:
        _reporter.reset(token)


@contextmanager
def track(label: str, total: int) -> Iterator[Callable[..., None]]:
    """A job of ``total`` steps; yields ``advance(steps=1)``."""
    reporter = _reporter.get()
    if reporter is None:
        yield lambda steps=1: None
        return
    job = reporter.start(label, total)
    try:
        yield lambda steps=1: reporter.advance(job, steps)
    finally:
        reporter.finish(job)
