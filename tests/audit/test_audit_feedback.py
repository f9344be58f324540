import json
import time

import pytest
from feedback_table import TABLE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared import data_file
from tltrain.audit.feedback import Blame, VerdictLabel, judge_feedback
from tltrain.audit.rules import compile_rule, shipped_rules
from tltrain.taxonomy import FeedbackKind


@pytest.mark.parametrize(
    ("tool", "feedback", "label", "kind"), TABLE, ids=[f"{row[0]}: {row[1][:60]}" for row in TABLE]
)
def test_table(tool, feedback, label, kind):
    verdict = judge_feedback(feedback, tool)
    assert verdict.label == label, verdict
    if kind is not None:
        assert verdict.kind == kind, verdict


def test_hand_labels():
    """At least 0.95 each; ambiguous verdicts and labels are counted apart, and there is one of each kind of pair."""
    rows = [json.loads(line) for line in data_file("mae_labels.jsonl").read_text().splitlines()]
    pairs = [(row["label"], judge_feedback(row["feedback"], row["tool"]).label.value) for row in rows]
    decided = [pair for pair in pairs if "ambiguous" not in pair]
    found = decided.count(("error", "error"))
    assert found / sum(verdict == "error" for _, verdict in decided) >= 0.95
    assert found / sum(label == "error" for label, _ in decided) >= 0.95
    assert sum("ambiguous" in pair and pair[0] != pair[1] for pair in pairs) == 0


_KIND_OF_CATEGORY = {
    "tool_not_defined": FeedbackKind.TOOL_NOT_DEFINED,
    "missing_argument": FeedbackKind.MISSING_ARGUMENT,
    "unexpected_argument": FeedbackKind.UNEXPECTED_ARGUMENT,
    "type_or_value_error": FeedbackKind.TYPE_OR_VALUE,
    "connection_or_service_failure": FeedbackKind.SERVICE_FAILURE,
    "not_found_or_business_refusal": FeedbackKind.REFUSED,
}


def test_hand_categories():
    rows = [json.loads(line) for line in data_file("mae_labels.jsonl").read_text().splitlines()]
    errors = [row for row in rows if row["label"] == "error"]
    named = [judge_feedback(row["feedback"], row["tool"]).kind == _KIND_OF_CATEGORY[row["category"]] for row in errors]
    assert sum(named) / len(named) >= 0.9


@pytest.mark.parametrize(
    ("feedback", "label", "kind", "blame", "rule", "evidence"),
    [
        (
            "search() missing 1 required positional argument: 'q'",
            "error",
            "missing_argument",
            "model",
            "missing_argument",
            "missing 1 required",
        ),
        ("HTTP 503\nbusy", "error", "service_failure", "tool", "http_service", "HTTP 503"),
        (
            '{"a": 1, "error": "no such user"}',
            "error",
            "refused",
            "world",
            "error_field:not_found",
            '"error": "no such user',
        ),
        ("It raised an odd error.", "error", "uncategorised", "unknown", "error_occurred", "raised an odd error"),
        ("No results found", "ambiguous", "ambiguous", "unknown", "nothing_found", "No results found"),
        ('{"temp": 3}', "ok", None, "none", "object", ""),
    ],
)
def test_what_a_verdict_holds(feedback, label, kind, blame, rule, evidence):
    verdict = judge_feedback(feedback, "search")
    assert (verdict.label, verdict.kind, verdict.blame, verdict.rule) == (label, kind, blame, rule)
    assert verdict.evidence == evidence
    assert feedback[verdict.start : verdict.end] == evidence


def test_no_feedback_is_unanswered():
    verdict = judge_feedback(None, "search")
    assert (verdict.label, verdict.kind) == (VerdictLabel.UNANSWERED, FeedbackKind.UNANSWERED)


def test_evidence_inside_escaped_text_is_found_as_written():
    feedback = json.dumps({"error": "", "response": json.dumps({"status": "401", "msg": "Authentication required"})})
    verdict = judge_feedback(feedback, "news")
    assert verdict.kind is FeedbackKind.SERVICE_FAILURE
    assert feedback[verdict.start : verdict.end] == verdict.evidence
    assert "401" in verdict.evidence


def test_evidence_is_the_field_that_decided_and_not_the_same_words_elsewhere():
    feedback = '{"query": "no such user", "error": "no such user"}'
    assert judge_feedback(feedback, "x").start == feedback.index('"error"')


def test_a_word_of_error_does_not_make_one():
    """The strings on which the published keyword list fails, both ways."""
    for harmless in ("Reign of Terror", '{"errors": [], "a": 1}', '{"error": "", "a": 1}', '{"error_code": 0, "a": 1}'):
        assert judge_feedback(harmless, "get_x").label is VerdictLabel.OK
    for silent in (
        "'ja'",
        "Missing required parameters",
        "HTTP 404",
        '{"status": "401"}',
        "timed out",
        '{"success": false}',
    ):
        assert judge_feedback(silent, "get_x").label is VerdictLabel.ERROR


def test_own_rules_come_first():
    book = shipped_rules().extended(
        [
            compile_rule({"name": "nack", "patterns": ["^NACK"], "kind": "refused"}),
            compile_rule({"name": "drill", "patterns": ["fire drill"], "label": "ok"}),
        ]
    )
    assert judge_feedback("NACK 7", "x").label is VerdictLabel.OK
    verdict = judge_feedback("NACK 7", "x", book)
    assert (verdict.label, verdict.kind, verdict.blame) == (VerdictLabel.ERROR, FeedbackKind.REFUSED, Blame.WORLD)
    assert judge_feedback("fire drill failed", "x", book).label is VerdictLabel.OK


CORNERS = {
    "brackets": "[" * 1_000_000,
    "braces": '{"a":' * 200_000,
    "backslashes": '{"a": "' + "\\" * 1_000_000,
    "records": '{"errors": [' + '{"message": "x"},' * 60_000 + "{}]}",
    "python": "{'a': [" + "{'error': None, 'x': 'not found'}, " * 30_000 + "]}",
    "words": "no error must be required expected " * 30_000,
    "stack": "   at a.b.c(d\n" * 100_000,
    "late key": '{"b": "' + "\\\\" * 400_000 + '", "error": "no such user"}',
    "markup": "<title " * 150_000,
    "quotes": "'a b " * 200_000,
}


@pytest.mark.parametrize("name", CORNERS)
def test_large_and_hostile_text_is_read_quickly(name):
    start = time.process_time()
    judge_feedback(CORNERS[name], "x")
    assert time.process_time() - start < 1.0


fragments = st.sampled_from(
    [
        '{"error": ',
        '"',
        "'",
        "}",
        "]",
        "[",
        "Error: ",
        "status",
        ": 404",
        "not found",
        "\\",
        "\n",
        ", ",
        "None",
        "<h1>",
        "a_b",
        "  ",
    ]
)
texts = st.text(max_size=40) | st.lists(fragments | st.text(max_size=5), max_size=12).map("".join)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(texts, st.text(max_size=8))
def test_any_text_gets_a_verdict_with_its_evidence_in_place(feedback, tool):
    verdict = judge_feedback(feedback, tool)
    assert verdict == judge_feedback(feedback, tool)
    assert feedback[verdict.start : verdict.end] == verdict.evidence
    assert (verdict.kind is None) == (verdict.label is VerdictLabel.OK)
    assert (verdict.blame is Blame.NONE) == (verdict.label is VerdictLabel.OK)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "status", "data", "code", "message", "success", "x"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(values)
def test_json_and_printed_python_are_judged_alike(value):
    printed, dumped = judge_feedback(str(value), "get_x"), judge_feedback(json.dumps(value), "get_x")
    if isinstance(value, dict | list):
        assert (printed.label, printed.kind, printed.rule) == (dumped.label, dumped.kind, dumped.rule)
