import json

import pytest

from tltrain.errors import DataError
from tltrain.rewards.gold import read_golds, read_offered
from tltrain.syntax import get_syntax
from tltrain.taxonomy import OneOf
from tltrain.types import Tool, ToolCall

PYTHON = get_syntax("python")
TOOLS = (Tool(name="find", parameters={"properties": {"day": {}}}),)
MON, TUE = (ToolCall(name="find", arguments={"day": day}) for day in ("Mon", "Tue"))


class Array:
    """As a table gives a list."""

    def __init__(self, items: list):
        self.items = items

    def tolist(self) -> list:
        return self.items


@pytest.mark.parametrize(
    ("value", "golds"),
    [
        (None, ()),
        ("null", ()),
        ([], ()),
        ("find(day='Mon')", (MON,)),
        ("find('Mon')", (MON,)),
        ({"name": "find", "arguments": {"day": "Mon"}}, (MON,)),
        ({"type": "function", "function": {"name": "find", "arguments": '{"day": "Mon"}'}}, (MON,)),
        (json.dumps({"name": "find", "arguments": {"day": "Mon"}}), (MON,)),
        (["find(day='Mon')", {"name": "find", "arguments": {"day": "Tue"}}], (MON, TUE)),
        (Array(["find(day='Mon')"]), (MON,)),
        ({"any_of": ["find(day='Mon')", "find(day='Tue')"]}, (OneOf((MON, TUE)),)),
        ('[{"any_of": ["find(day=\'Mon\')"]}, "find(day=\'Tue\')"]', (OneOf((MON,)), TUE)),
        ("next_day(day=1)", (ToolCall(name="next_day", arguments={"day": 1}),)),
    ],
)
def test_right_calls_in_every_form(value, golds):
    assert read_golds(value, PYTHON, TOOLS) == golds


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("find(day=", "gold: not one python call: expected a value"),
        ("", "gold: not one python call: there is no call"),
        ("I say", "there is no call"),
        (3, "gold: is of type int; write a call as text"),
        (["find(1)", 3], "gold[1]: is of type int"),
        ({"any_of": []}, "gold.any_of: is no list of calls, or empty"),
        ({"any_of": ["find("]}, "gold.any_of[0]: not one python call"),
        ({"name": "find", "arguments": "{"}, "gold: cannot be read"),
        ({"day": 1}, "gold.function.name is missing"),
    ],
)
def test_right_calls_that_cannot_be_read_are_named(value, said):
    with pytest.raises(DataError) as failed:
        read_golds(value, PYTHON, TOOLS)
    assert said in str(failed.value)


def test_tools_are_a_list_or_text():
    listed = [{"type": "function", "function": {"name": "find", "parameters": {"properties": {"day": {}}}}}]
    assert read_offered(listed) == read_offered(json.dumps(listed)) == read_offered(Array(listed)) == TOOLS
    with pytest.raises(DataError, match="tools"):
        read_offered("[")
