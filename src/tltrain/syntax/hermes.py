"""Calls as JSON between tags, the syntax of Hermes and Qwen models.

    <tool_call>
    {"name": "move_event", "arguments": {"event_id": "ev1", "day": "2025-03-14"}}
    </tool_call>

Several calls follow one another; text stands beside them. What begins with an opening tag and cannot be read is
malformed, up to its closing tag or the next opening one.
"""

import re
from collections.abc import Iterator, Sequence

from tltrain.syntax.base import MAX_LENGTH, TOO_LONG, ParsedText, collect, join_lines
from tltrain.syntax.json_call import Attempt, broken, escape_marks, read_object, write_object
from tltrain.syntax.literals import JSON
from tltrain.syntax.reader import Reader, UnreadableError
from tltrain.types import AnyCall, MalformedCall, Tool

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


def _write(call: AnyCall) -> str:
    if isinstance(call, MalformedCall):
        return call.raw
    # "<" occurs in strings alone; readers that search for the tags must not find them there.
    return f"{OPEN}\n{escape_marks(write_object(call), (OPEN, CLOSE))}\n{CLOSE}"


def _read_attempts(text: str) -> Iterator[Attempt]:
    start = text.find(OPEN)
    if start >= 0 and len(text) > MAX_LENGTH:
        yield broken(text, start, len(text), TOO_LONG, is_closed=False)
        return
    while start >= 0:
        try:
            attempt = _read_call(text, start)
        except UnreadableError as error:
            ending = _END_OF_BROKEN.search(text, start + len(OPEN))
            assert ending is not None, "the pattern matches at the end"
            # A closing tag before that position is but a part of a string.
            is_closed = ending.group() == CLOSE and ending.start() >= error.position
            attempt = broken(text, start, ending.end(), error.reason, is_closed=is_closed)
        yield attempt
        start = text.find(OPEN, attempt.spans.call.end)


def _read_call(text: str, start: int) -> Attempt:
    read = read_object(text, start + len(OPEN))
    reader = Reader(text, read.end, JSON)
    reader.expect(CLOSE)
    return read.attempt(text, start, reader.position)
