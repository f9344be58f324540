"""Where a model runs."""

import torch


def pick_device() -> torch.device:
    """The accelerator that is there, as accelerate sees it (and this process's own among several), or the CPU."""
    from accelerate import PartialState

    device: torch.device = PartialState().device
    return device
