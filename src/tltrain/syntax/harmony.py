"""Calls as messages to a function, the syntax of gpt-oss (harmony).

    to=functions.move_event<|channel|>commentary json<|message|>{"event_id": "ev1", "day": "2025-03-14"}

That is how the chat template writes a call, behind `<|start|>assistant`; models also write the channel in front, and
`<|constrain|>` before `json`. Text comes in a channel of its own, and what is thought (`analysis`) is no text. A call
that cannot be read is malformed, up to the next mark that ends or starts a message. A name with other signs than
letters, digits and `_.-/` is a JSON string.
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

TO = "to=functions."
START = "<|start|>assistant"
_OPENING = re.compile(
    r"(?:<\|start\|>assistant\s*+(?:<\|channel\|>commentary\s*+)?+|<\|channel\|>commentary\s*+|\A\s*+)"
    r"(?P<call>to=functions\.)"
)
_HEAD = re.compile(
    r"\s*+(?:<\|channel\|>commentary\s*+)?+(?:<\|constrain\|>\s*+)?+(?:json\s*+)?+<\|message\|>\s*+(?=\{)"
)
_END_OF_BROKEN = re.compile(r"(?P<close><\|call\|>)|<\|start\|>|<\|end\|>|\Z")
_THOUGHT = re.compile(r"<\|channel\|>analysis<\|message\|>[^<]*+(?:<(?!\|end\|>)[^<]*+)*+(?:<\|end\|>)?+")
_MARK = re.compile(r"<\|start\|>assistant|<\|channel\|>\w*+|<\|constrain\|>|<\|(?:message|end|call|return)\|>")


class HarmonySyntax:
    """Messages to functions; see `tltrain.syntax.base.CallSyntax`."""

    name = "harmony"

    def render(self, text: str, calls: Sequence[AnyCall]) -> str:
        """Text as a message of its own, then the calls; text alone as it is."""
        if not calls:
            return text
        start = f"<|channel|>commentary<|message|>{text}<|end|>{START} " if text.strip() else ""
        return start + f"<|call|>{START} ".join(map(_write, calls))

    def parse(self, text: str, *, tools: Sequence[Tool] = ()) -> ParsedText:  # noqa: ARG002 - no arguments by position
        """Calls, and the messages beside them as text."""
        return collect(text, [(attempt.call, attempt.spans) for attempt in _read_attempts(text)], clean=_clean)

    def looks_complete(self, text: str) -> bool:
        """Whether the arguments of a call are closed."""
        return TO in text and any(attempt.is_closed for attempt in _read_attempts(text))


def _clean(piece: str) -> str:
    parts = (part.strip() for part in _MARK.split(_THOUGHT.sub("", piece)))
    return "\n".join(part for part in parts if part)


def _write(call: AnyCall) -> str:
    if isinstance(call, MalformedCall):
        return call.raw
    name = escape_marks(write_bare_name(call.name), ("<|",))
    return f"{TO}{name}<|channel|>commentary json<|message|>{escape_marks(write_arguments(call), ('<|',))}"


def _read_attempts(text: str) -> Iterator[Attempt]:
    opening = _OPENING.search(text)
    if opening and len(text) > MAX_LENGTH:
        yield broken(text, opening.start("call"), len(text), TOO_LONG, is_closed=False)
        return
    while opening:
        start = opening.start("call")
        try:
            attempt = _read_call(text, start, opening.end())
        except UnreadableError as error:
            end = _END_OF_BROKEN.search(text, opening.end())
            assert end is not None, "the pattern matches at the end"
            is_closed = end["close"] is not None and end.start() >= error.position
            attempt = broken(text, start, end.start(), error.reason, is_closed=is_closed)
        yield attempt
        opening = _OPENING.search(text, attempt.spans.call.end)


def _read_call(text: str, start: int, name_start: int) -> Attempt:
    name = read_bare_name(text, name_start)
    after_name = name[1].end + (1 if text.startswith('"', name_start) else 0)
    head = _HEAD.match(text, after_name)
    if not head:
        raise UnreadableError("the call has no message with JSON", after_name)
    read = read_named(text, name, head.end())
    return read.attempt(text, start, read.end)
