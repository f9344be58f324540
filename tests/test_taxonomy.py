import pytest
from hypothesis import given
from hypothesis import strategies as st

from tltrain.taxonomy import (
    CallError,
    Diagnosis,
    OneOf,
    diagnose,
    diagnose_calls,
    diagnose_schema,
    diagnose_turn,
    json_equal,
)
from tltrain.types import AnyCall, Json, MalformedCall, Tool, ToolCall

SEARCH = Tool(
    name="search",
    parameters={"type": "object", "properties": {"query": {}, "venue": {}, "limit": {}}, "required": ["query"]},
)
FINISH = Tool(name="finish", parameters={"properties": {"answer": {}}, "required": ["answer"]})
TOOLS = (SEARCH, FINISH)
GOLD = ToolCall(name="search", arguments={"query": "x", "limit": 1})
BROKEN = MalformedCall(raw="search(", reason="?")


def search(**arguments: Json) -> ToolCall:
    return ToolCall(name="search", arguments=arguments)


def test_the_right_call_is_all_right():
    assert diagnose(GOLD, TOOLS, GOLD) == Diagnosis()
    assert diagnose(search(limit=1.0, query="x"), TOOLS, GOLD) == Diagnosis()
    assert diagnose(None, TOOLS, None) == Diagnosis()


@pytest.mark.parametrize(
    ("prediction", "gold", "error"),
    [
        (None, GOLD, CallError.MISSING_CALL),
        (GOLD, None, CallError.UNWANTED_CALL),
        (BROKEN, None, CallError.UNWANTED_CALL),
        (BROKEN, GOLD, CallError.FORMAT),
        (ToolCall(name="Search"), GOLD, CallError.TOOL_HALLUCINATION),
        (ToolCall(name=""), GOLD, CallError.TOOL_HALLUCINATION),
        (ToolCall(name="finish", arguments=GOLD.arguments), GOLD, CallError.WRONG_TOOL),
    ],
)
def test_errors_that_stand_alone(prediction: ToolCall | None, gold: ToolCall | None, error: CallError):
    diagnosis = diagnose(prediction, TOOLS, gold)
    assert diagnosis == Diagnosis(errors=(error,))
    assert not diagnosis.tool_selected
    assert not diagnosis.parameters_identified
    assert not diagnosis.content_filled


@pytest.mark.parametrize(
    ("prediction", "label"),
    [
        (search(query="x", limit=1, color="red"), "param_hallucination"),
        (search(query="x", limit=1, venue="ICLR"), "param_redundant"),
        (search(query="x"), "param_missing"),
        (search(query="x", limit=1, venue="ICLR", color="red"), "param_hallucination+param_redundant"),
        (search(query="x", max=1), "param_hallucination+param_missing"),
        (search(query="x", venue="ICLR"), "param_redundant+param_missing"),
        (search(venue="ICLR", color="red"), "param_hallucination+param_redundant+param_missing"),
        (search(query="y", venue="ICLR"), "param_redundant+param_missing"),
    ],
)
def test_parameter_errors_stand_together_and_hide_the_content(prediction: ToolCall, label: str):
    diagnosis = diagnose(prediction, TOOLS, GOLD)
    assert diagnosis.label == label
    assert diagnosis.tool_selected
    assert not diagnosis.parameters_identified
    assert not diagnosis.content_filled


def test_the_parameters_behind_each_error_are_named():
    gold = search(query="x", limit=1, order="up")
    diagnosis = diagnose(search(color="red", venue="ICLR", query="y", size=2), TOOLS, gold)
    assert diagnosis.hallucinated == ("color", "size")
    assert diagnosis.redundant == ("venue",)
    assert diagnosis.missing == ("limit", "order")
    assert diagnosis.differing == ("query",)


def test_content_differs():
    diagnosis = diagnose(search(query="x", limit="1"), TOOLS, GOLD)
    assert diagnosis == Diagnosis(errors=(CallError.CONTENT,), differing=("limit",))
    assert diagnosis.label == "content_mismatch"
    assert diagnosis.tool_selected
    assert diagnosis.parameters_identified
    assert not diagnosis.content_filled


def test_all_right_has_every_property():
    diagnosis = diagnose(GOLD, TOOLS, GOLD)
    assert (diagnosis.tool_selected, diagnosis.parameters_identified, diagnosis.content_filled) == (True, True, True)
    assert diagnosis.label == "all_right"


@pytest.mark.parametrize(
    ("calls", "gold", "label"),
    [
        ([GOLD], GOLD, "all_right"),
        ([search(query="y", limit=1)], GOLD, "content_mismatch"),
        ([BROKEN], GOLD, "format_error"),
        ([], GOLD, "missing_call"),
        ([GOLD, GOLD], GOLD, "unwanted_call"),
        ([BROKEN, GOLD], GOLD, "unwanted_call"),
        ([], None, "all_right"),
        ([GOLD], None, "unwanted_call"),
    ],
)
def test_a_turn_must_hold_the_right_call_and_no_other(calls: list[AnyCall], gold: ToolCall | None, label: str):
    assert diagnose_turn(calls, TOOLS, gold).label == label


def test_whatever_the_right_call_does_is_right():
    gold = ToolCall(name="unlisted", arguments={"undocumented": 1})
    assert diagnose(gold, TOOLS, gold) == Diagnosis()
    assert diagnose(search(query="x", color="red"), TOOLS, search(query="x", color="red")) == Diagnosis()
    assert diagnose(search(query="x"), TOOLS, search(query="x", color="red")).label == "param_missing"


def test_tools_of_one_name_have_the_parameters_of_all():
    twins = [Tool(name="f", parameters={"properties": {name: {}}, "required": [name]}) for name in ("a", "b")]
    gold = ToolCall(name="f", arguments={})
    assert diagnose(ToolCall(name="f", arguments={"a": 1, "b": 1}), twins, gold).label == "param_redundant"
    assert diagnose_schema(ToolCall(name="f", arguments={"b": 1}), twins).label == "all_right"


def test_schema_alone_finds_unknown_names_and_missing_required_ones():
    assert diagnose_schema(BROKEN, TOOLS).label == "format_error"
    assert diagnose_schema(ToolCall(name="lookup"), TOOLS).label == "tool_hallucination"
    assert diagnose_schema(search(query="x", venue="y"), TOOLS) == Diagnosis()
    diagnosis = diagnose_schema(search(color="red"), TOOLS)
    assert diagnosis.label == "param_hallucination+param_missing"
    assert (diagnosis.hallucinated, diagnosis.missing) == (("color",), ("query",))


def test_a_required_parameter_is_known_even_if_it_is_not_described():
    tools = (Tool(name="f", parameters={"required": ["b", "a"]}),)
    assert diagnose_schema(ToolCall(name="f"), tools).missing == ("a", "b")
    assert diagnose_schema(ToolCall(name="f", arguments={"a": 1, "b": 2}), tools) == Diagnosis()
    assert diagnose(ToolCall(name="f", arguments={"a": 1}), tools, ToolCall(name="f")).label == "param_redundant"


@pytest.mark.parametrize(
    ("first", "second", "are_equal"),
    [
        (1, 1.0, True),
        (True, 1, False),
        (False, 0, False),
        (0, False, False),
        (True, True, True),
        (None, False, False),
        (None, None, True),
        (1, "1", False),
        ("a", "A", False),
        ([1, 2], [2, 1], False),
        ([1], [1, 1], False),
        ([], {}, False),
        ([], None, False),
        ({"a": 1, "b": [2]}, {"b": [2.0], "a": 1}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": None}, {}, False),
        ({"a": [{"b": True}]}, {"a": [{"b": 1}]}, False),
        (2**53 + 1, float(2**53), False),
        (10**400, 10**400, True),
    ],
)
def test_json_equality(first: Json, second: Json, are_equal: bool):
    assert json_equal(first, second) is are_equal
    assert json_equal(second, first) is are_equal


def test_deep_values_are_compared_without_recursion():
    first: Json = 1
    second: Json = True
    for _ in range(20_000):
        first, second = [first], [second]
    assert json_equal(first, first)
    assert not json_equal(first, second)


names = st.sampled_from(["query", "venue", "limit", "color", "size"])
arguments = st.dictionaries(names, st.sampled_from([1, 1.0, True, "x", [1], None]))
predictions = st.one_of(
    st.none(),
    st.just(BROKEN),
    st.builds(ToolCall, name=st.sampled_from(["search", "finish", "other"]), arguments=arguments),
)


@given(prediction=predictions, gold=predictions.filter(lambda call: call is not BROKEN))
def test_each_stage_implies_the_one_before(prediction: ToolCall | None, gold: ToolCall | None):
    diagnosis = diagnose(prediction, TOOLS, gold)
    assert diagnosis.tool_selected >= diagnosis.parameters_identified >= diagnosis.content_filled
    assert list(diagnosis.errors) == sorted(diagnosis.errors, key=list(CallError).index)
    if isinstance(prediction, ToolCall) and gold is not None:
        assert diagnosis.tool_selected is (prediction.name == gold.name)
        same_keys = prediction.arguments.keys() == gold.arguments.keys()
        assert diagnosis.parameters_identified is (diagnosis.tool_selected and same_keys)
    if diagnosis.content_filled and gold is not None:
        assert isinstance(prediction, ToolCall)
        assert json_equal(prediction.arguments, gold.arguments)


class Folded:
    def same_value(self, tool: str, parameter: str, given: Json, wanted: Json) -> bool:
        return (tool, parameter) == ("search", "query") and str(given).lower() == str(wanted).lower()


def test_a_comparison_says_when_values_are_the_same():
    assert diagnose(search(query="X", limit=1), TOOLS, GOLD, Folded()).label == "all_right"
    assert diagnose(search(query="y", limit=1), TOOLS, GOLD, Folded()).differing == ("query",)
    assert diagnose(search(query="x", limit="1"), TOOLS, GOLD, Folded()).differing == ("limit",)
    assert diagnose_turn([search(query="X", limit=1)], TOOLS, GOLD, Folded()) == Diagnosis()


def test_of_alternatives_the_nearest_counts():
    gold = OneOf((GOLD, search(query="x"), ToolCall(name="finish", arguments={"answer": "x"})))
    assert diagnose(search(query="x"), TOOLS, gold).label == "all_right"
    assert diagnose(search(query="y"), TOOLS, gold) == Diagnosis(errors=(CallError.CONTENT,), differing=("query",))
    assert diagnose(ToolCall(name="finish", arguments={}), TOOLS, gold).label == "param_missing"
    assert diagnose(None, TOOLS, gold).label == "missing_call"
    assert diagnose_turn([GOLD, GOLD], TOOLS, gold).label == "unwanted_call"


@pytest.mark.parametrize(
    ("calls", "labels"),
    [
        ([search(query="a"), search(query="b")], ["all_right", "all_right"]),
        ([search(query="b"), search(query="a")], ["all_right", "all_right"]),
        ([search(query="c"), search(query="a")], ["all_right", "content_mismatch"]),
        ([search(query="b")], ["missing_call", "all_right"]),
        ([], ["missing_call", "missing_call"]),
        ([search(query="b"), BROKEN], ["format_error", "all_right"]),
        ([search(query="a"), search(query="a")], ["all_right", "content_mismatch"]),
        ([search(query="a"), search(query="b"), BROKEN], ["unwanted_call"]),
    ],
)
def test_several_right_calls_are_matched_whatever_their_order(calls: list[AnyCall], labels: list[str]):
    turn = diagnose_calls(calls, TOOLS, [search(query="a"), search(query="b")])
    assert [part.label for part in turn.parts] == labels


def test_matching_keeps_as_many_calls_right_as_it_can():
    # The first call is near both, the second only right for the first gold.
    golds = [search(query="a"), search(query="b", limit=1)]
    turn = diagnose_calls([search(query="a", limit=1), search(query="a")], TOOLS, golds)
    assert [part.label for part in turn.parts] == ["all_right", "content_mismatch"]
    assert turn.label == "content_mismatch"
    assert diagnose_calls([BROKEN], TOOLS, golds).label == "format_error+missing_call"


def test_no_right_call_in_a_turn():
    assert diagnose_calls([], TOOLS, []).label == "all_right"
    assert diagnose_calls([GOLD], TOOLS, []).label == "unwanted_call"
    assert diagnose_calls([GOLD], TOOLS, [GOLD]).parts == (Diagnosis(),)


def test_two_calls_that_are_near_do_not_outweigh_one_that_is_right():
    golds = [OneOf((search(query="a"), ToolCall(name="finish", arguments={"answer": "a"}))), search(query="b")]
    turn = diagnose_calls([search(query="a"), ToolCall(name="finish", arguments={"answer": "b"})], TOOLS, golds)
    assert [part.label for part in turn.parts] == ["all_right", "wrong_tool"]
