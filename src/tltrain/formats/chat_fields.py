"""Fields of chat rows, as OpenAI writes them and its many descendants vary them: tools, texts and calls, both ways."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from tltrain.errors import DataError
from tltrain.files import decode_json, json_type
from tltrain.formats.loss_fields import read_weight
from tltrain.types import AnyCall, Json, MalformedCall, Tool, ToolCall, WeightSpan

_TEXT_PARTS = {
    "text": "text",
    "input_text": "text",
    "output_text": "text",
    "thinking": "thinking",
    "reasoning": "text",
}
"""Type of a part of a message -> the field that holds its text."""
_THINKING = {"thinking", "reasoning"}

_NAMED_RAW = re.compile(r"(?P<name>[A-Za-z_][\w.\-]*)\((?P<arguments>.*)\)", re.DOTALL)


def bad(where: str, field: str, problem: str, remedy: str) -> DataError:
    """The error that says where, what is wrong, and what to do."""
    return DataError(f"{where}: {field} {problem}; {remedy}")


def read_tools(row: Mapping[str, Any], where: str) -> tuple[Tool, ...]:
    """The `tools` of a row, or its `functions` of old: a list, or JSON text of one.

    Raises:
        DataError: names what is wrong; so do the other functions here.
    """
    field = "functions" if row.get("tools") is None else "tools"
    value = row.get(field)
    if isinstance(value, str):
        try:
            value = decode_json(value) if value.strip() else []
        except ValueError as error:
            raise bad(where, field, f"is text, and {error}", "give a list of tools, or JSON text of one") from None
    if value is None:
        return ()
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise bad(where, field, f"is of type {json_type(value)}", "give a list of tools")
    key = _key_of(value)
    known = _TOOL_LISTS.get(key) if key is not None else None
    if known is not None:
        return known
    tools = tuple(read_tool(tool, where, f"{field}[{index}]") for index, tool in enumerate(value))
    if key is not None:
        if len(_TOOL_LISTS) >= _MAX_TOOL_LISTS:
            _TOOL_LISTS.clear()
        _TOOL_LISTS[key] = tools
    return tools


_TOOL_LISTS: dict[bytes, tuple[Tool, ...]] = {}
"""Tool lists read before, by their JSON: most rows of a file offer one of a few lists."""
_MAX_TOOL_LISTS = 64
_MAX_KEY = 65_536
"""Bytes of JSON up to which a list is remembered."""


def _key_of(value: Sequence[Any]) -> bytes | None:
    try:
        key = orjson.dumps(value)
    except orjson.JSONEncodeError:
        return None
    return key if len(key) <= _MAX_KEY else None


def read_tool(value: Any, where: str, field: str) -> Tool:
    """One tool: `{"name", "description", "parameters"}`, bare or as the `function` of an object.

    The schema may also be called `input_schema` or `inputSchema`, and may be JSON text.
    """
    if isinstance(value, Mapping) and isinstance(value.get("function"), Mapping):
        value, field = value["function"], f"{field}.function"
    if not isinstance(value, Mapping):
        raise bad(where, field, f"is of type {json_type(value)}", "give an object with name and parameters")
    name = value.get("name")
    if not isinstance(name, str) or not name:
        problem = "is missing or empty" if not name else f"is of type {json_type(name)}"
        raise bad(where, f"{field}.name", problem, "give the tool's name")
    description = value.get("description")
    if not isinstance(description, str | None):
        raise bad(where, f"{field}.description", f"is of type {json_type(description)}", "give a string")
    schemas = (value.get(key) for key in ("parameters", "input_schema", "inputSchema"))
    parameters: Any = next((schema for schema in schemas if schema), {})
    if isinstance(parameters, str):
        parameters = _decoded(parameters, where, f"{field}.parameters")
    if not isinstance(parameters, Mapping):
        problem = f"is of type {json_type(parameters)}"
        raise bad(where, f"{field}.parameters", problem, "give a JSON Schema object")
    return Tool(name=name, description=description or "", parameters=dict(parameters))


def _decoded(text: str, where: str, field: str) -> Json:
    try:
        return decode_json(text)
    except ValueError as error:
        raise bad(where, field, f"is text, and {error}", "give a value, or JSON text of one") from None


class Text(NamedTuple):
    """The text of a message that may be given in parts."""

    content: str
    reasoning: str = ""
    """Of parts that are marked as thinking."""
    spans: tuple[WeightSpan, ...] = ()
    """Weights that the parts carry."""


def read_text(value: Mapping[str, Any], key: str, where: str, field: str, *, is_feedback: bool = False) -> Text:
    """Text of a message: a string, null, or a list of text parts. Feedback may be any JSON, kept as JSON text."""
    content = value.get(key)
    if isinstance(content, str):
        return Text(content)
    if content is None or content == []:
        return Text("")
    if isinstance(content, list) and all(map(_is_text_part, content)):
        return _join_parts(content, where, f"{field}.{key}")
    if is_feedback:
        return Text(json.dumps(content, ensure_ascii=False))
    raise bad(where, f"{field}.{key}", "is neither a string nor a list of text parts", "give the text alone")


def _is_text_part(part: Any) -> bool:
    kind = _TEXT_PARTS.get(str(part.get("type"))) if isinstance(part, dict) else None
    return kind is not None and isinstance(part.get(kind), str)


def _join_parts(parts: list[dict[str, Any]], where: str, field: str) -> Text:
    content, reasoning = "", ""
    spans: list[WeightSpan] = []
    for index, part in enumerate(parts):
        text = part[_TEXT_PARTS[part["type"]]]
        weight = read_weight(part, where, f"{field}[{index}]")
        is_thinking = part["type"] in _THINKING
        if weight is not None and text:
            start = len(reasoning if is_thinking else content)
            name = "reasoning_content" if is_thinking else "content"
            spans.append(WeightSpan(name, start, start + len(text), weight))
        if is_thinking:
            reasoning += text
        else:
            content += text
    return Text(content, reasoning, tuple(spans))


def read_optional(value: Mapping[str, Any], key: str, where: str, field: str) -> str | None:
    """A text or an integer, as identifiers are; None where there is none."""
    text = value.get(key)
    if text is None or isinstance(text, str):
        return text
    if isinstance(text, int) and not isinstance(text, bool):
        return str(text)
    raise bad(where, f"{field}.{key}", f"is of type {json_type(text)}", "give a string")


def read_calls(value: Mapping[str, Any], where: str, field: str) -> Iterator[AnyCall]:
    """The `tool_calls` of a message, a list or JSON text of one, or its `function_call` of old."""
    calls = value.get("tool_calls")
    if calls is None:
        legacy = value.get("function_call")
        calls = [] if legacy is None else [{"function": legacy}]
    if isinstance(calls, str):
        calls = _decoded(calls, where, f"{field}.tool_calls")
    if not isinstance(calls, list):
        raise bad(where, f"{field}.tool_calls", f"is of type {json_type(calls)}", "give a list of calls")
    for index, call in enumerate(calls):
        yield _read_plain_call(call) or read_call(call, where, f"{field}.tool_calls[{index}]")


def _read_plain_call(value: Any) -> ToolCall | None:
    """A call as most are, without a name for its place; None for every other, right or wrong."""
    function = value.get("function") if isinstance(value, dict) and "malformed" not in value else None
    if not isinstance(function, dict):
        return None
    name, arguments, identifier = function.get("name"), function.get("arguments"), value.get("id")
    if not name or not isinstance(name, str) or not (identifier is None or isinstance(identifier, str)):
        return None
    if isinstance(arguments, str):
        try:
            arguments = decode_json(arguments)
        except ValueError:
            return None
    return ToolCall(name=name, arguments=arguments, id=identifier) if isinstance(arguments, dict) else None


def read_call(value: Any, where: str, field: str) -> AnyCall:
    """One call: `{"id", "function": {"name", "arguments"}}` or its inner object; malformed if it cannot be read."""
    if not isinstance(value, Mapping):
        raise bad(where, field, f"is of type {json_type(value)}", "give an object with a function")
    function = value.get("function") if value.get("function") is not None else value
    if not isinstance(function, Mapping):
        raise bad(
            where, f"{field}.function", f"is of type {json_type(function)}", "give an object with name, arguments"
        )
    name = function.get("name")
    if not isinstance(name, str | None):
        raise bad(where, f"{field}.function.name", f"is of type {json_type(name)}", "give the tool's name")
    if name is None and function.get("arguments") is None:
        raise bad(where, f"{field}.function.name", "is missing, as are the arguments", "give the tool's name")
    identifier = read_optional(value, "id", where, field)
    arguments = function.get("arguments")
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    raw = f"{name}({text})" if name else text
    malformed = read_optional(value, "malformed", where, field)
    if malformed is not None:
        return MalformedCall(raw=raw, reason=malformed, id=identifier)
    if not name:
        return MalformedCall(raw=raw, reason="the call names no tool", id=identifier)
    try:
        decoded = decode_arguments(arguments)
    except ValueError as error:
        return MalformedCall(raw=raw, reason=str(error), id=identifier)
    return ToolCall(name=name, arguments=decoded, id=identifier)


def decode_arguments(value: Any) -> dict[str, Json]:
    """Arguments as an object; no arguments and blank text mean none.

    Raises:
        ValueError: the text is no JSON, or the value no object.
    """
    if isinstance(value, str):
        try:
            value = decode_json(value) if value.strip() else {}
        except ValueError as error:
            raise ValueError(f"the arguments are {error}") from None
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError(f"the arguments are a JSON {json_type(value)}, not an object")
    return dict(value)


def write_tool(tool: Tool) -> dict[str, Json]:
    """A tool as `read_tool` reads it."""
    function: dict[str, Json] = {
        "name": tool.name,
        "description": tool.description,
        "parameters": dict(tool.parameters),
    }
    return {"type": "function", "function": function}


def write_call(call: AnyCall, *, with_fault: bool = True) -> dict[str, Json]:
    """A call as `read_call` reads it; `with_fault` says why a malformed one cannot be read."""
    row: dict[str, Json] = {} if call.id is None else {"id": call.id}
    row["type"] = "function"
    if isinstance(call, ToolCall):
        arguments = json.dumps(dict(call.arguments), ensure_ascii=False, allow_nan=False)
        row["function"] = {"name": call.name, "arguments": arguments}
        return row
    named = _NAMED_RAW.fullmatch(call.raw)
    row["function"] = dict(named.groupdict()) if named else {"name": "", "arguments": call.raw}
    if with_fault:
        row["malformed"] = call.reason
    return row
