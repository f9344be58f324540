"""The turns of trajectories whose right answer is known, and that answer: calls, or text alone."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from tltrain.types import Role, ToolCall, Trajectory, iterate_calls

Turns = Literal["one_call", "calls", "all"]
"""Which turns count:

- one_call: of one right call. The paper's.
- calls: of one or several, all of them right.
- all: also turns of text, where no call is right.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class RightTurn:
    """A turn of the assistant that is right."""

    id: str
    """`trajectory#number`, the number of its first call; `trajectory, message N` where it has none."""
    message: int
    """Its index among the trajectory's messages."""
    golds: tuple[ToolCall, ...]
    """The right calls as written; none: text alone is right."""
    text: str
    """What stands beside the calls, or alone."""


def right_turns(
    trajectory: Trajectory, turns: Turns, blocked: frozenset[int], left_out: Counter[str]
) -> Iterator[RightTurn]:
    """The turns that can serve as a right answer.

    Args:
        trajectory: where from.
        turns: which of its turns.
        blocked: numbers of the calls that are wrong, or that the file masks.
        left_out: why others cannot is counted here: for one_call in calls, otherwise in turns.
    """
    if turns == "one_call":
        yield from _single_calls(trajectory, blocked, left_out)
        return
    number = 0
    for index, message in enumerate(trajectory.messages):
        if message.role is not Role.ASSISTANT:
            continue
        numbers = range(number, number + len(message.calls))
        number += len(message.calls)
        golds = tuple(call for call in message.calls if isinstance(call, ToolCall))
        if not blocked.isdisjoint(numbers):
            left_out["turn with a blocked call"] += 1
        elif len(golds) < len(message.calls):
            left_out["turn with a call that cannot be read"] += 1
        elif not golds and turns == "calls":
            left_out["turn without a call"] += 1
        elif not golds and message.weight == 0:
            left_out["text that the file masks"] += 1
        elif golds or message.content.strip():
            identity = f"{trajectory.id}#{numbers[0]}" if golds else f"{trajectory.id}, message {index}"
            yield RightTurn(id=identity, message=index, golds=golds, text=message.content)


def _single_calls(trajectory: Trajectory, blocked: frozenset[int], left_out: Counter[str]) -> Iterator[RightTurn]:
    for step in iterate_calls(trajectory):
        message = trajectory.messages[step.message]
        if step.number in blocked:
            left_out["blocked"] += 1
        elif not isinstance(step.call, ToolCall):
            left_out["cannot be read"] += 1
        elif len(message.calls) > 1:
            left_out["one of several calls in a turn"] += 1
        else:
            identity = f"{trajectory.id}#{step.number}"
            yield RightTurn(id=identity, message=step.message, golds=(step.call,), text=message.content)
