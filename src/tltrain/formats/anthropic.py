"""Anthropic's messages: calls are `tool_use` blocks of the assistant, feedback `tool_result` blocks of the user.

`{"system", "messages": [{"role": "user|assistant", "content": text or blocks}], "tools": [{"name", "description",
"input_schema"}]}`

A result that is marked `is_error` is listed by its `tool_use_id` in `provenance["is_error"]`.
"""

from collections.abc import Iterator
from typing import Any

from tltrain.errors import DataError
from tltrain.files import json_type
from tltrain.formats.base import CallMasks, Companions, WrittenRow
from tltrain.formats.chat_fields import bad
from tltrain.formats.export import TOOL_NAMES, Losses, kept_columns, with_call_ids
from tltrain.formats.loss_fields import ALIASES, with_masks
from tltrain.formats.openai_chat import trajectory_from_row
from tltrain.formats.untrusted import expect_object, missing
from tltrain.types import AnyCall, Json, Message, Role, ToolCall, Trajectory

UNREAD = "loss weights; they are kept as `weight` on messages, at which Anthropic's tools do not look"
SYSTEM = "system messages that are not the first, which become the user's"
_BLOCKS = {"tool_use", "tool_result", "thinking", "redacted_thinking"}


class AnthropicRows:
    """See the module."""

    name = "anthropic"
    summary = "Anthropic messages with tool_use, tool_result and thinking blocks"

    def refuse(self, record: Json) -> str | None:
        """A row has messages with blocks of Anthropic's kinds, or a tool with `input_schema`."""
        reason = missing(record, messages=list)
        if reason or not isinstance(record, dict):
            return reason
        tools = record.get("tools")
        if isinstance(tools, list) and any(isinstance(tool, dict) and "input_schema" in tool for tool in tools):
            return None
        if any(_kinds(message) & _BLOCKS for message in record["messages"]):  # type: ignore[union-attr]
            return None
        return f"no message has a block of type {', '.join(sorted(_BLOCKS))}, and no tool an 'input_schema'"

    def read(self, record: Json, *, where: str, companions: Companions) -> Iterator[Trajectory | DataError]:  # noqa: ARG002
        """One trajectory."""
        row = expect_object(record, where, "the record")
        chat = {name: value for name, value in row.items() if name not in ("system", "messages")}
        values, system = row.get("messages"), row.get("system")
        if not isinstance(values, list):
            raise bad(where, "messages", f"is of type {json_type(values)}", "give a list of messages")
        messages: list[Json] = [] if system is None else [{"role": "system", "content": system}]
        places = ["system"] * len(messages)
        failed: list[Json] = []
        for index, value in enumerate(values):
            messages += _read_message(value, where, f"messages[{index}]", failed)
            places += [f"messages[{index}]"] * (len(messages) - len(places))
        if failed:
            chat["is_error"] = failed
        yield trajectory_from_row(chat | {"messages": messages}, where=where, default_id="", places=places)

    def write(self, trajectory: Trajectory, masks: CallMasks) -> WrittenRow:
        """A request's fields; weights beside them."""
        losses = Losses()
        trajectory = with_call_ids(with_masks(trajectory, masks), losses)
        row: dict[str, Json] = kept_columns(trajectory)
        messages = list(trajectory.messages)
        if messages and messages[0].role is Role.SYSTEM:
            row["system"] = messages.pop(0).content
        row["messages"] = list(_write_messages(messages, losses))
        row["tools"] = [
            {"name": tool.name, "description": tool.description, "input_schema": dict(tool.parameters)}
            for tool in trajectory.tools
        ]
        return WrittenRow(row, losses.phrases())


def _kinds(message: Any) -> set[str]:
    content = message.get("content") if isinstance(message, dict) else None
    blocks = content if isinstance(content, list) else []
    return {str(block.get("type")) for block in blocks if isinstance(block, dict)}


def _read_message(value: Any, where: str, field: str, failed: list[Json]) -> Iterator[Json]:
    """The messages of the openai kind that one message is; ids of failed results are added to `failed`."""
    if not _kinds(value) - {"text"}:
        yield value
        return
    texts: list[Json] = []
    calls: list[Json] = []
    for index, block in enumerate(value["content"]):
        place = f"{field}.content[{index}]"
        match block.get("type") if isinstance(block, dict) else None:
            case "tool_use":
                function = {"name": block.get("name"), "arguments": block.get("input")}
                calls.append({"id": block.get("id"), "function": function})
            case "tool_result":
                if block.get("is_error") is True:
                    failed.append(block.get("tool_use_id"))
                content = block.get("content")
                yield {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": content}
            case "text" | "thinking":
                texts.append(block)
            case "redacted_thinking":
                pass
            case kind:
                raise bad(where, place, f"is of type {str(kind)[:40]!r}", "drop the block, or the row")
    if value.get("role") == Role.ASSISTANT or texts:
        fields = {name: value[name] for name in ALIASES if name in value}
        message = {"role": value.get("role"), "content": texts, **fields}
        yield message | {"tool_calls": calls} if calls else message


def _write_messages(messages: list[Message], losses: Losses) -> Iterator[Json]:
    results: list[Json] = []
    for message in [*messages, None]:
        if message is not None and message.role is Role.TOOL:
            if message.name is not None:
                losses.note(TOOL_NAMES)
            results.append({"type": "tool_result", "tool_use_id": message.call_id, "content": message.content})
            continue
        if results:
            yield {"role": "user", "content": results}
            results = []
        if message is not None:
            yield _write_message(message, losses)


def _write_message(message: Message, losses: Losses) -> dict[str, Json]:
    if message.role is not Role.ASSISTANT:
        if message.role is Role.SYSTEM:
            losses.note(SYSTEM)
        return {"role": "user", "content": message.content}
    blocks: list[Json] = [{"type": "thinking", "thinking": message.reasoning}] if message.reasoning else []
    if message.content:
        blocks.append({"type": "text", "text": message.content})
    blocks += [_write_call(call) for call in message.calls]
    row: dict[str, Json] = {"role": "assistant", "content": blocks or ""}
    weight = losses.whole(message)
    if weight is not None:
        row["weight"] = weight
    if weight not in (None, 1.0):
        losses.note(UNREAD)
    return row


def _write_call(call: AnyCall) -> Json:
    if isinstance(call, ToolCall):
        return {"type": "tool_use", "id": call.id, "name": call.name, "input": dict(call.arguments)}
    return {"type": "tool_use", "id": call.id, "name": "", "input": call.raw}


ANTHROPIC = AnthropicRows()
