"""Several kits behind one door: the sandbox that teachers and models act in."""

import json
import random
from collections.abc import Mapping, Sequence
from enum import StrEnum

from msgspec.structs import replace

from tltrain.envs.base import Feedback
from tltrain.envs.toolkit import ToolFault, Toolkit
from tltrain.taxonomy import FeedbackKind
from tltrain.types import AnyCall, Json, MalformedCall, Tool


class ErrorStyle(StrEnum):
    """How errors are worded; services differ, and an audit must read them all."""

    PYTHON = "python"
    """`TypeError: f() missing 1 required argument: 'x'`."""
    JSON = "json"
    """`{"error": "f() missing 1 required argument: 'x'"}`."""
    HTTP = "http"
    """`{"status": 400, "message": "f() missing 1 required argument: 'x'"}`."""


_PYTHON_NAME = {
    FeedbackKind.TOOL_NOT_DEFINED: "NameError",
    FeedbackKind.MISSING_ARGUMENT: "TypeError",
    FeedbackKind.UNEXPECTED_ARGUMENT: "TypeError",
    FeedbackKind.TYPE_OR_VALUE: "ValueError",
    FeedbackKind.REFUSED: "Error",
    FeedbackKind.SERVICE_FAILURE: "ConnectionError",
}
_HTTP_STATUS = {
    FeedbackKind.TOOL_NOT_DEFINED: 404,
    FeedbackKind.MISSING_ARGUMENT: 400,
    FeedbackKind.UNEXPECTED_ARGUMENT: 400,
    FeedbackKind.TYPE_OR_VALUE: 422,
    FeedbackKind.REFUSED: 409,
    FeedbackKind.SERVICE_FAILURE: 503,
}
_FAILURES = ("the service did not answer within 30 s", "connection reset by peer", "service temporarily unavailable")


class Sandbox:
    """An `Environment` over kits whose tool names differ. Deterministic: equal arguments give equal feedback.

    Args:
        kits: owners of the tools and of the state.
        shown: the kits' own names of the tools on offer, in order; None offers all.
        new_names: own name -> name under which the tool is shown and called; others keep their own.
        style: wording of errors.
        failure_rate: share of calls, in [0, 1), that end in a service failure before they reach the tool.
        seed: decides which calls fail.
    """

    def __init__(
        self,
        kits: Sequence[Toolkit],
        *,
        shown: Sequence[str] | None = None,
        new_names: Mapping[str, str] = {},
        style: ErrorStyle = ErrorStyle.PYTHON,
        failure_rate: float = 0.0,
        seed: int = 0,
    ):
        self._kits = tuple(kits)
        owners = {tool.name: kit for kit in kits for tool in kit.tools()}
        documents = {tool.name: tool for kit in kits for tool in kit.tools()}
        offered = list(documents) if shown is None else shown
        self._tools = tuple(replace(documents[name], name=new_names.get(name, name)) for name in offered)
        # shown name -> the kit that has the tool, and its own name there
        self._owners = {tool.name: (owners[name], name) for tool, name in zip(self._tools, offered, strict=True)}
        self._style = style
        self._failure_rate = failure_rate
        self._rng = random.Random(f"failures:{seed}")

    @property
    def tools(self) -> tuple[Tool, ...]:
        """The tools on offer."""
        return self._tools

    def execute(self, call: AnyCall) -> Feedback:
        """Run one call; see `Environment.execute`."""
        if isinstance(call, MalformedCall):
            return self._error(FeedbackKind.TYPE_OR_VALUE, f"invalid call: {call.reason}")
        if call.name not in self._owners:
            return self._error(FeedbackKind.TOOL_NOT_DEFINED, f"name {call.name!r} is not defined")
        if self._failure_rate and self._rng.random() < self._failure_rate:
            return self._error(FeedbackKind.SERVICE_FAILURE, self._rng.choice(_FAILURES))
        kit, own_name = self._owners[call.name]
        try:
            value = kit.call(own_name, call.arguments, shown_as=call.name)
        except ToolFault as fault:
            return self._error(fault.kind, str(fault))
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        return Feedback(text=text, value=value)

    def snapshot(self) -> Json:
        """State of every kit by its name."""
        return {kit.name: kit.snapshot() for kit in self._kits}

    def _error(self, kind: FeedbackKind, message: str) -> Feedback:
        if self._style is ErrorStyle.PYTHON:
            text = f"{_PYTHON_NAME[kind]}: {message}"
        elif self._style is ErrorStyle.JSON:
            text = json.dumps({"error": message}, ensure_ascii=False)
        else:
            text = json.dumps({"status": _HTTP_STATUS[kind], "message": message}, ensure_ascii=False)
        return Feedback(text=text, error=kind)
