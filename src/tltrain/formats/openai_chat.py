"""OpenAI chat messages with tools, one trajectory a line: tltrain's own format on disk.

Row: `{"id", "messages", "tools", "provenance"}`; `messages` is the only field that must be there.

- A call is `{"id", "type": "function", "function": {"name", "arguments"}}`; `arguments` is JSON text or an object.
- A call that cannot be read becomes a `MalformedCall` whose raw text is `name(arguments)`, both as written, or the
  arguments alone where no name is given. On writing, raw text of that shape is split the same way, any other raw
  text goes into `arguments` beside an empty name, and a `malformed` field beside `function` holds the reason; so
  reading what was written gives the same trajectory.
- Tools are `{"type": "function", "function": {...}}` or bare `{"name", "description", "parameters"}` objects, and the
  list may be JSON text.
- Row fields of other names are kept as provenance.
- null stands for a missing field everywhere, as table formats fill it in.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tltrain.errors import DataError
from tltrain.files import check_file, decode_json, decode_line, encode_line, json_type, read_lines, write_text_atomic
from tltrain.types import AnyCall, Json, MalformedCall, Message, Role, Tool, ToolCall, Trajectory

_ROLES = {role.value: role for role in Role} | {"developer": Role.SYSTEM, "function": Role.TOOL}
_OWN_FIELDS = frozenset({"id", "messages", "tools", "functions", "provenance"})
_NAMED_RAW = re.compile(r"(?P<name>[A-Za-z_][\w.\-]*)\((?P<arguments>.*)\)", re.DOTALL)
_ROW_EXCERPT = 2000
"""Characters of a bad row that its quarantine entry keeps."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BadRow:
    """A row that could not be read, as the quarantine file keeps it."""

    file: str
    line: int
    """From 1."""
    reason: str
    row: str
    """The line as written, cut after 2,000 characters."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadResult:
    """What a file held."""

    trajectories: list[Trajectory]
    num_bad: int
    """Rows that could not be read."""
    quarantine: Path | None
    """File that lists them with reasons; None if there are none or no file was asked for."""
    reasons: tuple[str, ...] = ()
    """Reasons of the first few bad rows."""


def read_trajectories(path: Path, *, quarantine: Path | None = None, strict: bool = False) -> ReadResult:
    """Read a whole file; bad rows are set aside and counted.

    Args:
        path: JSON Lines.
        quarantine: where to write the bad rows; a file left from an earlier reading is removed.
        strict: raise on the first bad row instead.

    Raises:
        DataError: the file cannot be read, or holds no good row, or `strict` and a bad row.
    """
    check_file(path, "file of trajectories")
    trajectories: list[Trajectory] = []
    bad: list[BadRow] = []
    for item in iterate_trajectories(path):
        if isinstance(item, Trajectory):
            trajectories.append(item)
        elif strict:
            raise DataError(item.reason)
        else:
            bad.append(item)
    if quarantine is not None:
        quarantine.unlink(missing_ok=True)
        if bad:
            write_text_atomic(quarantine, "".join(encode_line(_quarantined(row)) for row in bad))
    if not trajectories:
        listed = f"; all are listed in {quarantine}" if quarantine else ""
        raise DataError(f"{path}: none of {len(bad)} rows can be read{listed}. First: {bad[0].reason}")
    return ReadResult(
        trajectories=trajectories,
        num_bad=len(bad),
        quarantine=quarantine if bad else None,
        reasons=tuple(row.reason for row in bad[:5]),
    )


def iterate_trajectories(path: Path) -> Iterator[Trajectory | BadRow]:
    """Stream a file row by row; a row without id is called `<file stem>:<line>`, a second row of an id is bad.

    Raises:
        DataError: the file as a whole cannot be read, or is empty.
    """
    first_lines: dict[str, int] = {}
    for number, line in read_lines(path):
        where = f"{path}:{number}"
        try:
            row = decode_line(line, where)
            if row.get("id") is None:
                row["id"] = f"{path.stem}:{number}"
            trajectory = trajectory_from_row(row, where=where)
            if trajectory.id in first_lines:
                problem = f"{trajectory.id!r} is also the id of line {first_lines[trajectory.id]}"
                raise _bad(where, "id", problem, "give every row an id of its own, or none")
        except DataError as error:
            text = line[: 4 * _ROW_EXCERPT].decode(errors="replace")[:_ROW_EXCERPT]
            yield BadRow(file=str(path), line=number, reason=str(error), row=text)
            continue
        first_lines[trajectory.id] = number
        yield trajectory


def write_trajectories(path: Path, trajectories: Sequence[Trajectory]) -> None:
    """Write a JSON Lines file, whole or not at all."""
    write_text_atomic(path, "".join(encode_line(row_from_trajectory(trajectory)) for trajectory in trajectories))


def _quarantined(row: BadRow) -> dict[str, Json]:
    return {"file": row.file, "line": row.line, "reason": row.reason, "row": row.row}


# Reading a row


def trajectory_from_row(row: Mapping[str, Any], *, where: str) -> Trajectory:
    """Turn one decoded row into a trajectory; without an id it is called `where`.

    Raises:
        DataError: names `where`, the field, what is wrong and what to do.
    """
    messages = row.get("messages")
    if not isinstance(messages, Sequence) or isinstance(messages, str):
        fields = ", ".join(sorted(row)) or "no fields"
        problem = "is missing" if messages is None else f"is of type {json_type(messages)}"
        raise _bad(where, "messages", f"{problem} (the row has {fields})", "give a list of chat messages")
    if not messages:
        raise _bad(where, "messages", "is empty", "give at least one message, or drop the row")
    identifier = row.get("id")
    if isinstance(identifier, bool) or not isinstance(identifier, str | int | None):
        raise _bad(where, "id", f"is of type {json_type(identifier)}", "give a string")
    provenance = row.get("provenance")
    if not isinstance(provenance, Mapping | None):
        raise _bad(where, "provenance", f"is of type {json_type(provenance)}", "give an object or leave it out")
    others = {key: value for key, value in row.items() if key not in _OWN_FIELDS and value is not None}
    return Trajectory(
        id=where if identifier in (None, "") else str(identifier),
        tools=_read_tools(row, where),
        messages=tuple(_read_messages(messages, where)),
        provenance=others | dict(provenance or {}),
    )


def _bad(where: str, field: str, problem: str, remedy: str) -> DataError:
    return DataError(f"{where}: {field} {problem}; {remedy}")


def _read_tools(row: Mapping[str, Any], where: str) -> tuple[Tool, ...]:
    field = "functions" if row.get("tools") is None else "tools"
    value = row.get(field)
    if isinstance(value, str):
        try:
            value = decode_json(value) if value.strip() else []
        except ValueError as error:
            raise _bad(where, field, f"is text, and {error}", "give a list of tools, or JSON text of one") from None
    if value is None:
        return ()
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise _bad(where, field, f"is of type {json_type(value)}", "give a list of tools")
    return tuple(_read_tool(tool, where, f"{field}[{index}]") for index, tool in enumerate(value))


def _read_tool(value: Any, where: str, field: str) -> Tool:
    if isinstance(value, Mapping) and isinstance(value.get("function"), Mapping):
        value, field = value["function"], f"{field}.function"
    if not isinstance(value, Mapping):
        raise _bad(where, field, f"is of type {json_type(value)}", "give an object with name and parameters")
    name = value.get("name")
    if not isinstance(name, str) or not name:
        problem = "is missing or empty" if not name else f"is of type {json_type(name)}"
        raise _bad(where, f"{field}.name", problem, "give the tool's name")
    description = value.get("description")
    if not isinstance(description, str | None):
        raise _bad(where, f"{field}.description", f"is of type {json_type(description)}", "give a string")
    schemas = (value.get(key) for key in ("parameters", "input_schema", "inputSchema"))
    parameters: Any = next((schema for schema in schemas if schema), {})
    if not isinstance(parameters, Mapping):
        problem = f"is of type {json_type(parameters)}"
        raise _bad(where, f"{field}.parameters", problem, "give a JSON Schema object")
    return Tool(name=name, description=description or "", parameters=dict(parameters))


def _read_messages(values: Sequence[Any], where: str) -> Iterator[Message]:
    is_answerable = False
    for index, value in enumerate(values):
        message = _read_message(value, where, f"messages[{index}]")
        if message.role is Role.TOOL and not is_answerable:
            problem = "has role tool but follows neither an assistant message with tool_calls nor another tool message"
            raise _bad(where, f"messages[{index}]", problem, "put the call into tool_calls of the message before it")
        is_answerable = bool(message.calls) or message.role is Role.TOOL
        yield message


def _read_message(value: Any, where: str, field: str) -> Message:
    if not isinstance(value, Mapping):
        raise _bad(where, field, f"is of type {json_type(value)}", "give an object with role and content")
    role = _ROLES.get(value.get("role") or "") if isinstance(value.get("role"), str | None) else None
    if role is None:
        problem = "is missing" if not value.get("role") else f"{value['role']!r} is unknown"
        raise _bad(where, f"{field}.role", problem, f"use one of {', '.join(Role)}")
    if role is Role.TOOL:
        return Message(
            role=role,
            content=_read_text(value, "content", where, field, is_feedback=True),
            call_id=_read_optional(value, "tool_call_id", where, field),
            name=_read_optional(value, "name", where, field),
        )
    content = _read_text(value, "content", where, field)
    if role is not Role.ASSISTANT:
        if value.get("content") is None:
            raise _bad(where, f"{field}.content", "is missing", f"give the text of the {role} message")
        return Message(role=role, content=content)
    reasoning = _read_text(value, "reasoning_content", where, field) or _read_text(value, "reasoning", where, field)
    calls = tuple(_read_calls(value, where, field))
    if value.get("content") is None and not calls and not reasoning:
        raise _bad(where, f"{field}.content", "is missing and there are no tool_calls", "give a text or calls")
    return Message(role=role, content=content, reasoning=reasoning, calls=calls)


def _read_text(value: Mapping[str, Any], key: str, where: str, field: str, *, is_feedback: bool = False) -> str:
    """Text of a message: a string, null, or a list of text parts. Feedback may be any JSON, kept as JSON text."""
    content = value.get(key)
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    if isinstance(content, Sequence) and content and all(_is_text_part(part) for part in content):
        return "".join(part if isinstance(part, str) else part["text"] for part in content)
    if is_feedback:
        return json.dumps(content, ensure_ascii=False)
    raise _bad(where, f"{field}.{key}", "is neither a string nor a list of text parts", "give the text alone")


def _is_text_part(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str)


def _read_optional(value: Mapping[str, Any], key: str, where: str, field: str) -> str | None:
    text = value.get(key)
    if isinstance(text, int) and not isinstance(text, bool):
        return str(text)
    if not isinstance(text, str | None):
        raise _bad(where, f"{field}.{key}", f"is of type {json_type(text)}", "give a string")
    return text


def _read_calls(value: Mapping[str, Any], where: str, field: str) -> Iterator[AnyCall]:
    calls = value.get("tool_calls")
    if calls is None:
        legacy = value.get("function_call")
        calls = [] if legacy is None else [{"function": legacy}]
    if not isinstance(calls, Sequence) or isinstance(calls, str):
        raise _bad(where, f"{field}.tool_calls", f"is of type {json_type(calls)}", "give a list of calls")
    for index, call in enumerate(calls):
        yield _read_call(call, where, f"{field}.tool_calls[{index}]")


def _read_call(value: Any, where: str, field: str) -> AnyCall:
    if not isinstance(value, Mapping):
        raise _bad(where, field, f"is of type {json_type(value)}", "give an object with a function")
    function = value.get("function") if value.get("function") is not None else value
    if not isinstance(function, Mapping):
        raise _bad(
            where, f"{field}.function", f"is of type {json_type(function)}", "give an object with name, arguments"
        )
    name = function.get("name")
    if not isinstance(name, str | None):
        raise _bad(where, f"{field}.function.name", f"is of type {json_type(name)}", "give the tool's name")
    if name is None and function.get("arguments") is None:
        raise _bad(where, f"{field}.function.name", "is missing, as are the arguments", "give the tool's name")
    identifier = _read_optional(value, "id", where, field)
    arguments = function.get("arguments")
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    raw = f"{name}({text})" if name else text
    malformed = _read_optional(value, "malformed", where, field)
    if malformed is not None:
        return MalformedCall(raw=raw, reason=malformed, id=identifier)
    if not name:
        return MalformedCall(raw=raw, reason="the call names no tool", id=identifier)
    try:
        decoded = _decode_arguments(arguments)
    except ValueError as error:
        return MalformedCall(raw=raw, reason=str(error), id=identifier)
    return ToolCall(name=name, arguments=decoded, id=identifier)


def _decode_arguments(value: Any) -> dict[str, Json]:
    """Arguments as an object; no arguments and blank text mean none.

    Raises:
        ValueError: the text is no JSON, or the value no object.
    """
    if isinstance(value, str):
        try:
            value = decode_json(value) if value.strip() else {}
        except ValueError as error:
            raise ValueError(f"the arguments are {error}") from None
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError(f"the arguments are a JSON {json_type(value)}, not an object")
    return dict(value)


# Writing a row


def row_from_trajectory(trajectory: Trajectory) -> dict[str, Json]:
    """The row that `trajectory_from_row` reads back as an equal trajectory."""
    tools: list[Json] = [
        {
            "type": "function",
            "function": {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)},
        }
        for tool in trajectory.tools
    ]
    row: dict[str, Json] = {
        "id": trajectory.id,
        "messages": [_write_message(message) for message in trajectory.messages],
        "tools": tools,
    }
    if trajectory.provenance:
        row["provenance"] = dict(trajectory.provenance)
    return row


def _write_message(message: Message) -> dict[str, Json]:
    row: dict[str, Json] = {"role": message.role.value, "content": message.content}
    if message.reasoning:
        row["reasoning_content"] = message.reasoning
    if message.calls:
        row["tool_calls"] = [_write_call(call) for call in message.calls]
    if message.call_id is not None:
        row["tool_call_id"] = message.call_id
    if message.name is not None:
        row["name"] = message.name
    return row


def _write_call(call: AnyCall) -> dict[str, Json]:
    row: dict[str, Json] = {} if call.id is None else {"id": call.id}
    row["type"] = "function"
    if isinstance(call, ToolCall):
        arguments = json.dumps(dict(call.arguments), ensure_ascii=False, allow_nan=False)
        row["function"] = {"name": call.name, "arguments": arguments}
        return row
    named = _NAMED_RAW.fullmatch(call.raw)
    row["function"] = dict(named.groupdict()) if named else {"name": "", "arguments": call.raw}
    row["malformed"] = call.reason
    return row
