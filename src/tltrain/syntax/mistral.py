"""Calls as a list of JSON objects behind a mark, the syntax of Mistral models up to their tokenizer v7.

    [TOOL_CALLS] [{"name": "move_event", "arguments": {"event_id": "ev1", "day": "2025-03-14"}}]

Other fields of a call, such as its `id`, are passed over. From the first object of a list that cannot be read on, all
is malformed, up to the next mark.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

from tltrain.syntax.base import MAX_LENGTH, TOO_LONG, ParsedText, collect, join_lines
from tltrain.syntax.json_call import Attempt, broken, escape_marks, read_object, write_object
from tltrain.syntax.literals import JSON
from tltrain.syntax.reader import Reader, UnreadableError
from tltrain.types import AnyCall, MalformedCall, Tool, ToolCall

OPEN = "[TOOL_CALLS]"


class MistralSyntax:
    """`[TOOL_CALLS] [{...}]`; see `tltrain.syntax.base.CallSyntax`.

    The mark belongs to the first call of its list and the closing bracket to the last, so that the text of one of
    several calls cannot be read alone.
    """

    name = "mistral"

    def render(self, text: str, calls: Sequence[AnyCall]) -> str:
        """Text, then the list of calls."""
        lines: list[str] = []
        for is_good, group in groupby(calls, lambda call: isinstance(call, ToolCall)):
            if is_good:
                # "[" of a mark occurs in strings alone, and must not be found there.
                written = [escape_marks(write_object(call), (OPEN,)) for call in group if isinstance(call, ToolCall)]
                lines.append(f"{OPEN} [{', '.join(written)}]")
            else:
                lines += [call.raw for call in group if isinstance(call, MalformedCall)]
        return join_lines(text, lines)

    def parse(self, text: str, *, tools: Sequence[Tool] = ()) -> ParsedText:  # noqa: ARG002 - no arguments by position
        """Calls, and what stands beside the lists as text."""
        return collect(text, [(attempt.call, attempt.spans) for attempt in _read_attempts(text)], separator=",")

    def looks_complete(self, text: str) -> bool:
        """Whether a list of calls is closed."""
        return "]" in text and any(
            attempt.is_closed and text[attempt.spans.call.end - 1] == "]" for attempt in _read_attempts(text)
        )


def _read_attempts(text: str) -> Iterator[Attempt]:
    start = text.find(OPEN)
    if start >= 0 and len(text) > MAX_LENGTH:
        yield broken(text, start, len(text), TOO_LONG, is_closed=False)
        return
    while start >= 0:
        end = start + len(OPEN)
        for attempt in _read_list(text, start):
            yield attempt
            end = attempt.spans.call.end
        start = text.find(OPEN, end)


def _read_list(text: str, start: int) -> Iterator[Attempt]:
    reader = Reader(text, start + len(OPEN), JSON)
    is_first = True
    try:
        reader.expect("[")
        while True:
            reader.take("")
            opening = reader.position
            read = read_object(text, opening)
            reader.position = read.end
            is_last = reader.take("]")
            if not is_last and not reader.take(","):
                raise reader.unexpected("',' or ']'")
            yield read.attempt(text, start if is_first else opening, reader.position if is_last else read.end)
            if is_last:
                return
            start, is_first = reader.position - 1, False
    except UnreadableError as error:
        following = text.find(OPEN, start + 1)
        yield broken(text, start, following if following >= 0 else len(text), error.reason, is_closed=False)
