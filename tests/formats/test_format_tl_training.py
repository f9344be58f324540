import pytest

from formats.reading import read_one, refuses, steps
from formats.research_rows import TL_RAW, TL_TRAINED, WEATHER_TOOL, changed
from tltrain.formats.tl_training import TL_TRAINING as FORMAT
from tltrain.types import MalformedCall, Role, ToolCall


def answered(row: dict[str, object], text: str) -> tuple[str, tuple[ToolCall | MalformedCall, ...]]:
    """Content and calls of the last turn, if it were this text."""
    last = read_one(FORMAT, changed(row, "conversations", 4, "content", to=text)).messages[-1]
    return last.content, last.calls


def test_the_raw_spelling():
    trajectory = read_one(FORMAT, TL_RAW)
    assert [message.role for message in trajectory.messages] == [
        *(Role.USER, Role.ASSISTANT, Role.TOOL, Role.ASSISTANT)
    ]
    first, second = steps([trajectory])
    assert first.call == ToolCall(name="get_weather", arguments={"city": "Olso", "days": 2})
    assert first.feedback == "KeyError: 'Olso'"
    assert second.call == ToolCall(name="get_weather", arguments={"city": "Oslo", "days": True})
    assert trajectory.messages[-1].content == "I try again."
    assert trajectory.tools[0].parameters == WEATHER_TOOL["parameters"]
    assert trajectory.provenance == {"source": "tl_training", "id": "Rain in Oslo?"}
    assert all(message.weight is None for message in trajectory.messages)


def test_the_spelling_as_trained():
    trajectory = read_one(FORMAT, TL_TRAINED)
    first, second = steps([trajectory])
    assert first.call == ToolCall(name="get_weather", arguments={"city": "Olso"})
    assert first.feedback == "KeyError: 'Olso'"
    assert second.call == ToolCall(name="get_weather", arguments={"city": "Oslo", "days": {"n": 2}})
    weather, now = trajectory.tools
    assert weather.description == "Weather of a city.\n    Any city."
    assert weather.parameters == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "Name of the city\nin English"},
            "days": {"type": "object", "additionalProperties": {"type": "integer"}, "description": "How far"},
        },
        "required": ["city"],
    }
    assert (now.name, now.description, now.parameters) == ("now", "The time.", {})


def test_a_copy_trains_its_last_turn_alone():
    early, last = (message for message in read_one(FORMAT, TL_TRAINED).messages if message.role is Role.ASSISTANT)
    assert (early.weight, early.mask_reason) == (0.0, "a copy up to a later turn, which alone is trained")
    assert last.weight is None


@pytest.mark.parametrize("identifier", ["Turn 1: x", "Turn 3: x", "x", 2, None])
def test_another_id_makes_no_copy(identifier: object):
    trajectory = read_one(FORMAT, changed(TL_TRAINED, "id", to=identifier))
    assert all(message.weight is None for message in trajectory.messages)


@pytest.mark.parametrize("row", [TL_RAW, TL_TRAINED])
@pytest.mark.parametrize(
    ("text", "content", "arguments"),
    [
        ('get_weather\n{"city": "Oslo"}', "", {"city": "Oslo"}),
        (' get_weather \n{\n"city": "Oslo"\n}\n', "", {"city": "Oslo"}),
        ("get_weather(city = 'Oslo') ", "", {"city": "Oslo"}),
        ('get_weather(city="Oslo", days=2)', "", {"city": "Oslo", "days": 2}),
        ("get_weather('Oslo')", "", {"city": "Oslo"}),
        ("get_weather\n{}", "", {}),
        ("I do not know.", "I do not know.", None),
        ("Two things:\nfirst, rain", "Two things:\nfirst, rain", None),
    ],
)
def test_either_spelling_is_read_in_either_file(
    row: dict[str, object], text: str, content: str, arguments: dict[str, object] | None
):
    found, calls = answered(row, text)
    assert found == content
    assert [call.arguments for call in calls if isinstance(call, ToolCall)] == (
        [] if arguments is None else [arguments]
    )


@pytest.mark.parametrize("text", ['get_weather\n{"city": Oslo}', "get_weather(city=Oslo)", '\n{"city": "Oslo"}\n{'])
def test_calls_that_cannot_be_read_are_kept(text: str):
    _, (call,) = answered(TL_RAW, text)
    assert isinstance(call, MalformedCall)
    assert text.strip() in call.raw


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (changed(TL_RAW, "conversations", to={}), "conversations is of type object"),
        (changed(TL_RAW, "conversations", 0, "content", to="[{"), "is no list of tools: not JSON"),
        (changed(TL_RAW, "conversations", 0, "content", to="{}"), "content is of type object"),
        (changed(TL_RAW, "conversations", 0, "content", to="[{}]"), r"tools\[0\]\.name is missing"),
        (changed(TL_TRAINED, "conversations", 0, "content", to="Function:\ndef f(a"), "without 'def name"),
        (
            changed(TL_RAW, "conversations", 1, "role", to="bot"),
            r"conversations\[1\]\.role is of type string \('bot'\)",
        ),
        (changed(TL_RAW, "conversations", 1, "role", to="function"), "of role 'function' follows no call"),
        (changed(TL_RAW, "conversations", 2, "content", to=None), r"conversations\[2\]\.content is missing"),
    ],
)
def test_bad_rows_name_their_field(row: dict[str, object], message: str):
    refuses(FORMAT, row, message)
