"""Counts over verdicts, and how they compare with the truth where it is known."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from tltrain.audit.verdict import CallVerdict, VerdictLabel
from tltrain.types import Json

_EXAMPLES = 5
_EXCERPT = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupCounts:
    """Calls of one tool or one source."""

    num_calls: int
    num_errors: int
    num_ambiguous: int
    error_rate: float
    """Share of errors among the calls, in [0, 1]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TruthComparison:
    """Verdicts against the truth, over the calls whose truth is known. Rates are None where nothing is to divide by."""

    num_calls: int
    num_true_errors: int
    """Calls that truly ended in an error."""
    num_found: int
    """Those of them with the verdict error."""
    num_false_alarms: int
    """Verdicts of error on calls that did nothing wrong; a silent mistake counts as wrong."""
    num_silent: int
    """Mistakes that gave no error feedback; no reading of feedback finds them."""
    precision: float | None
    """Share of the verdicts of error that are mistakes."""
    recall: float | None
    """Share of the true errors that are found: what the audit can be held to."""
    recall_of_all_mistakes: float | None
    """Share of true errors and silent mistakes together that are found: what training is protected from."""
    kind_accuracy: float | None
    """Share of the found errors whose kind is the true one."""
    silent_mistakes: Mapping[str, int]
    """CallError -> number of silent mistakes."""
    missed_kinds: Mapping[str, int]
    """FeedbackKind -> number of true errors without a verdict of error."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """A feedback to look at."""

    trajectory: str
    call: int
    tool: str
    feedback: str
    """Its first characters."""


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
    tools: Mapping[str, GroupCounts]
    sources: Mapping[str, GroupCounts]
    blocked: Mapping[str, int]
    """Policy -> number of calls that it keeps from training."""
    truth: TruthComparison | None
    """None: no trajectory says what is true."""
    uncategorised: Sequence[Example]
    """Errors whose kind no rule names; a rule of one's own names them."""
    ambiguous: Sequence[Example]

    def to_json(self) -> dict[str, Json]:
        """As summary.json holds it; field names as here."""
        fields: dict[str, Json] = asdict(self)
        return fields


def summarise(
    verdicts: Sequence[CallVerdict], *, num_trajectories: int, num_bad_rows: int, blocked: Mapping[str, int]
) -> AuditSummary:
    """Count the verdicts; counts are ordered from the most frequent on."""
    errors = [row for row in verdicts if row.verdict.label is VerdictLabel.ERROR]
    return AuditSummary(
        num_trajectories=num_trajectories,
        num_bad_rows=num_bad_rows,
        num_calls=len(verdicts),
        labels=_count(row.verdict.label for row in verdicts),
        kinds=_count(row.verdict.kind for row in errors if row.verdict.kind),
        blames=_count(row.verdict.blame for row in errors),
        rules=_count(row.verdict.rule for row in verdicts),
        tools=_group((row.tool, row) for row in verdicts),
        sources=_group((row.source, row) for row in verdicts),
        blocked=dict(blocked),
        truth=compare_with_truth(verdicts),
        uncategorised=_examples(row for row in errors if row.verdict.kind == "uncategorised"),
        ambiguous=_examples(row for row in verdicts if row.verdict.label is VerdictLabel.AMBIGUOUS),
    )


def _count(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(str(value) for value in values).most_common())


def _group(pairs: Iterable[tuple[str, CallVerdict]]) -> dict[str, GroupCounts]:
    groups: dict[str, list[VerdictLabel]] = {}
    for name, row in pairs:
        groups.setdefault(name, []).append(row.verdict.label)
    return {
        name: GroupCounts(
            num_calls=len(labels),
            num_errors=labels.count(VerdictLabel.ERROR),
            num_ambiguous=labels.count(VerdictLabel.AMBIGUOUS),
            error_rate=round(labels.count(VerdictLabel.ERROR) / len(labels), 4),
        )
        for name, labels in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    }


def _examples(rows: Iterable[CallVerdict]) -> list[Example]:
    """A few of the rows, each of another feedback."""
    found: dict[str, Example] = {}
    for row in rows:
        text = (row.feedback if row.feedback is not None else row.verdict.evidence)[:_EXCERPT]
        if len(found) < _EXAMPLES and text not in found:
            found[text] = Example(trajectory=row.trajectory, call=row.number, tool=row.tool, feedback=text)
    return list(found.values())


def compare_with_truth(verdicts: Iterable[CallVerdict]) -> TruthComparison | None:
    """Precision and recall of the verdict error; None where no truth is known. Ambiguous counts as not found."""
    known = [row for row in verdicts if row.truth is not None]
    if not known:
        return None
    flagged = [row for row in known if row.verdict.label is VerdictLabel.ERROR]
    silent = [row for row in known if _is_silent(row)]
    true_errors = [row for row in known if row.truth != "right" and not _is_silent(row)]
    found = [row for row in true_errors if row.verdict.label is VerdictLabel.ERROR]
    false_alarms = sum(row.truth == "right" for row in flagged)
    silent_found = sum(_is_silent(row) for row in flagged)
    return TruthComparison(
        num_calls=len(known),
        num_true_errors=len(true_errors),
        num_found=len(found),
        num_false_alarms=false_alarms,
        num_silent=len(silent),
        precision=_share(len(flagged) - false_alarms, len(flagged)),
        recall=_share(len(found), len(true_errors)),
        recall_of_all_mistakes=_share(len(found) + silent_found, len(true_errors) + len(silent)),
        kind_accuracy=_share(sum(row.verdict.kind == row.truth for row in found), len(found)),
        silent_mistakes=_count(str(row.truth).removeprefix("silent:") for row in silent),
        missed_kinds=_count(str(row.truth) for row in true_errors if row.verdict.label is not VerdictLabel.ERROR),
    )


def _is_silent(row: CallVerdict) -> bool:
    return row.truth is not None and row.truth.startswith("silent:")


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None
