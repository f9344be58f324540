"""Where the calls of a turn stand in its text."""

from collections.abc import Sequence

from tltrain.errors import DataError
from tltrain.syntax import CallSpans, CallSyntax, ParameterSpan, Span
from tltrain.taxonomy import json_equal
from tltrain.types import AnyCall, MalformedCall, Message, ToolCall


def find_calls(text: str, turn: Span, message: Message, syntax: CallSyntax) -> tuple[CallSpans, ...]:
    """Find a message's calls in its turn, and check that the turn holds all that the message says.

    Args:
        text: the rendered conversation.
        turn: what the assistant writes, without the end-of-turn token.
        message: what it should hold.
        syntax: how calls are written.

    Returns:
        One entry for each call of the message, by offsets in `text`.

    Raises:
        DataError: text, thinking or calls of the message are not what the turn shows.
    """
    written = text[turn.start : turn.end]
    for what, wanted in (("thinking", message.reasoning.strip()), ("text", message.content.strip())):
        if wanted not in written:
            raise DataError(
                f"the chat template leaves out or changes the {what} {_excerpt(wanted)} of an assistant's message; "
                f"remove the {what}, or use a template that writes it"
            )
    start = turn.start
    if message.reasoning:
        start = text.index(message.reasoning.strip(), turn.start) + len(message.reasoning.strip())
    parsed = syntax.parse(text[start : turn.end])
    found = list(zip(parsed.calls, (_shift(spans, start) for spans in parsed.spans), strict=True))
    return tuple(_match(text, Span(start, turn.end), message.calls, found))


def _match(
    text: str, turn: Span, calls: Sequence[AnyCall], found: list[tuple[AnyCall, CallSpans]]
) -> Sequence[CallSpans]:
    """Pair the calls with those read from the text, in order."""
    matched: list[CallSpans] = []
    position = turn.start
    for call in calls:
        if isinstance(call, MalformedCall):
            # Raw text may hold anything, also what reads as a call in this syntax: it is searched, not parsed.
            start = text.find(call.raw.strip(), position, turn.end)
            if start < 0:
                raise DataError(f"the text of the unreadable call {_excerpt(call.raw)} is not in the rendered turn")
            spans = CallSpans(call=Span(start, start + len(call.raw.strip())))
            found = [pair for pair in found if pair[1].call.start >= spans.call.end]
        elif found and _is_same(call, found[0][0]):
            spans = found.pop(0)[1]
        else:
            read = _excerpt(text[slice(*found[0][1].call)]) if found else "no further call"
            raise DataError(
                f"the rendered turn should call {call.name} with {_excerpt(str(dict(call.arguments)))}, but {read} is "
                f"read from it; the text beside the call looks like a call, or the chat template writes calls in "
                f"another syntax"
            )
        matched.append(spans)
        position = spans.call.end
    if found:
        raise DataError(
            f"the rendered turn holds {_excerpt(text[slice(*found[0][1].call)])}, which is read as a call but is no "
            "call of the message; reword the text, or list the call"
        )
    return matched


def _is_same(call: ToolCall, read: AnyCall) -> bool:
    return (
        isinstance(read, ToolCall) and call.name == read.name and json_equal(dict(call.arguments), dict(read.arguments))
    )


def _shift(spans: CallSpans, offset: int) -> CallSpans:
    def move(span: Span) -> Span:
        return Span(span.start + offset, span.end + offset)

    parameters = tuple(
        ParameterSpan(name=parameter.name, key=move(parameter.key), value=move(parameter.value))
        for parameter in spans.parameters
    )
    return CallSpans(call=move(spans.call), name=move(spans.name) if spans.name else None, parameters=parameters)


def _excerpt(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
