"""Calls as a name with JSON below it, the syntax of GLM-4.

    move_event
    {"event_id": "ev1", "day": "2025-03-14"}

A text, and each further call, is parted from what stands before it by `<|assistant|>`; a text starts with a line break
there. A part whose first line is one word and whose second starts with a brace is an attempt at a call; one that cannot
be read is malformed, up to the next mark. A name with other signs than letters, digits and `_.-/` is a JSON string.
"""

import re
from collections.abc import Iterator, Sequence

from tltrain.syntax.base import MAX_LENGTH, TOO_LONG, ParsedText, collect
from tltrain.syntax.json_call import (
    Attempt,
    broken,
    escape_marks,
    read_bare_name,
    read_named,
    write_arguments,
    write_bare_name,
)
from tltrain.syntax.reader import UnreadableError
from tltrain.types import AnyCall, MalformedCall, Tool

MARK = "<|assistant|>"
_CALL = re.compile(r"(?P<name>[\w.\-/]++|\"(?:[^\"\\\n]|\\[^\n])*+\")[^\S\n]*+\n[^\S\n]*+(?=\{)")
_BLANK = re.compile(r"\s*+")


class GlmSyntax:
    """A name, and JSON on the next line; see `tltrain.syntax.base.CallSyntax`."""

    name = "glm"

    def render(self, text: str, calls: Sequence[AnyCall]) -> str:
        """Text, then the calls, with marks between them."""
        return MARK.join([text, *map(_write, calls)] if text.strip() or not calls else map(_write, calls))

    def parse(self, text: str, *, tools: Sequence[Tool] = ()) -> ParsedText:  # noqa: ARG002 - no arguments by position
        """Calls, and the other parts as text."""
        return collect(text, [(attempt.call, attempt.spans) for attempt in _read_attempts(text)], clean=_clean)

    def looks_complete(self, text: str) -> bool:
        """Whether the arguments of a call are closed."""
        return "}" in text and any(attempt.is_closed for attempt in _read_attempts(text))


def _clean(piece: str) -> str:
    parts = (part.strip() for part in piece.split(MARK))
    return "\n".join(part for part in parts if part)


def _write(call: AnyCall) -> str:
    if isinstance(call, MalformedCall):
        return call.raw
    return f"{escape_marks(write_bare_name(call.name), (MARK,))}\n{escape_marks(write_arguments(call), (MARK,))}"


def _read_attempts(text: str) -> Iterator[Attempt]:
    blank = _BLANK.match(text)
    start = blank.end() if blank else 0
    while start >= 0:
        after_mark = start + len(MARK) if text.startswith(MARK, start) else start
        attempt = _CALL.match(text, after_mark)
        if attempt and len(text) > MAX_LENGTH:
            yield broken(text, attempt.start("name"), len(text), TOO_LONG, is_closed=False)
            return
        end = start + 1
        if attempt:
            found = _read_call(text, attempt)
            yield found
            end = found.spans.call.end
        start = text.find(MARK, end)


def _read_call(text: str, attempt: re.Match[str]) -> Attempt:
    start = attempt.start("name")
    try:
        read = read_named(text, read_bare_name(text, start), attempt.end())
    except UnreadableError as error:
        following = text.find(MARK, attempt.end("name"))
        return broken(text, start, following if following >= 0 else len(text), error.reason, is_closed=False)
    return read.attempt(text, start, read.end)
