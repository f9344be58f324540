import pytest

from formats.reading import read_one, refuses, steps
from formats.research_rows import GLAIVE, WEATHER_TOOL, changed, without
from tltrain.formats.glaive import GLAIVE as FORMAT
from tltrain.types import MalformedCall, Role, ToolCall

NO_TOOLS = "SYSTEM: You are a helpful assistant, with no access to external functions."


def said(text: str) -> tuple[str, tuple[ToolCall | MalformedCall, ...]]:
    """Content and calls of an assistant's turn."""
    trajectory = read_one(FORMAT, changed(GLAIVE, "chat", to=f"USER: Go.\n\n\nASSISTANT: {text} <|endoftext|>"))
    return trajectory.messages[1].content, trajectory.messages[1].calls


def test_turns_calls_and_feedback():
    trajectory = read_one(FORMAT, GLAIVE)
    assert [message.role.value for message in trajectory.messages] == [
        *("user", "assistant", "tool", "assistant", "user", "assistant", "tool", "assistant")
    ]
    weather, now = steps([trajectory])
    assert weather.call == ToolCall(name="get_weather", arguments={"city": "Oslo", "note": "it's far"})
    assert weather.feedback == '{"sky": "rain"}'
    assert trajectory.messages[1].content == "I look."
    assert now.call == ToolCall(name="now")
    assert now.feedback == "12:00"
    assert trajectory.messages[-1].content == "Noon: USER: time."


def test_functions_and_the_text_before_them():
    trajectory = read_one(FORMAT, GLAIVE)
    weather, now = trajectory.tools
    assert weather.parameters == WEATHER_TOOL["parameters"]
    assert now.parameters == {}
    introduction = "You are a helpful assistant with access to the following functions. Use them if required -"
    assert trajectory.provenance == {"source": "glaive", "prompt": introduction}
    assert trajectory.messages[0].role is Role.USER


def test_a_text_without_functions_stays_a_system_message():
    trajectory = read_one(FORMAT, changed(GLAIVE, "system", to=NO_TOOLS))
    assert trajectory.tools == ()
    assert trajectory.messages[0].role is Role.SYSTEM
    assert trajectory.messages[0].content == NO_TOOLS.removeprefix("SYSTEM: ")


def test_the_first_version_has_one_text():
    one = {"sample": f"{GLAIVE['system']}\n{GLAIVE['chat']}"}
    assert FORMAT.refuse(one) is None
    assert read_one(FORMAT, one).messages == read_one(FORMAT, GLAIVE).messages
    assert read_one(FORMAT, one).tools == read_one(FORMAT, GLAIVE).tools


@pytest.mark.parametrize(
    "written",
    [
        """{"name": "f", "arguments": '{"a": 1}'}""",
        """{"name": "f", "arguments": {"a": 1}}""",
        """{"name": "f", "arguments": "{\\"a\\": 1}"}</functioncall>""",
        """{"name": "f", "arguments": "{'a': 1}"}""",
        """{'name': 'f', 'arguments': {'a': 1}}""",
        """{"name" : "f",\n"arguments":\n'{\n"a": 1\n}'\n}""",
    ],
)
def test_spellings_of_a_call(written: str):
    assert said(f"<functioncall> {written}") == ("", (ToolCall(name="f", arguments={"a": 1}),))


@pytest.mark.parametrize(
    "written", ["""{"name": "f", "arguments": '{"a": 1'}""", '{"name": "f", "argum', "[1]", "", '{"arguments": {}}']
)
def test_calls_that_cannot_be_read_are_kept(written: str):
    content, (call,) = said(f"Hm. <functioncall> {written}")
    assert content == "Hm."
    assert isinstance(call, MalformedCall)
    assert call.raw == f"<functioncall> {written}"


def test_several_calls_in_a_turn():
    _, calls = said('<functioncall> {"name": "f"} <functioncall> {"name": "g"}')
    assert calls == (ToolCall(name="f"), ToolCall(name="g"))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (without(GLAIVE, "system"), "system is missing"),
        (changed(GLAIVE, "chat", to="Hello"), "chat does not start with a turn"),
        (changed(GLAIVE, "chat", to="Hello\nUSER: hi"), "chat does not start with a turn"),
        (changed(GLAIVE, "chat", to="USER: hi\nFUNCTION RESPONSE: 3"), "turn 2 is a FUNCTION RESPONSE that follows"),
        (changed(GLAIVE, "system", to='SYSTEM: use -\n{"name": "f", '), "has a function that is no JSON"),
        (changed(GLAIVE, "system", to='SYSTEM: use -\n{"title": "f"}'), r"functions\[0\]\.name is missing"),
    ],
)
def test_bad_rows_name_their_field(row: dict[str, object], message: str):
    refuses(FORMAT, row, message)
