"""What `accelerate launch` and `torchrun` tell the processes that they start, through the environment."""

import os
from typing import TypeVar

_Error = TypeVar("_Error", bound=BaseException)


def launched_rank() -> int:
    """Number of this process, from 0; 0 where it was started alone."""
    return int(os.environ.get("RANK") or 0)


def num_launched() -> int:
    """How many processes were started together."""
    return int(os.environ.get("WORLD_SIZE") or 1)


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
