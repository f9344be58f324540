"""Loss weights that a data file carries, brought to the tokens of a rendered conversation."""

from collections.abc import Iterator, Sequence

from tltrain.render.rendered import RenderedCall, RenderedTurn
from tltrain.render.tokens import TokenizedText, TokenSpan
from tltrain.types import Message, Trajectory, call_weight


def carried_factors(
    trajectory: Trajectory, tokens: TokenizedText, turns: Sequence[RenderedTurn], calls: Sequence[RenderedCall]
) -> list[float]:
    """The factor that the file gives each token's loss weight; 1 where it says nothing.

    A turn has its message's weight, the end of turn included, and a part of it that of its span. A token in two parts
    has the lesser of their weights, as has one that stands in a part and outside it, if that is 0.
    """
    factors = [1.0] * len(tokens.ids)
    own = iter(calls)
    for turn in turns:
        message = trajectory.messages[turn.message]
        own_calls = [next(own) for _ in message.calls]
        if message.weight is not None:
            factors[turn.start : turn.end] = [message.weight] * (turn.end - turn.start)
        # the lesser last, so that it stands
        for span, weight in sorted(_parts(message, tokens, turn, own_calls), key=lambda part: -part[1]):
            factors[span.start : span.end] = [weight] * (span.end - span.start)
    return factors


def _parts(
    message: Message, tokens: TokenizedText, turn: RenderedTurn, calls: Sequence[RenderedCall]
) -> Iterator[tuple[TokenSpan, float]]:
    for position, call in enumerate(calls):
        weight = call_weight(message, position)
        if weight is not None:
            yield call.span, weight
    for span in message.spans:
        written = {"content": message.content, "reasoning_content": message.reasoning}.get(span.field)
        if written is None:
            continue
        place = _place(written, message, tokens, turn)
        end = len(written) if span.end is None else min(span.end, len(written))
        if place is not None and span.start < end:
            yield tokens.overlap(max(place + span.start, 0), place + end), span.weight


def _place(written: str, message: Message, tokens: TokenizedText, turn: RenderedTurn) -> int | None:
    """Offset in the whole text at which a field of the message would start; templates drop the blanks around it."""
    start, end = tokens.starts[turn.start], tokens.ends[turn.end - 1]
    if written is message.content and message.reasoning:
        start = tokens.text.find(message.reasoning.strip(), start, end) + len(message.reasoning.strip())
    found = tokens.text.find(written.strip(), start, end)
    return None if found < 0 else found - (len(written) - len(written.lstrip()))
