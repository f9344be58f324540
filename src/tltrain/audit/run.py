"""Audits whole data sets: a verdict for every call, what is kept from training, and how good the verdicts are."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator

from tltrain.audit.feedback import judge_feedback
from tltrain.audit.rules import RuleBook, compile_rule, shipped_rules
from tltrain.audit.summary import AuditSummary, summarise
from tltrain.audit.verdict import Blame, CallVerdict, Verdict, VerdictLabel
from tltrain.audit.verdict_file import read_verdicts, verdict_fields, write_verdicts
from tltrain.errors import DataError
from tltrain.files import read_json_lines, write_json_atomic
from tltrain.formats.openai_chat import read_trajectories
from tltrain.taxonomy import CallError, FeedbackKind, diagnose_schema
from tltrain.types import AnyCall, CallStep, Json, MalformedCall, Tool, Trajectory, iterate_calls

__all__ = [
    "AuditConfig",
    "AuditSummary",
    "BlockPolicy",
    "CallVerdict",
    "audit",
    "audit_feedback_file",
    "audit_trajectories",
    "blocked_calls",
    "read_verdicts",
    "write_verdicts",
]

RIGHT = "right"
"""The truth about a call that did what it says."""


class BlockPolicy(StrEnum):
    """Which calls are kept as context but not trained on."""

    PAPER = "paper"
    """Every error, whoever is to blame, as in the paper; ambiguous and unanswered calls train, and are counted."""
    STRICT = "strict"
    """Errors, ambiguous and unanswered calls: only calls that are known to be right train."""
    LENIENT = "lenient"
    """Errors of the model alone; a right call that met a broken service trains."""
    NONE = "none"
    """Nothing is kept back: standard fine-tuning."""


class AuditConfig(BaseModel):
    """Settings of `audit`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rules: tuple[dict[str, Any], ...] = ()
    """Own text rules, asked before the shipped ones: rows as in `audit/rules.yaml`, such as
    {"name": "nack", "patterns": ["^NACK"], "kind": "refused"}. A rule of label ok silences a false alarm."""

    @field_validator("rules")
    @classmethod
    def _check_rules(cls, rules: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        for row in rules:
            compile_rule(row)
        return rules

    def book(self) -> RuleBook:
        """The shipped rules with the own ones before them."""
        return shipped_rules().extended([compile_rule(row) for row in self.rules])


def audit(config: AuditConfig, data: Path, out: Path) -> AuditSummary:
    """Audit a file of trajectories; writes verdicts.jsonl, summary.json and, for bad rows, quarantine.jsonl.

    Args:
        config: settings.
        data: JSON Lines, see `formats.openai_chat`.
        out: folder for the results; made if it is not there.

    Raises:
        DataError: the file cannot be read, or holds no good row.
    """
    read = read_trajectories(data, quarantine=out / "quarantine.jsonl")
    verdicts = audit_trajectories(read.trajectories, book=config.book())
    blocked = {policy.value: sum(map(len, blocked_calls(verdicts, policy).values())) for policy in BlockPolicy}
    summary = summarise(verdicts, num_trajectories=len(read.trajectories), num_bad_rows=read.num_bad, blocked=blocked)
    write_verdicts(out / "verdicts.jsonl", verdicts)
    write_json_atomic(out / "summary.json", summary.to_json())
    return summary


def audit_trajectories(trajectories: Iterable[Trajectory], *, book: RuleBook | None = None) -> list[CallVerdict]:
    """Judge every call of every trajectory, in order.

    Args:
        trajectories: with `provenance["truth"]`, where known, as one entry for each call: null for a right call, the
            `FeedbackKind` of its error, or `silent:<CallError>` for a mistake that gave no error.
        book: other text rules than the shipped ones.

    Raises:
        DataError: a truth that is no list of one entry for each call.
    """
    book = book or shipped_rules()
    return [verdict for trajectory in trajectories for verdict in _judge_trajectory(trajectory, book)]


def _judge_trajectory(trajectory: Trajectory, book: RuleBook) -> Iterator[CallVerdict]:
    steps = list(iterate_calls(trajectory))
    source = source_of(trajectory.provenance)
    for step, truth in zip(steps, _truths(trajectory, len(steps)), strict=True):
        yield CallVerdict(
            trajectory=trajectory.id,
            number=step.number,
            tool=_tool_name(step.call),
            source=source,
            verdict=judge_call(step, trajectory.tools, book),
            feedback=step.feedback,
            truth=truth,
        )


def judge_call(step: CallStep, tools: Sequence[Tool], book: RuleBook | None = None) -> Verdict:
    """Judge one call by its feedback, and by itself where the feedback is missing or does not tell.

    By itself a call is wrong if it cannot be read, or names a tool that the trajectory, listing any, does not list.
    """
    verdict = judge_feedback(step.feedback, _tool_name(step.call), book)
    if verdict.label not in {VerdictLabel.AMBIGUOUS, VerdictLabel.UNANSWERED}:
        return verdict
    errors = diagnose_schema(step.call, tools).errors
    kind = None
    if CallError.FORMAT in errors:
        kind = FeedbackKind.TYPE_OR_VALUE
    elif CallError.TOOL_HALLUCINATION in errors and tools:
        kind = FeedbackKind.TOOL_NOT_DEFINED
    if kind is None:
        return verdict
    return Verdict(label=VerdictLabel.ERROR, rule=f"call:{errors[0]}", kind=kind, blame=Blame.MODEL)


def _tool_name(call: AnyCall) -> str:
    if not isinstance(call, MalformedCall):
        return call.name
    named = re.match(r"\s*([A-Za-z_][\w.\-]{0,100})\(", call.raw)
    return named[1] if named else ""


def source_of(provenance: Mapping[str, Json]) -> str:
    """`teacher/environment` of a trajectory, as far as known; `unknown` if neither is."""
    parts = [provenance.get(key) for key in ("teacher", "environment")]
    named = [part for part in parts if isinstance(part, str) and part]
    fallback = provenance.get("source")
    return "/".join(named) or (fallback if isinstance(fallback, str) and fallback else "unknown")


def _truths(trajectory: Trajectory, num_calls: int) -> list[str | None]:
    """For each call: `right`, the kind of its error, `silent:<CallError>`; None where the truth is not known."""
    truth = trajectory.provenance.get("truth")
    if truth is None:
        return [None] * num_calls
    where = f"trajectory {trajectory.id!r}: provenance.truth"
    if not isinstance(truth, list) or len(truth) != num_calls:
        held = f"{len(truth)} entries" if isinstance(truth, list) else "no list"
        raise DataError(f"{where} has {held} for {num_calls} calls; give one entry for each call, or leave it out")
    for entry in truth:
        kind = entry.removeprefix("silent:") if isinstance(entry, str) else entry
        if kind is not None and kind not in {*FeedbackKind, *CallError}:
            raise DataError(f"{where} has the entry {entry!r}; use null, a kind such as refused, or silent:wrong_tool")
    return [RIGHT if entry is None else str(entry) for entry in truth]


def blocked_calls(
    verdicts: Iterable[CallVerdict], policy: BlockPolicy | str = BlockPolicy.PAPER
) -> dict[str, frozenset[int]]:
    """Numbers of the calls that get no gradient, by trajectory id; trajectories without any are left out."""
    policy = BlockPolicy(policy)
    blocked: defaultdict[str, set[int]] = defaultdict(set)
    for row in verdicts:
        if _is_blocked(row.verdict, policy):
            blocked[row.trajectory].add(row.number)
    return {key: frozenset(numbers) for key, numbers in blocked.items()}


def _is_blocked(verdict: Verdict, policy: BlockPolicy) -> bool:
    match policy:
        case BlockPolicy.PAPER:
            return verdict.label is VerdictLabel.ERROR
        case BlockPolicy.STRICT:
            return verdict.label is not VerdictLabel.OK
        case BlockPolicy.LENIENT:
            return verdict.label is VerdictLabel.ERROR and verdict.blame is Blame.MODEL
        case BlockPolicy.NONE:
            return False


def audit_feedback_file(path: Path, config: AuditConfig | None = None) -> Iterator[dict[str, Json]]:
    """Judge single feedbacks: rows {id, tool, feedback} give {id, label, kind, blame, evidence, start, end, rule}.

    A missing or null feedback is an unanswered call, a missing tool an unknown one, a missing id the line number. A
    bad row gives {line, error}.

    Raises:
        DataError: the file as a whole cannot be read, or is empty.
    """
    book = (config or AuditConfig()).book()
    for number, row in read_json_lines(path):
        if isinstance(row, DataError):
            yield {"line": number, "error": str(row)}
            continue
        feedback, tool = row.get("feedback"), row.get("tool")
        fault = None
        if not isinstance(feedback, str | None):
            fault = "feedback is no string; give the text of the tool message, or null for none"
        elif not isinstance(tool, str | None):
            fault = "tool is no string; give the name of the called tool, or leave it out"
        elif feedback is None and tool is None:
            fault = "neither feedback nor tool is given; rows are {id, tool, feedback}"
        if fault:
            yield {"line": number, "error": f"{path}:{number}: {fault}"}
            continue
        verdict = judge_feedback(feedback if isinstance(feedback, str) else None, str(tool or ""), book)
        yield {"id": row.get("id", number), **verdict_fields(verdict)}
