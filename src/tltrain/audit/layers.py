"""From the evidence of all layers to one verdict a call.

1. A label (of a person, or of a judge where no rule can tell) stands above all rules.
2. Feedback that says ok or error decides. What the other layers found is kept beside it: a call against its document
   that the tool took is no error, the document may be wrong.
3. No feedback: the document decides; without a fault the call is unanswered.
4. Ambiguous feedback stays ambiguous unless the other layers agree: the call cannot be read or names an unknown tool;
   or it breaks its document and the assistant then apologises, corrects or repeats it; or the assistant apologises and
   calls the same tool with other arguments, and that call succeeds. One sign alone never turns it, and regret never
   turns feedback that holds a result.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from tltrain.audit.aftermath import APOLOGY, CORRECTED, look_ahead
from tltrain.audit.call_check import LOOSE_TYPE, UNKNOWN_TOOL, UNREADABLE, check_call
from tltrain.audit.feedback import judge_feedback
from tltrain.audit.labels import LabelBook
from tltrain.audit.rules import RuleBook, shipped_rules
from tltrain.audit.verdict import BLAME_OF_KIND, CallVerdict, Layer, Verdict, VerdictLabel, Witness
from tltrain.errors import DataError
from tltrain.taxonomy import CallError, FeedbackKind
from tltrain.types import AnyCall, CallStep, Json, MalformedCall, Trajectory, iterate_calls

RIGHT = "right"
"""The truth about a call that did what it says."""
_WITH_RESULT = frozenset(
    {"error_beside_result", "items_failed", "batch_failed", "partly_failed", "errors_of_an_inspection"}
)
"""Rules of ambiguous feedback that holds a result: an assistant's regret may be about the result."""
_KNOWN_TRUTHS = frozenset(map(str, (*FeedbackKind, *CallError)))


@dataclass(frozen=True, kw_only=True)
class Auditor:
    """Rules and labels by which calls are judged."""

    book: RuleBook = field(default_factory=shipped_rules)
    labels: LabelBook = field(default_factory=LabelBook)
    off: frozenset[str] = frozenset()
    """Names of rules of the layers `call` and `then` that are not asked."""

    def judge(self, trajectory: Trajectory) -> list[CallVerdict]:
        """Judge every call of a trajectory, in order.

        Raises:
            DataError: `provenance["truth"]` is no list of one entry for each call.
        """
        steps = list(iterate_calls(trajectory))
        names = [_tool_name(step.call) for step in steps]
        verdicts = self._judge_steps(trajectory, steps, names)
        truths = _truths(trajectory, len(steps))
        identifier, source = trajectory.id, source_of(trajectory.provenance)
        return [
            CallVerdict(identifier, step.number, name, source, verdict, step.feedback, truth)
            for step, name, verdict, truth in zip(steps, names, verdicts, truths, strict=True)
        ]

    def _judge_steps(self, trajectory: Trajectory, steps: Sequence[CallStep], names: Sequence[str]) -> list[Verdict]:
        told = [self._judge_feedback(step.feedback, name) for step, name in zip(steps, names, strict=True)]
        succeeded = [verdict.kind is None for verdict in told]
        for position, step in enumerate(steps):
            call = check_call(step.call, trajectory.tools, self.off)
            then = look_ahead(trajectory, steps, position, succeeded, self.off)
            if call or then:
                told[position] = weigh(told[position], call, then)
        return told

    def _judge_feedback(self, feedback: str | None, tool: str) -> Verdict:
        verdict = judge_feedback(feedback, tool, self.book)
        if feedback is None or not self.labels.labels:
            return verdict
        return self.labels.judge(tool, feedback, verdict)


def weigh(told: Verdict, call: Sequence[Witness], then: Sequence[Witness]) -> Verdict:
    """One verdict out of the evidence of all layers, see the head of this module.

    Args:
        told: by the feedback, or by a label.
        call: what the call is against its document.
        then: what followed.
    """
    own = told.witnesses
    deciding = None if own[0].layer is Layer.LABEL else _decide_otherwise(told, call, then)
    if deciding is None:
        return replace(told, witnesses=(*own, *call, *then))
    rule, kind = deciding
    rest = [witness for witness in (*own, *call, *then) if witness.rule not in rule.split("+")]
    first = [witness for witness in (*call, *then) if witness.rule in rule.split("+")]
    return replace(
        told,
        label=VerdictLabel.ERROR,
        rule=rule,
        kind=kind,
        blame=BLAME_OF_KIND[kind],
        witnesses=(*first, *rest),
    )


def _decide_otherwise(
    told: Verdict, call: Sequence[Witness], then: Sequence[Witness]
) -> tuple[str, FeedbackKind] | None:
    """Rule and kind of an error that the feedback does not tell; None where the feedback's own word stands."""
    if told.label not in {VerdictLabel.AMBIGUOUS, VerdictLabel.UNANSWERED}:
        return None
    followed = {witness.rule for witness in then}
    fault = next((witness for witness in call if witness.rule != LOOSE_TYPE), None)
    if fault is not None and fault.kind is not None:
        is_plain = told.label is VerdictLabel.UNANSWERED or fault.rule in {UNREADABLE, UNKNOWN_TOOL}
        if is_plain or followed:
            return fault.rule, fault.kind
    is_empty = told.label is VerdictLabel.AMBIGUOUS and told.rule not in _WITH_RESULT
    if is_empty and {APOLOGY, CORRECTED} <= followed:
        return f"{APOLOGY}+{CORRECTED}", FeedbackKind.TYPE_OR_VALUE
    return None


def _tool_name(call: AnyCall) -> str:
    if not isinstance(call, MalformedCall):
        return call.name
    named = re.match(r"\s*([A-Za-z_][\w.\-]{0,100})\(", call.raw)
    return named[1] if named else ""


def source_of(provenance: Mapping[str, Json]) -> str:
    """`teacher/environment` of a trajectory, as far as known; else its source or format; `unknown` if none is."""
    parts = [provenance.get(key) for key in ("teacher", "environment")]
    named = [part for part in parts if isinstance(part, str) and part]
    others = [provenance.get(key) for key in ("source", "source_format")]
    return "/".join(named) or next((one for one in others if isinstance(one, str) and one), "unknown")


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
        if kind is not None and kind not in _KNOWN_TRUTHS:
            raise DataError(f"{where} has the entry {entry!r}; use null, a kind such as refused, or silent:wrong_tool")
    return [RIGHT if entry is None else str(entry) for entry in truth]
