import pytest

from formats.reading import read_one, refuses
from formats.research_rows import XLAM, changed, without
from tltrain.formats.xlam import XLAM as FORMAT
from tltrain.types import MalformedCall, Message, Role, ToolCall


def test_query_tools_and_answers():
    trajectory = read_one(FORMAT, XLAM)
    assert trajectory.id == "7"
    call = ToolCall(name="get_weather", arguments={"city": "Oslo", "days": 2})
    assert trajectory.messages == (
        Message(role=Role.USER, content="Rain in Oslo?"),
        Message(role=Role.ASSISTANT, calls=(call,)),
    )
    (tool,) = trajectory.tools
    assert tool.parameters == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "Name"},
            "days": {"type": "integer", "description": "How far"},
            "units": {"type": "string", "description": "Units", "default": "metric"},
            "tags": {"type": "array", "items": {"type": "string"}, "description": "Tags"},
        },
        "required": ["city"],
    }
    assert trajectory.provenance == {"source": "xlam", "num_answers": 1, "split": "train"}


def test_lists_are_read_like_their_text():
    tools = [{"name": "f", "parameters": {"type": {"type": "str"}, "properties": {"type": "int"}}}]
    row = {"query": "Go.", "tools": tools, "answers": [{"name": "f", "arguments": '{"type": "x"}'}]}
    trajectory = read_one(FORMAT, row)
    assert trajectory.id == ""
    assert trajectory.messages[1].calls == (ToolCall(name="f", arguments={"type": "x"}),)
    assert trajectory.tools[0].properties == {"type": {"type": "string"}, "properties": {"type": "integer"}}


def test_a_full_schema_stays_one():
    schema = {"type": "dict", "properties": {"n": {"type": "float"}}, "required": ["n"]}
    (tool,) = read_one(FORMAT, changed(XLAM, "tools", to=[{"name": "f", "parameters": schema}])).tools
    assert tool.parameters == {"type": "object", "properties": {"n": {"type": "number"}}, "required": ["n"]}


@pytest.mark.parametrize("answers", ["[]", "", []])
def test_no_answers_mean_that_no_tool_fits(answers: object):
    trajectory = read_one(FORMAT, changed(XLAM, "answers", to=answers))
    assert len(trajectory.messages) == 1
    assert trajectory.provenance["num_answers"] == 0


@pytest.mark.parametrize(
    ("answers", "raw"),
    [
        ('[{"name": "f", "arguments": {"a": 1}', '[{"name": "f", "arguments": {"a": 1}'),
        ("I cannot.", "I cannot."),
        (["f(a=1)"], "f(a=1)"),
        ([{"arguments": {"a": 1}}], '{"a": 1}'),
        ([{"name": "f", "arguments": [1]}], "f([1])"),
        ("7", "7"),
    ],
)
def test_answers_that_are_no_calls_are_kept(answers: object, raw: str):
    (call,) = read_one(FORMAT, changed(XLAM, "answers", to=answers)).messages[1].calls
    assert isinstance(call, MalformedCall)
    assert call.raw == raw


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (without(XLAM, "query"), "query is missing"),
        (changed(XLAM, "tools", to="[{"), "tools is text, and not JSON"),
        (changed(XLAM, "tools", to="3"), r"tools is of type integer \(3\)"),
        (changed(XLAM, "tools", to=[{"name": ""}]), r"tools\[0\]\.name is empty"),
        (changed(XLAM, "tools", to=[{"name": "f", "parameters": "a"}]), r"tools\[0\]\.parameters is of type string"),
    ],
)
def test_bad_rows_name_their_field(row: dict[str, object], message: str):
    refuses(FORMAT, row, message)
