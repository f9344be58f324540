import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tltrain.errors import DataError
from tltrain.formats.openai_chat import row_from_trajectory, trajectory_from_row, write_trajectories
from tltrain.formats.read import read_trajectories
from tltrain.types import MalformedCall, Message, Role, Tool, ToolCall, Trajectory, iterate_calls

USER = {"role": "user", "content": "Hi"}


def call_row(name="search", arguments='{"q": "cats"}', **extra):
    return {
        "messages": [
            USER,
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": name, "arguments": arguments}}],
                **extra,
            },
            {"role": "tool", "tool_call_id": "c1", "name": name, "content": "[]"},
        ],
        "tools": [{"type": "function", "function": {"name": "search", "description": "Find.", "parameters": {}}}],
    }


def first_call(row):
    return next(iterate_calls(trajectory_from_row(row, where="f:1"))).call


def write(path: Path, *lines) -> Path:
    path.write_bytes(
        b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    )
    return path


def test_a_plain_row():
    trajectory = trajectory_from_row(call_row() | {"id": "a"}, where="f:1")
    assert trajectory == Trajectory(
        id="a",
        tools=(Tool(name="search", description="Find."),),
        messages=(
            Message(role=Role.USER, content="Hi"),
            Message(role=Role.ASSISTANT, calls=(ToolCall(name="search", arguments={"q": "cats"}),)),
            Message(role=Role.TOOL, content="[]", call_id="c1", name="search"),
        ),
    )
    assert next(iterate_calls(trajectory)).feedback == "[]"


@pytest.mark.parametrize("arguments", ['{"q": "cats"}', {"q": "cats"}])
def test_arguments_as_text_or_object(arguments):
    assert first_call(call_row(arguments=arguments)) == ToolCall(name="search", arguments={"q": "cats"})


@pytest.mark.parametrize("arguments", ["", "  ", None, {}, "{}"])
def test_no_arguments(arguments):
    assert first_call(call_row(arguments=arguments)) == ToolCall(name="search", arguments={})


@pytest.mark.parametrize(
    ("name", "arguments", "raw", "reason"),
    [
        ("search", '{"q": ', 'search({"q": )', "not JSON"),
        ("search", "[1]", "search([1])", "JSON array, not an object"),
        ("search", '{"q": NaN}', 'search({"q": NaN})', "NaN is no JSON"),
        ("search", '{"q": 1e999}', 'search({"q": 1e999})', "too large"),
        ("search", [1], "search([1])", "JSON array, not an object"),
        ("", "search(q=", "search(q=", "names no tool"),
    ],
)
def test_calls_that_cannot_be_read_are_data(name, arguments, raw, reason):
    call = first_call(call_row(name=name, arguments=arguments))
    assert isinstance(call, MalformedCall)
    assert call.raw == raw
    assert reason in call.reason


@pytest.mark.parametrize(
    "raw", ['search(q="a', "search()", 'search({"q": 1})', "<tool_call>{", "", "a b(c)", "f(x)\n(y)"]
)
def test_malformed_calls_of_any_raw_text_survive(raw):
    call = MalformedCall(raw=raw, reason="no closing bracket")
    trajectory = Trajectory(id="a", tools=(), messages=(Message(role=Role.ASSISTANT, calls=(call,)),))
    assert trajectory_from_row(row_from_trajectory(trajectory), where="x") == trajectory


def test_a_malformed_call_keeps_its_name_and_arguments_apart_in_the_row():
    row = row_from_trajectory(trajectory_from_row(call_row(arguments="{oops"), where="f:1"))
    assert row["messages"][1]["tool_calls"][0]["function"] == {"name": "search", "arguments": "{oops"}


names = st.text(min_size=1, max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
json_objects = st.dictionaries(st.text(max_size=5), json_values, max_size=3)
calls = st.builds(ToolCall, name=names, arguments=json_objects) | st.builds(
    MalformedCall, raw=st.text(max_size=20), reason=st.text(max_size=8)
)


@st.composite
def trajectories(draw):
    messages = []
    for _ in range(draw(st.integers(1, 3))):
        messages.append(Message(role=Role.USER, content=draw(st.text(max_size=8))))
        turn = tuple(draw(st.lists(calls, max_size=2)))
        messages.append(
            Message(
                role=Role.ASSISTANT, content=draw(st.text(max_size=8)), reasoning=draw(st.text(max_size=4)), calls=turn
            )
        )
        for _call in turn:
            optional = st.none() | st.text(max_size=4)
            messages.append(
                Message(role=Role.TOOL, content=draw(st.text(max_size=8)), call_id=draw(optional), name=draw(optional))
            )
    tools = st.builds(Tool, name=names, description=st.text(max_size=6), parameters=json_objects)
    return Trajectory(
        id=draw(names),
        tools=tuple(draw(st.lists(tools, max_size=2))),
        messages=tuple(messages),
        provenance=draw(json_objects),
    )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(trajectories())
def test_writing_and_reading_is_identity(trajectory):
    row = json.loads(json.dumps(row_from_trajectory(trajectory)))
    assert trajectory_from_row(row, where="f:1") == trajectory


def test_files_round_trip(tmp_path):
    both = [
        trajectory_from_row(call_row() | {"id": name, "provenance": {"seed": 1}}, where="x")
        for name in ("ä\u2028", "b")
    ]
    write_trajectories(tmp_path / "new" / "t.jsonl", both)
    result = read_trajectories(tmp_path / "new" / "t.jsonl")
    assert result.trajectories == both
    assert (result.num_bad, result.quarantine) == (0, None)


@pytest.mark.parametrize(
    "tools",
    [
        [
            {
                "type": "function",
                "function": {"name": "search", "description": "Find.", "parameters": {"type": "object"}},
            }
        ],
        [{"name": "search", "description": "Find.", "parameters": {"type": "object"}}],
        [{"name": "search", "description": "Find.", "inputSchema": {"type": "object"}, "parameters": None}],
        '[{"name": "search", "description": "Find.", "parameters": {"type": "object"}}]',
    ],
)
def test_ways_to_give_tools(tools):
    wanted = (Tool(name="search", description="Find.", parameters={"type": "object"}),)
    assert trajectory_from_row({"messages": [USER], "tools": tools}, where="x").tools == wanted


def test_text_parts_reasoning_and_old_names():
    messages = [
        {"role": "developer", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "kind."}]},
        USER,
        {
            "role": "assistant",
            "reasoning": "think",
            "function_call": {"name": "f", "arguments": "{}"},
            "tool_calls": None,
        },
        {"role": "function", "name": "f", "content": {"ok": True}},
    ]
    system, _, assistant, answer = trajectory_from_row({"messages": messages}, where="x").messages
    assert (system.role, system.content) == (Role.SYSTEM, "Be kind.")
    assert (assistant.reasoning, assistant.calls) == ("think", (ToolCall(name="f"),))
    assert (answer.role, answer.content) == (Role.TOOL, '{"ok": true}')


def test_other_fields_become_provenance():
    row = {"messages": [USER], "teacher": "gpt-4", "seed": 1, "provenance": {"seed": 2}, "reward": None}
    assert trajectory_from_row(row, where="x").provenance == {"teacher": "gpt-4", "seed": 2}


def test_a_call_of_an_unlisted_tool_is_data():
    assert first_call(call_row(name="invented")) == ToolCall(name="invented", arguments={"q": "cats"})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"conversations": []}, "messages is missing (the row has conversations)"),
        ({"messages": "hello"}, "messages is of type string"),
        ({"messages": {}}, "messages is of type object"),
        ({"messages": []}, "messages is empty"),
        ({"messages": ["hi"]}, "messages[0] is of type string"),
        ({"messages": [USER, {"content": "x"}]}, "messages[1].role is missing"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role 'robot' is unknown"),
        ({"messages": [{"role": 3, "content": "x"}]}, "messages[0].role 3 is unknown"),
        ({"messages": [{"role": "user"}]}, "messages[0].content is missing"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content is neither a string nor"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content is neither"),
        ({"messages": [{"role": "assistant"}]}, "messages[0].content is missing and there are no tool_calls"),
        ({"messages": [USER, {"role": "tool", "content": "x"}]}, "messages[1] has role tool but follows neither"),
        ({"messages": [{"role": "assistant", "tool_calls": {}}]}, "messages[0].tool_calls is of type object"),
        ({"messages": [{"role": "assistant", "tool_calls": [1]}]}, "messages[0].tool_calls[0] is of type integer"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "tool_calls[0].function.name is missing"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"name": 1}]}]}, "function.name is of type integer"),
        ({"messages": [USER], "tools": {"name": "f"}}, "tools is of type object"),
        ({"messages": [USER], "tools": "[{"}, "tools is text, and not JSON"),
        ({"messages": [USER], "tools": [{"description": "no name"}]}, "tools[0].name is missing"),
        (
            {"messages": [USER], "tools": [{"function": {"name": "f", "parameters": []}, "type": "function"}, 7]},
            "tools[1] is",
        ),
        (
            {"messages": [USER], "tools": [{"name": "f", "parameters": "x"}]},
            "tools[0].parameters is text, and not JSON",
        ),
        ({"messages": [USER], "provenance": "gpt-4"}, "provenance is of type string"),
        ({"messages": [USER], "id": ["a"]}, "id is of type array"),
    ],
)
def test_bad_rows_name_row_field_and_fault(row, message):
    with pytest.raises(DataError) as error:
        trajectory_from_row(row, where="data.jsonl:7")
    assert str(error.value).startswith("data.jsonl:7: ")
    assert message in str(error.value)
    assert "; " in str(error.value), "says what to do"
