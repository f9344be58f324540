"""The audit of the reward: right answers earn the most, wrong ones what the rules say, and broken rules are found."""

from collections import Counter

import pytest

from tltrain.rewards import RewardTable
from tltrain.rewards import audit as audit_module
from tltrain.rewards.answers import KINDS, Turn, make_answers
from tltrain.rewards.audit import audit_turns, find_fault
from tltrain.rewards.compare import CompareConfig
from tltrain.rewards.judge import RewardRules, judge_text
from tltrain.syntax import SYNTAXES, get_syntax
from tltrain.types import Tool, ToolCall

TOOLS = (
    Tool(name="find", parameters={"properties": {"day": {}, "hour": {}, "note": {}}, "required": ["day"]}),
    Tool(name="math.odd-name_get", parameters={"properties": {"x": {}}}),
    Tool(name="finish"),
)
FIND = ToolCall(name="find", arguments={"day": "Mon", "hour": 3})
ONE = Turn(id="row#0", tools=TOOLS, golds=(FIND,))
SEVERAL = Turn(
    id="row#1",
    tools=TOOLS,
    golds=(
        FIND,
        ToolCall(name="math.odd-name_get", arguments={"x": "y"}),
        ToolCall(name="find", arguments={"day": "Tue"}),
    ),
)
TEXT = Turn(id="row#2", tools=TOOLS, golds=(), text="It is on Monday.")
PYTHON = get_syntax("python")


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_the_shipped_rules_are_in_line_on_every_kind_of_answer(syntax):
    found = audit_turns([ONE, SEVERAL, TEXT], get_syntax(syntax), RewardRules())
    assert found.is_clean
    assert [tally.kind for tally in found.kinds] == list(KINDS)
    assert all(tally.n == (2 if tally.kind in list(KINDS)[:-3] else 1) for tally in found.kinds)
    assert found.rewards.total() == sum(tally.n for tally in found.kinds)


def test_what_each_answer_to_one_call_is_worth():
    expected = {answer.kind: answer.expected for answer in make_answers(ONE, PYTHON, RewardTable())}
    assert expected == {
        "right call": 1,
        "right call, arguments shuffled": 1,
        "right call inside prose": 1,
        "right call, nested value": 1,
        "right call, unicode value": 1,
        "nested value, another one inside": -0.25,
        "another value": -0.25,
        "missing parameter": -0.5,
        "redundant parameter": -0.5,
        "invented parameter": -0.8,
        "wrong tool": -1.5,
        "invented tool": -2,
        "call duplicated": -2,
        "one call too many": -2,
        "unclosed quote": -2,
        "prose": -2,
        "empty": -2,
        "junk, 10,000 tokens": -2,
    }


def test_the_answers_are_what_their_names_say():
    texts = {answer.kind: answer.text for answer in make_answers(ONE, PYTHON, RewardTable())}
    assert texts["right call, arguments shuffled"] == "find(hour=3, day='Mon')"
    assert texts["wrong tool"] == "math.odd-name_get(day='Mon', hour=3)"
    assert texts["missing parameter"] == "find(hour=3)"
    assert texts["redundant parameter"] == "find(day='Mon', hour=3, note='x')"
    assert texts["call duplicated"] == "find(day='Mon', hour=3)\nfind(day='Mon', hour=3)"
    assert texts["unclosed quote"] == "find(day='Mon"
    assert texts["empty"] == ""
    assert "東京" in texts["right call, unicode value"]
    assert len(texts["junk, 10,000 tokens"].split(" ")) >= 10_000


def test_answers_to_several_calls_are_worth_the_mean():
    expected = {answer.kind: answer.expected for answer in make_answers(SEVERAL, PYTHON, RewardTable())}
    assert expected["missing parameter"] == pytest.approx((1 + 1 - 0.5) / 3)
    assert expected["unclosed quote"] == pytest.approx((1 + 1 - 2) / 3)
    assert expected["call duplicated"] == expected["empty"] == -2
    few = {
        answer.kind
        for answer in make_answers(Turn(id="x", tools=(), golds=(ToolCall(name="f"),)), PYTHON, RewardTable())
    }
    assert few.isdisjoint({"wrong tool", "missing parameter", "redundant parameter", "unclosed quote"})


def test_loose_comparisons_and_other_tables_are_in_line_too():
    compare = CompareConfig(
        text="ignored", number_tolerance=9, relative_tolerance=0.5, dates=True, units=True, lists_as_sets=True
    )
    table = RewardTable(
        format=-9, tool_hallucination=-7, wrong_tool=-5, hallucinated=-4, redundant=-3, missing=-2.5, content=0, right=2
    )
    assert audit_turns([ONE, SEVERAL, TEXT], PYTHON, RewardRules(reward=table, compare=compare)).is_clean


def test_right_answers_that_cannot_earn_the_most_are_named():
    deep: list = []
    for _ in range(70):
        deep = [deep]
    faults = audit_turns(
        [
            Turn(id="deep", tools=TOOLS, golds=(ToolCall(name="find", arguments={"day": deep}),)),
            ONE,
            Turn(id="text", tools=TOOLS, golds=(), text="find(day='Mon')"),
            Turn(id="nameless", tools=TOOLS, golds=(ToolCall(name=""),)),
        ],
        PYTHON,
        RewardRules(),
    )
    assert {bad.id: bad.reason.partition(":")[0] for bad in faults.bad_gold} == {
        "deep": "the right call cannot be written as a python call",
        "text": "the right answer earns -2 of 1 (unwanted_call)",
        "nameless": "the right answer earns -2 of 1 (format_error)",
    }
    assert "its text reads as 1 python call" in faults.bad_gold[1].reason
    assert "the name of the tool is empty" in faults.bad_gold[2].reason
    assert not faults.is_clean


def test_a_reward_that_breaks_the_rules_is_found(monkeypatch):
    def lenient(text, tools, golds, syntax, rules):
        """Scores the first call alone, as the published code does."""
        calls = syntax.parse(text, tools=tools).calls[:1]
        return judge_text(syntax.render("", calls), tools, golds, syntax, rules)

    monkeypatch.setattr(audit_module, "judge_text", lenient)
    found = audit_turns([ONE], PYTHON, RewardRules())
    wrong = {tally.kind: tally.examples[0] for tally in found.kinds if tally.num_out_of_line}
    assert set(wrong) == {"call duplicated", "one call too many"}
    assert wrong["call duplicated"] | {"answer": ""} == {"id": "row#0", "expected": -2, "reward": 1, "answer": ""}
    assert found.num_out_of_line == 2
    assert not found.is_clean


def test_what_a_wrong_reading_did_is_explained(monkeypatch):
    assert find_fault(ONE, PYTHON, RewardRules()) is None
    monkeypatch.setattr(audit_module, "gold_text", lambda *_: "find(day='Tue', hour=3)")
    fault = find_fault(ONE, PYTHON, RewardRules())
    assert (
        fault.reason == "the right answer earns -0.25 of 1 (content_mismatch): it reads back with other parameters: day"
    )
    monkeypatch.setattr(audit_module, "gold_text", lambda *_: "I say find")
    assert find_fault(ONE, PYTHON, RewardRules()).reason.endswith("it reads back as 0 calls instead of 1")


def test_a_histogram_has_values_or_where_they_are_many_ranges():
    found = audit_turns([ONE], PYTHON, RewardRules())
    assert list(found.histogram) == ["-2", "-1.5", "-0.8", "-0.5", "-0.25", "1"]
    assert sum(found.histogram.values()) == found.rewards.total()
    many = type(found)(
        syntax="python",
        num_turns=1,
        kinds=(),
        bad_gold=(),
        rewards=Counter({number / 10: 2 for number in range(-20, 11)}),
    )
    assert len(many.histogram) == 12
    assert sum(many.histogram.values()) == 62
    assert next(iter(many.histogram)) == "-2.00 to -1.75"
