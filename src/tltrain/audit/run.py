"""Audits whole data sets: a verdict for every call, and what the verdicts amount to."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from tltrain.audit.config import AuditConfig
from tltrain.audit.feedback import judge_feedback
from tltrain.audit.layers import Auditor, source_of
from tltrain.audit.policy import Block, BlockPolicy, BlockRule, blocked_calls
from tltrain.audit.rules import RuleBook, shipped_rules
from tltrain.audit.summary import AuditSummary, Tally
from tltrain.audit.verdict import CallVerdict
from tltrain.audit.verdict_file import encode_verdict, read_verdicts, read_verdicts_on, verdict_fields, write_verdicts
from tltrain.errors import DataError
from tltrain.files import atomic_file, encode_line, read_json_lines, write_json_atomic
from tltrain.formats.base import Companions
from tltrain.formats.quarantine import Quarantine, quarantined
from tltrain.formats.read import iterate_trajectories
from tltrain.types import Json, Trajectory

__all__ = [
    "AuditConfig",
    "AuditSummary",
    "Auditor",
    "Block",
    "BlockPolicy",
    "BlockRule",
    "CallVerdict",
    "audit",
    "audit_feedback_file",
    "audit_trajectories",
    "blocked_calls",
    "read_verdicts",
    "source_of",
    "verdicts_on",
    "write_verdicts",
]


_GROUP = 16
"""Trajectories that pass each step together, which is faster than one by one; memory holds as many."""


def audit(config: AuditConfig, data: Path, out: Path) -> AuditSummary:
    """Audit a file of trajectories, one at a time; memory does not grow with the file.

    Writes verdicts.jsonl and summary.json, doubtful.jsonl where feedback could not be told (see `groups`), and
    quarantine.jsonl where rows could not be read.

    Args:
        config: settings.
        data: trajectories, of any format that `formats.read` knows.
        out: folder for the results; made if it is not there.

    Raises:
        DataError: the file cannot be read, or holds no good row.
    """
    auditor, tally = config.auditor(), Tally(config.block)
    with atomic_file(out / "verdicts.jsonl") as file:
        with quarantined(out / "quarantine.jsonl") as bad:
            rows = read_for_audit(config, data, bad)
            while group := list(islice(rows, _GROUP)):
                judged = [auditor.judge(trajectory) for trajectory in group]
                for trajectory, verdicts in zip(group, judged, strict=True):
                    tally.add(trajectory, verdicts)
                file.writelines(encode_verdict(verdict) for verdicts in judged for verdict in verdicts)
        if not tally.num_trajectories:
            raise bad.nothing_read(data)
    summary = tally.summary(num_bad_rows=bad.count)
    _write_doubtful(out / "doubtful.jsonl", tally)
    write_json_atomic(out / "summary.json", summary.to_json())
    return summary


def read_for_audit(config: AuditConfig, data: Path, bad: Quarantine) -> Iterator[Trajectory]:
    """Stream the trajectories of a file as the settings say; bad rows are set aside, or end it if `strict`.

    Raises:
        DataError: the file cannot be read, or a row if `strict`.
    """
    companions = Companions(tools=config.tools, answers=config.answers)
    for item in iterate_trajectories(data, format=config.format, companions=companions):
        if isinstance(item, Trajectory):
            yield item
        elif config.strict:
            raise DataError(item.reason)
        else:
            bad.add(item)


def _write_doubtful(path: Path, tally: Tally) -> None:
    path.unlink(missing_ok=True)
    groups = tally.groups.most_frequent()
    if groups:
        with atomic_file(path) as file:
            file.writelines(encode_line(group.to_json()).encode() for group in groups)


def audit_trajectories(
    trajectories: Iterable[Trajectory], *, book: RuleBook | None = None, auditor: Auditor | None = None
) -> list[CallVerdict]:
    """Judge every call of every trajectory, in order.

    Args:
        trajectories: with `provenance["truth"]`, where known, as one entry for each call: null for a right call, the
            `FeedbackKind` of its error, or `silent:<CallError>` for a mistake that gave no error.
        book: other text rules than the shipped ones.
        auditor: other rules and labels altogether, see `AuditConfig.auditor`.

    Raises:
        DataError: a truth that is no list of one entry for each call.
    """
    judging = auditor or Auditor(book=book or shipped_rules())
    return [verdict for trajectory in trajectories for verdict in judging.judge(trajectory)]


def verdicts_on(data: Path, trajectories: Sequence[Trajectory], verdicts: Path | None) -> list[CallVerdict]:
    """Verdicts on the calls of a file that was read: those of an earlier audit, or of one made now.

    Args:
        data: the file.
        trajectories: all of it.
        verdicts: verdicts.jsonl of `audit`; None audits the trajectories.

    Raises:
        DataError: the verdicts cannot be read, or are on other rows.
    """
    if verdicts is None:
        return audit_trajectories(trajectories)
    return read_verdicts_on(verdicts, data, (trajectory.id for trajectory in trajectories))


def audit_feedback_file(path: Path, config: AuditConfig | None = None) -> Iterator[dict[str, Json]]:
    """Judge single feedbacks: rows {id, tool, feedback} give {id, label, kind, blame, evidence, start, end, rule}.

    A missing or null feedback is an unanswered call, a missing tool an unknown one, a missing id the line number. A
    bad row gives {line, error}.

    Raises:
        DataError: the file as a whole cannot be read, or is empty.
    """
    auditor = (config or AuditConfig()).auditor()
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
        text, name = (feedback if isinstance(feedback, str) else None), str(tool or "")
        verdict = judge_feedback(text, name, auditor.book)
        if text is not None:
            verdict = auditor.labels.judge(name, text, verdict)
        yield {"id": row.get("id", number), **verdict_fields(verdict)}
