import json
from pathlib import Path

import pytest

from formats.reading import count, read_file, read_one, refuses, steps, tool_call
from formats.research_rows import SEAL_TOOL, SEAL_TOOLS, SEAL_TOOLS_PROMPT, changed, without
from shared import data_file
from tltrain.formats.base import Companions
from tltrain.formats.seal_tools import SEAL_TOOLS as FORMAT
from tltrain.types import MalformedCall, ToolCall

PROMPT = ("conversations", 0, "value")


@pytest.fixture
def companions(tmp_path: Path) -> Companions:
    path = tmp_path / "tool.jsonl"
    path.write_text("\n".join(json.dumps(tool) for tool in (SEAL_TOOL, {**SEAL_TOOL, "api_name": "other"})))
    return Companions(tools=path)


def test_both_forms_give_the_same_calls(companions: Companions):
    raw = read_one(FORMAT, SEAL_TOOLS, companions)
    prepared = read_one(FORMAT, SEAL_TOOLS_PROMPT)
    for trajectory in (raw, prepared):
        assert trajectory.id == "dev-hard-1"
        turn = trajectory.messages[1]
        assert turn.calls == (
            ToolCall(name="getWeather", arguments={"city": "Oslo's", "days": 2}),
            ToolCall(name="drawPicture", arguments={"sky": "API_call_0"}),
        )
        assert trajectory.provenance == {"source": "seal_tools", "responses": [["API_call_0"], []]}
        assert [tool.name for tool in trajectory.tools] == ["getWeather"]
    assert raw.messages[0].content == "Draw Oslo's sky."
    assert prepared.messages[0].content == 'Draw "Oslo\'s" sky.'


def test_tools_have_schemas():
    (tool,) = read_one(FORMAT, SEAL_TOOLS_PROMPT).tools
    assert tool.description.startswith("Weather of a city\nReturns: {")
    assert tool.parameters == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "Name of the city"},
            "days": {"type": "integer", "description": "How far"},
        },
        "required": ["city"],
    }


@pytest.mark.parametrize(
    ("target", "raws"),
    [
        ("[{'api': 'f', ", ["[{'api': 'f', "]),
        ("I cannot.", ["I cannot."]),
        ("['f']", ["f"]),
        ("{'api': 'f'}", ["{'api': 'f'}"]),
    ],
)
def test_targets_that_are_no_calls_are_kept(target: str, raws: list[str]):
    trajectory = read_one(FORMAT, changed(SEAL_TOOLS_PROMPT, "conversations", 1, "value", to=target))
    calls = [step.call for step in steps([trajectory])]
    assert all(isinstance(call, MalformedCall) for call in calls)
    assert [call.raw for call in calls] == raws


def test_no_calls_give_no_turn(companions: Companions):
    assert len(read_one(FORMAT, changed(SEAL_TOOLS, "calling", to=[]), companions).messages) == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (without(SEAL_TOOLS, "query"), "query is missing"),
        (SEAL_TOOLS, "holds no tool documents"),
        (changed(SEAL_TOOLS_PROMPT, "conversations", to=[{}]), "conversations has 1 turns"),
        (changed(SEAL_TOOLS_PROMPT, *PROMPT, to="Choose."), "has no line 'api_list"),
        (changed(SEAL_TOOLS_PROMPT, *PROMPT, to="api_list = []\n"), "has no line 'task_instruction"),
        (
            changed(SEAL_TOOLS_PROMPT, *PROMPT, to='api_list = [{]\ntask_instruction = "x"'),
            "has an api_list that cannot be read: not JSON",
        ),
        (changed(SEAL_TOOLS_PROMPT, *PROMPT, to='api_list = [{}]\ntask_instruction = "x"'), "api_name is missing"),
    ],
)
def test_bad_rows_name_their_field(row: dict[str, object], message: str):
    refuses(FORMAT, row, message)


@pytest.mark.parametrize(("name", "calls", "unlisted"), [("dev", 1804, 3), ("test_in_domain", 1795, 2)])
def test_the_real_rows(name: str, calls: int, unlisted: int):
    # Prompts list 5 candidates; the answers that call 6 tools call one that is not among them.
    tools = data_file("seal-tools/tool.jsonl")
    raw = read_file(FORMAT, data_file(f"seal-tools/{name}.jsonl"), Companions(tools=tools))
    prepared = read_file(FORMAT, data_file(f"seal-tools/dataset_for_finetune/{name}.json"))
    assert count(raw) == count(prepared) == (700, calls, 0, 0)
    assert sum(len(trajectory.messages[1].calls) == 1 for trajectory in raw) == 200
    for first, second in zip(raw, prepared, strict=True):
        assert first.messages == second.messages
        assert {tool_call(step).name for step in steps([first])} == {tool.name for tool in first.tools}
        candidates = {tool.name for tool in second.tools}
        unlisted -= sum(tool.name not in candidates for tool in first.tools)
    assert unlisted == 0
