"""ToolRL rlla: `{"instruction", "input", "output"}`, three texts with the tools, the dialogue so far and the answer.

Texts are marked `<user>`, `<think>`, `<tool_call>` (one JSON object a line), `<obs>` and `<response>`. A mark ends at
its closing tag, so that tags which a thought merely mentions are text. Thoughts become reasoning. The assistant's turns
in `input` are history that the file does not train: they have weight 0. The frame around the list of tools, which tells
how to write calls, goes into `provenance["prompt"]`.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from tltrain.errors import DataError
from tltrain.formats.base import Companions
from tltrain.formats.python_types import object_schema
from tltrain.formats.untrusted import (
    expect_object,
    fail,
    missing,
    read_call,
    read_text,
    read_value,
    read_value_at,
    sections,
)
from tltrain.syntax.literals import PYTHON
from tltrain.syntax.reader import Reader, UnreadableError
from tltrain.types import AnyCall, Json, MalformedCall, Message, Role, Tool, ToolCall, Trajectory

_SECTION = re.compile(r"^\*\*Available Tools\*\*.*\n", re.MULTILINE)
_SECTION_END = re.compile(r"^\*\*[^\n]*\*\*[ \t]*$", re.MULTILINE)
_TOOL = re.compile(r"^\d+\. Name: (?P<name>[^\n]*)\n", re.MULTILINE)
_PARAMETERS = re.compile(r"^Parameters:[ \t]*(?=\{)", re.MULTILINE)
_HEADING = re.compile(r"\A\s*\*\*Dialogue Records History\*\*\s*")
_SEPARATORS = re.compile(r"[\s,]*+")
_TAG = re.compile(r"<(user|think|tool_call|obs|response)>")
_HISTORY = "history in the prompt: the file trains the output alone"


class ToolRL:
    """See the module."""

    name = "toolrl"
    summary = "ToolRL rlla rows (instruction, input, output with <think>, <tool_call>, <response>)"

    def refuse(self, record: Json) -> str | None:
        """A row has the three texts, and a list of available tools in the first."""
        reason = missing(record, instruction=str, input=str, output=str)
        if reason or not isinstance(record, dict):
            return reason
        return None if _SECTION.search(str(record["instruction"])) else "'instruction' lists no **Available Tools**"

    def read(self, record: Json, *, where: str, companions: Companions) -> Iterator[Trajectory | DataError]:  # noqa: ARG002
        """One trajectory."""
        row = expect_object(record, where, "the record")
        instruction = read_text(row, "instruction", where)
        tools, prompt = _read_tools(instruction, where)
        history = _Dialogue(where, "input")
        history.add(_HEADING.sub("", read_text(row, "input", where)), Role.USER)
        answer = _Dialogue(where, "output", history.num_open_calls)
        answer.add(read_text(row, "output", where), Role.ASSISTANT)
        messages = [_as_history(message) for message in history.messages] + answer.messages
        if not messages:
            fail(where, "input", "and output are empty", "drop the row")
        yield Trajectory(
            id="", tools=tools, messages=tuple(messages), provenance={"source": self.name, "prompt": prompt}
        )


def _as_history(message: Message) -> Message:
    if message.role is not Role.ASSISTANT:
        return message
    return Message(
        role=message.role,
        content=message.content,
        reasoning=message.reasoning,
        calls=message.calls,
        weight=0.0,
        mask_reason=_HISTORY,
    )


def _read_tools(instruction: str, where: str) -> tuple[tuple[Tool, ...], str]:
    """The tools, and the instruction with `{tools}` in their place."""
    start = _SECTION.search(instruction)
    if not start:
        fail(where, "instruction", "lists no **Available Tools**", "give the tools there")
    ending = _SECTION_END.search(instruction, start.end())
    end = ending.start() if ending else len(instruction)
    section = instruction[start.end() : end]
    marked = sections(_TOOL, section)
    tools = tuple(_read_tool(mark["name"].strip(), text, where) for mark, text in marked)
    first = start.end() + (marked[0][0].start() if marked else len(section))
    return tools, f"{instruction[:first]}{{tools}}\n\n{instruction[end:]}"


def _read_tool(name: str, text: str, where: str) -> Tool:
    if not name:
        fail(where, "instruction", "has a tool without a name", "name it")
    start = _PARAMETERS.search(text)
    if not start:
        return Tool(name=name, description=text.strip().removeprefix("Description:").strip())
    try:
        parameters, _ = read_value_at(text, start.end())
    except ValueError as error:
        fail(where, f"instruction: parameters of {name!r}", f"are no JSON: {error}", "write them as an object")
    assert isinstance(parameters, dict), "the text begins with a brace"
    description = text[: start.start()].strip().removeprefix("Description:").strip()
    return Tool(name=name, description=description, parameters=object_schema(parameters))


@dataclass(slots=True)
class _Dialogue:
    """Collects the messages of a marked text; a feedback, a user or a new thought ends an assistant's turn."""

    where: str
    name: str
    num_open_calls: int = 0
    """Calls of the turn before that have no feedback yet."""
    messages: list[Message] = field(default_factory=list)
    _reasoning: list[str] = field(default_factory=list)
    _content: list[str] = field(default_factory=list)
    _calls: list[AnyCall] = field(default_factory=list)

    def add(self, text: str, speaker: Role) -> None:
        """Read a whole text; what stands outside the marks is said by `speaker`."""
        position = 0
        while tag := _TAG.search(text, position):
            self._say(text[position : tag.start()], speaker)
            closing = f"</{tag[1]}>"
            end = text.find(closing, tag.end())
            self._take(tag[1], text[tag.end() : end if end >= 0 else len(text)].strip())
            position = end + len(closing) if end >= 0 else len(text)
        self._say(text[position:], speaker)
        self._close()

    def _say(self, text: str, speaker: Role) -> None:
        if not text.strip():
            return
        if speaker is Role.ASSISTANT:
            self._content.append(text.strip())
        else:
            self._take("user", text.strip())

    def _take(self, mark: str, text: str) -> None:
        match mark:
            case "user":
                self._close()
                self.messages.append(Message(role=Role.USER, content=text))
                self.num_open_calls = 0
            case "obs":
                self._close()
                self._answer(text)
            case "think":
                if self._content or self._calls:
                    self._close()
                self._reasoning.append(text)
            case "tool_call":
                self._calls += read_call_lines(text)
            case "response":
                self._content.append(text)

    def _close(self) -> None:
        if self._reasoning or self._content or self._calls:
            self.messages.append(
                Message(
                    role=Role.ASSISTANT,
                    content="\n".join(self._content),
                    reasoning="\n".join(self._reasoning),
                    calls=tuple(self._calls),
                )
            )
            self.num_open_calls = len(self._calls)
        self._reasoning, self._content, self._calls = [], [], []

    def _answer(self, text: str) -> None:
        """Feedback: one text for one call; a JSON list of as many items as there are calls is one for each."""
        if not self.num_open_calls:
            fail(self.where, self.name, "has an <obs> that follows no <tool_call>", "put the call before it")
        for part in _split_feedback(text, self.num_open_calls):
            self.messages.append(Message(role=Role.TOOL, content=part))
        self.num_open_calls = 0


def _split_feedback(text: str, num_calls: int) -> list[str]:
    if num_calls > 1:
        try:
            value = read_value(text)
        except ValueError:
            return [text]
        if isinstance(value, list) and len(value) == num_calls:
            return [item if isinstance(item, str) else json.dumps(item, ensure_ascii=False) for item in value]
    return [text]


def read_call_lines(text: str) -> list[AnyCall]:
    """Calls written as JSON objects one after another; what starts none is malformed, in whole lines."""
    calls: list[AnyCall] = []
    position = 0
    while (position := _skip_separators(text, position)) < len(text):
        start = position
        reader = Reader(text, start, PYTHON)
        try:
            value = reader.value()
            position = reader.position
            calls.append(_to_call(value, text[start:position]))
        except UnreadableError as error:
            # up to the line that does not fit, which may start the next call: nothing is read twice
            before, after = text.rfind("\n", start, error.position), text.find("\n", start)
            position = max(before, after) if after >= 0 else len(text)
            raw = text[start:position].strip()
            calls.append(MalformedCall(raw=raw, reason=f"the call is no JSON: {error.reason}"))
    return calls


def _skip_separators(text: str, position: int) -> int:
    separators = _SEPARATORS.match(text, position)
    assert separators is not None, "the pattern matches the empty string"
    return separators.end()


def _to_call(value: Json, raw: str) -> ToolCall | MalformedCall:
    if not isinstance(value, dict):
        return MalformedCall(raw=raw, reason="the call is no object with name and parameters")
    arguments = value.get("parameters") if "parameters" in value else value.get("arguments")
    return read_call(value.get("name"), arguments, raw=raw)


TOOLRL = ToolRL()
