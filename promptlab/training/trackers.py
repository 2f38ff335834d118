"""Reporters for promptlab/progress.py: bars on a terminal, lines elsewhere. Both write to stderr.

    a terminal   a bar a job, nested jobs below each other, with the time left; gone when all is done
    elsewhere    a line a step, or a line a tenth of many steps, with the time left

A reporter is put in place by the command line: ``with use(reporter()): ...``.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from promptlab.progress import Reporter

_TENTHS = 10


def reporter(stream: TextIO | None = None) -> Reporter:
    """Bars where ``stream`` (by default stderr) is a terminal, else lines."""
    stream = stream or sys.stderr
    return Bars(stream) if stream.isatty() else Lines(stream)


class Bars:
    """A bar for each open job, the outermost first."""

    def __init__(self, stream: TextIO):
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(file=stream),
            transient=True,
            refresh_per_second=4,
            redirect_stdout=False,  # results go to stdout, where nothing may come between
        )

    def start(self, label: str, total: int) -> int:
        """Opens a bar."""
        self._progress.start()
        return int(self._progress.add_task(label, total=total))

    def advance(self, job: int, steps: int) -> None:
        """Moves a bar on."""
        self._progress.advance(TaskID(job), steps)

    def finish(self, job: int) -> None:
        """Takes a bar away, and the display with the last one."""
        self._progress.remove_task(TaskID(job))
        if not self._progress.task_ids:
            self._progress.stop()


@dataclass
class _Job:
    label: str
    total: int
    depth: int
    began: float
    said: float
    done: int = 0
    tenth: int = 0


class Lines:
    """Lines for a log file: ``mr pet k=16  3/12  25 %  left 0:42``.

    Args:
        stream: where the lines go.
        every: seconds that lines of an inner job are apart at least, so that a log stays readable.
        clock: seconds from anywhere.
    """

    def __init__(self, stream: TextIO, every: float = 10.0, clock: Callable[[], float] = time.monotonic):
        self._stream, self._every, self._clock = stream, every, clock
        self._jobs: dict[int, _Job] = {}
        self._numbers = count()

    def start(self, label: str, total: int) -> int:
        """Opens a job; says nothing yet."""
        number, now = next(self._numbers), self._clock()
        self._jobs[number] = _Job(label, total, len(self._jobs), now, now)
        return number

    def advance(self, job: int, steps: int) -> None:
        """Moves a job on; writes a line where a step, or a tenth of more than ten, is done."""
        one, now = self._jobs[job], self._clock()
        one.done += steps
        tenth = one.done if one.total <= _TENTHS else one.done * _TENTHS // one.total
        if tenth > one.tenth and (one.depth == 0 or now - one.said >= self._every):
            one.tenth, one.said = tenth, now
            self._say(one, now)

    def finish(self, job: int) -> None:
        """Closes a job."""
        del self._jobs[job]

    def _say(self, one: _Job, now: float) -> None:
        took = now - one.began
        left = took / one.done * max(0, one.total - one.done) if one.done else 0.0
        share = f"{100 * one.done / one.total:.0f} %" if one.total else ""
        self._stream.write(f"{'  ' * one.depth}{one.label}  {one.done}/{one.total}  {share}  left {spell(left)}\n")
        self._stream.flush()


def spell(seconds: float) -> str:
    """Seconds as a person reads them: ``0:42``, ``1:02:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
