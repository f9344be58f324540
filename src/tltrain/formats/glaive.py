"""Glaive function calling: `{"system", "chat"}`, or both in one text `{"sample"}` as in its first version.

`system` is a text with the functions as JSON objects after it. `chat` has turns that start with `USER:`,
`ASSISTANT:` or `FUNCTION RESPONSE:` on a new line, or after `<|endoftext|>`. A call is `<functioncall> {"name": "f",
"arguments": '{"a": 1}'}`: its arguments are JSON between single quotes that are not escaped within, or an object.
"""

import re
from collections.abc import Iterator

from tltrain.errors import DataError
from tltrain.formats.base import Companions
from tltrain.formats.python_types import object_schema
from tltrain.formats.untrusted import (
    expect_object,
    fail,
    keep,
    missing,
    read_call,
    read_text,
    read_tool,
    read_value,
    read_value_at,
    sections,
)
from tltrain.types import AnyCall, Json, MalformedCall, Message, Role, Tool, Trajectory

_END = "<|endoftext|>"
_CALL = "<functioncall>"
_TURN = re.compile(rf"(?:^|{re.escape(_END)})[ \t]*(USER|ASSISTANT|FUNCTION RESPONSE):", re.MULTILINE)
_QUOTED = re.compile(
    r"""\s*\{\s*"name"\s*:\s*"(?P<name>[^"]*)"\s*,\s*"arguments"\s*:\s*'(?P<arguments>.*)'\s*\}\s*\Z""", re.DOTALL
)
_FUNCTIONS = re.compile(r"[\[{](?=\s*[\[{\"'])")
_SEPARATORS = re.compile(r"[\s,]*+")
_SYSTEM = re.compile(r"\A\s*SYSTEM:\s*")
_OWN_FIELDS = frozenset({"system", "chat", "sample"})
_ROLES = {"USER": Role.USER, "ASSISTANT": Role.ASSISTANT, "FUNCTION RESPONSE": Role.TOOL}


class Glaive:
    """See the module."""

    name = "glaive"
    summary = "Glaive function calling (system and chat as text, <functioncall>)"

    def refuse(self, record: Json) -> str | None:
        """A row has `system` and `chat`, or `sample`, texts with turns in them."""
        if not isinstance(record, dict) or not isinstance(record.get("sample"), str):
            reason = missing(record, system=str, chat=str)
            if reason or not isinstance(record, dict):
                return reason
        key = "chat" if "chat" in record else "sample"
        return None if _TURN.search(str(record[key])) else f"{key!r} has no line that starts with 'USER:'"

    def read(self, record: Json, *, where: str, companions: Companions) -> Iterator[Trajectory | DataError]:  # noqa: ARG002
        """One trajectory; other fields of the row are kept as provenance."""
        row = expect_object(record, where, "the record")
        if "chat" in row:
            system, chat = read_text(row, "system", where), read_text(row, "chat", where)
        else:
            sample = read_text(row, "sample", where)
            first = _TURN.search(sample)
            split = first.start() if first else len(sample)
            system, chat = sample[:split], sample[split:]
        tools, introduction = _read_functions(system, where)
        messages = list(_read_chat(chat, where))
        if introduction and not tools:
            messages.insert(0, Message(role=Role.SYSTEM, content=introduction))
        provenance = keep(row, [key for key in row if key not in _OWN_FIELDS]) | {"source": self.name}
        if tools:
            provenance["prompt"] = introduction
        yield Trajectory(id="", tools=tools, messages=tuple(messages), provenance=provenance)


def _read_functions(system: str, where: str) -> tuple[tuple[Tool, ...], str]:
    """The functions after the introduction, and the introduction, which names no function itself."""
    text = _SYSTEM.sub("", system)
    start = _FUNCTIONS.search(text)
    if not start:
        return (), text.strip()
    values: list[Json] = []
    position = start.start()
    while position < len(text):
        try:
            value, position = read_value_at(text, position)
        except ValueError as error:
            fail(where, "system", f"has a function that is no JSON: {error}", "write each function as a JSON object")
        values += value if isinstance(value, list) else [value]
        position = _skip_separators(text, position)
    tools = (read_tool(value, where, f"system: functions[{index}]") for index, value in enumerate(values))
    described = tuple(
        Tool(name=tool.name, description=tool.description, parameters=object_schema(tool.parameters)) for tool in tools
    )
    return described, text[: start.start()].strip()


def _skip_separators(text: str, position: int) -> int:
    """The offset after blanks and commas."""
    separators = _SEPARATORS.match(text, position)
    assert separators is not None, "the pattern matches the empty string"
    return separators.end()


def _read_chat(chat: str, where: str) -> Iterator[Message]:
    turns = sections(_TURN, chat)
    if not turns or chat[: turns[0][0].start()].strip():
        fail(where, "chat", "does not start with a turn", "begin it with 'USER:'")
    may_answer = False
    for number, (mark, written) in enumerate(turns):
        role, text = _ROLES[mark[1]], written.replace(_END, "").strip()
        if role is Role.TOOL and not may_answer:
            fail(where, f"chat: turn {number + 1}", "is a FUNCTION RESPONSE that follows no call", "put it after one")
        if role is Role.ASSISTANT:
            content, *attempts = text.split(_CALL)
            calls = tuple(_read_call(attempt) for attempt in attempts)
            yield Message(role=role, content=content.strip(), calls=calls)
            may_answer = bool(calls)
        else:
            yield Message(role=role, content=text)
            may_answer = may_answer and role is Role.TOOL


def _read_call(text: str) -> AnyCall:
    """The call after one `<functioncall>`."""
    body = text.strip().removesuffix("</functioncall>").strip()
    raw = f"{_CALL} {body}"
    quoted = _QUOTED.match(body)
    if quoted:
        return read_call(quoted["name"], quoted["arguments"], raw=raw)
    try:
        value = read_value(body)
    except ValueError as error:
        return MalformedCall(raw=raw, reason=f"the call is {error}")
    if not isinstance(value, dict):
        return MalformedCall(raw=raw, reason="the call is no object with name and arguments")
    return read_call(value.get("name"), value.get("arguments"), raw=raw)


GLAIVE = Glaive()
