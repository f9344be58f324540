"""Conversations as ShareGPT has them, calls written in the text as Hermes and Qwen models write them.

`{"conversations": [{"from": "system|human|gpt|tool", "value"}], "tools"?}`

- A `gpt` turn may begin with `<think>` thinking; its calls are `<tool_call>` JSON, or Python dictionaries, as in
  Hermes' own data set.
- A `tool` turn holds each feedback between `<tool_response>` tags, or one feedback without any. A turn of the user
  after calls that is nothing but such tags is feedback too, as Qwen's template writes it.
- Rows of chat `messages` whose calls stand in the text are read the same way; turns with `tool_calls` as OpenAI's are.
- The tools stand in the system text, between `<tools>` tags, or in a `tools` column. The instructions around them, as
  Hermes' and Qwen's templates word them, are taken off the system text, since a template writes its own.
- Turns may carry a `weight`; few trainers read it.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from msgspec.structs import replace

from tltrain.errors import DataError
from tltrain.files import json_type
from tltrain.formats.base import CallMasks, Companions, WrittenRow
from tltrain.formats.chat_fields import bad, write_tool
from tltrain.formats.export import Losses, in_call_order, kept_columns
from tltrain.formats.loss_fields import ALIASES, with_masks
from tltrain.formats.openai_chat import trajectory_from_row
from tltrain.formats.openai_rows import OPENAI
from tltrain.formats.text_turns import read_turn, write_turn
from tltrain.formats.untrusted import described, expect_object, missing, read_call, read_value, read_value_at
from tltrain.syntax.hermes import CLOSE, OPEN, HermesSyntax
from tltrain.types import AnyCall, Json, MalformedCall, Message, Role, Tool, ToolCall, Trajectory

UNREAD = "loss weights; they are kept as `weight` on turns, which few trainers of such rows read"
CALL_TAGS = "blanks around a text beside calls, or tags of calls inside a text"
FEEDBACK_TAGS = "tags of feedback inside feedback, or a text of the user that is nothing else"
SYSTEM_TEXT = "an empty system text, or tags of tools inside it"
SYNTAX = HermesSyntax()
_ROLES = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "human": Role.USER,
    "user": Role.USER,
    "gpt": Role.ASSISTANT,
    "assistant": Role.ASSISTANT,
    "model": Role.ASSISTANT,
    "tool": Role.TOOL,
    "observation": Role.TOOL,
    "function_response": Role.TOOL,
}
_SOURCES = {Role.SYSTEM: "system", Role.USER: "human", Role.ASSISTANT: "gpt", Role.TOOL: "tool"}
_FEEDBACK = re.compile(r"<tool_response>\n?(.*?)\n?</tool_response>", re.DOTALL)
_ONLY_FEEDBACK = re.compile(r"\s*(?:<tool_response>(?:(?!</?tool_response>).)*</tool_response>\s*)+", re.DOTALL)
_STRUCTURED = {"tool_calls", "function_call"}
_FOREIGN = {"train_detail", "spans", "mask_reason"}
"""Fields of messages that rows of text alone do not have."""
_TOOLS = re.compile(r"<tools>\s*([\[{].*?)\s*</tools>", re.DOTALL)
_INSTRUCTIONS = (
    re.compile(r"(?:\n\n)?# Tools\n\nYou may call one or more functions.*?\n</tools>.*?\n</tool_call>", re.DOTALL),
    re.compile(r"You are a function calling AI model\..*?<tools>\s*[\[{].*?</tools>.*?\n</tool_call>\s*", re.DOTALL),
)
_BEFORE_TOOLS = (
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with function "
    "signatures within <tools></tools> XML tags:\n<tools>\n"
)
_AFTER_TOOLS = (
    "\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
    '<tool_call></tool_call> XML tags:\n<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n'
    "</tool_call>"
)


class HermesRows:
    """See the module."""

    name = "hermes"
    summary = "ShareGPT conversations, with calls in the text between <tool_call> tags (Hermes, Qwen)"

    def refuse(self, record: Json) -> str | None:
        """A row has `conversations`, turns with `from` and `value` of known roles; or `messages` with calls as text."""
        reason = missing(record, conversations=list)
        if reason and _has_calls_as_text(record):
            return None
        if reason or not isinstance(record, dict):
            return reason
        for turn in record["conversations"]:  # type: ignore[union-attr]
            source = turn.get("from", turn.get("role")) if isinstance(turn, dict) else None
            if not isinstance(source, str) or source not in _ROLES:
                return f"a turn comes from {str(source)[:40]!r}, not one of {', '.join(_ROLES)}"
        return None

    def read(self, record: Json, *, where: str, companions: Companions) -> Iterator[Trajectory | DataError]:
        """One trajectory."""
        row = expect_object(record, where, "the record")
        key = "messages" if _has_calls_as_text(row) else "conversations"
        turns = row.get(key)
        if turns is None and OPENAI.refuse(row) is None:
            yield from OPENAI.read(row, where=where, companions=companions)
            return
        if not isinstance(turns, list):
            raise bad(where, key, described(turns), "give a list of turns")
        others = {name: value for name, value in row.items() if name not in (key, "system")}
        places = [f"{key}[{index}]" for index in range(len(turns))]
        if isinstance(row.get("system"), str) and row["system"]:
            turns, places = [{"role": "system", "content": row["system"]}, *turns], ["system", *places]
        if _holds(turns, _STRUCTURED):
            yield _read_structured(turns, others, where, places)
            return
        pairs = [_read_fields(turn, where, place) for turn, place in zip(turns, places, strict=True)]
        read = read_texts(pairs, where, has_tools=bool(others.get("tools") or others.get("functions")))
        chat: dict[str, Any] = others | {"messages": read.messages}
        if read.tools:
            chat["tools"] = read.tools
        yield trajectory_from_row(chat, where=where, default_id="", places=[places[turn] for turn in read.turns])

    def write(self, trajectory: Trajectory, masks: CallMasks) -> WrittenRow:
        """Turns of text alone."""
        losses = Losses()
        trajectory = in_call_order(with_masks(trajectory, masks), losses)
        turns: list[Json] = []
        for message, text in write_texts(trajectory, losses):
            turn: dict[str, Json] = {"from": _SOURCES[message.role], "value": text}
            weight = losses.whole(message) if message.role is Role.ASSISTANT else None
            if weight is not None:
                turn["weight"] = weight
            if weight not in (None, 1.0):
                losses.note(UNREAD)
            turns.append(turn)
        return WrittenRow(kept_columns(trajectory) | {"conversations": turns}, losses.phrases())


def _has_calls_as_text(record: Json) -> bool:
    """Whether a row of chat messages has calls between tags in texts of the assistant, and none elsewhere."""
    messages = record.get("messages") if isinstance(record, dict) else None
    if not isinstance(messages, list) or _holds(messages, _STRUCTURED | _FOREIGN):
        return False
    turns: list[tuple[Any, Any]] = [
        (each.get("role"), each.get("content")) for each in messages if isinstance(each, dict)
    ]
    return (
        len(turns) == len(messages)
        and all(isinstance(role, str) and role in _ROLES and isinstance(text, str) for role, text in turns)
        and any(role == Role.ASSISTANT and OPEN in text and CLOSE in text for role, text in turns)
    )


def _holds(turns: Sequence[Any], fields: set[str]) -> bool:
    """Whether any turn has something in one of the fields."""
    return any(turn.get(name) for turn in turns if isinstance(turn, dict) for name in fields)


def _read_structured(turns: Sequence[Any], others: dict[str, Json], where: str, places: Sequence[str]) -> Trajectory:
    """A row of turns with `tool_calls`: OpenAI's messages under another name."""
    messages: list[Json] = []
    for turn in turns:
        if isinstance(turn, dict):
            source = turn.get("from", turn.get("role"))
            role = _ROLES.get(source, source) if isinstance(source, str) else source
            turn = {"content": turn.get("value")} | turn | {"role": role}
        messages.append(turn)
    return trajectory_from_row(others | {"messages": messages}, where=where, default_id="", places=places)


def _read_fields(turn: Any, where: str, field: str) -> tuple[Role, str, dict[str, Json]]:
    """Role, text and loss fields of a turn."""
    if not isinstance(turn, dict):
        raise bad(where, field, f"is of type {json_type(turn)}", "give an object with from and value")
    source, value = turn.get("from", turn.get("role")), turn.get("value", turn.get("content"))
    if not isinstance(source, str) or source not in _ROLES:
        raise bad(where, f"{field}.from", f"is {str(source)[:40]!r}", f"use one of {', '.join(_ROLES)}")
    if _ROLES[source] is Role.TOOL and value is not None and not isinstance(value, str):
        value = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, str):
        raise bad(where, f"{field}.value", f"is of type {json_type(value)}", "give a text")
    return _ROLES[source], value, {name: turn[name] for name in ALIASES if name in turn}


class ReadTexts(NamedTuple):
    """What turns of text hold."""

    messages: list[dict[str, Json]]
    """Of the openai kind."""
    turns: list[int]
    """The turn that each message comes from."""
    tools: list[Json]
    """Those of the system text."""


def read_texts(turns: Sequence[tuple[Role, str, dict[str, Json]]], where: str, *, has_tools: bool = False) -> ReadTexts:
    """Messages of the openai kind, and the tools of the system text.

    Args:
        turns: role, text and loss fields of each.
        where: with what an error begins.
        has_tools: the row gives its tools elsewhere; those of the system text are left alone.
    """
    read = ReadTexts([], [], [])
    for place, (role, text, fields) in enumerate(turns):
        if (
            role is Role.USER
            and read.messages
            and read.messages[-1].get("tool_calls")
            and _ONLY_FEEDBACK.fullmatch(text)
        ):
            role = Role.TOOL
        messages: list[dict[str, Json]]
        match role:
            case Role.ASSISTANT:
                messages = [_read_assistant(text) | fields]
            case Role.TOOL:
                messages = [{"role": role.value, "content": block} for block in _FEEDBACK.findall(text) or [text]]
            case Role.SYSTEM if block := _TOOLS.search(text):
                if not has_tools:
                    read.tools.extend(_read_tools(block[1], where))
                text = _without_instructions(text)
                messages = [{"role": role.value, "content": text}] if text else []
            case _:
                messages = [{"role": role.value, "content": text}]
        read.messages.extend(messages)
        read.turns.extend([place] * len(messages))
    return read


def _read_assistant(text: str) -> dict[str, Json]:
    turn = read_turn(text)
    content = str(turn["content"])
    if OPEN not in content:
        return turn
    parsed = SYNTAX.parse(content)
    return turn | {"content": parsed.text, "tool_calls": [_read_call(call) for call in parsed.calls]}


def _read_call(call: AnyCall) -> Json:
    """An entry of `tool_calls`; what is no JSON may be a Python dictionary, or have its arguments as text."""
    if isinstance(call, ToolCall):
        return {"function": {"name": call.name, "arguments": dict(call.arguments)}}
    if call.raw.endswith(CLOSE):
        try:
            value = read_value(call.raw.removeprefix(OPEN).removesuffix(CLOSE).strip())
        except ValueError:
            value = None
        found = read_call(value.get("name"), value.get("arguments")) if isinstance(value, dict) else call
        if isinstance(found, ToolCall):
            return {"function": {"name": found.name, "arguments": dict(found.arguments)}}
    return {"function": {"name": "", "arguments": call.raw}, "malformed": call.reason}


def _read_tools(text: str, where: str) -> list[Json]:
    """A list, or objects one after another, of JSON or Python."""
    tools: list[Json] = []
    position = 0
    while position < len(text):
        try:
            value, end = read_value_at(text, position)
        except ValueError as error:
            raise bad(
                where, "the text between <tools> tags", f"cannot be read ({error})", "mend it, or drop the row"
            ) from None
        tools += value if isinstance(value, list) else [value]
        position = end + len(text[end:]) - len(text[end:].lstrip(" \t\r\n,"))
    return tools


def _without_instructions(text: str) -> str:
    for pattern in _INSTRUCTIONS:
        if found := pattern.search(text):
            return text[: found.start()] + text[found.end() :]
    return text


def write_texts(trajectory: Trajectory, losses: Losses) -> Iterator[tuple[Message, str]]:
    """Each message with the text of its turn; feedback that follows one another is one turn, given by its first."""
    note_turns_of_text(trajectory.messages, losses)
    messages = list(trajectory.messages)
    if trajectory.tools:
        has_system = messages[0].role is Role.SYSTEM
        first = messages.pop(0) if has_system else Message(role=Role.SYSTEM)
        if (has_system and not first.content) or "<tools>" in first.content:
            losses.note(SYSTEM_TEXT)
        yield first, "\n\n".join(filter(None, [first.content, _write_tools(trajectory.tools)]))
    place = 0
    while place < len(messages):
        message, end = messages[place], place + 1
        if message.role is Role.TOOL:
            while end < len(messages) and messages[end].role is Role.TOOL:
                end += 1
            yield message, _write_feedback(messages[place:end], losses)
        elif message.role is Role.ASSISTANT:
            yield message, _write_assistant(message, losses)
        else:
            if message.role is Role.SYSTEM and "<tools>" in message.content:
                losses.note(SYSTEM_TEXT)
            if message.role is Role.USER and _ONLY_FEEDBACK.fullmatch(message.content):
                losses.note(FEEDBACK_TAGS)
            yield message, message.content
        place = end


def note_turns_of_text(messages: Sequence[Message], losses: Losses) -> None:
    """Malformed calls are read from the text again, perhaps with other bounds."""
    if any(isinstance(call, MalformedCall) for message in messages for call in message.calls):
        losses.note(CALL_TAGS)


def _write_tools(tools: Sequence[Tool]) -> str:
    lines = (json.dumps(write_tool(tool), ensure_ascii=False).replace("</tools>", "\\u003c/tools>") for tool in tools)
    return _BEFORE_TOOLS + "\n".join(lines) + _AFTER_TOOLS


def _write_feedback(messages: Sequence[Message], losses: Losses) -> str:
    texts = [message.content for message in messages]
    written = "\n".join(f"<tool_response>\n{text}\n</tool_response>" for text in texts)
    if _FEEDBACK.findall(written) != texts:
        losses.note(FEEDBACK_TAGS)
    return written


def _write_assistant(message: Message, losses: Losses) -> str:
    write_turn(message, losses)
    calls = [_tagged(call) for call in message.calls]
    content = SYNTAX.render(message.content, calls) if calls else message.content
    parsed = SYNTAX.parse(content) if OPEN in content else None
    if (parsed is not None and (parsed.text, parsed.calls) != (message.content, message.calls)) or (
        parsed is None and message.calls
    ):
        losses.note(CALL_TAGS)
    return f"<think>\n{message.reasoning}\n</think>\n\n{content}" if message.reasoning else content


def _tagged(call: AnyCall) -> AnyCall:
    """A malformed call within the tags that make it known as an attempt at a call."""
    if isinstance(call, ToolCall) or (len(SYNTAX.parse(call.raw).calls) == 1 and call.raw.startswith(OPEN)):
        return call
    return replace(call, raw=f"{OPEN}\n{call.raw}\n{CLOSE}")


HERMES = HermesRows()
