"""Python calls in a fence, the syntax that Gemma is prompted with.

    ```tool_code
    move_event(event_id='ev1', day='2025-03-14')
    ```

Each call is written into a fence of its own; a fence with several calls is read too. A fence that is not closed, or
holds anything but calls, is malformed.
"""

import re
from collections.abc import Iterator, Sequence

from tltrain.syntax.base import MAX_LENGTH, TOO_LONG, CallSpans, ParameterSpan, ParsedText, Span, collect, join_lines
from tltrain.syntax.json_call import Attempt, broken
from tltrain.syntax.python_call import PythonCallSyntax
from tltrain.types import AnyCall, MalformedCall, Tool, ToolCall

OPEN = "```tool_code"
_OPENING = re.compile(rf"^[^\S\n]*+(?P<call>{OPEN}[^\S\n]*+(?:\n|\Z))", re.MULTILINE)
# No value of a Python call holds a line break, so a fence at the start of a line is none of a value.
_ENDING = re.compile(rf"^[^\S\n]*+(?:(?={OPEN})|(?P<close>```))|\Z", re.MULTILINE)
_PYTHON = PythonCallSyntax()


class ToolCodeSyntax:
    """Calls in ```` ```tool_code ```` fences; see `tltrain.syntax.base.CallSyntax`."""

    name = "tool_code"

    def render(self, text: str, calls: Sequence[AnyCall]) -> str:
        """Text, then a fence for each call."""
        return join_lines(text, [_write(call) for call in calls])

    def parse(self, text: str, *, tools: Sequence[Tool] = ()) -> ParsedText:
        """Calls, and what stands outside the fences as text."""
        return collect(text, [(attempt.call, attempt.spans) for attempt in _read_attempts(text, tools)])

    def looks_complete(self, text: str) -> bool:
        """Whether a fence that was opened is closed again."""
        return OPEN in text and any(attempt.is_closed for attempt in _read_attempts(text, ()))


def _write(call: AnyCall) -> str:
    return call.raw if isinstance(call, MalformedCall) else f"{OPEN}\n{_PYTHON.render('', [call])}\n```"


def _read_attempts(text: str, tools: Sequence[Tool]) -> Iterator[Attempt]:
    opening = _OPENING.search(text)
    if opening and len(text) > MAX_LENGTH:
        yield broken(text, opening.start("call"), len(text), TOO_LONG, is_closed=False)
        return
    while opening:
        ending = _ENDING.search(text, opening.end())
        assert ending is not None, "the pattern matches at the end"
        is_closed = ending["close"] is not None
        fence, inside = Span(opening.start("call"), ending.end()), Span(opening.end(), ending.start())
        yield from _read_fence(text, fence, inside, is_closed, tools)
        opening = _OPENING.search(text, ending.end())


def _read_fence(text: str, fence: Span, inside: Span, is_closed: bool, tools: Sequence[Tool]) -> Iterator[Attempt]:
    """The calls of a fence; the first has its opening, the last its end."""
    start = inside.start
    parsed = _PYTHON.parse(text[slice(*inside)], tools=tools)
    bad = next((call.reason for call in parsed.calls if isinstance(call, MalformedCall)), None)
    if not is_closed:
        bad = "the fence is not closed"
    elif not parsed.calls:
        bad = "the fence holds no call"
    elif parsed.text:
        bad = "the fence holds text beside the call"
    if bad:
        yield broken(text, fence.start, fence.end, bad, is_closed=is_closed)
        return
    for index, (call, spans) in enumerate(zip(parsed.calls, parsed.spans, strict=True)):
        assert isinstance(call, ToolCall)
        assert spans.name is not None
        first = fence.start if index == 0 else spans.call.start + start
        last = fence.end if index == len(parsed.calls) - 1 else spans.call.end + start
        parameters = tuple(
            ParameterSpan(name=one.name, key=_moved(one.key, start), value=_moved(one.value, start))
            for one in spans.parameters
        )
        whole = CallSpans(call=Span(first, last), name=_moved(spans.name, start), parameters=parameters)
        yield Attempt(ToolCall(name=call.name, arguments=call.arguments, raw=text[first:last]), whole, True)


def _moved(span: Span, offset: int) -> Span:
    return Span(span.start + offset, span.end + offset)
