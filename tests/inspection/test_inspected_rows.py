"""A row and its verdicts: which message answers a call, where the evidence stands, what keeps a call from teaching."""

import pytest
from inspection_samples import MASKED, RIGHT, UNREADABLE, WRONG

from tltrain.audit.run import audit_trajectories
from tltrain.audit.verdict import Verdict, VerdictLabel
from tltrain.errors import DataError
from tltrain.formats.openai_chat import trajectory_from_row
from tltrain.inspection.rows import BlockedBy, Span, inspect_row, locate_evidence


def inspected(row, policy="paper"):
    trajectory = trajectory_from_row(row, where="test")
    return inspect_row(trajectory, audit_trajectories([trajectory]), policy)


def test_each_call_has_the_message_that_answers_it():
    assert [call.answer for call in inspected(WRONG).calls] == [3, 2]
    assert [call.answer for call in inspected(UNREADABLE).calls] == [None]


def test_the_evidence_is_a_part_of_the_feedback():
    call = inspected(WRONG).calls[1]
    (span,) = call.evidence
    assert call.step.feedback[span.start : span.end] == call.verdict.verdict.evidence != ""


def test_the_policy_decides_what_is_blocked_and_the_reason_says_so():
    assert [bool(call.blocks) for call in inspected(WRONG).calls] == [False, True]
    assert [block.by for block in inspected(WRONG).calls[1].blocks] == [BlockedBy.AUDIT]
    assert "under policy paper" in inspected(WRONG).calls[1].blocks[0].reason
    assert not any(call.blocks for call in inspected(WRONG, policy="none").calls)


def test_an_unreadable_call_is_blocked_whatever_the_policy():
    assert [block.by for block in inspected(UNREADABLE, policy="none").calls[0].blocks] == [BlockedBy.FORMAT]


def test_a_weight_of_the_file_blocks_beside_the_audit():
    assert [block.by for block in inspected(MASKED).calls[0].blocks] == [BlockedBy.FILE]


def test_a_verdict_on_a_call_that_is_not_there_is_refused():
    trajectory = trajectory_from_row(RIGHT, where="test")
    (verdict,) = audit_trajectories([trajectory])
    with pytest.raises(DataError, match=r"verdict on call 5, but the row has 1 calls"):
        inspect_row(trajectory, [verdict._replace(number=5)], "paper")


def test_evidence_at_wrong_offsets_is_looked_for_and_missing_evidence_is_nowhere():
    (verdict,) = audit_trajectories([trajectory_from_row(RIGHT, where="test")])

    def spans(evidence, start, end):
        shifted = Verdict(label=VerdictLabel.ERROR, rule="x", evidence=evidence, start=start, end=end)
        return locate_evidence(verdict._replace(verdict=shifted), "an error here")

    assert spans("error", 3, 8) == (Span(3, 8),)
    assert spans("error", 0, 5) == (Span(3, 8),)
    assert spans("failure", 0, 7) == ()
    assert spans("", 0, 0) == ()
