"""Plain data that every room speaks: tools, calls, messages, trajectories.

Everything here is frozen and built once, at the border (see `formats/`); inside the package it is trusted. It consists
of msgspec structs, which are built twenty times as fast as frozen dataclasses: `msgspec.structs.replace` copies them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import islice, takewhile
from typing import NamedTuple, TypeAlias

from msgspec import Struct, field

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
"""A decoded JSON value. Integers and floats keep their Python types; NaN and infinities do not occur."""


class Role(StrEnum):
    """Who speaks in a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"
    """Feedback of one tool call."""


class Tool(Struct, frozen=True, kw_only=True):
    """One callable tool, as its document describes it to the model."""

    name: str
    """Any non-empty string; it need not be an identifier (`preferred-routes_get`, `math.factorial`)."""
    description: str = ""
    parameters: Mapping[str, Json] = field(default_factory=dict)
    """JSON Schema of type object; an empty mapping means: no parameters."""

    @property
    def properties(self) -> Mapping[str, Json]:
        """Parameter name -> its JSON Schema."""
        properties = self.parameters.get("properties")
        return properties if isinstance(properties, Mapping) else {}

    @property
    def required(self) -> frozenset[str]:
        """Names of the parameters that every call must give."""
        required = self.parameters.get("required")
        return (
            frozenset(name for name in required if isinstance(name, str)) if isinstance(required, list) else frozenset()
        )


class ToolCall(Struct, frozen=True, kw_only=True, eq=False):
    """A call that could be read."""

    name: str
    arguments: Mapping[str, Json] = field(default_factory=dict)
    raw: str = ""
    """Text as the model wrote it, so that a stricter parser can be replayed on old rollouts; empty if built in code."""
    id: str | None = None
    """Identifier that ties the call to its feedback in the source file, where it has one."""

    def __eq__(self, other: object) -> bool:
        """Equal calls have equal names and arguments, whatever they are written like and called."""
        return isinstance(other, ToolCall) and (self.name, self.arguments) == (other.name, other.arguments)

    __hash__ = None  # type: ignore[assignment]  # arguments have none


class MalformedCall(Struct, frozen=True, kw_only=True, eq=False):
    """An attempt at a call that could not be read; kept as data, because it is context and a kind of error."""

    raw: str
    reason: str
    """One sentence: what stopped the parser."""
    id: str | None = None

    def __eq__(self, other: object) -> bool:
        """Equal ones have the same text and reason."""
        return isinstance(other, MalformedCall) and (self.raw, self.reason) == (other.raw, other.reason)

    def __hash__(self) -> int:
        return hash((self.raw, self.reason))


AnyCall: TypeAlias = ToolCall | MalformedCall


class WeightSpan(NamedTuple):
    """A part of an assistant's message for which its file sets a loss weight."""

    field: str
    """`content`, `reasoning_content`, or `tool_calls[i]`, the whole call i of the message."""
    start: int
    """Character offset in the field; 0 for a call."""
    end: int | None
    """Offset after the last character; None: to the end of the field."""
    weight: float
    """0 keeps the part from teaching; finite, not negative."""


class Message(Struct, frozen=True, kw_only=True):
    """One message of a conversation."""

    role: Role
    content: str = ""
    reasoning: str = ""
    """Thinking text beside the content; assistant only."""
    calls: tuple[AnyCall, ...] = ()
    """Calls of this turn in the order written; assistant only."""
    call_id: str | None = None
    """Which call this feedback answers; tool only. None: answered in order."""
    name: str | None = None
    """Name of the tool that answers; tool only."""
    weight: float | None = None
    """Loss weight that the file itself gives the message: 0 keeps it from teaching; None: it gives none. Assistant
    only; kept apart from what an audit blocks."""
    mask_reason: str = ""
    """Why the file keeps the message, or a part of it, from teaching, where it says so."""
    spans: tuple[WeightSpan, ...] = ()
    """Loss weights of parts of the message, in place of `weight` there; assistant only."""


class Trajectory(Struct, frozen=True, kw_only=True):
    """A conversation in which an assistant may call the listed tools."""

    id: str
    """Unique in its file; errors, verdicts and results name the row by it."""
    tools: tuple[Tool, ...]
    messages: tuple[Message, ...]
    provenance: Mapping[str, Json] = field(default_factory=dict)
    """Where it comes from: teacher, environment, seed, template, source file. Free-form, kept through every stage."""


class CallStep(NamedTuple):
    """One call of a trajectory with the feedback that answers it."""

    number: int
    """Position among all calls of the trajectory, from 0; verdicts and masks refer to calls by it."""
    message: int
    """Index of the assistant message that holds the call."""
    position: int
    """Index of the call in that message's `calls`."""
    call: AnyCall
    feedback: str | None
    """Content of the tool message that answers it; None if nothing does."""


def iterate_calls(trajectory: Trajectory) -> Iterator[CallStep]:
    """Yield every call with its feedback.

    The tool messages that directly follow an assistant message answer its calls: by `call_id` where both sides carry
    the same one, the rest in order.
    """
    number = 0
    for index, message in enumerate(trajectory.messages):
        if not message.calls:
            continue
        answers = _answers_to(message.calls, islice(trajectory.messages, index + 1, None))
        for position, (call, feedback) in enumerate(zip(message.calls, answers, strict=True)):
            yield CallStep(number, index, position, call, feedback)
            number += 1


def call_weight(message: Message, position: int) -> float | None:
    """The loss weight that the file gives one call of a message: its own span's, or the message's; None: none."""
    spans = [span.weight for span in message.spans if span.field == f"tool_calls[{position}]"]
    return spans[-1] if spans else message.weight


def masked_calls(trajectory: Trajectory) -> frozenset[int]:
    """Numbers of the calls that the file itself keeps from teaching, as `iterate_calls` counts."""
    steps = iterate_calls(trajectory)
    return frozenset(
        step.number for step in steps if call_weight(trajectory.messages[step.message], step.position) == 0
    )


def answered_calls(calls: Sequence[AnyCall], replies: Sequence[Message]) -> list[int | None]:
    """For each reply of a tool, the position of the call that it answers; None: there is no call left for it.

    Replies find their call by `call_id` (of calls that share an id, the first that is still open); the rest answer the
    open calls in order.
    """
    if len(calls) == len(replies) == 1:
        return [0]
    positions: dict[str, list[int]] = {}
    for position in reversed(range(len(calls))):
        if (name := calls[position].id) is not None:
            positions.setdefault(name, []).append(position)
    found = [
        named.pop() if reply.call_id is not None and (named := positions.get(reply.call_id)) else None
        for reply in replies
    ]
    taken = set(found)
    rest = (position for position in range(len(calls)) if position not in taken)
    return [next(rest, None) if position is None else position for position in found]


def _answers_to(calls: Sequence[AnyCall], following: Iterable[Message]) -> list[str | None]:
    replies = list(takewhile(lambda message: message.role is Role.TOOL, following))
    answers: list[str | None] = [None] * len(calls)
    for reply, position in zip(replies, answered_calls(calls, replies), strict=True):
        if position is not None:
            answers[position] = reply.content
    return answers
