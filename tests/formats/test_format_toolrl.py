import pytest

from formats.reading import count, read_file, read_one, refuses, steps
from formats.research_rows import TOOLRL, changed, without
from shared import data_file
from tltrain.formats.toolrl import TOOLRL as FORMAT
from tltrain.formats.toolrl import read_call_lines
from tltrain.taxonomy import CallError, diagnose_schema
from tltrain.types import MalformedCall, Role, ToolCall


def test_history_and_answer():
    trajectory = read_one(FORMAT, TOOLRL)
    assert [message.role.value for message in trajectory.messages] == [
        *("user", "assistant", "tool", "tool", "assistant", "user", "assistant")
    ]
    user, called, *_, answered, _, last = trajectory.messages
    assert user.content == "Rain in Oslo and Rome?"
    assert called.reasoning == "I call."
    assert called.calls[0] == ToolCall(name="Get Weather", arguments={"city": "Oslo"})
    assert answered.content == "Rain, and sun."
    assert answered.reasoning == "I answer."
    assert [step.feedback for step in steps([trajectory])] == [
        '{"name": "Get Weather", "results": "rain"}',
        "sun",
        None,
        None,
    ]
    assert [message.weight for message in (called, answered, last)] == [0.0, 0.0, None]
    assert last.reasoning == "The <tool_call> tag is for calls."
    good, bad = last.calls
    assert good == ToolCall(name="now")
    assert isinstance(bad, MalformedCall)
    assert bad.raw == '{"name": "now", oops}'


def test_tools_and_the_frame_around_them():
    trajectory = read_one(FORMAT, TOOLRL)
    weather, now = trajectory.tools
    assert (weather.name, weather.description) == ("Get Weather", "Weather of a city")
    assert weather.properties == {
        "city": {"description": "Name", "type": "string", "default": ""},
        "days": {"description": "How far", "type": "integer", "default": "1"},
    }
    assert weather.required == frozenset()
    assert now.parameters == {}
    prompt = str(trajectory.provenance["prompt"])
    assert "You can use:\n{tools}\n\n**Steps" in prompt
    assert "Get Weather" not in prompt


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("I cannot.", ["I cannot."]),
        ('{"name": "f",\n "parameters": {}}', [ToolCall(name="f")]),
        (
            '{"name": "f", "arguments": {"a": 1}}, {"name": "g"}',
            [ToolCall(name="f", arguments={"a": 1}), ToolCall(name="g")],
        ),
        ('{"name": "f", "parameters": []}', ['{"name": "f", "parameters": []}']),
        ('{"parameters": {}}\n3', ['{"parameters": {}}', "3"]),
        (
            '{"name": "f", "parameters": {"a": 1\n{"name": "g"}',
            ['{"name": "f", "parameters": {"a": 1', ToolCall(name="g")],
        ),
        ('{"name": "f",\n"x"\n\n{"name": "g"}', ['{"name": "f",\n"x"', ToolCall(name="g")]),
    ],
)
def test_calls_stand_one_after_another(text: str, expected: list[ToolCall | str]):
    found = read_call_lines(text)
    assert [call.raw if isinstance(call, MalformedCall) else call for call in found] == expected


def test_text_outside_the_marks_is_kept():
    trajectory = read_one(FORMAT, changed(TOOLRL, "output", to="Hm. <think> I stop"))
    *_, first, second = trajectory.messages
    assert (first.content, second.reasoning) == ("Hm.", "I stop")
    assert read_one(FORMAT, changed(TOOLRL, "input", to="Rain?")).messages[0].content == "Rain?"


def test_a_feedback_that_cannot_be_split_answers_the_first_call():
    row = changed(
        TOOLRL, "input", to=TOOLRL["input"].replace('[{"name": "Get Weather", "results"', "[[").split("<user> The")[0]
    )
    feedback = [step.feedback for step in steps([read_one(FORMAT, row)])][:2]
    assert feedback[0]
    assert feedback[1] is None


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (without(TOOLRL, "output"), "output is missing"),
        (changed(TOOLRL, "instruction", to="Be kind."), "lists no \\*\\*Available Tools"),
        (changed(TOOLRL, "input", to="<obs> 1 </obs>"), "has an <obs> that follows no <tool_call>"),
        (
            changed(TOOLRL, "instruction", to=TOOLRL["instruction"].replace('": {"desc', '" {"desc')),
            "parameters of 'Get Weather' are no JSON",
        ),
    ],
)
def test_bad_rows_name_their_field(row: dict[str, object], message: str):
    refuses(FORMAT, row, message)


def test_the_real_rows():
    # 576 calls in 346 outputs, and 52 more in the history of the 37 inputs that carry feedback. 2 golden calls use an
    # unlisted tool and 11 an unlisted parameter; one tool is listed twice in a row, hence 1,215 instead of 1,214.
    found = read_file(FORMAT, data_file("toolrl/rlla_sft.json"))
    assert count(found) == (400, 628, 0, 52)
    answers = [trajectory.messages[-1] for trajectory in found]
    assert all(message.role is Role.ASSISTANT and message.reasoning and message.weight is None for message in answers)
    assert [
        sum(map(bool, numbers))
        for numbers in zip(*[(m.calls, len(m.calls) > 1, m.content) for m in answers], strict=True)
    ] == [346, 159, 54]
    assert sum(len(message.calls) for message in answers) == 576
    assert sum(any(m.role is Role.TOOL for m in trajectory.messages) for trajectory in found) == 37
    names = [tool.name for trajectory in found for tool in trajectory.tools]
    assert (len(names), sum(not name.isidentifier() for name in names)) == (1215, 505)
    errors = [
        error
        for trajectory in found
        for call in trajectory.messages[-1].calls
        for error in diagnose_schema(call, trajectory.tools).errors
    ]
    assert {error: errors.count(error) for error in set(errors)} == {
        CallError.TOOL_HALLUCINATION: 2,
        CallError.PARAM_HALLUCINATED: 11,
    }
