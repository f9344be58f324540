"""Type names as tool documents write them (`str, optional`, `List[int]`, `dict`, `float`) -> JSON Schema.

Python's names, those of the typing module, those of JSON Schema, and what BFCL, Seal-Tools and ToolAlpaca make of them.
A name that is none of these gives a schema that takes any value and keeps the name under `x-type`.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from tltrain.types import Json

_NAMES = {
    "str": "string",
    "string": "string",
    "char": "string",
    "int": "integer",
    "integer": "integer",
    "long": "integer",
    "float": "number",
    "double": "number",
    "number": "number",
    "bool": "boolean",
    "boolean": "boolean",
    "list": "array",
    "array": "array",
    "tuple": "array",
    "set": "array",
    "sequence": "array",
    "iterable": "array",
    "dict": "object",
    "object": "object",
    "mapping": "object",
    "hashmap": "object",
    "arraylist": "array",
    "none": "null",
    "null": "null",
    "nonetype": "null",
}
_ANY = {"any", "", "anything"}
_NAME = re.compile(r"[^\[\](){},|<>]*+")
_OPTIONAL = re.compile(r"\s*,\s*optional\b.*|\s*\(optional\)\s*", re.IGNORECASE | re.DOTALL)
_CLOSING = {"[": "]", "{": "}", "<": ">", "(": ")"}
_MAX_DEPTH = 8
_MAX_LENGTH = 1000


class TypeName(NamedTuple):
    """What a type name says."""

    schema: dict[str, Json]
    """JSON Schema of the type alone; empty: any value."""
    is_optional: bool
    """The name says that the parameter may be left out."""


@lru_cache(maxsize=4096)
def read_type(name: str) -> TypeName:
    """Read a type name; whatever it is, the result is a valid schema. It is shared: do not change it."""
    bare, num_marks = _OPTIONAL.subn("", name.strip()[:_MAX_LENGTH])
    parser = _Parser(bare)
    schema = parser.union(0)
    if not parser.is_at_end or schema is None:
        return TypeName({"x-type": name}, num_marks > 0)
    return TypeName(schema, num_marks > 0 or bare.lower().startswith("optional["))


class _Parser:
    """Reads `A | B`, `A[B, C]`, `['a', 'b']`; a method returns None where the text is no type name."""

    def __init__(self, text: str):
        self._text = text
        self._position = 0

    @property
    def is_at_end(self) -> bool:
        return self._position >= len(self._text)

    def union(self, depth: int) -> dict[str, Json] | None:
        schemas = [self._single(depth)]
        while self._take("|"):
            schemas.append(self._single(depth))
        return _any_of(schemas)

    def _single(self, depth: int) -> dict[str, Json] | None:
        if depth > _MAX_DEPTH:
            return None
        if self._take("["):  # a list of types, as JSON Schema writes a union
            return _any_of(self._arguments("]", depth))
        match = _NAME.match(self._text, self._position)
        assert match is not None, "the pattern matches the empty string"
        self._position = match.end()
        name = match.group().strip().strip("'\"").lower().removeprefix("typing.")
        opening = self._text[self._position : self._position + 1]
        if opening not in {"[", "<"}:
            return _plain(name)
        self._position += 1
        return _generic(name, self._arguments(_CLOSING[opening], depth))

    def _arguments(self, closing: str, depth: int) -> list[dict[str, Json] | None]:
        items: list[dict[str, Json] | None] = []
        while not self.is_at_end:
            items.append(self.union(depth + 1))
            if self._take(closing):
                self._skip_blank()
                return items
            if not self._take(","):
                break
        return [None]

    def _take(self, symbol: str) -> bool:
        self._skip_blank()
        is_next = self._text.startswith(symbol, self._position)
        self._position += is_next
        return is_next

    def _skip_blank(self) -> None:
        while self._text[self._position : self._position + 1].isspace():
            self._position += 1


def _plain(name: str) -> dict[str, Json] | None:
    if name in _ANY:
        return {}
    return {"type": _NAMES[name]} if name in _NAMES else None


def _generic(name: str, arguments: list[dict[str, Json] | None]) -> dict[str, Json] | None:
    """`name[arguments]`."""
    known = [argument for argument in arguments if argument is not None]
    if len(known) < len(arguments):
        return None
    kind = _NAMES.get(name)
    if name == "optional" and len(known) == 1:
        return known[0]
    if name == "union":
        return _any_of(arguments)
    if kind == "array":
        items = _any_of(list(known)) if known else {}
        return {"type": "array", "items": items} if items else {"type": "array"}
    if kind == "object":
        values = known[1] if len(known) == 2 else {}
        return {"type": "object", "additionalProperties": values} if values else {"type": "object"}
    return None


def _any_of(schemas: list[dict[str, Json] | None]) -> dict[str, Json] | None:
    """The schema that takes what any of them takes; None if one of them is none."""
    distinct: list[dict[str, Json]] = []
    for schema in schemas:
        if schema is None:
            return None
        if schema not in distinct:
            distinct.append(schema)
    if len(distinct) == 1:
        return distinct[0]
    if not all(distinct):
        return {}
    if all(list(schema) == ["type"] and isinstance(schema["type"], str) for schema in distinct):
        return {"type": [schema["type"] for schema in distinct]}
    return {"anyOf": [*distinct]}


def convert_schema(schema: Json, depth: int = 0) -> Json:
    """A JSON Schema whose `type`s are names as above, with JSON Schema's own; all else stays as it is."""
    if depth > 64:
        return schema
    if isinstance(schema, list):
        return [convert_schema(item, depth + 1) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    converted: dict[str, Json] = {}
    for key, value in schema.items():
        if key == "type" and isinstance(value, str):
            converted.update(read_type(value).schema)
        elif key in {"properties", "patternProperties", "$defs", "definitions"} and isinstance(value, Mapping):
            # their keys are names of parameters: one may be called "type"
            converted[key] = {name: convert_schema(item, depth + 2) for name, item in value.items()}
        elif key in {"items", "prefixItems", "additionalProperties", "anyOf", "oneOf", "allOf", "not"}:
            converted[key] = convert_schema(value, depth + 1)
        else:
            converted[key] = value
    return converted


def object_schema(parameters: Mapping[str, Json]) -> dict[str, Json]:
    """JSON Schema of `{parameter: {"type", "description", "default"}}`, the flat form of xLAM and ToolRL.

    A parameter is required unless its type says `optional` or there is a `default`, even an empty one: sets that fill
    in an empty text wherever none was given do not tell which parameters a call needs. Without parameters the schema
    is empty. A full schema passes through.
    """
    kind = parameters.get("type")
    if isinstance(kind, str) and kind in {"object", "dict"} and isinstance(parameters.get("properties"), Mapping):
        converted = convert_schema(dict(parameters))
        assert isinstance(converted, dict), "an object stays one"
        return converted
    properties: dict[str, Json] = {}
    required: list[Json] = []
    for name, document in parameters.items():
        properties[name], is_required = _parameter(document)
        if is_required:
            required.append(name)
    if not properties:
        return {}
    return {"type": "object", "properties": properties, "required": required}


def _parameter(document: Json) -> tuple[Json, bool]:
    if isinstance(document, str):  # the description alone
        return {"description": document}, True
    if not isinstance(document, Mapping):
        return {}, True
    name = document.get("type")
    is_required = document.get("required")
    if not isinstance(is_required, bool):
        is_required = "default" not in document and not (isinstance(name, str) and read_type(name).is_optional)
    return convert_schema({key: value for key, value in document.items() if key != "required"}), is_required
