"""JSON values as they are written in calls: strict JSON, and the Python spelling of the same values."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from tltrain.errors import DataError
from tltrain.types import Json

MAX_DEPTH = 64
"""Deepest nesting of lists and objects that is written or read; the recursion stays far from Python's own limit."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What the two spellings do not share."""

    bodies: Mapping[str, re.Pattern[str]]
    """For each quote: the inside of a string."""
    escape: re.Pattern[str]
    """One escape, as a hexadecimal `code`, an `octal` one or a `char`."""
    escaped_chars: Mapping[str, str]
    number: re.Pattern[str]
    constants: Mapping[str, Json]
    is_python: bool
    """Has tuples, commas after the last item, and keeps the backslash of an unknown escape."""


_CONSTANTS: dict[str, Json] = {"true": True, "false": False, "null": None}
_ESCAPED = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}

JSON = Dialect(
    bodies={'"': re.compile(r'[^"\\\x00-\x1f]*+(?:\\[^\x00-\x1f][^"\\\x00-\x1f]*+)*+')},
    escape=re.compile(r"\\(?:u(?P<code>[0-9a-fA-F]{4})|(?P<octal>(?!))|(?P<char>.))", re.DOTALL),
    escaped_chars=_ESCAPED,
    number=re.compile(r"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?"),
    constants=_CONSTANTS,
    is_python=False,
)
PYTHON = Dialect(
    bodies={quote: re.compile(rf"[^{quote}\\\n\r]*+(?:\\[^\n\r][^{quote}\\\n\r]*+)*+") for quote in ("'", '"')},
    escape=re.compile(
        r"\\(?:[xuU](?P<code>(?<=x)[0-9a-fA-F]{2}|(?<=u)[0-9a-fA-F]{4}|(?<=U)[0-9a-fA-F]{8})"
        r"|(?P<octal>[0-7]{1,3})|(?P<char>.))",
        re.DOTALL,
    ),
    escaped_chars=_ESCAPED | {"'": "'", "a": "\a", "v": "\v"},
    number=re.compile(r"-?(?:(?:0|[1-9][0-9]*+)(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?"),
    constants=_CONSTANTS | {"True": True, "False": False, "None": None},
    is_python=True,
)
"""What `ast.literal_eval` reads, where the value is JSON, and the JSON spelling of constants and escapes."""

_NEEDS_ESCAPES = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029'\"\\]")
_INVISIBLE = re.compile(r"[\x7f-\x9f\u2028\u2029]")


def write_value(value: Json, dialect: Dialect, depth: int = 0) -> str:
    """Write a value on one line, as `json.dumps` (with Unicode kept) and `repr` space it.

    Raises:
        DataError: deeper than `MAX_DEPTH`.
    """
    if isinstance(value, str):
        return write_string(value, dialect)
    if isinstance(value, Mapping | list | tuple):
        if depth >= MAX_DEPTH:
            raise DataError(f"a value is nested deeper than {MAX_DEPTH} levels; flatten it")
        if isinstance(value, Mapping):
            items = (
                f"{write_string(key, dialect)}: {write_value(item, dialect, depth + 1)}" for key, item in value.items()
            )
            return "{" + ", ".join(items) + "}"
        return "[" + ", ".join(write_value(item, dialect, depth + 1) for item in value) + "]"
    if dialect.is_python and (value is None or isinstance(value, bool)):
        return repr(value)
    return json.dumps(value)


def write_string(value: str, dialect: Dialect) -> str:
    """Write a string; in Python between single quotes where nothing needs an escape, else as JSON does."""
    if dialect.is_python and not _NEEDS_ESCAPES.search(value):
        return f"'{value}'"
    return _INVISIBLE.sub(lambda match: f"\\u{ord(match.group()):04x}", json.dumps(value, ensure_ascii=False))
