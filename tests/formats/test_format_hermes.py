"""Hermes rows as public sets and users' exports write them, beside those of `test_chat_formats`."""

import json

import pytest

from formats.chat_rows import ANSWER, ASK, FIRST, SECOND, TOOL
from formats.reading import read_one, refuses, steps
from tltrain.formats.detect import FORMATS, detect_format
from tltrain.types import MalformedCall, Role, Tool, ToolCall

HERMES = FORMATS["hermes"]
FORECAST = Tool(name="forecast", description=TOOL["function"]["description"], parameters=TOOL["function"]["parameters"])
RIGHT = ToolCall(name="forecast", arguments={"city": "Rome"})


def tagged(text):
    return f"<tool_call>\n{text}\n</tool_call>"


def conversation(*turns, **columns):
    return {"conversations": [{"from": source, "value": value} for source, value in turns], **columns}


def calls_of(row):
    return [step.call for step in steps([read_one(HERMES, row)])]


@pytest.mark.parametrize(
    "text",
    [
        "{'arguments': {'city': 'Rome'}, 'name': 'forecast'}",
        '{"name": "forecast", "arguments": "{\\"city\\": \\"Rome\\"}"}',
        json.dumps({"name": "forecast", "arguments": {"city": "Rome"}}),
    ],
)
def test_a_call_is_json_or_a_python_dictionary_and_its_arguments_may_be_text(text):
    assert calls_of(conversation(("human", ASK), ("gpt", tagged(text)))) == [RIGHT]


@pytest.mark.parametrize(
    "text",
    [
        "{'name': 'forecast', 'arguments': {'city': open('x')}}",
        "{'name': 'forecast', 'arguments': ['Rome']}",
        "{'arguments': {'city': 'Rome'}}",
        "{'name': 'forecast', 'arguments': {'city': 'Ro",
    ],
)
def test_what_is_no_value_stays_a_call_that_cannot_be_read(text):
    (call,) = calls_of(conversation(("human", ASK), ("gpt", tagged(text))))
    assert isinstance(call, MalformedCall)
    assert call.raw == tagged(text)


def test_tools_of_the_system_text_may_be_python_and_do_not_matter_beside_a_column():
    system = f"You may use <tools>\n{[TOOL]}\n</tools>"
    assert read_one(HERMES, conversation(("system", system), ("human", ASK))).tools == (FORECAST,)
    broken = conversation(("system", "You may use <tools>\n{...}\n</tools>"), ("human", ASK))
    refuses(HERMES, broken, "the text between <tools> tags cannot be read")
    assert read_one(HERMES, broken | {"tools": json.dumps([TOOL])}).tools == (FORECAST,)
    assert read_one(HERMES, conversation(("system", system), ("human", ASK), tools=[])).tools == (FORECAST,)


def messages_of_text():
    return [
        {"role": "system", "content": f"Be brief.\n<tools>\n{json.dumps(TOOL)}\n</tools>", "name": None},
        {"role": "user", "content": ASK, "tool_calls": None},
        {"role": "assistant", "content": tagged(FIRST), "tool_calls": []},
        {"role": "user", "content": "<tool_response>\nunknown argument\n</tool_response>"},
        {"role": "assistant", "content": tagged(SECOND)},
        {"role": "tool", "content": "clear"},
        {"role": "assistant", "content": ANSWER},
    ]


def test_chat_messages_with_calls_in_their_texts_are_hermes_rows():
    row = {"messages": messages_of_text()}
    assert detect_format([row, {"messages": row["messages"][1:2]}], "f").name == "hermes"
    trajectory = read_one(HERMES, row)
    assert trajectory.tools == (FORECAST,)
    assert [(step.call.arguments, step.feedback) for step in steps([trajectory])] == [
        ({"town": "Rome"}, "unknown argument"),
        ({"city": "Rome"}, "clear"),
    ]


def test_rows_of_such_a_file_without_tags_are_read_as_openai_rows():
    call = {"id": "c1", "type": "function", "function": {"name": "forecast", "arguments": '{"city": "Rome"}'}}
    row = {"messages": [{"role": "user", "content": ASK}, {"role": "assistant", "content": "", "tool_calls": [call]}]}
    assert detect_format([row, row], "f").name == "openai"
    assert detect_format([{"messages": messages_of_text()}, row], "f").name == "hermes"
    assert [step.call.name for step in steps([read_one(HERMES, row)])] == ["forecast"]


def test_a_user_may_speak_of_feedback():
    said = "What is <tool_response>x</tool_response>?"
    trajectory = read_one(HERMES, conversation(("human", ASK), ("gpt", tagged(SECOND)), ("human", said)))
    assert (trajectory.messages[-1].role, trajectory.messages[-1].content) == (Role.USER, said)


def test_conversations_with_tool_calls_lose_none():
    call = {"function": {"name": "forecast", "arguments": {"city": "Rome"}}}
    turns = [{"from": "human", "value": ASK}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    row = {"conversations": turns, "system": "Be brief."}
    trajectory = read_one(HERMES, row)
    assert [step.call for step in steps([trajectory])] == [RIGHT]
    assert trajectory.messages[0].content == "Be brief."
    turns[1]["content"] = 3
    refuses(HERMES, row, r"conversations\[1\].content is neither")


def test_errors_name_the_turn_of_the_file():
    system = f"<tools>{json.dumps(TOOL)}</tools>"
    two = "<tool_response>1</tool_response><tool_response>2</tool_response>"
    turns = [("human", ASK), ("gpt", tagged(SECOND)), ("tool", two), ("gpt", ANSWER), ("tool", "late")]
    refuses(HERMES, conversation(*turns, system=system), r"conversations\[4\] has role tool but follows neither")
