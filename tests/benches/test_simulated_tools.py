import json

import pytest

from tltrain.benches.simulated_tools import SimulatedTools
from tltrain.taxonomy import FeedbackKind as Kind
from tltrain.types import MalformedCall, Tool, ToolCall


def tool(name, *parameters, required=()):
    properties = {key: {"type": "string"} for key in parameters}
    return Tool(name=name, description="Looks.", parameters={"properties": properties, "required": list(required)})


TOOLS = SimulatedTools(
    [
        tool("look", "a", "b", "c", "code:", required=("a", "b", "c")),
        tool("twin", "x", required=("x",)),
        tool("twin", "y"),
        Tool(name="typed", parameters={"properties": {"n": {"type": "integer"}, "l": {"type": "array"}, "o": {}}}),
    ]
)


def answer(name, **arguments):
    return TOOLS.execute(ToolCall(name=name, arguments=arguments))


@pytest.mark.parametrize(
    ("name", "arguments", "text", "kind"),
    [
        ("lok", {}, "name 'lok' is not defined", Kind.TOOL_NOT_DEFINED),
        ("look", {"d": 1}, "look() got an unexpected keyword argument 'd'", Kind.UNEXPECTED_ARGUMENT),
        (
            "look",
            {"a": "", "b": ""},
            "look() missing 1 required positional argument: 'c'",
            Kind.MISSING_ARGUMENT,
        ),
        (
            "look",
            {"b": ""},
            "look() missing 2 required positional arguments: 'a' and 'c'",
            Kind.MISSING_ARGUMENT,
        ),
        (
            "look",
            {"code:": ""},
            "look() missing 3 required positional arguments: 'a', 'b', and 'c'",
            Kind.MISSING_ARGUMENT,
        ),
        ("look", {"a": "", "b": [], "c": ""}, "look() argument 'b' must be str, not list", Kind.TYPE_OR_VALUE),
        (
            "look",
            {"a": "", "b": "", "c": None},
            "look() argument 'c' must be str, not NoneType",
            Kind.TYPE_OR_VALUE,
        ),
        ("typed", {"n": True}, "typed() argument 'n' must be int, not bool", Kind.TYPE_OR_VALUE),
        ("typed", {"l": {}}, "typed() argument 'l' must be list, not dict", Kind.TYPE_OR_VALUE),
        ("twin", {"z": 1}, "twin() got an unexpected keyword argument 'z'", Kind.UNEXPECTED_ARGUMENT),
    ],
)
def test_errors_read_as_pythons(name, arguments, text, kind):
    feedback = TOOLS.execute(ToolCall(name=name, arguments=arguments))
    assert (feedback.text, feedback.error) == (text, kind)


def test_the_words_are_those_of_this_python():
    def look(a, b, c):
        pass

    for arguments in ({"d": 1}, {"a": "", "b": ""}, {"b": ""}, {}):
        with pytest.raises(TypeError) as raised:
            look(**arguments)
        expected = str(raised.value).rpartition("<locals>.")[2]
        assert TOOLS.execute(ToolCall(name="look", arguments=arguments)).text == expected


def test_calls_that_fit_the_documents_succeed():
    feedback = answer("look", a="x", b=3, c=True)
    assert feedback.error is None
    assert json.loads(feedback.text)["arguments"] == {"a": "x", "b": 3, "c": True}
    assert "Simulated" in feedback.text
    assert "Looks." in feedback.text
    assert answer("typed", n=3, l=[1], o=None).error is None
    assert answer("twin", x="1").error is None  # either of two namesakes will do
    assert answer("twin", y="1").error is None


def test_answers_depend_on_the_call_alone():
    assert answer("twin", x="1") == answer("twin", x="1")
    assert answer("twin", x="1") != answer("twin", x="2")


def test_calls_that_cannot_be_read():
    feedback = TOOLS.execute(MalformedCall(raw="look(", reason=""))
    assert feedback.error is Kind.TYPE_OR_VALUE
    assert feedback.text.startswith("Your output format does not match")
