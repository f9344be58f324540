"""What both sides of `bench/sft.py` and `bench/ppo.py` measure alike.

Needs torch alone: it also runs beside TRL, in its environment.
"""

import json
import math
import os
import sys
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch


def read_job() -> dict[str, Any]:
    """The job file named on the command line; sets the number of threads."""
    job: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    if job["threads"]:
        torch.set_num_threads(job["threads"])
    return job


def write_result(result: dict[str, Any]) -> None:
    """Write the result file named on the command line."""
    Path(sys.argv[2]).write_text(json.dumps(result))


def fill_adapters(model: torch.nn.Module) -> None:
    """Give LoRA adapters one and the same start, whatever made them: A uniform, B zero."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in sorted(model.named_parameters()):
        if "lora_A" in name:
            bound = 1 / math.sqrt(parameter.shape[1])
            values = torch.rand(parameter.shape, generator=generator) * 2 * bound - bound
            parameter.data.copy_(values)
        elif "lora_B" in name:
            parameter.data.zero_()


class Clock:
    """Wall-clock and processor time between marks."""

    def __init__(self) -> None:
        self._marks: list[tuple[float, float]] = []

    def mark(self) -> None:
        """Set a mark; work queued on an accelerator is done by then."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self._marks.append((time.perf_counter(), time.process_time()))

    def read(self) -> dict[str, list[float]]:
        """Seconds between each mark and the next."""
        pairs = list(pairwise(self._marks))
        return {
            "seconds": [end[0] - start[0] for start, end in pairs],
            "cpu_seconds": [end[1] - start[1] for start, end in pairs],
        }


class Memory:
    """The most memory of this process, from a moment on, in bytes: of the accelerator where there is one."""

    def __init__(self, model: torch.nn.Module):
        # pages of a file that is mapped count once they are read
        for parameter in model.parameters():
            parameter.detach().sum()
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
            self.loaded = torch.cuda.memory_allocated()
            return
        # the high-water mark starts anew; where that is forbidden it holds the peak of loading too, for both sides
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        self.loaded = _status("VmRSS")

    def read(self) -> dict[str, int]:
        """What was there after loading, and the peak since."""
        return {"loaded": self.loaded, "peak": read_peak()}


def read_peak() -> int:
    """The most memory of this process so far, in bytes: of the accelerator where there is one."""
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else _status("VmHWM")


def _status(field: str) -> int:
    for line in Path(f"/proc/{os.getpid()}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}; peak memory is read from Linux's /proc")


def measure_matmul(precision: str, *, size: int = 2048, num_repeats: int = 5) -> dict[str, float]:
    """The best of some square matrix products, in floating point operations a second and a second of processor time."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    left, right = (torch.ones(size, size, dtype=dtype, device=device) for _ in range(2))
    clock = Clock()
    for _ in range(num_repeats + 2):  # the first sets up the kernel
        clock.mark()
        left @ right
    clock.mark()
    measured = clock.read()
    return {key: 2 * size**3 / min(seconds) for key, seconds in measured.items()}
