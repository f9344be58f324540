"""What a value is against its JSON Schema, as far as public tool documents use it.

Read: type (a name or a list of names, also Python's, such as `str` and `dict`), enum, const, anyOf, oneOf, allOf,
nullable, properties, required, additionalProperties, items. Every other word is ignored, a schema that makes no sense
allows everything, and nothing raises: documents are as untrusted as calls.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple

from tltrain.taxonomy import json_equal
from tltrain.types import Json

_MAX_DEPTH = 12
_MAX_ITEMS = 100
"""Items of an array that are looked at."""
_MAX_FAULTS = 20
_TYPE_NAMES: Mapping[str, tuple[str, ...]] = {
    "string": ("string", "str", "text", "varchar", "char", "date", "datetime", "time", "uuid", "email", "uri", "url"),
    "integer": ("integer", "int", "long", "int32", "int64", "bigint", "short"),
    "number": ("number", "float", "double", "decimal", "numeric", "real", "int or float"),
    "boolean": ("boolean", "bool"),
    "array": ("array", "list", "tuple", "set", "sequence"),
    "object": ("object", "dict", "dictionary", "map", "hashmap", "mapping"),
    "null": ("null", "none", "nonetype"),
}
_TYPES = {name: kind for kind, names in _TYPE_NAMES.items() for name in names}


_PLAIN_TYPES: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("string", "str"), (str,)),
    **dict.fromkeys(("integer", "int"), (int,)),
    **dict.fromkeys(("number", "float"), (int, float)),
    **dict.fromkeys(("boolean", "bool"), (bool,)),
}
_ASKING_WORDS = frozenset({"const", "anyOf", "oneOf", "allOf"})


class FaultKind(StrEnum):
    """What is wrong with a value."""

    TYPE = "type"
    LOOSE_TYPE = "loose_type"
    """The wrong type, but its text reads as the right one: "5" for an integer. Most services take it."""
    ENUM = "enum"
    MISSING = "missing"
    """A property that an object inside the arguments must have."""
    UNKNOWN = "unknown"
    """A property that an object inside the arguments may not have."""


class Fault(NamedTuple):
    """One thing that is wrong."""

    path: str
    """Dotted, with indices: `passengers[0].age`."""
    kind: FaultKind
    words: str
    """What is wrong, in words."""


def is_plainly_right(value: Json, schema: Json) -> bool:
    """True only for a scalar of the one type that the schema asks for, where it asks for no more than one of a list.

    Also for a list of such.
    """
    if not isinstance(schema, dict) or not _ASKING_WORDS.isdisjoint(schema):
        return False
    kind = schema.get("type")
    if kind == "array" and type(value) is list and "enum" not in schema:
        items = schema.get("items")
        return items is None or all(is_plainly_right(item, items) for item in value)
    if not isinstance(kind, str) or type(value) not in _PLAIN_TYPES.get(kind, ()):
        return False
    allowed = schema.get("enum")
    return allowed is None or (isinstance(value, str) and isinstance(allowed, list) and value in allowed)


def find_faults(value: Json, schema: Json, path: str) -> list[Fault]:
    """Everything that is wrong with a value, at most 20 faults.

    Args:
        value: decoded JSON.
        schema: the document of the value, of any form.
        path: what the value is called in the faults.
    """
    faults: list[Fault] = []
    for fault in _faults(value, schema, path, 0):
        faults.append(fault)
        if len(faults) == _MAX_FAULTS:
            break
    return faults


def _faults(value: Json, schema: Json, path: str, depth: int) -> Iterator[Fault]:
    if not isinstance(schema, dict) or depth > _MAX_DEPTH or (value is None and schema.get("nullable") is True):
        return
    types = types_of(schema)
    if types and _type_of(value) not in types and not ("number" in types and _type_of(value) == "integer"):
        kind = FaultKind.LOOSE_TYPE if any(_reads_as(value, name) for name in types) else FaultKind.TYPE
        yield Fault(path, kind, f"is {_type_of(value)}, not {' or '.join(sorted(types))}")
        return
    allowed = schema.get("enum")
    if isinstance(allowed, list) and allowed:
        # documents often put the values of the items beside the type array
        given = value if isinstance(value, list) and not any(isinstance(one, list) for one in allowed) else [value]
        found = [fault for one in given[:_MAX_ITEMS] if (fault := _against_list(one, allowed)) is not None]
        if found:
            yield Fault(path, max(found, key=_GRAVITY.index), f"is none of {_listed(allowed)}")
            return
    if "const" in schema and not json_equal(value, schema["const"]):
        yield Fault(path, FaultKind.ENUM, f"is not {_text(schema['const'])}")
        return
    yield from _combined(value, schema, path, depth)
    if isinstance(value, dict):
        yield from _members(value, schema, path, depth)
    elif isinstance(value, list):
        items = schema.get("items")
        for index, item in enumerate(value[:_MAX_ITEMS]):
            yield from _faults(item, items, f"{path}[{index}]", depth + 1)


_GRAVITY = (FaultKind.LOOSE_TYPE, FaultKind.ENUM)


def _against_list(value: Json, allowed: list[Json]) -> FaultKind | None:
    if any(json_equal(value, one) for one in allowed):
        return None
    word = _text(value).strip().lower()
    return FaultKind.LOOSE_TYPE if any(_text(one).strip().lower() == word for one in allowed) else FaultKind.ENUM


def _combined(value: Json, schema: Mapping[str, Json], path: str, depth: int) -> Iterator[Fault]:
    for word in ("anyOf", "oneOf"):
        options = schema.get(word)
        if not isinstance(options, list) or not all(isinstance(option, dict) for option in options) or not options:
            continue
        tried = [list(_faults(value, option, path, depth + 1)) for option in options]
        if all(tried):
            # the option that the value comes nearest to says most
            yield from min(tried, key=lambda faults: (faults[0].path == path, len(faults)))
    every = schema.get("allOf")
    for part in every if isinstance(every, list) else ():
        yield from _faults(value, part, path, depth + 1)


def _members(value: Mapping[str, Json], schema: Mapping[str, Json], path: str, depth: int) -> Iterator[Fault]:
    properties = schema.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    required = schema.get("required")
    for name in required if isinstance(required, list) else ():
        if isinstance(name, str) and name not in value:
            yield Fault(f"{path}.{name}", FaultKind.MISSING, "is required and not given")
    for name, item in value.items():
        if name in properties:
            yield from _faults(item, properties[name], f"{path}.{name}", depth + 1)
        elif schema.get("additionalProperties") is False and properties:
            yield Fault(f"{path}.{name}", FaultKind.UNKNOWN, "is not in the document")


def types_of(schema: Mapping[str, Json]) -> frozenset[str]:
    """The JSON types that a schema allows; empty where it allows all, or names one that nobody knows."""
    named = schema.get("type")
    names = named if isinstance(named, list) else [named]
    found: set[str] = set()
    for name in names:
        word = name.strip().lower() if isinstance(name, str) else ""
        is_optional = word.startswith("optional[") and word.endswith("]")
        word = word[len("optional[") : -1] if is_optional else word
        kind = _TYPES.get(word.split("[")[0].split("<")[0].strip())
        if kind is None:
            return frozenset()
        found |= {kind, "null"} if is_optional else {kind}
    return frozenset(found)


def _type_of(value: Json) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "integer" if value.is_integer() else "number"
        case str():
            return "string"
        case dict():
            return "object"
    return "array"


def _reads_as(value: Json, kind: str) -> bool:
    """True if the text of a scalar is that of a value of the kind, or the kind is text."""
    if isinstance(value, dict | list) or value is None:
        return False
    text = _text(value).strip()
    if kind == "string":
        return True
    if kind == "boolean":
        return text.lower() in {"true", "false", "0", "1"}
    if kind not in {"integer", "number"} or not isinstance(value, str) or len(text) > 40:
        return False
    try:
        number = float(text)
    except ValueError:
        return False
    return number.is_integer() if kind == "integer" and number == number and abs(number) < 1e300 else kind == "number"


def _text(value: Json) -> str:
    return value if isinstance(value, str) else repr(value)


def _listed(values: list[Json]) -> str:
    shown = ", ".join(_text(value)[:40] for value in values[:6])
    return shown if len(values) <= 6 else f"{shown} and {len(values) - 6} more"
