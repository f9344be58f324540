import pytest

from formats.reading import count, read_file, read_one, refuses, steps
from formats.research_rows import REACT, REACT_DIALOGUE, REACT_PROMPT, WEATHER_TOOL, changed
from shared import data_file
from tltrain.formats.react import REACT as FORMAT
from tltrain.types import MalformedCall, Message, Role, ToolCall

SYSTEM = ("conversations", 0, "value")


def test_the_first_golden_turn_is_the_turn_and_the_others_are_kept():
    trajectory = read_one(FORMAT, REACT)
    assert trajectory.messages == (
        Message(role=Role.USER, content="Rain in Oslo?"),
        Message(role=Role.ASSISTANT, calls=(ToolCall(name="get_weather", arguments={"city": "Oslo"}),)),
    )
    assert trajectory.id == ""
    assert trajectory.provenance == {
        "source": "react",
        "id": "Turn 1: Rain in Oslo?",
        "scenario": "PL",
        "prompt": REACT_PROMPT + "{tools}\n\nLet's Begin!",
        "gold_alternatives": [
            {"name": "get_weather", "arguments": {"city": "Oslo", "days": "None"}},
            {"raw": "I cannot."},
        ],
    }


def test_what_answers_a_call_is_its_feedback():
    trajectory = read_one(FORMAT, REACT_DIALOGUE)
    assert [message.role.value for message in trajectory.messages] == [
        *("user", "assistant", "tool", "assistant", "tool", "assistant")
    ]
    asked, broken = steps([trajectory])
    assert asked.call == ToolCall(name="ask_to_user", arguments={"question": "Where?"})
    assert asked.feedback == "In Oslo."
    assert trajectory.messages[1].content == "Where?"
    assert isinstance(broken.call, MalformedCall)
    assert broken.call.raw == "Action: get_weather\nAction Input: Oslo"
    assert broken.feedback == "name 'Oslo' is not defined"
    assert trajectory.messages[-1].content == "I give up."


@pytest.mark.parametrize("row", [REACT, REACT_DIALOGUE])
def test_tools_are_read_as_json_and_as_python(row: dict[str, object]):
    (tool,) = read_one(FORMAT, row).tools
    assert tool.name == "get_weather"
    assert tool.parameters == WEATHER_TOOL["parameters"]


def test_a_list_that_goes_over_several_lines_is_read():
    prompt = REACT_PROMPT + '[\n  {"name": "f"},\n  {"name": "g"}\n] and so on'
    trajectory = read_one(FORMAT, changed(REACT, *SYSTEM, to=prompt))
    assert [tool.name for tool in trajectory.tools] == ["f", "g"]
    assert trajectory.provenance["prompt"] == REACT_PROMPT + "{tools} and so on"


def test_an_empty_list_is_one():
    assert read_one(FORMAT, changed(REACT, *SYSTEM, to=REACT_PROMPT + "[]")).tools == ()


def test_a_system_text_without_the_frame_stays_a_message():
    trajectory = read_one(FORMAT, changed(REACT, *SYSTEM, to='Be kind. [{"name": "f"}]'))
    assert trajectory.messages[0] == Message(role=Role.SYSTEM, content="Be kind. {tools}")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (changed(REACT, "conversations", to="x"), "conversations is of type string"),
        (
            changed(REACT, "conversations", 0, "from", to="user"),
            r"conversations\[0\]\.from is of type string \('user'\)",
        ),
        (changed(REACT, *SYSTEM, to="Be kind."), "has no list of tools"),
        (changed(REACT, *SYSTEM, to='Use [{"name": "f"'), "list of tools that cannot be read: expected"),
        (changed(REACT, *SYSTEM, to='Use [{"name": ""}]'), r"tools\[0\]\.name is empty"),
        (changed(REACT, "conversations", 1, "from", to="bot"), r"conversations\[1\]\.from is of type string \('bot'\)"),
        (changed(REACT, "conversations", 1, "from", to="observation"), "from 'observation' follows no call"),
        (changed(REACT, "conversations", 1, "value", to=None), r"conversations\[1\]\.value is missing"),
        (changed(REACT, "conversations", 2, "value", to=[]), r"conversations\[2\]\.value is an empty list"),
        (changed(REACT, "conversations", 2, "value", 1, to=3), r"value\[1\] is of type integer \(3\)"),
        (changed(REACT, "conversations", to=REACT["conversations"][:1]), "has a system text alone"),
    ],
)
def test_bad_rows_name_their_field(row: dict[str, object], message: str):
    refuses(FORMAT, row, message)


@pytest.mark.parametrize(
    ("level", "num_cases"), [("clean", 105), ("slight", 210), ("medium", 210), ("heavy", 210), ("union", 105)]
)
def test_rotbench(level: str, num_cases: int):
    # One golden call a case, and the other alternatives: 10 x 1 + 11 x 2 + 1 x 4 + 3 x 6 + 1 x 7 = 61 in 105 cases.
    found = read_file(FORMAT, data_file(f"rotbench/First_Turn/{level}.json"))
    assert count(found) == (num_cases, num_cases, 0, 0)
    others = [trajectory.provenance.get("gold_alternatives", []) for trajectory in found]
    assert sum(len(items) for items in others if isinstance(items, list)) == 61 * num_cases // 105
    assert all(
        "name" in item for items in others if isinstance(items, list) for item in items if isinstance(item, dict)
    )
    scenarios = [trajectory.provenance["scenario"] for trajectory in found]
    assert {scenario: scenarios.count(scenario) for scenario in set(scenarios)} == dict.fromkeys(
        ["TG", "RS", "DU", "PL", "AM", "IR", "FT"], num_cases // 7
    )


@pytest.mark.parametrize("shots", ["zero", "five"])
def test_tooleyes(shots: str):
    # 382 queries without goldens; 380 distinct, as two occur twice, hence no ids.
    found = read_file(FORMAT, data_file(f"tooleyes/Test_Data/scenario_data_{shots}_processed.json"))
    assert count(found) == (382, 0, 0, 0)
    assert len({trajectory.messages[0].content for trajectory in found}) == 380
    scenarios = [trajectory.provenance["scenario"] for trajectory in found]
    counts = {"PL": 70, "TG": 58, "RS": 56, "IR": 54, "FT": 50, "DU": 49, "AM": 45}
    assert {scenario: scenarios.count(scenario) for scenario in set(scenarios)} == counts
    assert all(trajectory.tools[-1].name == "finish" for trajectory in found)
