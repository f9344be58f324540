import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tltrain.audit.call_check import CALL_RULES, check_call
from tltrain.audit.json_schema import find_faults
from tltrain.types import MalformedCall, Tool, ToolCall

BOOK = Tool(
    name="book",
    parameters={
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "nights": {"type": "int"},
            "class": {"enum": ["economy", "business"]},
            "guests": {
                "type": "array",
                "items": {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]},
            },
        },
        "required": ["city"],
    },
)


def rules(arguments, *tools, name="book"):
    return [witness.rule for witness in check_call(ToolCall(name=name, arguments=arguments), tools or (BOOK,))]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({"city": "Ulm"}, []),
        ({}, ["call:param_missing"]),
        ({"city": "Ulm", "town": "Ulm"}, ["call:param_hallucination"]),
        ({"town": "Ulm"}, ["call:param_hallucination", "call:param_missing"]),
        ({"city": ["Ulm"]}, ["call:type"]),
        ({"city": None}, ["call:type"]),
        ({"city": "Ulm", "nights": None}, []),  # null is how many writers leave a parameter out
        ({"city": "Ulm", "nights": "two"}, ["call:type"]),
        ({"city": "Ulm", "nights": "2"}, ["call:loose_type"]),
        ({"city": "Ulm", "nights": 2.0}, []),
        ({"city": "Ulm", "nights": True}, ["call:type"]),
        ({"city": "Ulm", "class": "first"}, ["call:enum"]),
        ({"city": "Ulm", "class": "Economy"}, ["call:loose_type"]),
        ({"city": "Ulm", "guests": [{"age": 3}, {}]}, ["call:param_missing"]),
        ({"city": "Ulm", "guests": [{"age": [3]}]}, ["call:type"]),
    ],
)
def test_a_call_against_its_document(arguments, found):
    assert rules(arguments) == found


def test_the_words_name_the_place():
    (witness,) = check_call(ToolCall(name="book", arguments={"city": "Ulm", "guests": [{"age": []}]}), (BOOK,))
    assert witness.words == "guests[0].age is array, not integer"
    assert (witness.says, witness.kind) == ("error", "type_or_value")


def test_tools():
    assert rules({}, name="fly") == ["call:tool_hallucination"]
    assert [one.rule for one in check_call(ToolCall(name="fly"), ())] == []
    assert [one.rule for one in check_call(MalformedCall(raw="book(", reason="no end"), ())] == ["call:format_error"]
    assert rules({"odd": 1}, Tool(name="book")) == []  # no document, nothing to break
    assert (
        rules({"odd": 1}, Tool(name="book", parameters={"properties": {"a": {}}, "additionalProperties": True})) == []
    )


def test_one_of_several_documents_of_a_name_is_enough():
    other = Tool(name="book", parameters={"properties": {"city": {"type": "array"}}})
    assert rules({"city": ["Ulm"]}, BOOK, other) == []
    assert rules({"city": 5.5}, BOOK, other) == ["call:loose_type"]


def test_rules_that_are_off_are_not_asked():
    call = ToolCall(name="book", arguments={"town": 1})
    assert [one.rule for one in check_call(call, (BOOK,), off={"call:param_missing"})] == ["call:param_hallucination"]


@pytest.mark.parametrize(
    ("value", "schema", "kinds"),
    [
        (1, {"type": ["string", "integer"]}, []),
        (None, {"type": "string", "nullable": True}, []),
        (None, {"anyOf": [{"type": "string"}, {"type": "null"}]}, []),
        ([], {"anyOf": [{"type": "string"}, {"type": "null"}]}, ["type"]),
        (
            {"a": []},
            {"anyOf": [{"type": "null"}, {"type": "object", "properties": {"a": {"type": "number"}}}]},
            ["type"],
        ),
        ([1, "x"], {"type": "List[int]", "items": {"type": "int"}}, ["type"]),
        (3, {"type": "Optional[str]"}, ["loose_type"]),
        (None, {"type": "Optional[str]"}, []),
        ("x", {"type": "banana"}, []),
        ("x", {"type": {"odd": 1}}, []),
        ("x", "no schema", []),
        ("x", {"allOf": [{"type": "string"}, {"enum": ["y"]}]}, ["enum"]),
        ({"a": 1, "b": 2}, {"properties": {"a": {}}, "additionalProperties": False}, ["unknown"]),
        (True, {"enum": [1]}, ["enum"]),
        (["a", "b"], {"type": "array", "enum": ["a", "b", "c"]}, []),
        (["a", "x"], {"type": "array", "enum": ["a", "b", "c"]}, ["enum"]),
        (["a", "B"], {"type": "array", "enum": ["a", "b", "c"]}, ["loose_type"]),
        ([["a"]], {"enum": [["a"]]}, ["enum"]),
        (["a"], {"enum": [["a"]]}, []),
        (2, {"const": 3}, ["enum"]),
        ({}, {"type": "dict"}, []),
        (1.5, {"type": "integer"}, ["type"]),
        ("nan", {"type": "integer"}, ["type"]),
        ("1e3", {"type": "float"}, ["loose_type"]),
    ],
)
def test_values(value, schema, kinds):
    assert [fault.kind for fault in find_faults(value, schema, "x")] == kinds


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "enum", "anyOf", "items", "properties", "required", "allOf", "const", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.text(max_size=4), anything, max_size=3), st.dictionaries(st.text(max_size=4), anything))
def test_no_document_and_no_call_raises(arguments, document):
    tools = (Tool(name="t", parameters={"properties": document, "required": ["x", 3]}), Tool(name="t"))
    for witness in check_call(ToolCall(name="t", arguments=arguments), tools):
        assert witness.rule in CALL_RULES


def test_deep_documents_and_values_end():
    schema, value = {"type": "integer"}, "x"
    for _ in range(5000):
        schema, value = {"items": schema}, [value]
    assert find_faults(value, schema, "x") == []
