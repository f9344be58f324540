r"""TL-Training's released data: `{"id", "conversations": [{"role", "content"}]}`, in both of its spellings.

- Raw: the system text is a JSON list of OpenAI tools, a call is `name\n{json}`.
- As trained: the system text is Python, `Function:\ndef name(a: string, b: string = None):` with a docstring, a call is
  `name(a="x", b=true)`, and the roles may read System, User, Assistant, Output.

Either spelling of tools and calls is read with the other. Rows as trained are copies of one conversation up to each
turn, `Turn 3: <id>`, of which the released code trains the last turn alone; the turns before have weight 0.
"""

import re
from collections.abc import Iterator

from msgspec.structs import replace

from tltrain.errors import DataError
from tltrain.formats.base import Companions
from tltrain.formats.function_documents import HEADING, read_functions
from tltrain.formats.untrusted import (
    described,
    expect_object,
    fail,
    missing,
    read_call,
    read_list,
    read_text,
    read_tool,
    read_value,
)
from tltrain.syntax.python_call import PythonCallSyntax
from tltrain.types import AnyCall, Json, MalformedCall, Message, Role, Tool, ToolCall, Trajectory

_SYNTAX = PythonCallSyntax()
_TURN = re.compile(r"Turn (\d{1,6}): ")
_COPY = "a copy up to a later turn, which alone is trained"
_ROLES = {
    "system": Role.SYSTEM,
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
    "function": Role.TOOL,
    "output": Role.TOOL,
    "tool": Role.TOOL,
}


class TlTraining:
    """See the module."""

    name = "tl_training"
    summary = "TL-Training's released data (name and JSON on two lines, or Python calls)"

    def refuse(self, record: Json) -> str | None:
        """A row has `conversations` of role and content, and a system text with tools as JSON or Python."""
        reason = missing(record, conversations=list)
        turns = record.get("conversations") if isinstance(record, dict) else None
        if reason or not isinstance(turns, list):
            return reason
        first = turns[0] if turns else None
        if not isinstance(first, dict) or not isinstance(first.get("role"), str):
            return "the first of 'conversations' has no 'role'"
        text = first.get("content")
        if str(first["role"]).lower() != "system" or not isinstance(text, str):
            return "'conversations' does not start with a system text"
        if text.lstrip().startswith("[") or HEADING.match(text):
            return None
        return "the system text is neither a JSON list of tools nor starts with 'Function:'"

    def read(self, record: Json, *, where: str, companions: Companions) -> Iterator[Trajectory | DataError]:  # noqa: ARG002
        """One trajectory; the row's id is kept as provenance, as nothing says that it is given once."""
        row = expect_object(record, where, "the record")
        turns = read_list(row, "conversations", where)
        system = expect_object(turns[0] if turns else None, where, "conversations[0]")
        text = read_text(system, "content", where, of="conversations[0]")
        is_trained = bool(HEADING.match(text))
        tools = read_functions(text, where) if is_trained else _read_tools(text, where)
        messages = list(_read_turns(turns[1:], tools, where))
        if not messages:
            fail(where, "conversations", "has a system text alone", "add the user's turn, or drop the row")
        identifier = row.get("id")
        if is_trained and isinstance(identifier, str):
            messages = _without_copies(messages, identifier)
        provenance: dict[str, Json] = {"source": self.name}
        yield Trajectory(
            id="",
            tools=tools,
            messages=tuple(messages),
            provenance=provenance if identifier is None else provenance | {"id": identifier},
        )


def _read_tools(text: str, where: str) -> tuple[Tool, ...]:
    try:
        values = read_value(text)
    except ValueError as error:
        fail(where, "conversations[0].content", f"is no list of tools: {error}", "give one as JSON")
    if not isinstance(values, list):
        fail(where, "conversations[0].content", described(values), "give a JSON list of tools")
    return tuple(
        read_tool(value, where, f"conversations[0].content: tools[{index}]") for index, value in enumerate(values)
    )


def _read_turns(turns: list[Json], tools: tuple[Tool, ...], where: str) -> Iterator[Message]:
    may_answer = False
    for index, value in enumerate(turns, start=1):
        field = f"conversations[{index}]"
        turn = expect_object(value, where, field)
        speaker = turn.get("role")
        role = _ROLES.get(speaker.lower()) if isinstance(speaker, str) else None
        if role is None:
            fail(where, f"{field}.role", described(speaker), f"use one of {', '.join(_ROLES)}")
        text = read_text(turn, "content", where, of=field)
        if role is Role.TOOL and not may_answer:
            fail(where, field, f"of role {speaker!r} follows no call", "put the call into the assistant's turn before")
        if role is Role.ASSISTANT:
            content, calls = _read_assistant(text, tools)
            yield Message(role=role, content=content, calls=calls)
            may_answer = bool(calls)
        else:
            yield Message(role=role, content=text)
            may_answer = may_answer and role is Role.TOOL


def _read_assistant(text: str, tools: tuple[Tool, ...]) -> tuple[str, tuple[AnyCall, ...]]:
    """Text and calls of an assistant's turn, whichever spelling it has."""
    name, _, rest = text.strip().partition("\n")
    if not rest.lstrip().startswith("{"):
        parsed = _SYNTAX.parse(text, tools=tools)
        return parsed.text, parsed.calls
    call = read_call(name.strip(), rest, raw=text.strip())
    if isinstance(call, MalformedCall):  # the object ends with its line, and other text may follow
        line, _, more = rest.lstrip().partition("\n")
        shorter = read_call(name.strip(), line, raw=f"{name}\n{line}")
        if isinstance(shorter, ToolCall):
            return more.strip(), (shorter,)
    return "", (call,)


def _without_copies(messages: list[Message], identifier: str) -> list[Message]:
    """The messages, with weight 0 for the turns before the one that the id numbers, if that is the last of several."""
    numbered = _TURN.match(identifier)
    spoken = [index for index, message in enumerate(messages) if message.role is Role.ASSISTANT]
    if not numbered or len(spoken) < 2 or int(numbered[1]) != len(spoken):
        return messages
    return [
        replace(message, weight=0.0, mask_reason=_COPY) if index in spoken[:-1] else message
        for index, message in enumerate(messages)
    ]


TL_TRAINING = TlTraining()
