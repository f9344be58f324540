"""The rules on feedback that was labelled before they were tried on it.

At first sight 158 of 201 labels were met, precision was 0.903 and recall 0.771 (ambiguous apart). What was missed then
was mended by its cause; from that moment on the table guards those causes, and proves nothing about other feedback.
"""

from collections import Counter

from unseen_table import UNSEEN

from tltrain.audit.feedback import judge_feedback

DIFFER = {
    "null",  # a tool that deletes may have nothing to say
    "I failed to see the signs, access denied to your heart",
    "caught: division by zero\nfinished with result 7",
    "Refunds are not possible after 30 days. Invalid requests are rejected.",
    "???",
    "false",
}
"""Feedback that the rules read otherwise than the person did, and may go on so."""


def test_labels():
    pairs = {row[1]: (row[2], judge_feedback(row[1], row[0]).label.value) for row in UNSEEN}
    assert {text for text, (label, verdict) in pairs.items() if label != verdict} <= DIFFER
    counts = Counter(pairs.values())
    assert counts["error", "error"] / sum(n for (_, verdict), n in counts.items() if verdict == "error") >= 0.95
    assert counts["error", "error"] / sum(n for (label, _), n in counts.items() if label == "error") >= 0.95


def test_kinds():
    named = [(kind, judge_feedback(text, tool).kind) for tool, text, label, kind, _ in UNSEEN if label == "error"]
    right = [kind == found for kind, found in named if kind is not None]
    assert sum(right) / len(right) >= 0.95
