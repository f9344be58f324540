"""What the syntaxes that write arguments as a JSON object share."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from tltrain.syntax.base import CallSpans, ParameterSpan, Span
from tltrain.syntax.literals import JSON, write_string, write_value
from tltrain.syntax.reader import Member, Reader, UnreadableError
from tltrain.types import AnyCall, MalformedCall, ToolCall

_BARE_NAME = re.compile(r"[\w.\-/]++")


class Attempt(NamedTuple):
    """One call, or an attempt at one, that was found in a text."""

    call: AnyCall
    spans: CallSpans
    is_closed: bool
    """Whether it is written to its end."""


class ReadCall(NamedTuple):
    """Name and arguments of a call, and where they are written."""

    name: str
    name_span: Span
    arguments: Sequence[Member]
    end: int
    """Offset after the last character that was read."""

    def attempt(self, text: str, start: int, end: int) -> Attempt:
        """The call that is written from `start` to `end`."""
        parameters = tuple(ParameterSpan(name=one.name, key=one.key, value=one.value_span) for one in self.arguments)
        arguments = {member.name: member.value for member in self.arguments}
        call = ToolCall(name=self.name, arguments=arguments, raw=text[start:end])
        return Attempt(call, CallSpans(call=Span(start, end), name=self.name_span, parameters=parameters), True)


def broken(text: str, start: int, end: int, reason: str, *, is_closed: bool) -> Attempt:
    """An attempt that cannot be read; the blanks at its end are left out."""
    raw = text[start:end].rstrip()
    return Attempt(MalformedCall(raw=raw, reason=reason), CallSpans(call=Span(start, start + len(raw))), is_closed)


def write_object(call: ToolCall, arguments_key: str = "arguments") -> str:
    """`{"name": ..., "arguments": {...}}`."""
    return f'{{"name": {write_string(call.name, JSON)}, "{arguments_key}": {write_arguments(call)}}}'


def write_arguments(call: ToolCall) -> str:
    """The arguments as a JSON object."""
    return write_value(dict(call.arguments), JSON, depth=-1)


def escape_marks(body: str, marks: Sequence[str]) -> str:
    """JSON in which no string holds a mark of the syntax: its first character is escaped."""
    for mark in marks:
        body = body.replace(mark, f"\\u{ord(mark[0]):04x}{mark[1:]}")
    return body


def read_object(text: str, start: int, arguments_keys: Sequence[str] = ("arguments",)) -> ReadCall:
    """Read `{"name": ..., "arguments": {...}}`, the fields in any order and others passed over.

    Raises:
        UnreadableError: the text does not fit.
    """
    reader = Reader(text, start, JSON)
    fields = {member.name: member for member in reader.members(depth=-2)}
    name = _field(fields, ("name",), start)
    arguments = _field(fields, arguments_keys, start)
    if not isinstance(name.value, str) or not name.value:
        raise UnreadableError("the name of the tool is no string, or empty", name.value_span.start)
    if not isinstance(arguments.value, dict):
        raise UnreadableError("the arguments are no object", arguments.value_span.start)
    members = Reader(text, arguments.value_span.start, JSON).members(depth=-1)
    return ReadCall(name.value, Span(name.value_span.start + 1, name.value_span.end - 1), members, reader.position)


def _field(fields: dict[str, Member], names: Sequence[str], position: int) -> Member:
    found = next((fields[name] for name in names if name in fields), None)
    if found is None:
        raise UnreadableError(f"the call has no {names[0]!r}", position)
    return found


def write_bare_name(name: str) -> str:
    """A name that stands without quotes in its syntax: one that could not is a JSON string."""
    return name if _BARE_NAME.fullmatch(name) else write_string(name, JSON)


def read_bare_name(text: str, start: int) -> tuple[str, Span]:
    """Read what `write_bare_name` writes: the name, and where it stands without quotes.

    Raises:
        UnreadableError: no name stands there.
    """
    bare = _BARE_NAME.match(text, start)
    if bare:
        return bare.group(), Span(*bare.span())
    reader = Reader(text, start, JSON)
    name = reader.string()
    if not name:
        raise UnreadableError("the name of the tool is empty", start)
    return name, Span(start + 1, reader.position - 1)


def read_named(text: str, name: tuple[str, Span], start: int) -> ReadCall:
    """Read the arguments of a call whose name stands apart from them.

    Raises:
        UnreadableError: no JSON object stands at `start`.
    """
    reader = Reader(text, start, JSON)
    members = reader.members(depth=-1)
    return ReadCall(*name, members, reader.position)
