"""How far long work is: a bar on a terminal, lines with percent and time left in a log. Goes to stderr."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from tltrain.launcher import launched_rank

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

_SECONDS_BETWEEN_LINES = 15.0
_FIRST_LINE_AFTER = 2.0
"""Seconds; shorter work shows its end alone."""


class ProgressLine:
    """Shows one piece of work; a context manager, to be called as `stage.Progress` says.

    Args:
        title: the work's name.
        stream: where to write, by default stderr.
        clock: seconds, for tests.
    """

    def __init__(self, title: str, *, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic):
        self._title = title
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._start = self._last_line = clock()
        self._first: tuple[float, int] | None = None
        """Time and units of the first call: what was done before has nothing to do with the pace."""
        self._last_done = -1
        self._bar: Bar | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if self._stream.isatty():
            self._bar = _make_bar(self._stream)
            self._bar.start()
            self._task = self._bar.add_task(self._title, total=None, remark="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()
        if error is not None and launched_rank() == 0:
            print(f"{self._title}: stopped", file=self._stream, flush=True)

    def __call__(self, done: int, total: int, remark: str) -> None:
        """Tell that `done` of `total` units are done, with a short remark."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=total, remark=remark)
            return
        now = self._clock()
        self._first = self._first or (now, done)
        is_due = now - self._last_line >= (_SECONDS_BETWEEN_LINES if self._last_done >= 0 else _FIRST_LINE_AFTER)
        if is_due or (done >= total and self._last_done != done):
            self._last_line, self._last_done = now, done
            print(self._describe(done, total, remark, now), file=self._stream, flush=True)

    def _describe(self, done: int, total: int, remark: str, now: float) -> str:
        parts = [f"{done:,} of {total:,}"] + ([remark] if remark else [])
        first_time, first_done = self._first or (now, done)
        if done >= total:
            parts.append(f"took {duration(now - self._start)}")
        elif done > first_done:
            pace = (now - first_time) / (done - first_done)
            parts.append(f"about {duration(pace * (total - done))} left")
        percent = 100 if done >= total else int(100 * done / total)
        return f"{self._title}: {percent}% ({'; '.join(parts)})"


def _make_bar(stream: TextIO) -> "Bar":
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=28),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[remark]}", markup=False),
        console=Console(file=stream),
    )


def duration(seconds: float) -> str:
    """Such as 8 s, 3 min 20 s or 2 h 05 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
