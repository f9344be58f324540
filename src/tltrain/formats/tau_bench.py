"""tau-bench trajectories: `{"task_id", "trial", "reward", "info", "traj"}`, one attempt at a task each.

`traj` is a list of OpenAI chat messages. The rows hold no tool documents; a second file does (`Companions.tools`, a
list of OpenAI tools). An empty feedback, as the `think` tool gives it, is kept as an empty one.
"""

from collections.abc import Iterator

from tltrain.errors import DataError
from tltrain.formats.base import Companions
from tltrain.formats.companion_file import load_records, require_file
from tltrain.formats.untrusted import (
    described,
    expect_object,
    fail,
    keep,
    missing,
    read_call,
    read_list,
    read_text,
    read_tool,
)
from tltrain.types import AnyCall, Json, Message, Role, Tool, Trajectory

_KEPT = ("task_id", "trial", "reward")


class TauBench:
    """See the module."""

    name = "tau_bench"
    summary = "tau-bench trajectories with rewards; needs a second file with the tools"

    def refuse(self, record: Json) -> str | None:
        """A row has `traj`, a list, and `task_id`."""
        reason = missing(record, traj=list)
        if reason or not isinstance(record, dict):
            return reason
        return None if "task_id" in record else "'task_id' is missing"

    def read(self, record: Json, *, where: str, companions: Companions) -> Iterator[Trajectory | DataError]:
        """One trajectory; its id is `task-<task_id>-trial-<trial>` where both are given."""
        row = expect_object(record, where, "the record")
        messages = read_list(row, "traj", where)
        if not messages:
            fail(where, "traj", "is empty", "give at least one message, or drop the row")
        tools = read_tools(where, companions)
        numbers = [row.get(key) for key in ("task_id", "trial")]
        identifier = "task-{}-trial-{}".format(*numbers) if all(isinstance(item, int | str) for item in numbers) else ""
        yield Trajectory(
            id=identifier,
            tools=tools,
            messages=tuple(_read_messages(messages, where)),
            provenance={"source": self.name} | keep(row, _KEPT) | _task(row.get("info")),
        )


def read_tools(where: str, companions: Companions) -> tuple[Tool, ...]:
    """The tools of the second file."""
    path = require_file(companions.tools, where, "tool documents", "--tools")
    return tuple(read_tool(tool, str(path), f"[{index}]") for index, tool in enumerate(load_records(path)))


def _task(info: Json) -> dict[str, Json]:
    """What the row knows of the task: its instruction and the actions that solve it."""
    task = info.get("task") if isinstance(info, dict) else None
    if not isinstance(task, dict):
        return {}
    kept = keep(task, ("user_id", "instruction", "actions", "outputs"))
    return {"task": kept} if kept else {}


def _read_messages(values: list[Json], where: str) -> Iterator[Message]:
    may_answer = False
    for index, value in enumerate(values):
        message = _read_message(value, where, f"traj[{index}]")
        if message.role is Role.TOOL and not may_answer:
            fail(where, f"traj[{index}]", "is feedback that follows no call", "put the message with the call before it")
        may_answer = bool(message.calls) or message.role is Role.TOOL
        yield message


def _read_message(value: Json, where: str, field: str) -> Message:
    message = expect_object(value, where, field)
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str) or role not in set(Role):
        fail(where, f"{field}.role", described(role), f"use one of {', '.join(Role)}")
    if not isinstance(content, str | None):
        fail(where, f"{field}.content", described(content), "give a text")
    text = content or ""
    if role == Role.TOOL:
        call_id, name = message.get("tool_call_id"), message.get("name")
        return Message(
            role=Role.TOOL,
            content=read_text(message, "content", where, of=field),
            call_id=call_id if isinstance(call_id, str) else None,
            name=name if isinstance(name, str) else None,
        )
    if role != Role.ASSISTANT:
        return Message(role=Role(role), content=text)
    return Message(role=Role.ASSISTANT, content=text, calls=tuple(_read_calls(message, where, field)))


def _read_calls(message: dict[str, Json], where: str, field: str) -> Iterator[AnyCall]:
    if message.get("tool_calls") is None:
        return
    for index, value in enumerate(read_list(message, "tool_calls", where, of=field)):
        call = expect_object(value, where, f"{field}.tool_calls[{index}]")
        function = call.get("function")
        if not isinstance(function, dict):
            fail(where, f"{field}.tool_calls[{index}].function", described(function), "give an object")
        identifier = call.get("id")
        yield read_call(
            function.get("name"),
            function.get("arguments"),
            identifier=identifier if isinstance(identifier, str) else None,
        )


TAU_BENCH = TauBench()
