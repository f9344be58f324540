"""A script that another Python runs, and that answers lines with lines: for packages whose pins clash with ours."""

import os
import queue
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO

_TAIL = 1 << 16
"""Bytes of standard error that are looked at."""


class WorkerLostError(Exception):
    """The process cannot be started; says why."""


class WorkerProcess:
    """One run of a worker script. It should end when its standard input does, so that it never outlives this process.

    Args:
        python: the interpreter.
        script: what it runs.
        folder: its working directory.
        environment: its environment variables, all of them.
        own_group: give it a process group of its own, so that `close` also ends what it started.

    Raises:
        WorkerLostError: the system cannot start it.
    """

    def __init__(
        self, python: Path, script: Path, *, folder: Path, environment: Mapping[str, str], own_group: bool = False
    ):
        self._held = ExitStack()
        self._stderr = self._held.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        self._has_group = own_group
        try:
            self._process = subprocess.Popen(
                [str(python.absolute()), str(script)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                cwd=folder,
                env=dict(environment),
                text=True,
                encoding="utf-8",
                process_group=0 if own_group else None,
            )
        except OSError as error:
            self._held.close()
            raise WorkerLostError(f"{python} cannot be started: {error}") from None
        self._answers: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=_collect, args=(self._process.stdout, self._answers), daemon=True).start()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def exchange(self, line: str, timeout_s: float) -> str | None:
        """Send a line and wait for one; None if the process ended.

        Raises:
            queue.Empty: none came in time.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except OSError:
            return None
        return self._answers.get(timeout=timeout_s)

    def last_words(self, num_lines: int = 1) -> str:
        """How it ended, and the last lines that it wrote."""
        try:
            status = f"exit code {self._process.wait(timeout=5)}"
        except subprocess.TimeoutExpired:
            status = "its output is closed"
        lines = self.last_lines(num_lines)
        return f"{status}; {lines}" if lines else status

    def last_lines(self, num_lines: int) -> str:
        """The last lines of its standard error."""
        number = self._stderr.fileno()
        # the process writes where the file stands, so nothing here moves it
        text = os.pread(number, _TAIL, max(os.fstat(number).st_size - _TAIL, 0))
        lines = text.decode(errors="replace").strip().splitlines()
        return "\n".join(line[:300] for line in lines[-num_lines:])

    def close(self) -> None:
        """End it."""
        if self._has_group:
            with suppress(ProcessLookupError):  # the group outlives its leader, where that left something behind
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        with suppress(OSError):  # what was not sent has no reader
            self._process.stdin.close()
        self._held.close()


def _collect(lines: IO[str], answers: "queue.Queue[str | None]") -> None:
    with lines:
        for line in lines:
            answers.put(line)
    answers.put(None)
