"""Progress in a log and on a terminal."""

import contextlib
import io
import os
import pty
import re
import threading

import pytest

from tltrain.progress import ProgressLine, duration


class Clock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def log_of(seconds_per_unit: float, total: int, *, first: int = 1, remark: str = "") -> list[str]:
    clock, stream = Clock(), io.StringIO()
    with ProgressLine("sft", stream=stream, clock=clock) as progress:
        for done in range(first, total + 1):
            clock.now += seconds_per_unit
            progress(done, total, remark)
    return stream.getvalue().splitlines()


def test_quick_work_leaves_one_line():
    assert log_of(0.1, 12) == ["sft: 100% (12 of 12; took 1 s)"]


def test_a_log_gets_few_lines_with_percent_remark_and_time_left():
    lines = log_of(3, 20, remark="loss 0.5")
    # the first line once 2 s have passed, then one every 15 s, then the end
    assert lines[0] == "sft: 5% (1 of 20; loss 0.5)"
    assert lines[1] == "sft: 30% (6 of 20; loss 0.5; about 42 s left)"
    assert lines[-1] == "sft: 100% (20 of 20; loss 0.5; took 1 min 00 s)"
    assert len(lines) == 5


def test_work_done_before_does_not_count_for_the_pace():
    # resumed at 900: three units in 15 s, so the last 97 take 485 s
    lines = log_of(5, 1000, first=900)
    assert lines[1] == "sft: 90% (903 of 1,000; about 8 min 05 s left)"


def test_a_hundred_percent_is_said_at_the_end_only():
    lines = log_of(1, 1000)
    assert [line for line in lines if "100%" in line] == lines[-1:]
    assert "99%" in lines[-2]


def test_work_that_fails_is_named():
    stream = io.StringIO()
    with pytest.raises(ValueError, match="full"), ProgressLine("4/7 sft", stream=stream):
        raise ValueError("full")
    assert stream.getvalue() == "4/7 sft: stopped\n"


def _read_all(descriptor: int, parts: list[bytes]) -> None:
    with contextlib.suppress(OSError):  # the end of a terminal
        while part := os.read(descriptor, 100_000):
            parts.append(part)


def test_a_terminal_gets_a_bar():
    ours, theirs = pty.openpty()
    parts: list[bytes] = []
    reader = threading.Thread(target=_read_all, args=(ours, parts))  # a terminal's buffer is small
    reader.start()
    with os.fdopen(theirs, "w") as stream, ProgressLine("ppo [bold]", stream=stream) as progress:
        progress(3, 4, "reward [0.5]")
        progress(4, 4, "reward [0.5]")
    reader.join()
    os.close(ours)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", b"".join(parts).decode())
    assert "ppo [bold]" in shown
    assert "100%" in shown
    assert "━" in shown


def test_durations():
    assert [duration(seconds) for seconds in (0.4, 59.6, 61, 3599, 7500)] == [
        "0 s",
        "1 min 00 s",
        "1 min 01 s",
        "59 min 59 s",
        "2 h 05 min",
    ]
