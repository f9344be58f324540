import pytest

from tltrain.syntax.python_call import PythonCallSyntax
from tltrain.types import Json, MalformedCall, Tool, ToolCall

SYNTAX = PythonCallSyntax()
SEARCH = Tool(name="search", parameters={"properties": {"query": {}, "limit": {}}, "required": ["query"]})


def arguments_of(text: str, tools: tuple[Tool, ...] = ()) -> dict[str, Json]:
    (call,) = SYNTAX.parse(text, tools=tools).calls
    assert isinstance(call, ToolCall), call
    return dict(call.arguments)


def reason_of(text: str, tools: tuple[Tool, ...] = ()) -> str:
    (call,) = SYNTAX.parse(text, tools=tools).calls
    assert isinstance(call, MalformedCall), call
    assert call.raw == text.strip()
    return call.reason


@pytest.mark.parametrize(
    ("call", "written"),
    [
        (ToolCall(name="now"), "now()"),
        (ToolCall(name="move", arguments={"id": "ev1", "n": 3}), "move(id='ev1', n=3)"),
        (ToolCall(name="math.factorial", arguments={"n": 5}), "math.factorial(n=5)"),
        (ToolCall(name="preferred-routes_get"), "preferred-routes_get()"),
        (ToolCall(name="get weather", arguments={"city": "Rome"}), "'get weather'(city='Rome')"),
        (ToolCall(name="a\nb"), '"a\\nb"()'),
        (ToolCall(name="f", arguments={"a": True, "b": None, "c": False}), "f(a=True, b=None, c=False)"),
        (ToolCall(name="f", arguments={"a": [1, 2.5, []], "b": {}}), "f(a=[1, 2.5, []], b={})"),
        (ToolCall(name="f", arguments={"a": {"k": "v", "n": None}}), "f(a={'k': 'v', 'n': None})"),
        (ToolCall(name="f", arguments={"a": "it's"}), 'f(a="it\'s")'),
        (ToolCall(name="f", arguments={"a": 'say "hi"'}), 'f(a="say \\"hi\\"")'),
        (ToolCall(name="f", arguments={"a": "b\\c\n\x01\x7f\u2028é"}), 'f(a="b\\\\c\\n\\u0001\\u007f\\u2028é")'),
        (ToolCall(name="f", arguments={"odd key": 1, "b": 2, "": 3}), "f(**{'odd key': 1}, b=2, **{'': 3})"),
        (ToolCall(name="f", arguments={"from": 1, "ä": 1e308}), "f(from=1, ä=1e+308)"),
    ],
)
def test_calls_are_written_as_python_does(call: ToolCall, written: str):
    assert SYNTAX.render("", [call]) == written
    assert SYNTAX.parse(written).calls == (call,)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("'it\\'s'", "it's"),
        ("\"it's (x) = '5'\"", "it's (x) = '5'"),
        ("'a\\tb\\\\'", "a\tb\\"),
        ("'\\x41\\u0042\\U0001F642\\103\\0'", "AB🙂C\x00"),
        ("'\\ud83d\\ude42'", "🙂"),
        ("'\\d+\\/'", "\\d+/"),
        ("true", True),
        ("null", None),
        ("None", None),
        ("( 1, 2 )", [1, 2]),
        ("(1,)", [1]),
        ("(1)", 1),
        ("()", []),
        ("((1), ('a',))", [1, ["a"]]),
        ("[1, 2,]", [1, 2]),
        ("{'a': [{}],}", {"a": [{}]}),
        ("[\n  1,\n  2\n]", [1, 2]),
        ("-0", 0),
        (".5", 0.5),
        ("5.", 5.0),
        ("1E3", 1000.0),
    ],
)
def test_values_are_read_as_python_and_json_spell_them(written: str, value: Json):
    read = arguments_of(f"f(a={written})")["a"]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    "text", ["f(a = 1 , b='x')", "f( a\n=\n1,b = 'x', )", "\n  f(\n    a=1,\n    b='x'\n)  \n", "f(a=1,b='x')\r\n"]
)
def test_blanks_are_free(text: str):
    assert arguments_of(text) == {"a": 1, "b": "x"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("f(a='x' b='y')", "expected ',' or ')', found \"b='y')\""),
        ("f(a='x'; b='y')", "expected ',' or ')'"),
        ("f(a='x'))", "nothing after the call on its line, found ')'"),
        ("f(a='x') and then done", "nothing after the call on its line"),
        ("f(a='x', b='y'", "expected ',' or ')', found the end"),
        ("f(a='x, b='y')", "expected ',' or ')', found \"y')\""),
        ("f(a='x", "expected ' at the end of the string, found the end"),
        ("f(a='x\ny')", "expected ' at the end of the string"),
        ("f(a=1, a=1)", "the parameter 'a' is given twice"),
        ("f(a=1, **{'a': 1})", "the parameter 'a' is given twice"),
        ("f(a={'k': 1, 'k': 2})", "the key 'k' occurs twice"),
        ("f(a={1: 2})", "expected a quoted string"),
        ("f(a={1, 2})", "expected a quoted string"),
        ("f(a=1/6)", "expected ',' or ')'"),
        ("f(a==1)", "expected a value"),
        ("f(,)", "expected a value"),
        ("f(a=1,,b=2)", "expected a value"),
        ("f(a=query)", "expected a value"),
        ("f(a=g(1))", "expected a value"),
        ("f(a=Truely)", "expected a value"),
        ("f(a=007)", "expected ',' or ')'"),
        ("f(a='\\ud83d')", "half of a surrogate pair"),
        ("f(a='\ud83d')", "half of a surrogate pair"),
        ("f(a='\\xzz')", "invalid escape \\x"),
        ("f(a='\\N{DASH}')", "invalid escape \\N"),
        ("f(a='\\U00110000')", "invalid escape \\U00110000"),
        ("f(a=1]", "expected ',' or ')'"),
        ("f(", "expected a value, found the end"),
        ("f('x')", "argument 1 is given by position, and f is no tool whose parameters are known"),
        ("''(a=1)", "the name of the tool is empty"),
        ("'\\xzz'(a=1)", "invalid escape"),
        ("f(a='x')  # comment", "nothing after the call on its line"),
    ],
)
def test_attempts_that_cannot_be_read_are_malformed(text: str, reason: str):
    assert reason in reason_of(text)


def test_arguments_by_position_take_the_parameters_in_order():
    assert arguments_of("search('x')", (SEARCH,)) == {"query": "x"}
    assert arguments_of("search('x', 5)", (SEARCH,)) == {"query": "x", "limit": 5}
    assert arguments_of("search('x', limit=5)", (SEARCH,)) == {"query": "x", "limit": 5}
    assert "argument 3 is given by position, and search has 2 parameters" in reason_of("search(1, 2, 3)", (SEARCH,))
    assert "follows one by name" in reason_of("search(limit=5, 'x')", (SEARCH,))
    assert "'query' is given twice" in reason_of("search('x', query='y')", (SEARCH,))
    (spans,) = SYNTAX.parse("search('x')", tools=[SEARCH]).spans
    assert spans.parameters[0].key == (7, 7)
    assert spans.parameters[0].value == (7, 10)


def test_spans_of_name_keys_and_values():
    text = "Let me see.\n  'odd name'(a = [1, 2], **{'b c': \"d\"})"
    (spans,) = SYNTAX.parse(text).spans
    assert text[slice(*spans.call)] == "'odd name'(a = [1, 2], **{'b c': \"d\"})"
    assert spans.name is not None
    assert text[slice(*spans.name)] == "odd name"
    assert [text[slice(*parameter.key)] for parameter in spans.parameters] == ["a", "b c"]
    assert [text[slice(*parameter.value)] for parameter in spans.parameters] == ["[1, 2]", '"d"']


@pytest.mark.parametrize(
    "text",
    [
        "I do not know how to help with that.",
        "search",
        "search query='x'",
        "search[query='x']",
        "(query='x')",
        '{"name": "f", "arguments": {}}',
        "Action: f\nAction Input: {}",
        "I call f(a=1) now.",
        "The model (a small one) failed.",
        "Two options:\nMeeting(s) on Tuesday\nCall(er) ID",
        "",
        "  \n",
    ],
)
def test_prose_is_text(text: str):
    parsed = SYNTAX.parse(text)
    assert parsed.calls == ()
    assert parsed.text == text.strip()


def test_lines_around_and_between_calls_are_text():
    parsed = SYNTAX.parse("First this.\n\nf(a=1)\n\n```\ng()\n```\nThen wait.\n")
    assert [call.name for call in parsed.calls if isinstance(call, ToolCall)] == ["f", "g"]
    assert parsed.text == "First this.\n```\n```\nThen wait."


def test_an_attempt_after_prose_is_malformed_up_to_the_next_attempt():
    parsed = SYNTAX.parse("I look.\nf(a='x'\n  and more\ng(b=2)\nh(c=")
    assert [call.raw for call in parsed.calls] == ["f(a='x'\n  and more", "g(b=2)", "h(c="]
    assert [type(call) for call in parsed.calls] == [MalformedCall, ToolCall, MalformedCall]
    assert parsed.text == "I look."


def test_a_text_that_starts_like_a_call_is_an_attempt():
    assert "expected a value" in reason_of("Note(s) follow")


@pytest.mark.parametrize(
    ("text", "is_complete"),
    [
        ("f(a=1)", True),
        ("Sure.\nf(a=')')", True),
        ("f('x')", True),
        ("f(a=1)\ng(", True),
        ("f(a=')", False),
        ("f(a=[1)", False),
        ("f(a=(1)", False),
        ("f(a=1", False),
        ("I could call f(a=1).", False),
        ("Hello", False),
        ("f(a='\\')", False),
    ],
)
def test_completeness(text: str, is_complete: bool):
    assert SYNTAX.looks_complete(text) is is_complete


def test_sampling_stops_at_the_closing_bracket_and_not_before():
    text = "I look it up.\n'odd (name)'(a=\"f(b=')')\", b={'c': (1, 2)})"
    assert [SYNTAX.looks_complete(text[:end]) for end in range(len(text) + 1)] == [False] * len(text) + [True]
