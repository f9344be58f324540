"""Hands memory that was freed back to the system while a pass runs, on a processor.

glibc keeps what is freed in holes between what stays, and seldom finds a later tensor that fits: a forward pass leaves
holes half as large as what it keeps, and they count as memory of the process until somebody asks for them back.
"""

import ctypes
from collections.abc import Callable
from functools import cache

import torch

_MIB = 2**20


@cache
def _find_trim() -> Callable[[int], int] | None:
    """`malloc_trim` of glibc; None elsewhere."""
    try:
        return ctypes.CDLL(None).malloc_trim  # type: ignore[no-any-return]
    except (AttributeError, OSError, TypeError):
        return None


class HeapTrimmer:
    """Counts what a pass has worked through, and now and then gives the holes back.

    Each time takes some milliseconds, and what is used again must be mapped again.

    Args:
        device: where the pass runs; on others than the processor nothing is done.
        every: bytes after which to do it again, at least.
        num_outputs: so many times the bytes that are counted first, at least: some four transformer blocks.
    """

    def __init__(self, device: torch.device, every: int = 24 * _MIB, num_outputs: int = 20):
        self._trim = _find_trim() if device.type == "cpu" else None
        self._every = every
        self._num_outputs = num_outputs
        self._num_bytes = 0
        self._is_first = True

    def count(self, num_bytes: int) -> None:
        """So many bytes were made, or let go of."""
        if self._is_first:
            self._every, self._is_first = max(self._every, self._num_outputs * num_bytes), False
        self._num_bytes += num_bytes
        if self._num_bytes >= self._every:
            self._num_bytes = 0
            if self._trim is not None:
                self._trim(0)
