"""Exit codes, and what is said when a command fails."""

import errno
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tltrain.errors import TltrainError, UsageError
from tltrain.launcher import is_left_to_the_first, launched_rank

FAILED = 1
WRONG_USAGE = 2
_HEAD_START_S = 3.0
"""How much sooner than the others the first process may say what is wrong."""


def say(message: str) -> None:
    """Print a message for the user to stderr."""
    print(message, file=sys.stderr, flush=True)


@contextmanager
def resumable(out: Path) -> Iterator[None]:
    """Say where the work lies and how to go on, when a stage in `out` is interrupted or runs out of something."""
    kept = f"what is done is kept in {out}; the same command with --resume goes on"
    try:
        yield
    except KeyboardInterrupt:
        say(f"\nInterrupted; {kept}.")
        raise
    except OSError as error:
        raise TltrainError(f"{describe_os_error(error, str(out))}; {kept}") from error
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        advice = "make micro_batch_tokens smaller, or close other programs"
        raise TltrainError(f"out of memory; {advice}; {kept}") from error


def report_failure(error: Exception) -> int | None:
    """Say what went wrong; returns the exit code, or None for a bug of tltrain, which deserves its traceback.

    What all of several processes fail of, the first one says.
    """
    if launched_rank() > 0:
        time.sleep(_HEAD_START_S)  # as a process ends, the launcher ends the others
        if is_left_to_the_first(error):
            return FAILED
    match error:
        case UsageError():
            message, code = str(error), WRONG_USAGE
        case TltrainError():
            message, code = str(error), FAILED
        case OSError():
            message, code = describe_os_error(error, "standard output or input"), FAILED
        case _ if is_out_of_memory(error):
            message, code = "out of memory; close other programs, or use a smaller model", FAILED
        case _:
            return None
    if os.environ.get("TLTRAIN_DEBUG"):
        return None
    say(f"Error: {message}")
    return code


def describe_os_error(error: OSError, place: str) -> str:
    """Which file, what happened, what to do.

    Args:
        error: such as a full disk.
        place: where it was, in case the error names no file.
    """
    remedy = {
        errno.ENOSPC: "; free some space",
        errno.EDQUOT: "; free some space",
        errno.EACCES: "; check its permissions",
        errno.EROFS: "; choose a folder that can be written",
    }.get(error.errno or 0, "")
    return f"{error.filename or place}: {error.strerror or error}{remedy}"


def is_out_of_memory(error: Exception) -> bool:
    """Whether Python, torch's CPU allocator or a GPU had no more memory."""
    if isinstance(error, RuntimeError):
        words = ("not enough memory", "can't allocate memory", "CUDA out of memory")
        return type(error).__name__ == "OutOfMemoryError" or any(word in str(error) for word in words)
    return isinstance(error, MemoryError)
