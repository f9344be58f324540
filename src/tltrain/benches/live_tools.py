"""Tools that are really called: functions of a Python file of the user's, whose code is run.

The file has a function for each tool, `look(key)`, or one `call(name, arguments)` for all that have none of their own,
or both. `call` may take a third argument, the tool's set, such as `Tool_Library/Weather/Weather`. What it does not know
it answers with `NotImplemented`.
"""

import asyncio
import contextlib
import copy
import inspect
import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tltrain.envs.base import Feedback
from tltrain.envs.user_file import last_line, load_user_file
from tltrain.errors import UsageError
from tltrain.taxonomy import FeedbackKind
from tltrain.types import ToolCall

_GENERAL = "call"


class LiveTools:
    """Calls the functions of a file.

    A call that takes too long is left behind: it goes on in a thread of its own, and the next one is made beside it.

    Args:
        path: the file.
        timeout_s: seconds that one call may take.
        max_chars: characters of an answer; what is beyond is cut off.

    Raises (on construction):
        UsageError: the file cannot be run, or has no public function.
    """

    def __init__(self, path: Path, *, timeout_s: float, max_chars: int):
        field, needs = "tooleyes_tools", "a function for each tool, or one call(name, arguments)"
        self.path, self.timeout_s = path, timeout_s
        self._max_chars = max_chars
        self._functions: dict[str, Callable[..., Any]] = {
            name: value
            for name, value in vars(load_user_file(path, field=field, needs=needs)).items()
            if callable(value) and not name.startswith("_") and not inspect.isclass(value)
        }
        if not self._functions:
            raise UsageError(f"{field}={path} has no function; it must have {needs}")
        general = self._functions.pop(_GENERAL, None)
        self._general = None if general is None else _with_three(general)

    def execute(self, call: ToolCall, tool_set: str) -> Feedback | None:
        """The answer to a call, or what it raised; None: the file does not know the tool.

        Args:
            call: of a tool on offer. Its name chooses the function, so a name that nobody documented must not get here.
            tool_set: that the tool is of.
        """
        arguments = copy.deepcopy(dict(call.arguments))
        own = self._functions.get(call.name)
        if own is not None:
            return self._run(lambda: own(**arguments))
        general = self._general
        return None if general is None else self._run(lambda: general(call.name, arguments, tool_set))

    def _run(self, work: Callable[[], object]) -> Feedback | None:
        answers: list[Feedback | None] = []
        thread = threading.Thread(target=lambda: answers.append(self._answer(work)), daemon=True)
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for results
            thread.start()
            thread.join(self.timeout_s)
        if not answers:
            text = f"TimeoutError: no answer within {self.timeout_s:g} s"
            return Feedback(text=text, error=FeedbackKind.SERVICE_FAILURE)
        return answers[0]

    def _answer(self, work: Callable[[], object]) -> Feedback | None:
        try:
            found = work()
            if inspect.iscoroutine(found):
                found = asyncio.run(found)
            if found is NotImplemented:
                return None
            if isinstance(found, Feedback):
                return Feedback(text=self._cut(found.text), error=found.error)
            text = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False, default=str)
            return Feedback(text=self._cut(text))
        except BaseException as error:  # not our code: whatever it raises, SystemExit too
            return Feedback(text=self._cut(last_line(error)), error=_kind_of(error))

    def _cut(self, text: str) -> str:
        return text[: self._max_chars].encode(errors="replace").decode()


def _with_three(general: Callable[..., Any]) -> Callable[[str, dict[str, Any], str], Any]:
    """The user's `call`, given the tool's set only if it takes it."""
    try:
        inspect.signature(general).bind("name", {}, "set")
    except TypeError:
        return lambda name, arguments, _: general(name, arguments)
    except ValueError:  # a function without a signature
        return lambda name, arguments, _: general(name, arguments)
    return general


def _kind_of(error: BaseException) -> FeedbackKind:
    text = str(error)
    if isinstance(error, TypeError) and "unexpected keyword argument" in text:
        return FeedbackKind.UNEXPECTED_ARGUMENT
    if isinstance(error, TypeError) and "missing" in text and "required" in text:
        return FeedbackKind.MISSING_ARGUMENT
    if isinstance(error, PermissionError | FileNotFoundError):
        return FeedbackKind.REFUSED
    if isinstance(error, OSError):  # of connections too, and time-outs
        return FeedbackKind.SERVICE_FAILURE
    return FeedbackKind.TYPE_OR_VALUE if isinstance(error, TypeError | ValueError) else FeedbackKind.UNCATEGORISED
