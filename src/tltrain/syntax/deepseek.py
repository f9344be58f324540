"""Calls between DeepSeek's marks, as its V3 and V3.1 write them.

    <｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>move_event
    ```json
    {"event_id": "ev1", "day": "2025-03-14"}
    ```<｜tool▁call▁end｜><｜tool▁calls▁end｜>

V3.1 writes `move_event<｜tool▁sep｜>{...}` between the inner marks; that is read, not written. What begins with a mark
and cannot be read is malformed, up to its closing mark or the next opening one. A name with other signs than letters,
digits and `_.-/` is a JSON string.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby

from tltrain.syntax.base import MAX_LENGTH, TOO_LONG, ParsedText, collect, join_lines
from tltrain.syntax.json_call import (
    Attempt,
    ReadCall,
    broken,
    escape_marks,
    read_bare_name,
    read_named,
    write_arguments,
    write_bare_name,
)
from tltrain.syntax.literals import JSON
from tltrain.syntax.reader import Reader, UnreadableError
from tltrain.types import AnyCall, MalformedCall, Tool, ToolCall

LIST_OPEN, LIST_CLOSE = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
OPEN, SEPARATOR, CLOSE = "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"
_MARKS = ("<｜",)
_OPENING = re.compile(rf"{LIST_OPEN}\s*+(?:{OPEN})?+|{OPEN}")
_TYPE = re.compile(rf"\s*+\w++{re.escape(SEPARATOR)}(?!\s*+\{{)")
_LIST_END = re.compile(rf"\s*+{LIST_CLOSE}")
_END_OF_BROKEN = re.compile(rf"{CLOSE}(?:\s*+{LIST_CLOSE})?+|{LIST_CLOSE}|(?={LIST_OPEN}|{OPEN})|\Z")


class DeepseekSyntax:
    """JSON between DeepSeek's marks; see `tltrain.syntax.base.CallSyntax`.

    The marks of the list belong to its first and last call.
    """

    name = "deepseek"

    def render(self, text: str, calls: Sequence[AnyCall]) -> str:
        """Text, then the calls."""
        lines: list[str] = []
        for is_good, group in groupby(calls, lambda call: isinstance(call, ToolCall)):
            if is_good:
                written = "\n".join(_write(call) for call in group if isinstance(call, ToolCall))
                lines.append(f"{LIST_OPEN}{written}{LIST_CLOSE}")
            else:
                lines += [call.raw for call in group if isinstance(call, MalformedCall)]
        return join_lines(text, lines)

    def parse(self, text: str, *, tools: Sequence[Tool] = ()) -> ParsedText:  # noqa: ARG002 - no arguments by position
        """Calls, and what stands outside the marks as text."""
        return collect(text, [(attempt.call, attempt.spans) for attempt in _read_attempts(text)])

    def looks_complete(self, text: str) -> bool:
        """Whether a call that was opened is closed again."""
        return CLOSE in text and any(attempt.is_closed for attempt in _read_attempts(text))


def _write(call: ToolCall) -> str:
    name = escape_marks(write_bare_name(call.name), _MARKS)
    return f"{OPEN}function{SEPARATOR}{name}\n```json\n{escape_marks(write_arguments(call), _MARKS)}\n```{CLOSE}"


def _read_attempts(text: str) -> Iterator[Attempt]:
    opening = _OPENING.search(text)
    if opening and len(text) > MAX_LENGTH:
        yield broken(text, opening.start(), len(text), TOO_LONG, is_closed=False)
        return
    while opening:
        try:
            read, reader = _read_call(text, opening.end())
            ending = _LIST_END.match(text, reader.position)
            attempt = read.attempt(text, opening.start(), ending.end() if ending else reader.position)
        except UnreadableError as error:
            end = _END_OF_BROKEN.search(text, opening.end())
            assert end is not None, "the pattern matches at the end"
            # A closing mark before that position is but a part of a string.
            is_closed = end.group().startswith(CLOSE) and end.start() >= error.position
            attempt = broken(text, opening.start(), end.end(), error.reason, is_closed=is_closed)
        yield attempt
        opening = _OPENING.search(text, attempt.spans.call.end)


def _read_call(text: str, start: int) -> tuple[ReadCall, Reader]:
    kind = _TYPE.match(text, start)
    reader = Reader(text, kind.end() if kind else start, JSON)
    reader.take("")
    name = read_bare_name(text, reader.position)
    quote = 1 if text.startswith('"', reader.position) else 0
    reader.position = name[1].end + quote
    reader.expect("```json" if kind else SEPARATOR)
    read = read_named(text, name, reader.position)
    reader.position = read.end
    if kind:
        reader.expect("```")
    reader.expect(CLOSE)
    return read, reader
