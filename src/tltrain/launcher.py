"""What `accelerate launch` and `torchrun` tell the processes that they start, through the environment."""

import os
from typing import TypeVar

from tltrain.errors import UsageError

_Error = TypeVar("_Error", bound=BaseException)


def launched_rank() -> int:
    """Number of this process, from 0; 0 where it was started alone."""
    return int(os.environ.get("RANK") or 0)


def num_launched() -> int:
    """How many processes were started together."""
    return int(os.environ.get("WORLD_SIZE") or 1)


def launched_zero_stage() -> int | None:
    """The ZeRO stage that `accelerate launch` was told; None where it was told nothing of DeepSpeed.

    Raises:
        UsageError: it was told of something that is done otherwise, or not at all.
    """
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "").lower() not in ("1", "true"):
        return None
    if file := os.environ.get("ACCELERATE_DEEPSPEED_CONFIG_FILE"):
        raise UsageError(
            f"accelerate was told to take DeepSpeed's settings from {file}, which is not supported: batch sizes, "
            "optimizer and number format are settings of sft; give zero_stage: 2 in place of deepspeed_config_file, "
            "as src/tltrain/launch/deepspeed_zero2.yaml does"
        )
    for name in ("optimizer", "param"):
        device = os.environ.get(f"ACCELERATE_DEEPSPEED_OFFLOAD_{name.upper()}_DEVICE", "none")
        if device != "none":
            raise UsageError(
                f"accelerate was told to offload to {device}, which is not supported; "
                f"set offload_{name}_device: none in its config file"
            )
    stage = os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2")
    if stage not in ("1", "2"):
        raise UsageError(
            f"accelerate was told zero_stage: {stage}, which is not supported; use 1 or 2, or, to split the weights "
            "too, FSDP: accelerate launch --config_file src/tltrain/launch/fsdp2.yaml"
        )
    return int(stage)


def leave_to_the_first(error: _Error) -> _Error:
    """An error that the first process raises, too: there it will be said what is wrong. Returns the error."""
    error.__dict__["is_left_to_the_first"] = launched_rank() > 0
    return error


def is_left_to_the_first(error: BaseException) -> bool:
    """Whether the first process says what is wrong; an error that was made out of such a one counts."""
    cause: BaseException | None = error
    while cause is not None:
        if cause.__dict__.get("is_left_to_the_first"):
            return True
        cause = cause.__cause__
    return False
