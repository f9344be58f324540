import json
from dataclasses import asdict

import pytest

from tltrain.audit.run import (
    AuditConfig,
    BlockPolicy,
    BlockRule,
    audit,
    audit_feedback_file,
    audit_trajectories,
    blocked_calls,
    read_verdicts,
    verdicts_on,
    write_verdicts,
)
from tltrain.audit.truth import compare_with_truth
from tltrain.audit.verdict import VerdictLabel
from tltrain.errors import DataError, UsageError
from tltrain.formats.openai_chat import write_trajectories
from tltrain.generate.config import GenerateConfig
from tltrain.generate.run import perform, plan_jobs
from tltrain.generate.scripted import ScriptedTeacher
from tltrain.types import MalformedCall, Message, Role, Tool, ToolCall, Trajectory

SEARCH = ToolCall(name="search", arguments={})


def trajectory(*pairs, tools=("search",), **provenance):
    """A trajectory of one call a turn; a feedback of None is left out."""
    messages = [Message(role=Role.USER, content="Go.")]
    for call, feedback in pairs:
        messages.append(Message(role=Role.ASSISTANT, calls=(call,)))
        if feedback is not None:
            messages.append(Message(role=Role.TOOL, content=feedback))
    name = str(provenance.pop("id", "t"))
    return Trajectory(
        id=name, tools=tuple(Tool(name=tool) for tool in tools), messages=tuple(messages), provenance=provenance
    )


MIXED = trajectory(
    (SEARCH, "[1, 2]"),
    (SEARCH, "Error: no such file"),
    (SEARCH, "search() missing 1 required argument: 'q'"),
    (SEARCH, "{}"),
    (SEARCH, None),
    (SEARCH, "HTTP 503"),
    teacher="gpt",
    environment="shop",
)


def labels(*trajectories):
    return [row.verdict.label.value for row in audit_trajectories(trajectories)]


def test_every_call_gets_a_verdict():
    rows = audit_trajectories([MIXED])
    assert [(row.trajectory, row.number, row.tool, row.source) for row in rows] == [
        ("t", number, "search", "gpt/shop") for number in range(6)
    ]
    assert labels(MIXED) == ["ok", "error", "error", "ambiguous", "unanswered", "error"]


@pytest.mark.parametrize(
    ("policy", "blocked"),
    [("paper", {1, 2, 5}), ("strict", {1, 2, 3, 4, 5}), ("lenient", {2}), ("none", set())],
)
def test_what_each_policy_blocks(policy, blocked):
    expected = {"t": frozenset(blocked)} if blocked else {}
    assert blocked_calls(audit_trajectories([MIXED]), policy) == expected


def test_the_default_policy_is_the_paper_s():
    verdicts = audit_trajectories([MIXED])
    assert blocked_calls(verdicts) == blocked_calls(verdicts, BlockPolicy.PAPER)


@pytest.mark.parametrize(
    ("call", "feedback", "tools", "label", "kind"),
    [
        (MalformedCall(raw="search(", reason="no end"), None, ("search",), "error", "type_or_value"),
        (MalformedCall(raw="search(", reason="no end"), "{}", ("search",), "error", "type_or_value"),
        (MalformedCall(raw="search(", reason="no end"), "[1]", ("search",), "ok", None),
        (ToolCall(name="invented"), None, ("search",), "error", "tool_not_defined"),
        (ToolCall(name="invented"), "HTTP 503", ("search",), "error", "service_failure"),
        (ToolCall(name="invented"), None, (), "unanswered", "unanswered"),
        (ToolCall(name="search", arguments={"odd": 1}), None, ("search",), "unanswered", "unanswered"),
    ],
)
def test_a_call_can_be_wrong_by_itself(call, feedback, tools, label, kind):
    (row,) = audit_trajectories([trajectory((call, feedback), tools=tools)])
    assert (row.verdict.label, row.verdict.kind) == (label, kind)
    assert row.tool in {"search", "invented"}


def test_truth_is_compared_call_by_call():
    # Of 3 true errors 2 are found (one of another kind), of 2 silent mistakes none; 1 of 3 verdicts is a false alarm.
    rows = audit_trajectories(
        [
            trajectory(
                (SEARCH, "Error: no such file"),
                (SEARCH, "HTTP 503"),
                (SEARCH, "[1]"),
                (SEARCH, "[1]"),
                (SEARCH, "[1]"),
                (SEARCH, "Error: song by the Errors"),
                (SEARCH, "[1]"),
                truth=["refused", "refused", "refused", "silent:wrong_tool", "silent:wrong_tool", None, None],
            ),
            trajectory((SEARCH, "HTTP 503"), id="unknown"),
        ]
    )
    truth = compare_with_truth(rows)
    assert (truth.num_calls, truth.num_true_errors, truth.num_found, truth.num_silent) == (7, 3, 2, 2)
    assert truth.precision == pytest.approx(2 / 3, abs=1e-4)
    assert truth.recall == pytest.approx(2 / 3, abs=1e-4)
    assert truth.recall_of_all_mistakes == pytest.approx(2 / 5, abs=1e-4)
    assert truth.kind_accuracy == 0.5
    assert truth.silent_mistakes == {"wrong_tool": 2}
    assert truth.missed_kinds == {"refused": 1}


def test_a_found_silent_mistake_is_no_false_alarm():
    truth = compare_with_truth(audit_trajectories([trajectory((SEARCH, "HTTP 503"), truth=["silent:wrong_tool"])]))
    assert (truth.num_false_alarms, truth.precision, truth.recall, truth.recall_of_all_mistakes) == (0, 1.0, None, 1.0)


def test_without_truth_there_is_nothing_to_compare():
    assert compare_with_truth(audit_trajectories([MIXED])) is None


@pytest.mark.parametrize(
    ("truth", "message"), [([None], "1 entries for 2 calls"), ("x", "no list"), ([None, "odd"], "'odd'")]
)
def test_a_truth_that_does_not_fit_is_refused(truth, message):
    with pytest.raises(DataError, match=message):
        audit_trajectories([trajectory((SEARCH, "[1]"), (SEARCH, "[1]"), truth=truth)])


@pytest.mark.parametrize(
    ("provenance", "source"),
    [
        ({"teacher": "gpt"}, "gpt"),
        ({"source": "web"}, "web"),
        ({}, "unknown"),
        ({"teacher": None, "environment": 3}, "unknown"),
    ],
)
def test_sources(provenance, source):
    assert audit_trajectories([trajectory((SEARCH, "1"), **provenance)])[0].source == source


def test_the_scripted_teacher_s_errors_are_found():
    jobs, _ = plan_jobs(GenerateConfig(num_train=60, num_test=0, failure_rate=0.1, seed=3))
    teacher = ScriptedTeacher(mistake_rate=0.4, silent_share=0.2, seed=1)
    truth = compare_with_truth(audit_trajectories([perform(job, teacher) for job in jobs]))
    assert truth.num_true_errors > 30
    assert (truth.precision, truth.recall) == (1.0, 1.0)
    assert truth.kind_accuracy > 0.95
    assert truth.num_silent > 0
    assert truth.recall_of_all_mistakes < 1


def test_the_stage_writes_verdicts_summary_and_quarantine(tmp_path):
    data, out = tmp_path / "data.jsonl", tmp_path / "out"
    write_trajectories(data, [MIXED, trajectory((SEARCH, "[]"), id="u", teacher="human")])
    data.write_text(data.read_text() + "{broken\n")
    summary = audit(AuditConfig(), data, out)
    assert sorted(path.name for path in out.iterdir()) == [
        "doubtful.jsonl",
        "quarantine.jsonl",
        "summary.json",
        "verdicts.jsonl",
    ]
    written = json.loads((out / "summary.json").read_text())
    assert written == json.loads(json.dumps(summary.to_json()))
    assert (written["num_trajectories"], written["num_bad_rows"], written["num_calls"]) == (2, 1, 7)
    assert written["labels"] == {"error": 3, "ok": 2, "ambiguous": 1, "unanswered": 1}
    assert written["kinds"] == {"refused": 1, "missing_argument": 1, "service_failure": 1}
    assert written["blames"] == {"world": 1, "model": 1, "tool": 1}
    assert written["blocked"] == {"paper": 3, "strict": 5, "lenient": 1, "none": 0}
    assert written["sources"]["gpt/shop"] == {"num_calls": 6, "num_errors": 3, "num_ambiguous": 1, "error_rate": 0.5}
    assert written["sources"]["human"]["error_rate"] == 0
    assert written["tools"]["search"]["num_calls"] == 7
    assert written["ambiguous"] == [{"trajectory": "t", "call": 3, "tool": "search", "feedback": "{}"}]
    assert written["truth"] is None
    # strict blocks 5 of 6 turns; the one that it leaves holds `[1, 2]`
    assert written["masks"]["strict"] == {"num_calls": 5, "num_turns": 5, "num_trajectories": 1}
    assert written["masks"]["none"] == {"num_calls": 0, "num_turns": 0, "num_trajectories": 0}
    assert {"kind": "refused", "blame": "world", "tool": "search", "source": "gpt/shop", "num_calls": 1} in written[
        "errors"
    ]
    (group,) = written["doubtful"]
    assert (group["tool"], group["form"], group["count"], group["kind"]) == ("search", "{}", 1, "ambiguous")


def test_a_turn_is_masked_only_if_all_its_calls_are(tmp_path):
    data = tmp_path / "data.jsonl"
    both = Message(role=Role.ASSISTANT, calls=(SEARCH, SEARCH))
    answers = [Message(role=Role.TOOL, content=text) for text in ("HTTP 503", "[1]", "HTTP 503", "HTTP 503")]
    messages = (Message(role=Role.USER, content="Go."), both, *answers[:2], both, *answers[2:])
    write_trajectories(data, [Trajectory(id="t", tools=(Tool(name="search"),), messages=messages)])
    masks = audit(AuditConfig(block=BlockRule(kinds=("service_failure",))), data, tmp_path / "out").masks
    assert asdict(masks["paper"]) == {"num_calls": 3, "num_turns": 1, "num_trajectories": 1}
    assert masks["config"] == masks["paper"]
    assert masks["lenient"].num_calls == 0


def test_nothing_is_written_for_a_file_without_a_good_row(tmp_path):
    data = tmp_path / "data.jsonl"
    data.write_text("{broken\n")
    with pytest.raises(DataError, match="none of 1 rows can be read"):
        audit(AuditConfig(), data, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["quarantine.jsonl"]


def test_own_rules_reach_the_stage(tmp_path):
    data = tmp_path / "data.jsonl"
    write_trajectories(data, [trajectory((SEARCH, "NACK"))])
    rule = {"name": "nack", "patterns": ["^NACK$"], "kind": "refused"}
    assert audit(AuditConfig(), data, tmp_path / "a").labels == {"ok": 1}
    assert audit(AuditConfig(rules=(rule,)), data, tmp_path / "b").kinds == {"refused": 1}
    with pytest.raises(ValueError, match="audit rule 'nack'"):
        AuditConfig(rules=({"name": "nack", "patterns": ["("]},))
    with pytest.raises(UsageError):
        AuditConfig.model_construct(rules=({"name": "nack"},)).book()


def test_verdicts_survive_their_file(tmp_path):
    verdicts = audit_trajectories([MIXED, trajectory((SEARCH, "[1]"), id="u", truth=[None])])
    write_verdicts(tmp_path / "verdicts.jsonl", verdicts)
    read = read_verdicts(tmp_path / "verdicts.jsonl")
    assert [(row.trajectory, row.number, row.verdict, row.truth) for row in read] == [
        (row.trajectory, row.number, row.verdict, row.truth) for row in verdicts
    ]
    assert blocked_calls(read) == blocked_calls(verdicts)
    keys = set(json.loads((tmp_path / "verdicts.jsonl").read_text().splitlines()[0]))
    assert keys == {
        "id",
        "call",
        "tool",
        "source",
        "label",
        "kind",
        "blame",
        "rule",
        "evidence",
        "start",
        "end",
        "truth",
        "witnesses",
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": "odd"}, r"verdicts\.jsonl:1: 'odd'"),
        ({"call": "0"}, "call is '0', not of type int"),
        ({"id": None}, "id is None"),
        ({"kind": "odd"}, "'odd'"),
    ],
)
def test_damaged_verdicts_are_refused(tmp_path, change, message):
    path = tmp_path / "verdicts.jsonl"
    write_verdicts(path, audit_trajectories([MIXED])[:1])
    path.write_text(json.dumps(json.loads(path.read_text()) | change) + "\n")
    with pytest.raises(DataError, match=message):
        read_verdicts(path)


def test_verdicts_on_other_rows_are_refused(tmp_path):
    path, data = tmp_path / "verdicts.jsonl", tmp_path / "data.jsonl"
    write_verdicts(path, audit_trajectories([MIXED]))
    assert len(verdicts_on(data, [trajectory(id="u"), MIXED], path)) == 6
    with pytest.raises(DataError, match=r"on other rows than those of .*data\.jsonl, the first on 't'"):
        verdicts_on(data, [trajectory((SEARCH, "[1]"), id="u")], path)
    with pytest.raises(DataError, match=r"none\.jsonl: no such file of verdicts"):
        verdicts_on(data, [MIXED], tmp_path / "none.jsonl")


def test_an_empty_file_of_verdicts_is_that_of_rows_without_calls(tmp_path):
    path, data = tmp_path / "out" / "verdicts.jsonl", tmp_path / "data.jsonl"
    write_trajectories(data, [trajectory()])
    audit(AuditConfig(), data, tmp_path / "out")
    assert verdicts_on(data, [trajectory()], path) == []


def test_single_feedbacks(tmp_path):
    path = tmp_path / "feedback.jsonl"
    rows = [
        {"id": "a", "tool": "search", "feedback": "HTTP 503"},
        {"tool": "search", "feedback": "[1]"},
        {"id": 3, "tool": "search", "feedback": None},
        {"id": "d", "feedback": "Error: bad id"},
        {"id": "e", "tool": "search", "feedback": {"error": "x"}},
        {"id": "f", "tool": 1, "feedback": "x"},
        {"id": "g"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "{broken\n")
    results = list(audit_feedback_file(path))
    assert results[0] == {
        "id": "a",
        "label": "error",
        "kind": "service_failure",
        "blame": "tool",
        "evidence": "HTTP 503",
        "start": 0,
        "end": 8,
        "rule": "http_service",
    }
    assert [row.get("id") for row in results[:4]] == ["a", 2, 3, "d"]
    assert [row.get("label") for row in results[:4]] == ["error", "ok", "unanswered", "error"]
    assert [row["line"] for row in results[4:]] == [5, 6, 7, 8]
    for row, message in zip(
        results[4:], ("feedback is no string", "tool is no string", "neither", "not JSON"), strict=True
    ):
        assert message in row["error"]
        assert f"{path}:{row['line']}" in row["error"]


def test_labels_are_plain_strings_in_files():
    assert json.dumps(VerdictLabel.OK) == '"ok"'
