"""Right calls as rows of other programs hold them."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from tltrain.errors import DataError
from tltrain.files import decode_json
from tltrain.formats.chat_fields import read_call, read_tools
from tltrain.syntax import CallSyntax, parse_single
from tltrain.taxonomy import OneOf, RightCall
from tltrain.types import MalformedCall, Tool, ToolCall

_FORMS = 'write a call as text or {"name", "arguments"}, a list of calls, {"any_of": [calls]}, or null for no call'


def read_golds(value: Any, syntax: CallSyntax, tools: Sequence[Tool], field: str = "gold") -> tuple[RightCall, ...]:
    """The calls that are right in one turn; none where no call is right.

    Args:
        value: a call, as text of the syntax or as `{"name", "arguments"}` (or OpenAI's, as `function` of an object);
            `{"any_of": [...]}`, calls of which any will do; a list of these, all of them to be made, in any order;
            null or an empty list: no call. Each may also be JSON text.
        syntax: of texts.
        tools: give names to arguments that texts write by position.
        field: what messages call it.

    Raises:
        DataError: names the field, what is wrong and what to write.
    """
    value = _plain(value)
    if isinstance(value, str) and value.strip()[:1] in ("{", "[", "n"):
        with suppress(ValueError):  # else it is a call whose name begins so
            value = decode_json(value)
    if value is None:
        return ()
    if isinstance(value, list | tuple):
        return tuple(_read_right(one, syntax, tools, f"{field}[{index}]") for index, one in enumerate(value))
    return (_read_right(value, syntax, tools, field),)


def read_offered(value: Any, field: str = "tools") -> tuple[Tool, ...]:
    """The tools on offer: a list of `{"name", "parameters"}` or OpenAI's, JSON text of one, or pydantic objects.

    Raises:
        DataError: names what is wrong.
    """
    value = _plain(value)
    if isinstance(value, list | tuple):
        value = [one.model_dump() if hasattr(one, "model_dump") else one for one in value]
    return read_tools({"tools": value}, field)


def _read_right(value: Any, syntax: CallSyntax, tools: Sequence[Tool], field: str) -> RightCall:
    value = _plain(value)
    if isinstance(value, Mapping) and "any_of" in value:
        calls = _plain(value["any_of"])
        if not isinstance(calls, list) or not calls:
            raise DataError(f"{field}.any_of: is no list of calls, or empty; {_FORMS}")
        found = (_read_one(one, syntax, tools, f"{field}.any_of[{index}]") for index, one in enumerate(calls))
        return OneOf(tuple(found))
    return _read_one(value, syntax, tools, field)


def _read_one(value: Any, syntax: CallSyntax, tools: Sequence[Tool], field: str) -> ToolCall:
    value = _plain(value)
    if isinstance(value, str):
        call = parse_single(syntax, value, tools=tools)
        if isinstance(call, MalformedCall):
            raise DataError(f"{field}: not one {syntax.name} call: {call.reason}; correct it, or {_FORMS}")
        return call
    if not isinstance(value, Mapping):
        raise DataError(f"{field}: is of type {type(value).__name__}; {_FORMS}")
    found = read_call(value, "right call", field)
    if isinstance(found, MalformedCall):
        raise DataError(f"{field}: cannot be read: {found.reason}; {_FORMS}")
    return found


def _plain(value: Any) -> Any:
    """Arrays, as tables give lists, made lists."""
    return value.tolist() if hasattr(value, "tolist") else value
