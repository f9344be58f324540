import pytest
from policies import reply

from tltrain.audit.run import audit_trajectories
from tltrain.benches.policy import Request, Stop
from tltrain.benches.single_turn import CaseRow, SingleTurnCase, find_cases, wrong_calls
from tltrain.errors import DataError
from tltrain.syntax import get_syntax
from tltrain.types import Json, MalformedCall, Message, Role, Tool, ToolCall, Trajectory

TOOLS = (
    Tool(name="look", parameters={"properties": {"key": {}, "deep": {}}, "required": ["key"]}),
    Tool(name="drop", parameters={"properties": {"key": {}}, "required": ["key"]}),
)
PYTHON = get_syntax("python")


def user(text: str) -> Message:
    return Message(role=Role.USER, content=text)


def calling(*calls: ToolCall | MalformedCall) -> Message:
    return Message(role=Role.ASSISTANT, calls=calls)


def told(text: str) -> Message:
    return Message(role=Role.TOOL, content=text)


def look(key: str) -> ToolCall:
    return ToolCall(name="look", arguments={"key": key})


CONVERSATION = (
    user("First a."),
    calling(look("a")),
    told("[]"),
    calling(MalformedCall(raw="look(", reason="?")),
    told("ValueError: invalid call"),
    calling(look("b")),
    told("NameError: name 'b' is not defined"),
    calling(look("c"), look("d")),
    told("1"),
    told("2"),
    Message(role=Role.ASSISTANT, content="Both."),
    user("Now e."),
    calling(look("e")),
    told("3"),
)


def trajectory(**provenance: Json) -> Trajectory:
    return Trajectory(id="t", tools=TOOLS, messages=CONVERSATION, provenance=provenance)


def test_right_calls_that_stand_alone_make_cases():
    cases, left_out = find_cases([trajectory(kit="pot")], {"t": frozenset({2})})
    assert [(case.call, case.gold.arguments["key"], len(case.request.messages)) for case in cases] == [
        (0, "a", 1),
        (5, "e", 12),
    ]
    assert [case.query for case in cases] == ["First a.", "Now e."]
    assert cases[1].request == Request(TOOLS, CONVERSATION[:12])
    assert left_out == {"unreadable call": 1, "wrong call": 1, "one of several calls in a turn": 2}
    assert {(case.trajectory, case.kit, case.group) for case in cases} == {("t", "pot", "pot")}


def test_cases_without_a_kit_are_grouped_by_source():
    [case, *_], _ = find_cases([trajectory(teacher="gpt", environment="web")], {})
    assert (case.kit, case.group) == ("all", "gpt/web")


@pytest.mark.parametrize(
    ("provenance", "wrong"),
    [
        # a mistake without an error (3) is wrong, a right call that met a broken service (4) is not
        (
            {"mistakes": [None, "format_error", None, "wrong_tool", None, None], "truth": [None] * 4 + ["x", None]},
            {1, 3},
        ),
        ({"truth": [None, "type_or_value", "tool_not_defined", None, "service_failure", None]}, {1, 2, 4}),
        # neither is there: the feedback of 1 and 2 says so
        ({}, {1, 2}),
    ],
)
def test_calls_known_to_be_wrong(provenance, wrong):
    assert wrong_calls([trajectory(**provenance)])["t"] == wrong


def test_verdicts_add_to_what_is_known():
    given = audit_trajectories([trajectory()])
    known = [None, None, None, "wrong_tool", None, None]
    assert wrong_calls([trajectory(mistakes=known)], given)["t"] == {1, 2, 3}
    assert wrong_calls([trajectory()], []) == {}  # told that nothing is wrong


@pytest.mark.parametrize("entries", [[None] * 5, "none"])
def test_a_truth_of_other_length_is_refused(entries):
    with pytest.raises(DataError, match=r"trajectory 't': provenance.truth has .* for 6 calls"):
        wrong_calls([trajectory(truth=entries)])


def case(gold: ToolCall) -> SingleTurnCase:
    return SingleTurnCase(
        trajectory="t", call=4, kit="pot", group="pot", request=Request(TOOLS, (user("Go."),)), gold=gold
    )


@pytest.mark.parametrize(
    ("text", "label", "scores"),
    [
        ("look(key='a')", "all_right", (True, True, True)),
        ("I look.\nlook(key='a')", "all_right", (True, True, True)),  # text beside the call is free
        ("look('a')", "all_right", (True, True, True)),  # by position, as the tool lists its parameters
        ("look(key='b')", "content_mismatch", (True, True, False)),
        ("look(key='a', deep=True)", "param_redundant", (True, False, False)),
        ("look(it='a')", "param_hallucination+param_missing", (True, False, False)),
        ("drop(key='a')", "wrong_tool", (False, False, False)),
        ("find(key='a')", "tool_hallucination", (False, False, False)),
        ("look(key='a", "format_error", (False, False, False)),
        ("look(key='a')\nlook(key='a')", "unwanted_call", (False, False, False)),
        ("I cannot.", "missing_call", (False, False, False)),
        ("", "missing_call", (False, False, False)),
    ],
)
def test_answers_are_read_and_compared(text, label, scores):
    row = CaseRow.from_reply(case(look("a")), reply(text), PYTHON)
    assert (row.label, (row.ts, row.pi, row.cf)) == (label, scores)
    assert (row.id, row.completion, row.gold, row.query) == ("t#4", text, "look(key='a')", "Go.")


def test_another_syntax():
    hermes = get_syntax("hermes")
    text = '<tool_call>\n{"name": "look", "arguments": {"key": "a"}}\n</tool_call>'
    row = CaseRow.from_reply(case(look("a")), reply(text), hermes)
    assert (row.label, row.gold, row.syntax) == ("all_right", text, "hermes")
    assert CaseRow.from_reply(case(look("a")), reply("look(key='a')"), hermes).label == "missing_call"


def test_prompts_that_do_not_fit_are_wrong_and_say_so():
    row = CaseRow.from_reply(case(look("a")), reply("", Stop.TOO_LONG), PYTHON)
    assert (row.label, row.ts, row.pi, row.cf) == ("too_long", False, False, False)


def test_prompts_that_cannot_be_written_have_no_score():
    row = CaseRow.from_reply(case(look("a")), reply("", Stop.UNWRITABLE, note="no system turn"), PYTHON)
    assert (row.label, row.ts, row.pi, row.cf, row.note) == ("unwritable", None, None, None, "no system turn")


def test_generated_data_asks_for_no_mistake(mistaken):
    cases, left_out = find_cases(mistaken, wrong_calls(mistaken))
    mistakes = {(row.id, number) for row in mistaken for number, kind in enumerate(row.provenance["mistakes"]) if kind}
    assert len(mistakes) > 3
    assert not mistakes & {(case.trajectory, case.call) for case in cases}
    assert len(cases) + left_out.total() == sum(len(row.provenance["truth"]) for row in mistaken)
