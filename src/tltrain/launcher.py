"""What `accelerate launch` and `torchrun` tell the processes that they start, through the environment."""

import os


def launched_rank() -> int:
    """Number of this process, from 0; 0 where it was started alone."""
    return int(os.environ.get("RANK") or 0)


def num_launched() -> int:
    """How many processes were started together."""
    return int(os.environ.get("WORLD_SIZE") or 1)
