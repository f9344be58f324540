"""Reading fields of a record that nothing is known of: each mistake names the place, the value and the remedy."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import NoReturn

from tltrain.errors import DataError
from tltrain.files import decode_json, json_type
from tltrain.formats.python_text import read_python
from tltrain.syntax.literals import PYTHON
from tltrain.syntax.reader import Reader, UnreadableError
from tltrain.types import AnyCall, Json, MalformedCall, Tool, ToolCall

MAX_TEXT = 10_000_000
"""Longest text, in characters, in which a value is looked for."""
_SHOWN = 60
"""Characters of a wrong value that a message shows."""


def fail(where: str, field: str, problem: str, remedy: str) -> NoReturn:
    """Raise the `DataError` that says where, what is wrong, and what to do."""
    raise DataError(f"{where}: {field} {problem}; {remedy}")


def described(value: Json) -> str:
    """A wrong value, for a message: its type and the beginning of a text or number."""
    if value is None:
        return "is missing"
    shown = f" ({str(value)[:_SHOWN]!r})" if isinstance(value, str) else ""
    shown = f" ({value})" if isinstance(value, bool | int | float) else shown
    return f"is of type {json_type(value)}{shown}"


def read_text(record: Mapping[str, Json], key: str, where: str, *, of: str = "") -> str:
    """A field that must be text.

    Args:
        record: the object that has the field.
        key: its name.
        where: with what an error begins.
        of: how the object is called in an error, such as `steps[2]`; empty for the record itself.
    """
    value = record.get(key)
    if not isinstance(value, str):
        fail(where, f"{of}.{key}" if of else key, described(value), "give a text")
    return value


def read_list(record: Mapping[str, Json], key: str, where: str, *, of: str = "") -> list[Json]:
    """A field that must be a list; see `read_text`."""
    value = record.get(key)
    if not isinstance(value, list):
        fail(where, f"{of}.{key}" if of else key, described(value), "give a list")
    return value


def read_object(record: Mapping[str, Json], key: str, where: str, *, of: str = "") -> dict[str, Json]:
    """A field that must be an object; see `read_text`."""
    return expect_object(record.get(key), where, f"{of}.{key}" if of else key)


def expect_object(value: Json, where: str, field: str) -> dict[str, Json]:
    """A value that must be an object."""
    if not isinstance(value, dict):
        fail(where, field, described(value), "give an object")
    return value


def keep(record: Mapping[str, Json], keys: Iterable[str]) -> dict[str, Json]:
    """Those of the fields that are there and not null, for provenance."""
    return {key: record[key] for key in keys if record.get(key) is not None}


def missing(record: Json, **kinds: type | tuple[type, ...]) -> str | None:
    """Why a record lacks what a format must have: the first field that is not there, or of another type.

    Args:
        record: any value.
        kinds: name of each field that must be there -> its type.
    """
    if not isinstance(record, dict):
        return f"the record is a JSON {json_type(record)}, not an object"
    for key, kind in kinds.items():
        if not isinstance(record.get(key), kind):
            return f"{key!r} {described(record.get(key))}"
    return None


def sections(pattern: re.Pattern[str], text: str) -> list[tuple[re.Match[str], str]]:
    """Each place where the pattern matches, with the text from its end to the next one."""
    marks = list(pattern.finditer(text))
    stops = [mark.start() for mark in marks[1:]] + [len(text)]
    return [(mark, text[mark.end() : stop]) for mark, stop in zip(marks, stops, strict=False)]


def read_value(text: str) -> Json:
    """A value that is written as JSON or as a Python literal; nothing is evaluated.

    Raises:
        ValueError: one sentence on why it is no JSON, as most texts are meant to be JSON.
    """
    if len(text) > MAX_TEXT:
        raise ValueError(f"the text is longer than {MAX_TEXT:,} characters")
    try:
        return decode_json(text)
    except ValueError as error:
        try:
            return read_python(text)
        except ValueError:
            raise error from None


def read_value_at(text: str, position: int) -> tuple[Json, int]:
    """The JSON or Python value that starts at an offset, and the offset after it.

    Raises:
        ValueError: none can be read there.
    """
    reader = Reader(text, position, PYTHON)
    try:
        return reader.value(), reader.position
    except UnreadableError as error:
        raise ValueError(f"{error.reason}, at character {error.position + 1}") from None


def read_call(name: Json, arguments: Json, *, raw: str = "", identifier: str | None = None) -> AnyCall:
    """A call out of a name and its arguments; what cannot be read is kept as malformed.

    Args:
        name: of the tool.
        arguments: an object, or text of one, JSON or Python; none and blank text mean no arguments.
        raw: the call as the model wrote it, where the file has that text; for a malformed call it is else made up.
        identifier: ties the call to its feedback.
    """
    written = arguments if isinstance(arguments, str) else _shown(arguments)
    kept = raw or (f"{name}({written})" if isinstance(name, str) and name else written)
    if not isinstance(name, str) or not name:
        return MalformedCall(raw=kept, reason="the call names no tool", id=identifier)
    value = arguments
    if isinstance(value, str):
        try:
            value = read_value(value) if value.strip() else {}
        except ValueError as error:
            return MalformedCall(raw=kept, reason=f"the arguments are {error}", id=identifier)
    if value is None:
        value = {}
    if not isinstance(value, dict):
        reason = f"the arguments are a JSON {json_type(value)}, not an object"
        return MalformedCall(raw=kept, reason=reason, id=identifier)
    return ToolCall(name=name, arguments=value, raw=raw, id=identifier)


def _shown(value: Json) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def read_tool(value: Json, where: str, field: str) -> Tool:
    """A tool out of `{"name", "description", "parameters"}`, bare or as the `function` of an object."""
    outer = expect_object(value, where, field)
    inner = outer.get("function")
    tool = inner if isinstance(inner, dict) else outer
    name = tool.get("name")
    if not isinstance(name, str) or not name:
        fail(where, f"{field}.name", described(name) if name != "" else "is empty", "give the tool's name")
    description, parameters = tool.get("description"), tool.get("parameters")
    if not isinstance(description, str | None):
        fail(where, f"{field}.description", described(description), "give a text")
    if not isinstance(parameters, dict | None):
        fail(where, f"{field}.parameters", described(parameters), "give a JSON Schema object")
    return Tool(name=name, description=description or "", parameters=parameters or {})
