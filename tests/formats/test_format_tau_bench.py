from pathlib import Path

import pytest

from formats.reading import count, read, read_file, read_one, refuses, steps
from formats.research_rows import TAU_BENCH, WEATHER_TOOL, changed, without
from shared import data_file
from tltrain.errors import DataError
from tltrain.files import write_json_atomic
from tltrain.formats.base import Companions
from tltrain.formats.tau_bench import TAU_BENCH as FORMAT
from tltrain.types import MalformedCall, Role, ToolCall


@pytest.fixture
def companions(tmp_path: Path) -> Companions:
    write_json_atomic(tmp_path / "tools.json", [{"type": "function", "function": WEATHER_TOOL}])
    return Companions(tools=tmp_path / "tools.json")


def test_messages_calls_feedback_and_provenance(companions: Companions):
    trajectory = read_one(FORMAT, TAU_BENCH, companions)
    assert trajectory.id == "task-4-trial-1"
    assert [tool.name for tool in trajectory.tools] == ["get_weather"]
    assert [message.role.value for message in trajectory.messages] == [
        *("system", "user", "assistant", "tool", "assistant", "tool", "assistant")
    ]
    think, weather = steps([trajectory])
    assert think.call == ToolCall(name="think", arguments={"thought": "Oslo"})
    assert think.feedback == ""
    assert isinstance(weather.call, MalformedCall)
    assert weather.call.raw == 'get_weather({"city": "Oslo")'
    assert weather.feedback == "Error: bad call"
    assert trajectory.messages[4].content == "I look."
    task = {"user_id": "ann", "instruction": "You want rain.", "actions": [], "outputs": []}
    assert trajectory.provenance == {"source": "tau_bench", "task_id": 4, "trial": 1, "reward": 1.0, "task": task}


def test_feedback_finds_its_call_by_id(companions: Companions):
    both = [*TAU_BENCH["traj"][2]["tool_calls"], *TAU_BENCH["traj"][4]["tool_calls"]]
    row = changed(TAU_BENCH, "traj", 2, "tool_calls", to=both)
    row["traj"][3:6] = [row["traj"][5], row["traj"][3]]
    assert [step.feedback for step in steps([read_one(FORMAT, row, companions)])] == ["", "Error: bad call"]


def test_without_the_tools_no_row_is_read(tmp_path: Path):
    refuses(FORMAT, TAU_BENCH, "holds no tool documents of its own; name the file that does")
    with pytest.raises(DataError, match="no such file of tool documents"):
        read(FORMAT, TAU_BENCH, Companions(tools=tmp_path / "tool.json"))
    (tmp_path / "half.json").write_text("[{")
    with pytest.raises(DataError, match=r"half\.json: not JSON"):
        read(FORMAT, TAU_BENCH, Companions(tools=tmp_path / "half.json"))


def test_a_changed_file_of_tools_is_read_anew(tmp_path: Path):
    for name in ("f", "longer"):
        write_json_atomic(tmp_path / "tools.json", [{"name": name}])
        trajectory = read_one(FORMAT, TAU_BENCH, Companions(tools=tmp_path / "tools.json"))
        assert [tool.name for tool in trajectory.tools] == [name]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (without(TAU_BENCH, "traj"), "traj is missing"),
        (changed(TAU_BENCH, "traj", to=[]), "traj is empty"),
        (changed(TAU_BENCH, "traj", 1, to="hi"), r"traj\[1\] is of type string"),
        (changed(TAU_BENCH, "traj", 1, "role", to="bot"), r"traj\[1\]\.role is of type string \('bot'\); use one of"),
        (changed(TAU_BENCH, "traj", 1, "content", to=[1]), r"traj\[1\]\.content is of type array"),
        (changed(TAU_BENCH, "traj", 3, "content", to=None), r"traj\[3\]\.content is missing"),
        (without(TAU_BENCH, "traj", 2), r"traj\[2\] is feedback that follows no call"),
        (changed(TAU_BENCH, "traj", 2, "tool_calls", to={}), r"traj\[2\]\.tool_calls is of type object"),
        (changed(TAU_BENCH, "traj", 2, "tool_calls", 0, "function", to="f"), r"tool_calls\[0\]\.function is of type"),
    ],
)
def test_bad_rows_name_their_field(companions: Companions, row: dict[str, object], message: str):
    refuses(FORMAT, row, message, companions)


def test_an_attempt_without_a_number_gets_no_id(companions: Companions):
    assert read_one(FORMAT, without(TAU_BENCH, "trial"), companions).id == ""


def test_the_real_trajectories_of_even_tasks():
    tools = data_file("tau-bench/airline_tools.json")
    found = read_file(FORMAT, data_file("tau-bench/gpt-4o-airline.even.json"), Companions(tools=tools))
    assert count(found) == (100, 577, 0, 577)
    feedback = [step.feedback or "" for step in steps(found)]
    assert sum(text.startswith("Error") for text in feedback) == 21
    assert len({trajectory.id for trajectory in found}) == 100
    assert sum(trajectory.provenance["reward"] == 1.0 for trajectory in found) == 49
    assert all(len(trajectory.tools) == 14 for trajectory in found)
    assert sum(message.role is Role.USER for trajectory in found for message in trajectory.messages) == 686
