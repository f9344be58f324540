import math

import pytest

from tltrain.errors import UsageError
from tltrain.rewards import RewardTable, reward
from tltrain.syntax import get_syntax, parse_single
from tltrain.taxonomy import CallError, Diagnosis, diagnose
from tltrain.types import Tool, ToolCall

TOOLS = (
    Tool(name="search", parameters={"properties": {"query": {}, "venue": {}, "limit": {}}, "required": ["query"]}),
    Tool(name="finish", parameters={"properties": {"answer": {}}}),
)
GOLD = ToolCall(name="search", arguments={"query": "x", "limit": 1})


@pytest.mark.parametrize(
    ("prediction", "total"),
    [
        # Every row of the table in method.md section 3, and the five values that parameter errors can add up to.
        ("search(query='x', limit=1", -2),
        ("I do not know.", -2),
        ("lookup(query='x', limit=1)", -2),
        ("finish(answer='x')", -1.5),
        ("search(query='x', limit=1, color='red')", -0.8),
        ("search(query='x', limit=1, venue='ICLR')", -0.5),
        ("search(query='x')", -0.5),
        ("search(query='x', venue='ICLR')", -1.0),
        ("search(query='x', limit=1, venue='ICLR', color='red')", -1.3),
        ("search(query='x', max=1)", -1.3),
        ("search(query='x', venue='ICLR', color='red')", -1.8),
        ("search(query='y', limit=1)", -0.25),
        ("search(query='x', limit='1')", -0.25),
        ("search(query='x', limit=True)", -0.25),
        ('search(limit=1.0, query="x")', 1),
    ],
)
def test_the_papers_table(prediction: str, total: float):
    result = reward(diagnose(parse_single(get_syntax("python"), prediction), TOOLS, GOLD))
    assert result.total == total
    assert math.fsum(result.parts.values()) == total


def test_several_errors_of_one_kind_cost_once():
    call = ToolCall(name="search", arguments={"query": "x", "limit": 1, "color": 1, "size": 2})
    assert reward(diagnose(call, TOOLS, GOLD)).parts == {"param_hallucination": -0.8}


def test_parts_are_added_without_rounding_errors():
    table = RewardTable(hallucinated=-0.1, redundant=-0.2, missing=-0.3)
    call = ToolCall(name="search", arguments={"venue": "ICLR", "color": "red"})
    assert reward(diagnose(call, TOOLS, GOLD), table).total == -0.6


def test_a_call_or_its_absence_at_the_wrong_place_costs_as_a_format_error():
    table = RewardTable(format=-1.7)
    assert reward(diagnose(None, TOOLS, GOLD), table).total == -1.7
    assert reward(diagnose(GOLD, TOOLS, None), table).total == -1.7
    assert reward(diagnose(None, TOOLS, None), table).total == 1


def test_parts_name_the_errors_and_the_diagnosis_is_kept():
    diagnosis = diagnose(ToolCall(name="search", arguments={"venue": "ICLR", "color": "red"}), TOOLS, GOLD)
    result = reward(diagnosis)
    assert result.parts == {"param_hallucination": -0.8, "param_redundant": -0.5, "param_missing": -0.5}
    assert result.diagnosis is diagnosis
    assert reward(Diagnosis()).parts == {"all_right": 1}


@pytest.mark.parametrize("error", CallError)
def test_every_error_has_its_own_field(error: CallError):
    fields = {
        CallError.PARAM_HALLUCINATED: "hallucinated",
        CallError.PARAM_REDUNDANT: "redundant",
        CallError.PARAM_MISSING: "missing",
        CallError.CONTENT: "content",
        CallError.TOOL_HALLUCINATION: "tool_hallucination",
        CallError.WRONG_TOOL: "wrong_tool",
    }
    table = RewardTable(**{fields.get(error, "format"): -7.5})
    assert reward(Diagnosis(errors=(error,)), table).total == -7.5
    assert reward(Diagnosis(errors=(error,))).total > -7.5


def test_the_lowest_reward():
    assert RewardTable().lowest == -2
    assert RewardTable(redundant=-3).lowest == -4.3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"format": math.nan}, "reward.format=nan is no finite number"),
        ({"right": math.inf}, "reward.right=inf is no finite number"),
        ({"content": "-1"}, "reward.content='-1' is no finite number"),
        ({"content": True}, "reward.content=True is no finite number"),
        ({"content": 1.0}, "reward.content=1.0 is not below reward.right=1.0"),
        ({"right": -1}, "reward.hallucinated=-0.8 is not below reward.right=-1"),
        ({"redundant": 0.1}, "reward.redundant=0.1 is above 0"),
    ],
)
def test_tables_that_reward_errors_are_refused(values: dict[str, float], message: str):
    with pytest.raises(UsageError, match=message):
        RewardTable(**values)


def test_a_table_of_right_or_wrong_is_allowed():
    table = RewardTable(
        format=0, tool_hallucination=0, wrong_tool=0, hallucinated=0, redundant=0, missing=0, content=0, right=1
    )
    assert reward(diagnose(None, TOOLS, GOLD), table).total == 0
