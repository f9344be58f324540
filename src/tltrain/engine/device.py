"""Where a model runs."""

from typing import Any

import torch


def pick_device() -> torch.device:
    """The accelerator that is there, as accelerate sees it (and this process's own among several), or the CPU."""
    device: torch.device = process_state().device
    return device


def process_state() -> Any:
    """What accelerate knows: this process, those it was started with, and its device."""
    from accelerate import PartialState

    # several processes on CPUs are found by accelerate only where it is told that there is nothing else
    return PartialState(cpu=not torch.accelerator.is_available())
