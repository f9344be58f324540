"""Laws that hold for every syntax."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syntax import strategies
from tltrain.errors import DataError, UsageError
from tltrain.syntax import SYNTAXES, CallSyntax, detect_syntax, get_syntax, parse_single
from tltrain.syntax.base import MAX_LENGTH
from tltrain.syntax.literals import JSON, MAX_DEPTH, PYTHON
from tltrain.syntax.reader import Reader, UnreadableError
from tltrain.taxonomy import json_equal
from tltrain.types import Json, MalformedCall, Tool, ToolCall

each_syntax = pytest.mark.parametrize("syntax", SYNTAXES.values(), ids=SYNTAXES)

PREFIXES = [
    *[
        "",
        "f(",
        "f(a=",
        "f(a='",
        '<tool_call>{"name": "f", "arguments": {"a": ',
        "f(a=[",
        "Action: f\nAction Input: {",
    ],
    *[
        '[TOOL_CALLS] [{"name": "f", "arguments": {"a": ',
        '{"name": "f", "parameters": {"a": ',
        "```tool_code\nf(a=",
    ],
]


def nested(depth: int) -> Json:
    value: Json = 1
    for level in range(depth):
        value = {"a": value} if level % 2 else [value]
    return value


@each_syntax
@settings(max_examples=40, deadline=None)
@given(calls=st.lists(strategies.calls, max_size=3))
def test_reading_inverts_writing(syntax: CallSyntax, calls: list[ToolCall]):
    text = syntax.render("", calls)
    parsed = syntax.parse(text)
    assert parsed.text == ""
    assert [(call.name, list(call.arguments)) for call in parsed.calls] == [
        (call.name, list(call.arguments)) for call in calls
    ]
    for read, written in zip(parsed.calls, calls, strict=True):
        assert json_equal(read.arguments, written.arguments)
    assert syntax.render("", parsed.calls) == text
    assert syntax.looks_complete(text) is bool(calls)


@each_syntax
@settings(max_examples=40, deadline=None)
@given(text=strategies.texts, calls=st.lists(strategies.calls, min_size=1, max_size=2))
def test_text_stands_beside_the_calls(syntax: CallSyntax, text: str, calls: list[ToolCall]):
    alone = syntax.parse(text)
    if alone.calls or alone.text != text.strip():  # it holds a mark of the syntax
        return
    parsed = syntax.parse(syntax.render(text, calls))
    assert parsed.text == text.strip()
    assert [call.name for call in parsed.calls] == [call.name for call in calls]


@each_syntax
@settings(max_examples=40, deadline=None)
@given(calls=st.lists(strategies.calls, min_size=1, max_size=2), before=st.sampled_from(["", "I look.\n", "\n  "]))
def test_spans_are_exact(syntax: CallSyntax, calls: list[ToolCall], before: str):
    text = before + syntax.render("", calls) + "\n"
    parsed = syntax.parse(text)
    dialect = PYTHON if syntax.name in {"python", "tool_code"} else JSON
    in_a_list = syntax.name == "mistral"  # whose brackets belong to the first and last call
    for call, spans in zip(parsed.calls, parsed.spans, strict=True):
        assert isinstance(call, ToolCall)
        assert spans.name is not None
        assert text[slice(*spans.call)] == call.raw
        assert in_a_list or syntax.parse(call.raw).calls == (call,)
        name = text[slice(*spans.name)]
        assert name == call.name or "\\" in name
        assert [parameter.name for parameter in spans.parameters] == list(call.arguments)
        for parameter in spans.parameters:
            key = text[slice(*parameter.key)]
            assert key == parameter.name or "\\" in key
            reader = Reader(text, parameter.value.start, dialect)
            assert json_equal(reader.value(), call.arguments[parameter.name])
            assert reader.position == parameter.value.end


@each_syntax
@settings(max_examples=150, deadline=None)
@given(text=st.one_of(strategies.call_like, st.text(st.characters(exclude_categories=[]))))
def test_any_text_can_be_read(syntax: CallSyntax, text: str):
    parsed = syntax.parse(text, tools=[Tool(name="f", parameters={"properties": {"a": {}}})])
    assert len(parsed.calls) == len(parsed.spans)
    end = 0
    for call, spans in zip(parsed.calls, parsed.spans, strict=True):
        assert spans.call.start >= end
        end = spans.call.end
        assert text[spans.call.start : end] == call.raw
        assert call.raw
    assert sum(len(call.raw) for call in parsed.calls) + len(parsed.text) <= len(text) + len(parsed.calls)
    syntax.looks_complete(text)


@each_syntax
@pytest.mark.parametrize(
    "piece",
    [
        *["[", "(", "{", '{"a":', "f(", "f(\n", "f(a=[\n", "'", '"', '"a"(\n', "\\", "1", "\n", " ", "a", "\x00", "é"],
        *["<tool_call>", '<tool_call>{"', '<tool_call>{"a":', "</tool_call>", "**{", "f(a=1)\n", "\ud800"],
        *["Action:", "Action: f\n", "Action: f\nAction Input: {\n", "\nAction Input:", "Thought:\n"],
        *[
            "[TOOL_CALLS] [",
            '[TOOL_CALLS] [{"name": "f", "arguments": {}}, ',
            "```tool_code\n",
            "f\n{",
            "<|assistant|>f\n{",
        ],
        *["<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>f<｜tool▁sep｜>", "to=functions.f", "<|channel|>commentary "],
        *["<|start|>assistant to=functions.f<|message|>{", "<|channel|>analysis<|message|>", "<|python_tag|>{"],
        *['{"name": "f", "parameters": {\n', '{"name":\n', "; "],
    ],
)
def test_long_repetitions_are_read_in_linear_time(syntax: CallSyntax, piece: str):
    # A quadratic reader would take minutes, and a recursive one the interpreter's stack.
    for prefix in PREFIXES:
        started = time.process_time()
        syntax.parse(prefix + piece * (20_000 // len(piece)))
        assert time.process_time() - started < 3, prefix


@each_syntax
@pytest.mark.parametrize(
    "piece", ["[", "f(a=1)\n", "f(a=[", '<tool_call>{"', "(", "'", "<tool_call>", "\x00", "9", "\\"]
)
@pytest.mark.parametrize("prefix", ["", "Prose.\nf(a=", '<tool_call>{"name": "'])
def test_megabytes_are_refused_at_once(syntax: CallSyntax, piece: str, prefix: str):
    started = time.process_time()
    parsed = syntax.parse(prefix + piece * (3_000_000 // len(piece)))
    assert time.process_time() - started < 2
    assert all("longer than 1,000,000 characters" in call.reason for call in parsed.calls)


@each_syntax
@pytest.mark.parametrize("size", [20, 5_000])
def test_a_call_in_a_text_beyond_the_limit_is_malformed(syntax: CallSyntax, size: int):
    text = syntax.render("", [ToolCall(name="f", arguments={"a": "x" * (MAX_LENGTH - size)})])
    assert isinstance(parse_single(syntax, text), MalformedCall) is (len(text) > MAX_LENGTH)
    assert isinstance(parse_single(syntax, text + " " * 5_000), MalformedCall)
    assert not syntax.parse("prose " * MAX_LENGTH).calls


@each_syntax
def test_depth_is_limited_alike_in_writing_and_reading(syntax: CallSyntax):
    deepest = ToolCall(name="f", arguments={"a": nested(MAX_DEPTH)})
    text = syntax.render("", [deepest])
    assert syntax.parse(text).calls == (deepest,)
    with pytest.raises(DataError, match="nested deeper than 64"):
        syntax.render("", [ToolCall(name="f", arguments={"a": nested(MAX_DEPTH + 1)})])
    call = parse_single(syntax, text.replace("1", "[1]"))
    assert isinstance(call, MalformedCall)
    assert "nested deeper than 64 levels" in call.reason


@each_syntax
def test_long_integers_are_malformed(syntax: CallSyntax):
    text = syntax.render("", [ToolCall(name="f", arguments={"a": 7})])
    call = parse_single(syntax, text.replace("7", "7" * 5_000))
    assert isinstance(call, MalformedCall)
    assert call.reason == "an integer has 5,000 digits"


@each_syntax
@pytest.mark.parametrize(
    "value", ["NaN", "Infinity", "-Infinity", "nan", "1e999", "1+1", "2*3", "0x10", "1_0", "f()", ""]
)
def test_values_that_are_no_json_are_malformed(syntax: CallSyntax, value: str):
    text = syntax.render("", [ToolCall(name="f", arguments={"a": 7})])
    assert isinstance(parse_single(syntax, text.replace("7", value)), MalformedCall)


@each_syntax
def test_malformed_calls_keep_their_text(syntax: CallSyntax):
    raw = {
        "python": "f(a=1 b=2)",
        "hermes": "<tool_call>{broken}</tool_call>",
        "react": "Action: f\nAction Input: {broken}",
        "mistral": "[TOOL_CALLS] [{broken}]",
        "deepseek": "<｜tool▁call▁begin｜>f<｜tool▁sep｜>{broken}<｜tool▁call▁end｜>",
        "harmony": "to=functions.f<|channel|>commentary json<|message|>{broken}",
        "tool_code": "```tool_code\nf(a=1 b=2)\n```",
        "glm": "f\n{broken}",
        "llama": '{"name": "f", "parameters": {broken}}',
    }[syntax.name]
    good = ToolCall(name="g", arguments={"a": 1})
    parsed = syntax.parse(syntax.render("I try.", [MalformedCall(raw=raw, reason="?"), good]))
    assert parsed.text == "I try."
    assert isinstance(parsed.calls[0], MalformedCall)
    assert parsed.calls[0].raw == raw
    assert parsed.calls[1] == good


@each_syntax
def test_single_call_has_nothing_beside_it(syntax: CallSyntax):
    call = ToolCall(name="f", arguments={"a": 1})
    assert parse_single(syntax, "\n" + syntax.render("", [call]) + " \n") == call
    for text, reason in [
        (syntax.render("Sure.", [call]), "text beside"),
        (syntax.render("", [call]) + "\nDone.", "text beside"),
        (syntax.render("", [call, call]), "2 calls"),
        ("Sure.", "no call"),
        ("", "no call"),
    ]:
        result = parse_single(syntax, text)
        assert isinstance(result, MalformedCall)
        assert reason in result.reason
        assert result.raw == text


def test_blank_text_before_calls_is_left_out_and_text_alone_is_kept():
    assert get_syntax("python").render(" \n", [ToolCall(name="f")]) == "f()"
    assert get_syntax("python").render("Hello ", []) == "Hello "
    assert get_syntax("python").render(" ", []) == " "


def test_unknown_syntax_is_refused_with_the_nearest_name():
    with pytest.raises(UsageError, match="did you mean hermes"):
        get_syntax("herms")
    with pytest.raises(UsageError, match="choose one of python, hermes"):
        get_syntax("zzz")


def test_chat_template_decides_the_syntax():
    assert detect_syntax("{{ '<tool_call>' }}").name == "hermes"
    assert detect_syntax("{{ '[TOOL_CALLS] [' }}").name == "mistral"
    assert detect_syntax("{{ messages }}").name == "python"
    assert detect_syntax(None).name == "python"


def test_reader_reports_where_the_text_does_not_fit():
    with pytest.raises(UnreadableError) as error:
        Reader("[1, x]", 0, JSON).value()
    assert error.value.position == 4
    assert error.value.reason == "expected a value, found 'x]'"
