"""Calls as Python writes them, `move_event(event_id='ev1', day='2025-03-14')`: the syntax of the paper.

A tool's name of letters, digits, `_`, `.` and `-` is written as it is, any other as a quoted string. A parameter whose
name is no identifier is written as `**{'odd name': 1}`. Each call starts a line. Arguments are literals; nothing is
evaluated.

Which lines are calls: a text that starts with `name(` is an attempt at a call; so is a later line if what follows the
bracket looks like arguments (a quote, a number, `key=`, a closing bracket). An attempt that cannot be read to its end,
with nothing after it on its line, is malformed, up to the next attempt. All other lines are text.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tltrain.syntax.base import MAX_LENGTH, TOO_LONG, CallSpans, ParameterSpan, ParsedText, Span, collect, join_lines
from tltrain.syntax.literals import PYTHON, write_string, write_value
from tltrain.syntax.reader import Reader, UnreadableError
from tltrain.types import AnyCall, Json, MalformedCall, Tool, ToolCall

_SIMPLE_NAME = re.compile(r"[\w.\-]++")
_IDENTIFIER = re.compile(r"[^\W\d]\w*+")
_NAME = r"""(?P<name>[\w.\-]++|'(?:[^'\\\n]|\\.)*+'|"(?:[^"\\\n]|\\.)*+")\("""
_LOOKS_LIKE_ARGUMENTS = (
    r"""(?=\s*+(?:[)'"\[{]|\*\*|-?\.?\d|[^\W\d]\w*+\s*+=|(?:True|False|None|true|false|null)\b|\Z))"""
)
_FIRST_ATTEMPT = re.compile(_NAME)
_LATER_ATTEMPT = re.compile(r"^[^\S\n]*+" + _NAME + _LOOKS_LIKE_ARGUMENTS, re.MULTILINE)
_KEYWORD = re.compile(r"([^\W\d]\w*+)[ \t\r\n]*+=")
_END_OF_LINE = re.compile(r"[^\S\n]*+(?:\n|\Z)")


class PythonCallSyntax:
    """`name(key='value', n=3)`, one call a line; see `tltrain.syntax.base.CallSyntax`."""

    name = "python"

    def render(self, text: str, calls: Sequence[AnyCall]) -> str:
        """Text, then one call a line."""
        return join_lines(text, [_write(call) for call in calls])

    def parse(self, text: str, *, tools: Sequence[Tool] = ()) -> ParsedText:
        """Calls, and the lines around them as text."""
        return collect(text, [_to_call(text, attempt, tools) for attempt in _read_attempts(text)])

    def looks_complete(self, text: str) -> bool:
        """Whether a line reads as a call."""
        return ")" in text and any(isinstance(attempt, _Written) for attempt in _read_attempts(text))


class _Argument(NamedTuple):
    name: str | None
    """None: given by position."""
    key: Span
    value: Json
    value_span: Span


class _Written(NamedTuple):
    """A call that is well-formed; what it means is not looked at."""

    name: str
    name_span: Span
    arguments: list[_Argument]
    span: Span


class _Broken(NamedTuple):
    reason: str
    span: Span


def _write(call: AnyCall) -> str:
    if isinstance(call, MalformedCall):
        return call.raw
    name = call.name if _SIMPLE_NAME.fullmatch(call.name) else write_string(call.name, PYTHON)
    return f"{name}({', '.join(_write_argument(key, value) for key, value in call.arguments.items())})"


def _write_argument(name: str, value: Json) -> str:
    written = write_value(value, PYTHON)
    return f"{name}={written}" if _IDENTIFIER.fullmatch(name) else f"**{{{write_string(name, PYTHON)}: {written}}}"


def _read_attempts(text: str) -> Iterator[_Written | _Broken]:
    # Linear: no value can hold the start of another attempt, so a broken attempt is never read beyond the next one.
    start = len(text) - len(text.lstrip())
    attempt = _FIRST_ATTEMPT.match(text, start) or _LATER_ATTEMPT.search(text, start)
    if attempt and len(text) > MAX_LENGTH:
        yield _Broken(TOO_LONG, Span(attempt.start("name"), len(text.rstrip())))
        return
    while attempt:
        try:
            found: _Written | _Broken = _read_call(text, attempt)
        except UnreadableError as error:
            following = _LATER_ATTEMPT.search(text, attempt.end())
            end = following.start() if following else len(text)
            begin = attempt.start("name")
            found = _Broken(error.reason, Span(begin, begin + len(text[begin:end].rstrip())))
        yield found
        attempt = _LATER_ATTEMPT.search(text, found.span.end)


def _read_call(text: str, attempt: re.Match[str]) -> _Written:
    name, span = attempt["name"], Span(*attempt.span("name"))
    if name[0] in "'\"":
        name, span = Reader(text, span.start, PYTHON).string(), Span(span.start + 1, span.end - 1)
    if not name:
        raise UnreadableError("the name of the tool is empty", span.start)
    reader = Reader(text, attempt.end(), PYTHON)
    arguments = reader.items(")", lambda: _read_arguments(reader))
    end = reader.position
    if not _END_OF_LINE.match(text, end):
        raise reader.unexpected("nothing after the call on its line")
    flat = [argument for group in arguments for argument in group]
    return _Written(name, span, flat, Span(attempt.start("name"), end))


def _read_arguments(reader: Reader) -> list[_Argument]:
    """What stands between two commas: one argument, or those of `**{...}`."""
    if reader.take("**"):
        return [_Argument(*member) for member in reader.members(depth=-1)]
    keyword = reader.take_match(_KEYWORD)
    value, span = reader.spanned_value()
    if keyword:
        return [_Argument(keyword[1], Span(*keyword.span(1)), value, span)]
    return [_Argument(None, Span(span.start, span.start), value, span)]


def _to_call(text: str, attempt: _Written | _Broken, tools: Sequence[Tool]) -> tuple[AnyCall, CallSpans]:
    span = attempt.span
    raw = text[span.start : span.end]
    if isinstance(attempt, _Broken):
        return MalformedCall(raw=raw, reason=attempt.reason), CallSpans(call=span)
    try:
        names = _name_arguments(attempt, tools)
    except UnreadableError as error:
        return MalformedCall(raw=raw, reason=error.reason), CallSpans(call=span)
    values = {name: argument.value for name, argument in zip(names, attempt.arguments, strict=True)}
    parameters = tuple(
        ParameterSpan(name=name, key=argument.key, value=argument.value_span)
        for name, argument in zip(names, attempt.arguments, strict=True)
    )
    call = ToolCall(name=attempt.name, arguments=values, raw=raw)
    return call, CallSpans(call=span, name=attempt.name_span, parameters=parameters)


def _name_arguments(written: _Written, tools: Sequence[Tool]) -> list[str]:
    """The parameter that each argument is for; those by position take the tool's parameters in order."""
    tool = next((tool for tool in tools if tool.name == written.name), None)
    unnamed = iter(tool.properties if tool else ())
    names: dict[str, None] = {}
    follows_name = False
    for number, argument in enumerate(written.arguments):
        follows_name = follows_name or argument.name is not None
        if argument.name is None and follows_name:
            raise UnreadableError("an argument by position follows one by name", argument.value_span.start)
        name = next(unnamed, None) if argument.name is None else argument.name
        if name is None:
            limit = f"has {len(tool.properties)} parameters" if tool else "is no tool whose parameters are known"
            reason = f"argument {number + 1} is given by position, and {written.name} {limit}"
            raise UnreadableError(reason, argument.value_span.start)
        if name in names:
            raise UnreadableError(f"the parameter {name!r} is given twice", argument.key.start)
        names[name] = None
    return list(names)
