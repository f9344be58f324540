"""Calls as bare JSON, the syntax of Llama 3.

    {"name": "move_event", "parameters": {"event_id": "ev1", "day": "2025-03-14"}}

Several calls stand on one line with `; ` between them; `<|python_tag|>` may stand before the first. A text that starts
with `{"name":` is an attempt at a call; so is a later line that starts with a name and its parameters, and whatever
follows the tag. One that cannot be read is malformed, up to the next attempt. All else is text.
"""

import re
from collections.abc import Iterator, Sequence

from tltrain.syntax.base import MAX_LENGTH, TOO_LONG, ParsedText, collect, join_lines
from tltrain.syntax.json_call import Attempt, broken, escape_marks, read_object, write_object
from tltrain.syntax.reader import UnreadableError
from tltrain.types import AnyCall, MalformedCall, Tool, ToolCall

TAG = "<|python_tag|>"
_NAME = r'\{\s*+(?:"type"\s*+:\s*+"function"\s*+,\s*+)?+"name"\s*+:'
_STRING = r'"(?:[^"\\\n]|\\[^\n])*+"'
_FIRST = re.compile(rf"\s*+(?P<call>(?={_NAME}))")
_LATER = re.compile(
    rf'(?P<call>{re.escape(TAG)})|^[^\S\n]*+(?P<later>(?={_NAME}\s*+{_STRING}\s*+,\s*+"(?:parameters|arguments)"\s*+:))',
    re.MULTILINE,
)
_NEXT = re.compile(rf"[^\S\n]*+;\s*+(?P<call>(?={_NAME}))")


class LlamaSyntax:
    """`{"name": ..., "parameters": {...}}`; see `tltrain.syntax.base.CallSyntax`."""

    name = "llama"

    def render(self, text: str, calls: Sequence[AnyCall]) -> str:
        """Text, then the calls on one line."""
        lines: list[str] = []
        for index, call in enumerate(calls):
            is_good = isinstance(call, ToolCall)
            if is_good and index and isinstance(calls[index - 1], ToolCall):
                lines[-1] += f"; {_write(call)}"
            else:
                lines.append(_write(call))
        return join_lines(text, lines)

    def parse(self, text: str, *, tools: Sequence[Tool] = ()) -> ParsedText:  # noqa: ARG002 - no arguments by position
        """Calls, and what stands beside them as text."""
        return collect(text, [(attempt.call, attempt.spans) for attempt in _read_attempts(text)], separator=";")

    def looks_complete(self, text: str) -> bool:
        """Whether the object of a call is closed."""
        return "}" in text and any(attempt.is_closed for attempt in _read_attempts(text))


def _write(call: AnyCall) -> str:
    return call.raw if isinstance(call, MalformedCall) else escape_marks(write_object(call, "parameters"), (TAG,))


def _read_attempts(text: str) -> Iterator[Attempt]:
    # Linear: depth is bounded, so a position is read at most once for each level that an attempt may stand in.
    match = _FIRST.match(text) or _LATER.search(text)
    while match:
        start = match.start(match.lastgroup or 0)
        if len(text) > MAX_LENGTH:
            yield broken(text, start, len(text), TOO_LONG, is_closed=False)
            return
        opening = start + len(TAG) if text.startswith(TAG, start) else start
        try:
            read = read_object(text, opening, ("parameters", "arguments"))
            attempt = read.attempt(text, start, read.end)
        except UnreadableError as error:
            following = _LATER.search(text, opening + 1)
            attempt = broken(text, start, following.start() if following else len(text), error.reason, is_closed=False)
        yield attempt
        end = attempt.spans.call.end
        match = (_NEXT.match(text, end) if attempt.is_closed else None) or _LATER.search(text, end)
