"""Which number format to compute in: found out on the machine, not guessed."""

import time
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Literal

from tltrain.engine.settings import Precision


@cache
def cpu_gains_from_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 matrices faster than float32 ones; without hardware support for
    them, bfloat16 can be ten times slower.
    """
    import torch

    def seconds(dtype: torch.dtype) -> float:
        left, right = torch.ones(128, 576, dtype=dtype), torch.ones(576, 576, dtype=dtype)
        times = []
        for _ in range(9):  # the first sets up the kernel; on a busy machine the best one tells most
            start = time.perf_counter()
            left @ right
            times.append(time.perf_counter() - start)
        return min(times)

    return seconds(torch.bfloat16) < seconds(torch.float32)


def resolve_precision(precision: Precision, device_type: str) -> Literal["float32", "bfloat16"]:
    """The format that "auto" stands for on a device type ("cpu", "cuda", "mps")."""
    if precision != "auto":
        return precision
    if device_type == "cpu":
        return "bfloat16" if cpu_gains_from_bfloat16() else "float32"
    return "float32" if device_type == "cuda" and not _gpu_has_bfloat16() else "bfloat16"


def _gpu_has_bfloat16() -> bool:
    """Older GPUs emulate it, slower than float32."""
    import torch

    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def autocast(precision: Precision, device_type: str) -> AbstractContextManager[object]:
    """Context in which matrix products run in the chosen format, over float32 master weights."""
    import torch

    if resolve_precision(precision, device_type) == "float32":
        return nullcontext()
    return torch.autocast(device_type, dtype=torch.bfloat16)
