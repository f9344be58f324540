"""Calls as JSON between tags, the syntax of Hermes and Qwen models.

    <tool_call>
    {"name": "move_event", "arguments": {"event_id": "ev1", "day": "2025-03-14"}}
    </tool_call>

Several calls follow one another; text stands beside them. What begins with an opening tag and cannot be read is
malformed, up to its closing tag or the next opening one.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tltrain.syntax.base import MAX_LENGTH, TOO_LONG, CallSpans, ParameterSpan, ParsedText, Span, collect, join_lines
from tltrain.syntax.literals import JSON, write_string, write_value
from tltrain.syntax.reader import Member, Reader, UnreadableError
from tltrain.types import AnyCall, MalformedCall, Tool, ToolCall

OPEN = "<tool_call>"
CLOSE = "</tool_call>"
_END_OF_BROKEN = re.compile(rf"{CLOSE}|(?={OPEN})|\Z")


class HermesSyntax:
    """`<tool_call>` JSON; see `tltrain.syntax.base.CallSyntax`."""

    name = "hermes"

    def render(self, text: str, calls: Sequence[AnyCall]) -> str:
        """Text, then the tagged calls."""
        return join_lines(text, [_write(call) for call in calls])

    def parse(self, text: str, *, tools: Sequence[Tool] = ()) -> ParsedText:  # noqa: ARG002 - no arguments by position
        """Calls, and what stands outside the tags as text."""
        return collect(text, [(attempt.call, attempt.spans) for attempt in _read_attempts(text)])

    def looks_complete(self, text: str) -> bool:
        """Whether a tag that was opened is closed again."""
        return CLOSE in text and any(attempt.is_closed for attempt in _read_attempts(text))


class _Attempt(NamedTuple):
    call: AnyCall
    spans: CallSpans
    is_closed: bool


def _write(call: AnyCall) -> str:
    if isinstance(call, MalformedCall):
        return call.raw
    arguments = write_value(dict(call.arguments), JSON, depth=-1)
    body = f'{{"name": {write_string(call.name, JSON)}, "arguments": {arguments}}}'
    # "<" occurs in strings alone; readers that search for the tags must not find them there.
    for tag in (OPEN, CLOSE):
        body = body.replace(tag, "\\u003c" + tag[1:])
    return f"{OPEN}\n{body}\n{CLOSE}"


def _read_attempts(text: str) -> Iterator[_Attempt]:
    start = text.find(OPEN)
    if start >= 0 and len(text) > MAX_LENGTH:
        yield _broken(text, start, len(text), TOO_LONG, is_closed=False)
        return
    while start >= 0:
        try:
            attempt = _read_call(text, start)
        except UnreadableError as error:
            ending = _END_OF_BROKEN.search(text, start + len(OPEN))
            assert ending is not None, "the pattern matches at the end"
            # A closing tag before that position is but a part of a string.
            is_closed = ending.group() == CLOSE and ending.start() >= error.position
            attempt = _broken(text, start, ending.end(), error.reason, is_closed=is_closed)
        yield attempt
        start = text.find(OPEN, attempt.spans.call.end)


def _broken(text: str, start: int, end: int, reason: str, *, is_closed: bool) -> _Attempt:
    raw = text[start:end].rstrip()
    return _Attempt(MalformedCall(raw=raw, reason=reason), CallSpans(call=Span(start, start + len(raw))), is_closed)


def _read_call(text: str, start: int) -> _Attempt:
    reader = Reader(text, start + len(OPEN), JSON)
    fields = {member.name: member for member in reader.members(depth=-2)}
    reader.expect(CLOSE)
    name, arguments = _field(fields, "name", start), _field(fields, "arguments", start)
    if not isinstance(name.value, str) or not name.value:
        raise UnreadableError("the name of the tool is no string, or empty", name.value_span.start)
    if not isinstance(arguments.value, dict):
        raise UnreadableError("the arguments are no object", arguments.value_span.start)
    parameters = tuple(
        ParameterSpan(name=member.name, key=member.key, value=member.value_span)
        for member in Reader(text, arguments.value_span.start, JSON).members(depth=-1)
    )
    call = ToolCall(name=name.value, arguments=arguments.value, raw=text[start : reader.position])
    name_span = Span(name.value_span.start + 1, name.value_span.end - 1)
    spans = CallSpans(call=Span(start, reader.position), name=name_span, parameters=parameters)
    return _Attempt(call, spans, is_closed=True)


def _field(fields: dict[str, Member], name: str, position: int) -> Member:
    if name not in fields:
        raise UnreadableError(f"the call has no {name!r}", position)
    return fields[name]
