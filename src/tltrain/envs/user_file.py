"""Python files of the user's own: their code is run, and what they define is used."""

import contextlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from tltrain.errors import UsageError


def load_user_file(path: Path, *, field: str, needs: str) -> ModuleType:
    """Run a Python file and give what it defines.

    Args:
        path: the file.
        field: the setting that names it.
        needs: what it must define, for messages.

    Raises:
        UsageError: there is no such file, it is no Python file, or it raises.
    """
    named = f"{field}={path}"
    if not path.is_file():
        raise UsageError(f"{named} is no file; name a Python file with {needs}")
    name = f"tltrain_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{named} is no Python file; its name must end with .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for results
            spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise UsageError(f"{named} cannot be run: {type(error).__name__}: {error}; correct it") from error
    return module


def last_line(error: BaseException) -> str:
    """An exception as the last line of Python's own traceback has it, such as `KeyError: 'city'`."""
    return traceback.format_exception_only(type(error), error)[-1].strip()
