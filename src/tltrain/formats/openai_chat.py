"""OpenAI chat messages with tools, one trajectory a line: tltrain's own rows on disk, and OpenAI's.

Row: `{"id", "messages", "tools", "provenance"}`; `messages` is the only field that must be there.

- A call is `{"id", "type": "function", "function": {"name", "arguments"}}`; `arguments` is JSON text or an object.
- A call that cannot be read becomes a `MalformedCall` whose raw text is `name(arguments)`, both as written, or the
  arguments alone where no name is given. On writing, raw text of that shape is split the same way, any other raw
  text goes into `arguments` beside an empty name, and a `malformed` field beside `function` holds the reason; so
  reading what was written gives the same trajectory.
- Tools are `{"type": "function", "function": {...}}` or bare `{"name", "description", "parameters"}` objects, and the
  list may be JSON text.
- A message of the assistant may carry a loss `weight` (or one of its other names, see `loss_fields`), a
  `mask_reason`, and `spans` `{"field", "start", "end", "weight"}` where parts of it weigh something else.
- Row fields of other names are kept as provenance.
- null stands for a missing field everywhere, as table formats fill it in.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from tltrain.files import decode_json, encode_line, json_type, write_text_atomic
from tltrain.formats.chat_fields import bad, read_calls, read_optional, read_text, read_tools, write_call, write_tool
from tltrain.formats.loss_fields import read_spans, read_weight, write_spans
from tltrain.types import Json, Message, Role, Trajectory

_ROLES = {role.value: role for role in Role} | {"developer": Role.SYSTEM, "function": Role.TOOL}
_REASONING = ("reasoning_content", "reasoning", "thinking")
_REASONING_SET = frozenset(_REASONING)
_OWN_FIELDS = frozenset({"id", "messages", "tools", "functions", "provenance"})


# Reading a row


def trajectory_from_row(
    row: Mapping[str, Any], *, where: str, default_id: str | None = None, places: Sequence[str] | None = None
) -> Trajectory:
    """Turn one decoded row into a trajectory; without an id it is called `default_id`, or else `where`.

    Args:
        row: the row.
        where: with what an error begins.
        default_id: see above.
        places: where each message stands in the file, for errors, such as `conversations[2]`; by default `messages[i]`.

    Raises:
        DataError: names `where`, the field, what is wrong and what to do.
    """
    messages = _from_text(row, "messages", where)
    if not isinstance(messages, list):
        fields = ", ".join(sorted(row)) or "no fields"
        problem = "is missing" if messages is None else f"is of type {json_type(messages)}"
        raise bad(where, "messages", f"{problem} (the row has {fields})", "give a list of chat messages")
    if not messages:
        raise bad(where, "messages", "is empty", "give at least one message, or drop the row")
    identifier = row.get("id")
    if isinstance(identifier, bool) or not (identifier is None or isinstance(identifier, (str, int))):
        raise bad(where, "id", f"is of type {json_type(identifier)}", "give a string")
    provenance = _from_text(row, "provenance", where)
    if not (provenance is None or isinstance(provenance, dict)):
        raise bad(where, "provenance", f"is of type {json_type(provenance)}", "give an object or leave it out")
    others = {key: value for key, value in row.items() if key not in _OWN_FIELDS and value is not None}
    return Trajectory(
        id=(where if default_id is None else default_id) if identifier in (None, "") else str(identifier),
        tools=read_tools(row, where),
        messages=tuple(read_messages(messages, where, places)),
        provenance=others | dict(provenance or {}),
    )


def _from_text(row: Mapping[str, Any], key: str, where: str) -> Any:
    """A field, which may be JSON text, as tables hold what has no fixed shape."""
    value = row.get(key)
    if not isinstance(value, str) or value.lstrip()[:1] not in ("[", "{"):
        return value
    try:
        return decode_json(value)
    except ValueError as error:
        raise bad(where, key, f"is text, and {error}", "give the value itself, or JSON text of it") from None


def read_messages(values: Sequence[Any], where: str, places: Sequence[str] | None = None) -> Iterator[Message]:
    """The messages of a row; see `trajectory_from_row`.

    Raises:
        DataError: names `where`, the message, what is wrong and what to do.
    """
    is_answerable = False
    for index, value in enumerate(values):
        message = _read_plainly(value)
        if message is None:
            message = _read_message(value, where, f"messages[{index}]" if places is None else places[index])
        if message.role is Role.TOOL and not is_answerable:
            problem = "has role tool but follows neither an assistant message with tool_calls nor another tool message"
            place = f"messages[{index}]" if places is None else places[index]
            raise bad(where, place, problem, "put the call into tool_calls of the message before it")
        is_answerable = bool(message.calls) or message.role is Role.TOOL
        yield message


def _read_plainly(value: Any) -> Message | None:
    """A message of text alone, as most are, without a name for its place; None for every other, right or wrong."""
    if not isinstance(value, dict) or not isinstance(value.get("content"), str):
        return None
    role = value.get("role")
    if role == "tool":
        call_id, name = value.get("tool_call_id"), value.get("name")
        if (call_id is None or isinstance(call_id, str)) and (name is None or isinstance(name, str)):
            return Message(role=Role.TOOL, content=value["content"], call_id=call_id, name=name)
    elif role in ("user", "system"):
        return Message(role=_ROLES[role], content=value["content"])
    elif role == "assistant" and len(value) == 2:
        return Message(role=Role.ASSISTANT, content=value["content"])
    return None


def _read_message(value: Any, where: str, field: str) -> Message:
    if not isinstance(value, dict):
        raise bad(where, field, f"is of type {json_type(value)}", "give an object with role and content")
    given = value.get("role")
    role = _ROLES.get(given) if isinstance(given, str) else None
    if role is None:
        problem = "is missing" if not value.get("role") else f"{value['role']!r} is unknown"
        raise bad(where, f"{field}.role", problem, f"use one of {', '.join(Role)}")
    if role is Role.TOOL:
        return Message(
            role=role,
            content=read_text(value, "content", where, field, is_feedback=True).content,
            call_id=read_optional(value, "tool_call_id", where, field),
            name=read_optional(value, "name", where, field),
        )
    if role is Role.ASSISTANT:
        return _read_turn(value, where, field)
    if value.get("content") is None:
        raise bad(where, f"{field}.content", "is missing", f"give the text of the {role} message")
    return Message(role=role, content=read_text(value, "content", where, field).content)


def _read_turn(value: Mapping[str, Any], where: str, field: str) -> Message:
    """A message of the assistant, with the loss weights that it carries."""
    content = read_text(value, "content", where, field)
    reasoning = content.reasoning
    if not _REASONING_SET.isdisjoint(value):
        texts = (read_text(value, key, where, field).content for key in _REASONING)
        reasoning = next(filter(None, texts), reasoning)
    calls = tuple(read_calls(value, where, field))
    if value.get("content") is None and not calls and not reasoning:
        raise bad(where, f"{field}.content", "is missing and there are no tool_calls", "give a text or calls")
    message = Message(
        role=Role.ASSISTANT,
        content=content.content,
        reasoning=reasoning,
        calls=calls,
        weight=read_weight(value, where, field),
        mask_reason=(read_optional(value, "mask_reason", where, field) or "") if "mask_reason" in value else "",
        spans=content.spans,
    )
    if value.get("spans") is None:
        return message
    return replace(message, spans=(*content.spans, *read_spans(value, message, where, field)))


# Writing a row


def row_from_trajectory(trajectory: Trajectory) -> dict[str, Json]:
    """The row that `trajectory_from_row` reads back as an equal trajectory."""
    row: dict[str, Json] = {
        "id": trajectory.id,
        "messages": [write_message(message) for message in trajectory.messages],
        "tools": [write_tool(tool) for tool in trajectory.tools],
    }
    if trajectory.provenance:
        row["provenance"] = dict(trajectory.provenance)
    return row


def write_message(message: Message, *, with_faults: bool = True) -> dict[str, Json]:
    """One message of such a row.

    Args:
        message: any.
        with_faults: say of a call that cannot be read why it cannot.
    """
    row: dict[str, Json] = {"role": message.role.value, "content": message.content}
    if message.reasoning:
        row["reasoning_content"] = message.reasoning
    if message.calls:
        row["tool_calls"] = [write_call(call, with_fault=with_faults) for call in message.calls]
    if message.call_id is not None:
        row["tool_call_id"] = message.call_id
    if message.name is not None:
        row["name"] = message.name
    if message.weight is not None:
        row["weight"] = message.weight
    if message.mask_reason:
        row["mask_reason"] = message.mask_reason
    if message.spans:
        row["spans"] = write_spans(message)
    return row


def write_trajectories(path: Path, trajectories: Sequence[Trajectory]) -> None:
    """Write a JSON Lines file, whole or not at all."""
    write_text_atomic(path, "".join(encode_line(row_from_trajectory(trajectory)) for trajectory in trajectories))
