"""Calls and thinking as text, for formats whose turns are texts alone; messages of the openai kind out of them."""

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from tltrain.files import decode_json, json_type
from tltrain.formats.export import EMPTY, JOINED, THINKING_TAGS, Losses
from tltrain.formats.thinking import join_thinking, split_thinking
from tltrain.types import AnyCall, Json, MalformedCall, Message, Role


def write_call_text(call: AnyCall) -> str:
    """A call as JSON text `{"name", "arguments"}`; a malformed one as it was written."""
    if isinstance(call, MalformedCall):
        return call.raw
    return json.dumps({"name": call.name, "arguments": dict(call.arguments)}, ensure_ascii=False, allow_nan=False)


def read_call_text(text: str) -> list[Json]:
    """Entries of `tool_calls` out of JSON text of one call or a list of calls; a malformed one where it is none."""
    try:
        value = decode_json(text)
    except ValueError as error:
        return [_malformed(text, f"the call is {error}")]
    values = value if isinstance(value, list) else [value]
    if values and all(isinstance(item, dict) for item in values):
        return [_entry(item, text) for item in values]  # type: ignore[arg-type]
    return [_malformed(text, f"the call is a JSON {json_type(value)}, not an object")]


def _entry(value: dict[str, Any], text: str) -> Json:
    function = value["function"] if isinstance(value.get("function"), dict) else value
    name, arguments = function.get("name"), function.get("arguments", function.get("parameters"))
    if not isinstance(name, str) or not name:
        return _malformed(text, "the call names no tool")
    return {"function": {"name": name, "arguments": arguments}}


def _malformed(text: str, reason: str) -> Json:
    return {"function": {"name": "", "arguments": text}, "malformed": reason}


def read_turn(text: str, calls: Sequence[Json] = ()) -> dict[str, Json]:
    """A message of the assistant out of its text, which may begin with thinking."""
    reasoning, content = split_thinking(text)
    turn: dict[str, Json] = {"role": Role.ASSISTANT.value, "content": content}
    if reasoning:
        turn["reasoning_content"] = reasoning
    if calls:
        turn["tool_calls"] = list(calls)
    return turn


def read_answered_texts(messages: Sequence[Json]) -> list[Json]:
    """The messages, with texts of the assistant that a tool answers as calls that cannot be read; see `export`."""
    read = list(messages)
    for place, (turn, reply) in enumerate(pairwise(messages)):
        if not isinstance(turn, dict) or not isinstance(reply, dict) or turn.get("tool_calls"):
            continue
        text = turn.get("content")
        if turn.get("role") == Role.ASSISTANT and reply.get("role") == Role.TOOL and isinstance(text, str):
            call = {"content": "", "tool_calls": [_malformed(text, "the call is no JSON")]}
            found: Any = turn.get("spans") or ()
            weights = [span["weight"] for span in found]
            spans = [{"field": "tool_calls[0]", "start": 0, "end": None, "weight": min(weights)}] if weights else []
            read[place] = turn | call | {"spans": spans}
    return read


def write_turn(message: Message, losses: Losses) -> str:
    """The text of an assistant's message with its thinking before it."""
    text = join_thinking(message.reasoning, message.content)
    if split_thinking(text) != (message.reasoning, message.content):
        losses.note(THINKING_TAGS)
    return text


def add_calls(turn: dict[str, Any], calls: Sequence[Json], weight: float | None) -> None:
    """Put calls behind the text of a turn; what they weigh may differ from what the text does."""
    turn["tool_calls"] = list(calls)
    if weight == turn.get("weight"):
        return
    turn["spans"] = [
        {"field": f"tool_calls[{place}]", "start": 0, "end": None, "weight": 1.0 if weight is None else weight}
        for place in range(len(calls))
    ]


def note_turns(messages: Sequence[Message], losses: Losses) -> None:
    """Note what a format loses that has no messages of the assistant in a row, and none that are empty."""
    for before, message in pairwise(messages):
        if before.role is message.role is Role.ASSISTANT:
            losses.note(JOINED)
    if any(
        message.role is Role.ASSISTANT and not (message.content or message.reasoning or message.calls)
        for message in messages
    ):
        losses.note(EMPTY)
