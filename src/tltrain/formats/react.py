"""ReAct conversations of RoTBench, ToolEyes and ToolLLaMA: `{"conversations": [{"from", "value"}]}`.

- The system text holds the tools as a list, JSON or Python, in a frame that tells how to write calls. The frame goes
  into `provenance["prompt"]`, with `{tools}` for the list; a system text around the list that says nothing of
  `Action Input` stays a system message.
- An assistant's turn is `Thought: ... Action: ... Action Input: {...}`; the thought is the message's text. A golden
  turn may be a list of alternatives: the first is the turn, the others go into `provenance["gold_alternatives"]`.
- Whatever answers a turn with a call is its feedback, whether it comes from `observation`, `function` or `user`: what
  the user answers to `ask_to_user` is the feedback of that call.
"""

import re
from collections.abc import Iterator

from tltrain.errors import DataError
from tltrain.formats.base import Companions
from tltrain.formats.untrusted import (
    described,
    expect_object,
    fail,
    keep,
    read_list,
    read_text,
    read_tool,
    read_value,
    read_value_at,
)
from tltrain.syntax.react import ReactSyntax
from tltrain.types import Json, Message, Role, Tool, ToolCall, Trajectory

_SYNTAX = ReactSyntax()
_LIST = re.compile(r"\[(?=\s*\{\s*[\"'](?:name|type|function|description|parameters)[\"']\s*:)")
_EMPTY_LIST = re.compile(r"tools:\s*\n\s*(\[\s*\])")
_FRAME = "Action Input"
_BEGIN = "Begin!"
"""Line that ends the user's text in the prompts of RoTBench and ToolEyes."""
_OBSERVATION = re.compile(r"\A\s*Observation:\s*")
_ROLES = {
    "system": Role.SYSTEM,
    "user": Role.USER,
    "human": Role.USER,
    "assistant": Role.ASSISTANT,
    "gpt": Role.ASSISTANT,
    "observation": Role.TOOL,
    "function": Role.TOOL,
    "tool": Role.TOOL,
}
_KEPT = ("id", "scenario", "path")


class React:
    """See the module."""

    name = "react"
    summary = "ReAct conversations of RoTBench, ToolEyes and ToolLLaMA (Thought, Action, Action Input)"

    def refuse(self, record: Json) -> str | None:
        """A row has `conversations`, whose first turn is a system text with a list of tools and the ReAct frame."""
        turns = record.get("conversations") if isinstance(record, dict) else None
        if not isinstance(turns, list):
            return "'conversations' is missing or no list"
        first = turns[0] if turns else None
        text = first.get("value") if isinstance(first, dict) and first.get("from") == "system" else None
        if not isinstance(text, str):
            return "'conversations' does not start with a system text"
        has_tools = _LIST.search(text) or _EMPTY_LIST.search(text)
        return None if has_tools and _FRAME in text else "the system text has no list of tools or no 'Action Input'"

    def read(self, record: Json, *, where: str, companions: Companions) -> Iterator[Trajectory | DataError]:  # noqa: ARG002
        """One trajectory; the row's id is kept as provenance, as RoTBench and ToolEyes give some ids twice."""
        row = expect_object(record, where, "the record")
        turns = read_list(row, "conversations", where)
        system = expect_object(turns[0] if turns else None, where, "conversations[0]")
        if system.get("from") != "system":
            fail(where, "conversations[0].from", described(system.get("from")), "begin with the system text")
        tools, prompt = _read_tools(read_text(system, "value", where, of="conversations[0]"), where)
        alternatives: list[Json] = []
        messages = list(_read_turns(turns[1:], where, alternatives))
        if not messages:
            fail(where, "conversations", "has a system text alone", "add the user's turn, or drop the row")
        provenance: dict[str, Json] = {"source": self.name} | keep(row, _KEPT) | {"prompt": prompt}
        if _FRAME not in prompt:
            messages.insert(0, Message(role=Role.SYSTEM, content=prompt))
        if alternatives:
            provenance["gold_alternatives"] = alternatives
        yield Trajectory(id="", tools=tools, messages=tuple(messages), provenance=provenance)


def _read_tools(text: str, where: str) -> tuple[tuple[Tool, ...], str]:
    """The tools, and the text with `{tools}` in place of their list."""
    field = "conversations[0].value"
    start = _LIST.search(text)
    empty = None if start else _EMPTY_LIST.search(text)
    if empty:
        return (), f"{text[: empty.start(1)]}{{tools}}{text[empty.end(1) :]}"
    if not start:
        fail(where, field, "has no list of tools", "give one, [{'name', 'description', 'parameters'}]")
    values, end = _read_list_at(text, start.start(), where, field)
    tools = tuple(read_tool(value, where, f"{field}: tools[{index}]") for index, value in enumerate(values))
    return tools, f"{text[: start.start()]}{{tools}}{text[end:]}"


def _read_list_at(text: str, start: int, where: str, field: str) -> tuple[list[Json], int]:
    """The list that starts there, and the offset after it; fast where it stands on a line of its own."""
    end = text.find("\n", start) if "\n" in text[start:] else len(text)
    try:
        value = read_value(text[start:end])
    except ValueError:
        try:
            value, end = read_value_at(text, start)
        except ValueError as error:
            fail(where, field, f"has a list of tools that cannot be read: {error}", "write it as JSON")
    assert isinstance(value, list), "the text begins with a bracket"
    return value, end


def _read_turns(turns: list[Json], where: str, alternatives: list[Json]) -> Iterator[Message]:
    """Messages of the turns after the system text; the other golden turns are put into `alternatives`."""
    open_call: Message | None = None
    for index, value in enumerate(turns, start=1):
        field = f"conversations[{index}]"
        turn = expect_object(value, where, field)
        speaker = turn.get("from")
        role = _ROLES.get(speaker) if isinstance(speaker, str) else None
        if role is None:
            fail(where, f"{field}.from", described(speaker), f"use one of {', '.join(_ROLES)}")
        if role is Role.ASSISTANT:
            open_call = _read_assistant(turn, where, field, alternatives)
            yield open_call
            open_call = open_call if open_call.calls else None
            continue
        text = read_text(turn, "value", where, of=field)
        if open_call and role is not Role.SYSTEM:
            call = open_call.calls[0]
            yield Message(
                role=Role.TOOL,
                content=_OBSERVATION.sub("", text),
                name=call.name if isinstance(call, ToolCall) else None,
            )
            open_call = None
        elif role is Role.TOOL:
            fail(where, field, f"from {speaker!r} follows no call", "put the call into the assistant's turn before it")
        else:
            yield Message(role=role, content=_without_begin(text) if role is Role.USER else text)


def _without_begin(text: str) -> str:
    before, mark, after = text.rpartition(_BEGIN)
    return before.rstrip() if mark and not after.strip() and (not before or before[-1].isspace()) else text


def _read_assistant(turn: dict[str, Json], where: str, field: str, alternatives: list[Json]) -> Message:
    value = turn.get("value")
    texts = value if isinstance(value, list) else [value]
    if not texts:
        fail(where, f"{field}.value", "is an empty list", "give at least one golden turn, or drop the row")
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            place = f"{field}.value[{number}]" if isinstance(value, list) else f"{field}.value"
            fail(where, place, described(text), "give the assistant's text")
    first = _SYNTAX.parse(str(texts[0]))
    alternatives += [_alternative(str(text)) for text in texts[1:]]
    return Message(role=Role.ASSISTANT, content=first.text, calls=first.calls)


def _alternative(text: str) -> Json:
    """`{"name", "arguments"}` of a golden turn with one call, else `{"raw"}`."""
    calls = _SYNTAX.parse(text).calls
    if len(calls) == 1 and isinstance(calls[0], ToolCall):
        return {"name": calls[0].name, "arguments": dict(calls[0].arguments)}
    return {"raw": text}


REACT = React()
