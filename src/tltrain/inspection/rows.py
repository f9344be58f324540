"""One trajectory with all that is known of its calls: verdict, place of the evidence, what keeps it from teaching."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from msgspec.structs import replace

from tltrain.audit.layers import source_of
from tltrain.audit.policy import Block as Policy
from tltrain.audit.policy import blocked_calls
from tltrain.audit.verdict import CallVerdict
from tltrain.errors import DataError
from tltrain.types import CallStep, MalformedCall, Role, ToolCall, Trajectory, call_weight, iterate_calls


class BlockedBy(StrEnum):
    """Who keeps a call from teaching."""

    AUDIT = "audit"
    """A verdict, under the chosen policy."""
    FILE = "file"
    """The file's own weight 0."""
    FORMAT = "format"
    """The call cannot be read; no policy lets it teach."""


class Block(NamedTuple):
    """One reason why a call does not teach."""

    by: BlockedBy
    reason: str


class Span(NamedTuple):
    """Characters of a text; the end is exclusive."""

    start: int
    end: int


@dataclass(frozen=True, kw_only=True, slots=True)
class InspectedCall:
    """One call, its feedback, and what was found about it."""

    step: CallStep
    tool: str
    """Name of the called tool; empty if the call cannot be read that far."""
    answer: int | None
    """Index of the tool message that answers it."""
    verdict: CallVerdict | None
    """None: the file of verdicts has none on this call."""
    evidence: tuple[Span, ...]
    """Where the evidence stands in the feedback, in characters; empty where it does not stand there."""
    blocks: tuple[Block, ...]
    """Empty: the call teaches."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InspectedRow:
    """One trajectory and its calls in order."""

    trajectory: Trajectory
    source: str
    calls: tuple[InspectedCall, ...]


def inspect_row(trajectory: Trajectory, verdicts: Sequence[CallVerdict], policy: Policy) -> InspectedRow:
    """Bring a trajectory and the verdicts on its calls together.

    Raises:
        DataError: a verdict is on a call that the trajectory does not have.
    """
    steps = list(iterate_calls(trajectory))
    by_number = {verdict.number: verdict for verdict in verdicts}
    unknown = [number for number in by_number if not 0 <= number < len(steps)]
    if unknown:
        raise DataError(
            f"row {trajectory.id!r}: there is a verdict on call {unknown[0]}, but the row has {len(steps)} calls, "
            "counted from 0; audit this file anew"
        )
    answers = _answering_messages(trajectory)
    blocked = blocked_calls(verdicts, policy).get(trajectory.id, frozenset())
    return InspectedRow(
        trajectory=trajectory,
        source=source_of(trajectory.provenance),
        calls=tuple(
            _inspect_call(trajectory, step, answers[step.number], by_number.get(step.number), blocked, policy)
            for step in steps
        ),
    )


def _answering_messages(trajectory: Trajectory) -> list[int | None]:
    """For each call, the index of the message that answers it: its feedback, were each message to say its index."""
    numbered = tuple(
        replace(message, content=str(index)) if message.role is Role.TOOL else message
        for index, message in enumerate(trajectory.messages)
    )
    feedbacks = (step.feedback for step in iterate_calls(replace(trajectory, messages=numbered)))
    return [None if feedback is None else int(feedback) for feedback in feedbacks]


def _inspect_call(
    trajectory: Trajectory,
    step: CallStep,
    answer: int | None,
    verdict: CallVerdict | None,
    blocked: frozenset[int],
    policy: Policy,
) -> InspectedCall:
    name = step.call.name if isinstance(step.call, ToolCall) else ""
    blocks = []
    if verdict is not None and step.number in blocked:
        blocks.append(Block(BlockedBy.AUDIT, _audit_reason(verdict, policy)))
    message = trajectory.messages[step.message]
    if call_weight(message, step.position) == 0:
        blocks.append(Block(BlockedBy.FILE, message.mask_reason or "weight 0"))
    if isinstance(step.call, MalformedCall):
        blocks.append(Block(BlockedBy.FORMAT, f"the call cannot be read: {step.call.reason}"))
    return InspectedCall(
        step=step,
        tool=verdict.tool if verdict else name,
        answer=answer,
        verdict=verdict,
        evidence=locate_evidence(verdict, step.feedback or "") if verdict else (),
        blocks=tuple(blocks),
    )


def _audit_reason(row: CallVerdict, policy: Policy) -> str:
    verdict = row.verdict
    kind = "" if verdict.kind is None or verdict.kind == verdict.label.value else f" ({verdict.kind.replace('_', ' ')})"
    return f"{verdict.label}{kind}, under {policy_name(policy)}"


def policy_name(policy: Policy) -> str:
    """A policy in words."""
    return f"policy {policy}" if isinstance(policy, str) else "a policy of its own"


def locate_evidence(row: CallVerdict, feedback: str) -> tuple[Span, ...]:
    """Where the evidence of a verdict stands in the feedback; nothing where it does not stand there."""
    verdict = row.verdict
    if not verdict.evidence:
        return ()
    start, end = verdict.start, verdict.end
    if 0 <= start < end <= len(feedback) and feedback[start:end] == verdict.evidence:
        return (Span(start, end),)
    found = feedback.find(verdict.evidence)
    return (Span(found, found + len(verdict.evidence)),) if found >= 0 else ()
