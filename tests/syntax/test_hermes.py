import pytest

from tltrain.syntax.hermes import HermesSyntax
from tltrain.types import MalformedCall, ToolCall

SYNTAX = HermesSyntax()
MOVE = ToolCall(name="move", arguments={"id": "ev1", "n": 3})
WRITTEN = '<tool_call>\n{"name": "move", "arguments": {"id": "ev1", "n": 3}}\n</tool_call>'


def body(text: str) -> str:
    return f"<tool_call>\n{text}\n</tool_call>"


def test_calls_are_written_as_the_models_templates_do():
    assert SYNTAX.render("I move it.", [MOVE, MOVE]) == f"I move it.\n{WRITTEN}\n{WRITTEN}"
    assert SYNTAX.render("", [MOVE]) == WRITTEN


def test_tags_within_values_are_written_with_escapes():
    call = ToolCall(name="f", arguments={"a": "</tool_call>\\<tool_call>"})
    written = SYNTAX.render("", [call])
    assert written.count("</tool_call>") == written.count("<tool_call>") == 1
    assert SYNTAX.parse(written).calls == (call,)


def test_tags_within_values_are_read_as_they_are():
    text = body('{"name": "f", "arguments": {"a": "</tool_call> <tool_call>"}}')
    assert SYNTAX.parse(text).calls == (ToolCall(name="f", arguments={"a": "</tool_call> <tool_call>"}),)


def test_text_stands_around_the_tags():
    parsed = SYNTAX.parse(f"First.\n{WRITTEN} and\n{WRITTEN}\n\nThen. ")
    assert parsed.calls == (MOVE, MOVE)
    assert parsed.text == "First.\nand\nThen."


def test_fields_may_come_in_any_order_and_others_are_passed_over():
    text = body('{"id": 7, "arguments": {"id": "ev1", "n": 3}, "name": "move"}')
    assert SYNTAX.parse(text).calls == (MOVE,)


def test_spans_of_name_keys_and_values():
    (spans,) = SYNTAX.parse(f"So:\n{WRITTEN}").spans
    text = f"So:\n{WRITTEN}"
    assert text[slice(*spans.call)] == WRITTEN
    assert spans.name is not None
    assert text[slice(*spans.name)] == "move"
    assert [text[slice(*parameter.key)] for parameter in spans.parameters] == ["id", "n"]
    assert [text[slice(*parameter.value)] for parameter in spans.parameters] == ['"ev1"', "3"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (body("move(id='ev1')"), "expected '{'"),
        (body('{"name": "f"}'), "the call has no 'arguments'"),
        (body('{"arguments": {}}'), "the call has no 'name'"),
        (body('{"name": 1, "arguments": {}}'), "the name of the tool is no string"),
        (body('{"name": "", "arguments": {}}'), "or empty"),
        (body('{"name": "f", "arguments": "{}"}'), "the arguments are no object"),
        (body('{"name": "f", "arguments": null}'), "the arguments are no object"),
        (body('{"name": "f", "arguments": {"a": 1, "a": 1}}'), "the key 'a' occurs twice"),
        (body("{'name': 'f', 'arguments': {}}"), "expected a quoted string"),
        (body('{"name": "f", "arguments": {"a": True}}'), "expected a value"),
        (body('{"name": "f", "arguments": {"a": .5}}'), "expected a value"),
        (body('{"name": "f", "arguments": {"a": 5.}}'), "expected ',' or '}'"),
        (body('{"name": "f", "arguments": {"a": 1,}}'), "expected a quoted string"),
        (body('{"name": "f", "arguments": {"a": (1)}}'), "expected a value"),
        (body('{"name": "f", "arguments": {"a": "\\d"}}'), "invalid escape \\d"),
        (body('{"name": "f", "arguments": {"a": "\\u12"}}'), "invalid escape \\u"),
        (body('{"name": "f", "arguments": {"a": "x\ny"}}'), 'expected " at the end of the string'),
        (body('{"name": "f", "arguments": {}} {}'), "expected '</tool_call>'"),
        (body('[{"name": "f", "arguments": {}}]'), "expected '{'"),
        ('<tool_call>\n{"name": "f", "arguments": {}}', "expected '</tool_call>', found the end"),
        ("<tool_call>", "expected '{', found the end"),
    ],
)
def test_tagged_text_that_cannot_be_read_is_malformed(text: str, reason: str):
    parsed = SYNTAX.parse(text)
    (call,) = parsed.calls
    assert isinstance(call, MalformedCall)
    assert reason in call.reason
    assert call.raw == text
    assert parsed.text == ""


def test_reading_goes_on_after_a_broken_call():
    parsed = SYNTAX.parse(f"<tool_call>{{oh</tool_call>\nHm.\n<tool_call>no {WRITTEN}")
    assert [call.raw for call in parsed.calls] == ["<tool_call>{oh</tool_call>", "<tool_call>no", WRITTEN]
    assert parsed.text == "Hm."


@pytest.mark.parametrize("text", ["", "Hello", '{"name": "f", "arguments": {}}', "x </tool_call>", "f(a=1)"])
def test_text_without_an_opening_tag_holds_no_call(text: str):
    assert SYNTAX.parse(text).calls == ()
    assert SYNTAX.parse(text).text == text
    assert not SYNTAX.looks_complete(text)


def test_sampling_stops_at_the_closing_tag_and_not_before():
    text = 'So:\n<tool_call>{"name": "f", "arguments": {"a": "</tool_call>"}}</tool_call>'
    assert [SYNTAX.looks_complete(text[:end]) for end in range(len(text) + 1)] == [False] * len(text) + [True]


def test_sampling_stops_at_the_closing_tag_of_a_broken_call():
    assert SYNTAX.looks_complete(body("{oh}"))
    assert not SYNTAX.looks_complete("<tool_call>{oh}")
