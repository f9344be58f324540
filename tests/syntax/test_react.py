import pytest

from tltrain.syntax.react import ReactSyntax
from tltrain.types import MalformedCall, ToolCall

SYNTAX = ReactSyntax()
MOVE = ToolCall(name="move", arguments={"id": "ev1", "n": 3})
WRITTEN = 'Action: move\nAction Input: {"id": "ev1", "n": 3}'


def test_calls_are_written_after_their_thought():
    assert SYNTAX.render("I move it.", [MOVE, MOVE]) == f"Thought: I move it.\n{WRITTEN}\n{WRITTEN}"
    assert SYNTAX.render(" ", [MOVE]) == WRITTEN
    assert SYNTAX.render("Thought: done ", []) == "Thought: done "


@pytest.mark.parametrize("name", ["get weather", "a-b.c", "Search: all", '"quoted"', " led", "two\nlines", "\x85", "é"])
def test_any_name_survives(name: str):
    call = ToolCall(name=name)
    assert SYNTAX.parse(SYNTAX.render("", [call])).calls == (call,)


@pytest.mark.parametrize(
    "text",
    [
        f"Thought: So.\n{WRITTEN}",
        f"  Thought : So.\n\n{WRITTEN}\n",
        "So.\n Action : move\r\nAction Input :\n{\n'id': 'ev1', 'n': 3,\n}\r\n",
    ],
)
def test_blanks_and_python_quotes_are_free(text: str):
    parsed = SYNTAX.parse(text)
    assert parsed.calls == (MOVE,)
    assert parsed.text == "So."


def test_an_empty_thought_is_no_text():
    assert SYNTAX.parse(f"Thought:\n{WRITTEN}").text == ""


def test_the_label_of_a_thought_without_a_call_is_kept():
    assert SYNTAX.parse("Thought: I am done.").text == "Thought: I am done."
    assert SYNTAX.parse(f"{WRITTEN}\nThought: done").text == "Thought: done"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Action: move", "no 'Action Input:'"),
        ("Action:\nAction Input: {}", "names no tool"),
        ('Action: ""\nAction Input: {}', "is empty"),
        ('Action: "f" g\nAction Input: {}', "text beside it"),
        ("Action: move\nAction Input:", "expected '{', found the end"),
        ("Action: move\nAction Input: ev1", "expected '{'"),
        ('Action: move\nAction Input: ["ev1"]', "expected '{'"),
        ('Action: move\nAction Input: {"id": ${id from find}}', "expected a value"),
        ('Action: move\nAction Input: {"id": "ev1"', "expected ',' or '}'"),
        ('Action: move\nAction Input: {"id": "ev1"} and so on', "nothing after the arguments"),
        ('Action: move\nAction Input: {"id": 1, "id": 2}', "the key 'id' occurs twice"),
    ],
)
def test_attempts_that_cannot_be_read_are_malformed(text: str, reason: str):
    (call,) = SYNTAX.parse(text).calls
    assert isinstance(call, MalformedCall)
    assert reason in call.reason
    assert call.raw == text


def test_a_broken_call_ends_before_the_next_label():
    parsed = SYNTAX.parse(f"Action: f\nAction Input: {{oh\nmore\nObservation: x\nThought: again\n{WRITTEN}")
    assert [call.raw for call in parsed.calls] == ["Action: f\nAction Input: {oh\nmore", WRITTEN]
    assert parsed.text == "Observation: x\nThought: again"


@pytest.mark.parametrize("text", ["", "An Action: f", "Action Input: {}", "Actions: many", "f(a=1)"])
def test_text_without_an_action_line_holds_no_call(text: str):
    assert SYNTAX.parse(text).calls == ()
    assert SYNTAX.parse(text).text == text


def test_spans_of_name_keys_and_values():
    text = f"So.\n{WRITTEN}"
    (spans,) = SYNTAX.parse(text).spans
    assert spans.name is not None
    assert text[slice(*spans.call)] == WRITTEN
    assert text[slice(*spans.name)] == "move"
    assert [text[slice(*parameter.key)] for parameter in spans.parameters] == ["id", "n"]
    assert [text[slice(*parameter.value)] for parameter in spans.parameters] == ['"ev1"', "3"]


def test_sampling_stops_at_the_closing_bracket_and_not_before():
    text = 'Thought: a}\nAction: f\nAction Input: {"a": "}", "b": {"c": 1}}'
    assert [SYNTAX.looks_complete(text[:end]) for end in range(len(text) + 1)] == [False] * len(text) + [True]
