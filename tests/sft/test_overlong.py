import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tltrain.errors import DataError
from tltrain.formats.openai_chat import row_from_trajectory
from tltrain.render.conversation import OverlongError, render_pieces
from tltrain.render.template import ensure_tool_template
from tltrain.render.weights import KeyTokenWeighting
from tltrain.sft.config import SftConfig
from tltrain.sft.overlong import cut_tools, likeness, removable_tools
from tltrain.sft.samples import PreparedSamples, prepare_samples
from tltrain.syntax import get_syntax
from tltrain.types import MalformedCall, Message, Role, Tool, ToolCall, Trajectory


def tools(*names: str) -> tuple[Tool, ...]:
    return tuple(Tool(name=name, description=f"{name} {'and so on ' * 8}") for name in names)


def row(*names: str, messages: tuple[Message, ...] | None = None, identity: str = "row") -> Trajectory:
    used = Message(role=Role.ASSISTANT, calls=(ToolCall(name="get_user", arguments={"n": 1}),))
    return Trajectory(
        id=identity, tools=tools(*names), messages=messages or (Message(role=Role.USER, content="Who?"), used)
    )


def kept(trajectory: Trajectory) -> list[str]:
    gone = removable_tools(trajectory)
    return [tool.name for at, tool in enumerate(trajectory.tools) if at not in gone]


def plain(*names: str, **fields: Any) -> Trajectory:
    """Without descriptions, so that names alone make tools alike."""
    given = row(*names, **fields)
    return replace(given, tools=tuple(Tool(name=name) for name in names))


def test_used_and_named_tools_stay_whether_the_call_was_right_or_not():
    messages = (
        Message(role=Role.USER, content="Not with open_door please."),
        Message(
            role=Role.ASSISTANT,
            calls=(ToolCall(name="zoom"), MalformedCall(raw="quit_app(", reason="")),
        ),
        Message(role=Role.TOOL, content="no tool zoom; try fly_home"),
    )
    trajectory = plain("zoom", "open_door", "quit_app", "fly_home", "home", "paint", messages=messages)
    assert kept(trajectory) == ["zoom", "open_door", "quit_app", "fly_home", "home"]  # home is like fly_home


def test_near_neighbours_stay():
    # shared words of a name: 1 of 3 is enough, 1 of 5 is not
    assert kept(plain("get_user", "find_user", "user_of_a_car", "paint")) == ["get_user", "find_user"]
    described = replace(
        plain("get_user", "whois", "paint"),
        tools=(
            Tool(name="get_user", description="Finds a person by number"),
            Tool(name="whois", description="Finds a person by name"),
            Tool(name="paint", description="Paints the wall in a colour"),
        ),
    )
    assert kept(described) == ["get_user", "whois"]
    assert likeness(described.tools[0], described.tools[1]) == 2 / 4


def test_one_name_stays_at_each_place_where_a_used_name_leaves_another():
    # get_user leaves get_weather_of_town and get_water_of_lake after get_, and gas_bill_of_may after g
    names = ("get_user", "get_weather_of_town", "get_water_of_lake", "gas_bill_of_may", "paint")
    assert kept(plain(*names)) == ["get_user", "get_water_of_lake", "gas_bill_of_may"]


def test_the_least_alike_go_first_and_the_longest_of_those():
    trajectory = plain("get_user", "user_x_y_z", "paint", "paint_the_wall", "old_user_a_b_c")
    order = [trajectory.tools[at].name for at in removable_tools(trajectory)]
    # likeness: user_x_y_z 1/5, old_user_a_b_c 1/6, the others 0
    assert order == ["paint_the_wall", "paint", "old_user_a_b_c", "user_x_y_z"]


@pytest.fixture
def renderer(smollm2) -> Any:
    syntax = get_syntax(ensure_tool_template(smollm2))

    def at_most(max_length: int | None):
        return lambda trajectory: render_pieces(
            trajectory, smollm2, syntax, weighting=KeyTokenWeighting(), max_length=max_length
        )

    return at_most


NAMES = ("get_user", "get_user_name", "get_weather_of_town", "get_water_of_lake", "paint", "sing", "swim", "dive")


def test_no_more_is_cut_than_is_needed(renderer):
    trajectory = row(*NAMES)
    whole = len(renderer(None)(trajectory)[0].input_ids)
    for limit in (whole - 2, whole - 40, whole - 80):
        found = cut_tools(trajectory, renderer(limit))
        assert len(found.pieces[0].input_ids) <= limit
        assert [tool.name for tool in found.trajectory.tools] == [name for name in NAMES if name not in found.cut]
        order = [NAMES[at] for at in removable_tools(trajectory)]
        assert set(found.cut) == set(order[: len(found.cut)])
        one_fewer = replace(
            trajectory, tools=tuple(tool for tool in trajectory.tools if tool.name not in order[: len(found.cut) - 1])
        )
        with pytest.raises(OverlongError):
            renderer(limit)(one_fewer)


def test_key_tokens_stay_what_they_were(renderer):
    trajectory = row(*NAMES)
    (whole,) = renderer(None)(trajectory)
    gone = removable_tools(trajectory)
    assert len(gone) >= 4
    (least,) = renderer(None)(
        replace(trajectory, tools=tuple(tool for at, tool in enumerate(trajectory.tools) if at not in gone))
    )

    def keys(rendered) -> list[int]:
        return [position - rendered.calls[0].span.start for position in rendered.calls[0].key_positions]

    assert keys(least) == keys(whole)
    assert len(keys(whole)) > 1


def test_a_row_that_does_not_fit_without_them_says_how_many_were_left_out(renderer):
    with pytest.raises(OverlongError, match=r"max_length=30: .*; 5 of its 8 tools were left out already"):
        cut_tools(row(*NAMES), renderer(30))


def prepare(tokenizer: Any, folder: Path, rows: list[Trajectory], **settings: Any) -> PreparedSamples:
    data = folder / "data.jsonl"
    data.write_text("".join(json.dumps(row_from_trajectory(row)) + "\n" for row in rows), encoding="utf-8")
    config = SftConfig(heldout_share=0, **settings)
    return prepare_samples(config, tokenizer, data=data, verdicts=None, validation=None, out=folder)


def listed(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


@pytest.fixture
def rows(renderer) -> tuple[list[Trajectory], int, int]:
    """A short and a long row, and the tokens of both."""
    found = [row("get_user", identity="short"), row(*NAMES, identity="long")]
    short, long = (len(renderer(None)(one)[0].input_ids) for one in found)
    return found, short, long


def test_refuse_names_rows_and_tokens(smollm2, tmp_path, rows):
    found, _, long = rows
    needed = long - 1  # the line break after the last turn trains nothing
    with pytest.raises(DataError, match=rf"1 rows .*max_length=100: long \({needed} tokens\); raise max_length to"):
        prepare(smollm2, tmp_path, found, max_length=100, overlong="refuse")
    assert len(prepare(smollm2, tmp_path, found, max_length=needed, overlong="refuse").train) == 2


def test_drop_sets_aside_and_counts(smollm2, tmp_path, rows):
    found, short, _ = rows
    prepared = prepare(smollm2, tmp_path, found, max_length=short)
    assert [sample.rendered.id for sample in prepared.train] == ["short"]
    assert (prepared.num_bad, prepared.num_cut) == (1, 0)
    assert [one["id"] for one in listed(tmp_path / "quarantine.jsonl")] == ["long"]


def test_cut_tools_trains_the_row_and_records_what_is_gone(smollm2, tmp_path, rows):
    found, _, long = rows
    prepared = prepare(smollm2, tmp_path, found, max_length=long - 40, overlong="cut_tools")
    assert [sample.rendered.id for sample in prepared.train] == ["short", "long"]
    assert (prepared.num_bad, prepared.num_cut) == (0, 1)
    (told,) = listed(tmp_path / "cut_tools.jsonl")
    assert (told["id"], told["num_tokens_before"]) == ("long", long - 1)
    assert told["num_tokens"] == len(prepared.train[1].rendered.input_ids) <= long - 40
    assert told["cut"]
    documents = prepared.train[1].rendered.text.split("Who?")[0]
    assert all(f"{name} and so on" not in documents for name in told["cut"])
    assert "get_user_name and so on" in documents


def test_one_that_cannot_be_cut_enough_is_set_aside(smollm2, tmp_path, rows):
    found, short, _ = rows
    prepared = prepare(smollm2, tmp_path, found, max_length=short, overlong="cut_tools")
    assert ([sample.rendered.id for sample in prepared.train], prepared.num_bad, prepared.num_cut) == (["short"], 1, 0)
    assert "tools were left out already" in listed(tmp_path / "quarantine.jsonl")[0]["reason"]
