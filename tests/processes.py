"""Ending what a test started."""

import subprocess
from contextlib import suppress

import psutil  # accelerate needs it


def kill_with_children(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process and all that it started: torchrun gives each of its processes a session of its own."""
    with suppress(psutil.NoSuchProcess):
        started = psutil.Process(process.pid)
        for one in [started, *started.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                one.kill()
    process.wait()
