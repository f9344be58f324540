"""What writers of formats share: fitting a trajectory into less than it holds, and keeping count of what is lost."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from tltrain.types import (
    Json,
    MalformedCall,
    Message,
    Role,
    Trajectory,
    WeightSpan,
    answered_calls,
    call_weight,
)

IDENTITY = "id and provenance"
ROUNDED = "loss weights between 0 and 1 or above, rounded to 0 or 1"
PARTS = "loss weights of parts of a message; the whole message takes the lowest of them"
REASONS = "reasons of masks"
MALFORMED = "why a call cannot be read; its text is written as it stands"
MALFORMED_AS_TEXT = "calls that cannot be read; they are written as text of the assistant"
MADE_UP_IDS = "calls without an id, or feedback that names none; ids are made up"
NO_IDS = "ids of calls, by which feedback names its call; it stands in the order of the calls instead"
UNANSWERED = "which call of a message is unanswered; its feedback stands in order"
JOINED = "bounds between messages of the assistant that follow one another"
THINKING_TAGS = "thinking tags inside a text; what stands between them is read as thinking"
EMPTY = "messages of the assistant without any text or call"
TOOL_NAMES = "names of tools on their feedback"


class Losses:
    """Collects the phrases of one row; a phrase is noted only where the row really loses something."""

    def __init__(self) -> None:
        self._phrases: dict[str, None] = {}

    def note(self, phrase: str) -> None:
        """Note a loss, once."""
        self._phrases[phrase] = None

    def phrases(self) -> tuple[str, ...]:
        """All that were noted, in order."""
        return tuple(self._phrases)

    def note_identity(self, trajectory: Trajectory) -> None:
        """Of a format that has no place for them."""
        if trajectory.id or trajectory.provenance:
            self.note(IDENTITY)

    def parts(self, message: Message) -> tuple[float | None, float | None]:
        """Weights of a message's text and of its calls, in a format that weighs no smaller parts; None: not set."""
        if message.mask_reason:
            self.note(REASONS)
        if any(isinstance(call, MalformedCall) for call in message.calls):
            self.note(MALFORMED)
        spans = {span.field: span for span in message.spans}
        calls = [
            spans[field].weight if (field := f"tool_calls[{place}]") in spans else message.weight
            for place in range(len(message.calls))
        ]
        texts = [message.weight]
        for field, text in (("content", message.content), ("reasoning_content", message.reasoning)):
            of_field = [span for span in message.spans if span.field == field and span.start != span.end and text]
            whole = any(span.start == 0 and span.end in (None, len(text)) for span in of_field[-1:])
            weights: list[float | None] = [span.weight for span in of_field[-1 if whole else None :]]
            texts += weights
            if whole and not (message.content and message.reasoning):
                texts = weights
        return self._lowest(texts), self._lowest(calls)

    def _lowest(self, weights: Sequence[float | None]) -> float | None:
        """One weight for all; where they differ, the lowest, so that nothing teaches that must not."""
        if len({1.0 if weight is None else weight for weight in weights}) <= 1:
            return weights[0] if weights else None
        self.note(PARTS)
        return min(1.0 if weight is None else weight for weight in weights)

    def whole(self, message: Message) -> float | None:
        """The weight of a message in a format that weighs whole messages."""
        text, calls = self.parts(message)
        if not message.calls:
            return text
        return self._lowest([text, calls]) if message.content or message.reasoning else calls

    def binary(self, weight: float | None) -> float | None:
        """The weight where a format has only 0 and 1; half and more is 1."""
        if weight is None or weight in (0.0, 1.0):
            return weight
        self.note(ROUNDED)
        return 1.0 if weight >= 0.5 else 0.0


def with_call_ids(trajectory: Trajectory, losses: Losses) -> Trajectory:
    """The trajectory with an id on each call and on each feedback, unique in the row, for formats that demand them."""
    counts = Counter(call.id for message in trajectory.messages for call in message.calls)
    named = all(
        reply.call_id in {call.id for call in message.calls}
        for message, pairs in _turns(trajectory.messages)
        for _, reply in pairs
    )
    if named and None not in counts and all(count == 1 for count in counts.values()):
        return trajectory
    losses.note(MADE_UP_IDS)
    messages: list[Message] = []
    number = 0
    for message, pairs in _turns(trajectory.messages):
        ids = [f"call_{number + place}" for place in range(len(message.calls))]
        number += len(ids)
        calls = tuple(replace(call, id=name) for call, name in zip(message.calls, ids, strict=True))
        messages.append(replace(message, calls=calls))
        for place, reply in pairs:
            name = ids[place] if place is not None else f"call_{number}"
            number += place is None
            messages.append(replace(reply, call_id=name))
    return replace(trajectory, messages=tuple(messages))


def in_call_order(trajectory: Trajectory, losses: Losses) -> Trajectory:
    """The trajectory with its feedback in the order of the calls, for formats that have neither ids nor names on it."""
    messages: list[Message] = []
    for message, pairs in _turns(trajectory.messages):
        places = [len(message.calls) if place is None else place for place, _ in pairs]
        if any(call.id is not None for call in message.calls) or any(reply.call_id is not None for _, reply in pairs):
            losses.note(NO_IDS)
        if sorted(places) != list(range(len(places))) and len(pairs) < len(message.calls):
            losses.note(UNANSWERED)
        if any(reply.name is not None for _, reply in pairs):
            losses.note(TOOL_NAMES)
        ordered = sorted(zip(places, (reply for _, reply in pairs), strict=True), key=lambda pair: pair[0])
        calls = tuple(replace(call, id=None) for call in message.calls)
        messages.append(replace(message, calls=calls))
        messages += [replace(reply, call_id=None, name=None) for _, reply in ordered]
    return replace(trajectory, messages=tuple(messages))


def with_faults_as_text(trajectory: Trajectory, losses: Losses) -> Trajectory:
    """The trajectory with calls that cannot be read at the end of their message's text.

    For formats whose trainers decode each call: at one that is no JSON they leave out the row, or stop.
    """
    if not any(isinstance(call, MalformedCall) for message in trajectory.messages for call in message.calls):
        return trajectory
    losses.note(MALFORMED_AS_TEXT)
    return replace(trajectory, messages=tuple(map(_with_faults_as_text, trajectory.messages)))


def _with_faults_as_text(message: Message) -> Message:
    kept = [place for place, call in enumerate(message.calls) if not isinstance(call, MalformedCall)]
    if len(kept) == len(message.calls):
        return message
    content = message.content
    spans = [
        span._replace(end=len(content)) if span.field == "content" and span.end is None else span
        for span in message.spans
        if not span.field.startswith("tool_calls")
    ]
    for place, call in enumerate(message.calls):
        weight = call_weight(message, place)
        if isinstance(call, MalformedCall):
            start = len(content) + bool(content)
            content = f"{content}\n{call.raw}" if content else call.raw
            field, end = "content", len(content)
        else:
            start, end, field = 0, None, f"tool_calls[{kept.index(place)}]"
        if weight != message.weight:
            spans.append(WeightSpan(field, start, end, 1.0 if weight is None else weight))
    calls = tuple(message.calls[place] for place in kept)
    return replace(message, content=content, calls=calls, spans=tuple(spans))


def _turns(messages: Sequence[Message]) -> Iterator[tuple[Message, list[tuple[int | None, Message]]]]:
    """Each message that is no feedback, with the feedback after it and the place of the call that each answers."""
    start = 0
    while start < len(messages):
        end = start + 1
        while end < len(messages) and messages[end].role is Role.TOOL:
            end += 1
        replies = messages[start + 1 : end]
        yield messages[start], list(zip(answered_calls(messages[start].calls, replies), replies, strict=True))
        start = end


def kept_columns(trajectory: Trajectory) -> dict[str, Json]:
    """`id` and `provenance` as columns that a trainer does not look at; provenance as text, which any table holds."""
    columns: dict[str, Json] = {"id": trajectory.id} if trajectory.id else {}
    if trajectory.provenance:
        columns["provenance"] = json.dumps(dict(trajectory.provenance), ensure_ascii=False)
    return columns
