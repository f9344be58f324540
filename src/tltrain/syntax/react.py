"""Calls as the ReAct prompt has them, the syntax of ToolBench, ToolEyes and RoTBench.

    Thought: The event is on another day.
    Action: move_event
    Action Input: {"event_id": "ev1", "day": "2025-03-14"}

The text beside a call is its thought. A name that could not stand alone on its line is a JSON string. Arguments are
written as JSON and read as JSON or a Python dict. A line that starts with `Action:` is an attempt at a call; one that
cannot be read, or that has something after the arguments on their line, is malformed, up to the next line that starts
with `Thought:`, `Action:` or `Observation:`.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tltrain.syntax.base import MAX_LENGTH, TOO_LONG, CallSpans, ParameterSpan, ParsedText, Span
from tltrain.syntax.literals import JSON, PYTHON, write_string, write_value
from tltrain.syntax.reader import Member, Reader, UnreadableError
from tltrain.types import AnyCall, MalformedCall, Tool, ToolCall

_ACTION = re.compile(r"^[^\S\n]*+(?P<call>Action[^\S\n]*+:)[^\S\n]*+(?P<name>[^\n]*+)", re.MULTILINE)
_INPUT = re.compile(r"\s*+Action[^\S\n]++Input[^\S\n]*+:")
_LABEL = re.compile(r"^[^\S\n]*+(?:Thought|Action|Observation)[^\S\n]*+:", re.MULTILINE)
_THOUGHT = re.compile(r"Thought[^\S\n]*+:")
_END_OF_LINE = re.compile(r"[^\S\n]*+(?:\n|\Z)")


class ReactSyntax:
    """`Thought:`, `Action:`, `Action Input:`; see `tltrain.syntax.base.CallSyntax`."""

    name = "react"

    def render(self, text: str, calls: Sequence[AnyCall]) -> str:
        """Text as the thought, then the calls; text alone as it is."""
        if not calls:
            return text
        return "\n".join([*([f"Thought: {text}"] if text.strip() else []), *map(_write, calls)])

    def parse(self, text: str, *, tools: Sequence[Tool] = ()) -> ParsedText:  # noqa: ARG002 - no arguments by position
        """Calls, and what stands between them as text, without the label of a thought that leads to a call."""
        attempts = list(_read_attempts(text))
        pieces = []
        start = 0
        for attempt in attempts:
            piece = text[start : attempt.spans.call.start].strip()
            label = _THOUGHT.match(piece)
            pieces.append(piece[label.end() :].strip() if label else piece)
            start = attempt.spans.call.end
        pieces.append(text[start:].strip())
        return ParsedText(
            text="\n".join(piece for piece in pieces if piece),
            calls=tuple(attempt.call for attempt in attempts),
            spans=tuple(attempt.spans for attempt in attempts),
        )

    def looks_complete(self, text: str) -> bool:
        """Whether the arguments of a call are closed."""
        return "}" in text and any(isinstance(attempt.call, ToolCall) for attempt in _read_attempts(text))


class _Attempt(NamedTuple):
    call: AnyCall
    spans: CallSpans


def _write(call: AnyCall) -> str:
    if isinstance(call, MalformedCall):
        return call.raw
    name = call.name
    if name != name.strip() or "\n" in name or name[:1] in {'"', ""}:
        name = write_string(name, JSON)
    return f"Action: {name}\nAction Input: {write_value(dict(call.arguments), JSON, depth=-1)}"


def _read_attempts(text: str) -> Iterator[_Attempt]:
    # Linear: no value can hold a line that starts with a label, so an attempt is never read beyond the next one.
    action = _ACTION.search(text)
    if action and len(text) > MAX_LENGTH:
        yield _broken(text, action.start("call"), len(text), TOO_LONG)
        return
    while action:
        try:
            attempt = _read_call(text, action)
        except UnreadableError as error:
            following = _LABEL.search(text, action.end())
            attempt = _broken(text, action.start("call"), following.start() if following else len(text), error.reason)
        yield attempt
        action = _ACTION.search(text, attempt.spans.call.end)


def _broken(text: str, start: int, end: int, reason: str) -> _Attempt:
    raw = text[start:end].rstrip()
    return _Attempt(MalformedCall(raw=raw, reason=reason), CallSpans(call=Span(start, start + len(raw))))


def _read_call(text: str, action: re.Match[str]) -> _Attempt:
    name, name_span = _read_name(text, action)
    label = _INPUT.match(text, action.end())
    if not label:
        raise UnreadableError("the call has no 'Action Input:'", action.end())
    members, end = _read_arguments(text, label.end())
    parameters = tuple(ParameterSpan(name=member.name, key=member.key, value=member.value_span) for member in members)
    span = Span(action.start("call"), end)
    call = ToolCall(name=name, arguments={member.name: member.value for member in members}, raw=text[slice(*span)])
    return _Attempt(call, CallSpans(call=span, name=name_span, parameters=parameters))


def _read_name(text: str, action: re.Match[str]) -> tuple[str, Span]:
    name, start = action["name"].rstrip(), action.start("name")
    if name.startswith('"'):
        reader = Reader(text, start, JSON)
        decoded = reader.string()
        if decoded and reader.position == start + len(name):
            return decoded, Span(start + 1, reader.position - 1)
        raise UnreadableError("the name of the tool is empty, or there is text beside it", start)
    if not name:
        raise UnreadableError("the call names no tool", start)
    return name, Span(start, start + len(name))


def _read_arguments(text: str, start: int) -> tuple[list[Member], int]:
    """The members of the object that starts there, as JSON or else as Python, and the offset after it."""
    reader = Reader(text, start, JSON)
    try:
        members = reader.members(depth=-1)
    except UnreadableError:
        reader = Reader(text, start, PYTHON)
        try:
            members = reader.members(depth=-1)
        except UnreadableError:
            Reader(text, start, JSON).members(depth=-1)  # to say what is wrong with the JSON
            raise
    if not _END_OF_LINE.match(text, reader.position):
        raise reader.unexpected("nothing after the arguments on their line")
    return members, reader.position
