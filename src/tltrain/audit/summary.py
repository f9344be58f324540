"""Counts over verdicts as they come in, one trajectory at a time; nothing here grows with the number of calls."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from tltrain.audit.groups import Example, Groups, example_of
from tltrain.audit.policy import Block, BlockPolicy, BlockRule, block_rules, is_blocked
from tltrain.audit.truth import TruthComparison, TruthTally
from tltrain.audit.verdict import CallVerdict, VerdictLabel
from tltrain.taxonomy import FeedbackKind
from tltrain.types import Json, Trajectory

_EXAMPLES = 5
_MAX_GROUPS = 50
"""Groups of doubtful feedback that summary.json lists; doubtful.jsonl has all."""
_MAX_ERROR_ROWS = 1000
CHOSEN = "config"
"""Name of the policy that the config gives in full."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupCounts:
    """Calls of one tool or one source."""

    num_calls: int
    num_errors: int
    num_ambiguous: int
    error_rate: float
    """Share of errors among the calls, in [0, 1]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorCount:
    """Errors that agree in kind, blame, tool and source."""

    kind: str
    blame: str
    tool: str
    source: str
    num_calls: int


@dataclass(kw_only=True, slots=True)
class MaskCounts:
    """What a policy keeps from training."""

    num_calls: int = 0
    num_turns: int = 0
    """Assistant messages all of whose calls are kept back."""
    num_trajectories: int = 0
    """Trajectories with at least one such call."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditSummary:
    """What an audit found."""

    num_trajectories: int
    num_bad_rows: int
    num_calls: int
    labels: Mapping[str, int]
    kinds: Mapping[str, int]
    """Of errors."""
    blames: Mapping[str, int]
    """Of errors."""
    rules: Mapping[str, int]
    """Rule -> number of calls that it decided."""
    beside: Mapping[str, int]
    """Rule -> number of calls on which it found something without deciding, such as a fault against the document of
    a tool that took the call."""
    tools: Mapping[str, GroupCounts]
    sources: Mapping[str, GroupCounts]
    errors: Sequence[ErrorCount]
    """By kind, blame, tool and source, the most frequent first; at most 1,000."""
    blocked: Mapping[str, int]
    """Policy -> number of calls that it keeps from training."""
    masks: Mapping[str, MaskCounts]
    """Policy -> what it keeps from training; `config` is the one that the settings give in full."""
    truth: TruthComparison | None
    """None: no trajectory says what is true."""
    uncategorised: Sequence[Example]
    """Errors whose kind no rule names; a rule of one's own names them."""
    ambiguous: Sequence[Example]
    doubtful: Sequence[Mapping[str, Json]]
    """Both of them in groups that differ only in numbers and names, the most frequent first; at most 50."""
    num_doubtful_groups: int

    def to_json(self) -> dict[str, Json]:
        """As summary.json holds it; field names as here."""
        fields: dict[str, Json] = asdict(self)
        return fields


class Tally:
    """Counts verdicts as they come in.

    Args:
        block: choice whose masks are counted beside those of one word.
    """

    def __init__(self, block: Block = "paper"):
        self.groups = Groups()
        self.num_trajectories = 0
        self._calls: Counter[tuple[str, str, str]] = Counter()
        """By label, tool and source."""
        self._rules: Counter[str] = Counter()
        self._beside: Counter[str] = Counter()
        self._errors: Counter[tuple[str, str, str, str]] = Counter()
        self._examples: dict[FeedbackKind, dict[str, Example]] = {}
        self._truth = TruthTally()
        policies: dict[str, tuple[BlockRule, ...]] = {policy.value: block_rules(policy) for policy in BlockPolicy}
        self._policies = policies if isinstance(block, str) else {**policies, CHOSEN: block_rules(block)}
        self._masks = {name: MaskCounts() for name in self._policies}

    def add(self, trajectory: Trajectory, verdicts: Sequence[CallVerdict]) -> None:
        """Count the verdicts on all calls of one trajectory."""
        self.num_trajectories += 1
        for row in verdicts:
            self._add_call(row)
        # what most trajectories hold keeps nothing from training
        if CHOSEN in self._policies or any(row.verdict.kind is not None for row in verdicts):
            for name, rules in self._policies.items():
                blocked = [is_blocked(row.verdict, rules) for row in verdicts]
                if any(blocked):
                    _count_masks(self._masks[name], trajectory, blocked)

    def _add_call(self, row: CallVerdict) -> None:
        verdict = row.verdict
        # as plain text: members of an enum are slow to hash
        self._calls[str(verdict.label), row.tool, row.source] += 1
        self._rules[verdict.rule] += 1
        if len(verdict.witnesses) > 1:
            self._beside.update(one.rule for one in verdict.witnesses if one.rule not in verdict.rule.split("+"))
        if row.truth is not None:
            self._truth.add(row)
        if verdict.kind is None:
            return
        if verdict.label is VerdictLabel.ERROR:
            self._errors[verdict.kind, verdict.blame, row.tool, row.source] += 1
        if verdict.kind in {FeedbackKind.AMBIGUOUS, FeedbackKind.UNCATEGORISED}:
            shown = self._examples.setdefault(verdict.kind, {})
            if len(shown) < _EXAMPLES:
                example = example_of(row)
                shown.setdefault(example.feedback, example)
        self.groups.add(row)

    def summary(self, *, num_bad_rows: int) -> AuditSummary:
        """The counts so far, ordered from the most frequent on."""
        labels: Counter[str] = Counter()
        tools: Counter[tuple[str, str]] = Counter()
        sources: Counter[tuple[str, str]] = Counter()
        for (label, tool, source), count in self._calls.items():
            labels[label] += count
            tools[tool, label] += count
            sources[source, label] += count
        kinds: Counter[str] = Counter()
        blames: Counter[str] = Counter()
        for (kind, blame, _, _), count in self._errors.items():
            kinds[kind] += count
            blames[blame] += count
        groups = self.groups.most_frequent()
        return AuditSummary(
            num_trajectories=self.num_trajectories,
            num_bad_rows=num_bad_rows,
            num_calls=labels.total(),
            labels=dict(labels.most_common()),
            kinds=dict(kinds.most_common()),
            blames=dict(blames.most_common()),
            rules=dict(self._rules.most_common()),
            beside=dict(self._beside.most_common()),
            tools=_group(tools),
            sources=_group(sources),
            errors=[
                ErrorCount(kind=kind, blame=blame, tool=tool, source=source, num_calls=count)
                for (kind, blame, tool, source), count in self._errors.most_common(_MAX_ERROR_ROWS)
            ],
            blocked={name: masks.num_calls for name, masks in self._masks.items()},
            masks=self._masks,
            truth=self._truth.result(),
            uncategorised=list(self._examples.get(FeedbackKind.UNCATEGORISED, {}).values()),
            ambiguous=list(self._examples.get(FeedbackKind.AMBIGUOUS, {}).values()),
            doubtful=[group.to_json() for group in groups[:_MAX_GROUPS]],
            num_doubtful_groups=len(groups),
        )


def _count_masks(masks: MaskCounts, trajectory: Trajectory, blocked: Sequence[bool]) -> None:
    masks.num_calls += sum(blocked)
    masks.num_trajectories += 1
    start = 0
    for message in trajectory.messages:
        end = start + len(message.calls)
        masks.num_turns += end > start and all(blocked[start:end])
        start = end


def _group(counts: Mapping[tuple[str, str], int]) -> dict[str, GroupCounts]:
    """Counts by (name, label) as one row for each name, the most frequent first."""
    groups: dict[str, Counter[str]] = {}
    for (name, label), count in counts.items():
        groups.setdefault(name, Counter())[label] += count
    return {
        name: GroupCounts(
            num_calls=labels.total(),
            num_errors=labels[VerdictLabel.ERROR],
            num_ambiguous=labels[VerdictLabel.AMBIGUOUS],
            error_rate=round(labels[VerdictLabel.ERROR] / labels.total(), 4),
        )
        for name, labels in sorted(groups.items(), key=lambda item: (-item[1].total(), item[0]))
    }
