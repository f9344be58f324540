import pytest
from hypothesis import given
from hypothesis import strategies as st

from tltrain.formats.python_types import convert_schema, object_schema, read_type


@pytest.mark.parametrize(
    ("name", "schema", "is_optional"),
    [
        ("str", {"type": "string"}, False),
        ("int, optional", {"type": "integer"}, True),
        ("float (optional)", {"type": "number"}, True),
        ("bool, optional, default True", {"type": "boolean"}, True),
        ("dict", {"type": "object"}, False),
        ("tuple", {"type": "array"}, False),
        ("any", {}, False),
        ("", {}, False),
        ("List[int]", {"type": "array", "items": {"type": "integer"}}, False),
        ("Tuple[float, float]", {"type": "array", "items": {"type": "number"}}, False),
        (
            "Dict[str, List[bool]]",
            {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "boolean"}}},
            False,
        ),
        ("List[Union[int, float]]", {"type": "array", "items": {"type": ["integer", "number"]}}, False),
        (
            "Union[str, List[str]]",
            {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
            False,
        ),
        ("int | None", {"type": ["integer", "null"]}, False),
        ("Optional[typing.List[str]]", {"type": "array", "items": {"type": "string"}}, True),
        ("['string', 'null']", {"type": ["string", "null"]}, False),
        ("Array[string]", {"type": "array", "items": {"type": "string"}}, False),
        ("Callable[[float], float]", {"x-type": "Callable[[float], float]"}, False),
        ("Weather", {"x-type": "Weather"}, False),
        ("List[", {"x-type": "List["}, False),
        ("[" * 500, {"x-type": "[" * 500}, False),
    ],
)
def test_type_names(name: str, schema: dict[str, object], is_optional: bool):
    assert read_type(name) == (schema, is_optional)


@given(st.text(st.sampled_from("List[int],| {}<>'optional\n"), max_size=30))
def test_any_name_gives_a_schema(name: str):
    assert set(read_type(name).schema) <= {"type", "items", "anyOf", "additionalProperties", "x-type"}


def test_parameters_called_like_keywords_of_a_schema_stay_parameters():
    schema = {"type": "dict", "properties": {"type": {"type": "float"}, "items": {"type": "tuple"}}, "enum": ["dict"]}
    assert convert_schema(schema) == {  # type: ignore[arg-type]
        "type": "object",
        "properties": {"type": {"type": "number"}, "items": {"type": "array"}},
        "enum": ["dict"],
    }
    assert object_schema({"type": {"type": "str"}})["properties"] == {"type": {"type": "string"}}


def test_what_is_required():
    parameters = {
        "a": {"type": "str"},
        "b": {"type": "str, optional"},
        "c": {"type": "str", "default": ""},
        "d": {"type": "str", "default": 1, "required": True},
        "e": "A text.",
        "f": 3,
    }
    schema = object_schema(parameters)  # type: ignore[arg-type]
    assert schema["required"] == ["a", "d", "e", "f"]
    assert schema["properties"]["e"] == {"description": "A text."}  # type: ignore[index,call-overload]
    assert object_schema({}) == {}
