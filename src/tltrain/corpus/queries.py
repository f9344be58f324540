"""What makes two rows the same: the first query of the user, the tools, and the whole conversation, as keys."""

import hashlib
import json
import re
import unicodedata
from typing import NamedTuple

import orjson

from tltrain.types import AnyCall, Message, Role, Tool, ToolCall, Trajectory

Key = bytes
"""16 bytes that stand for a text or a row; equal for equal ones."""

_HALF_TEXT = 2000
"""Characters kept of each end of a long query when texts are compared for likeness."""
_SIGNS_IN_NUMBERS = "-*/.,:"
_NO_NUMBER_FOLLOWS = re.compile(r"[-*/.,:](?!\d)")


class _Blanks(dict[int, str]):
    """Translation table: a blank for every sign that is no letter, mark, number, currency or mathematical symbol."""

    def __missing__(self, code: int) -> str:
        sign = chr(code)
        category = unicodedata.category(sign)
        keep = category[0] in "LMN" or category in ("Sm", "Sc") or sign in _SIGNS_IN_NUMBERS
        self[code] = sign if keep else " "
        return self[code]


_BLANKS = _Blanks()


def normalise(text: str) -> str:
    """A text without what a copy of it may differ in: case, punctuation, width of characters, white space.

    Signs that belong to a number stay (-5, 3.5, 5/3, $20). A text of nothing but signs stays as it is.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    bare = _NO_NUMBER_FOLLOWS.sub(" ", folded.translate(_BLANKS))
    return " ".join(bare.split()) or " ".join(folded.split())


def first_query(trajectory: Trajectory) -> str:
    """The first message of the user; empty where none speaks."""
    return next((message.content for message in trajectory.messages if message.role is Role.USER), "")


def tool_names(trajectory: Trajectory) -> frozenset[str]:
    """The set of tools, as their names: formats differ in how they write one document, not in the name."""
    return frozenset(tool.name for tool in trajectory.tools)


class Task(NamedTuple):
    """What a row asks for, and with what."""

    query: str
    """Normalised; of a long one, both ends. Empty: no user speaks."""
    query_key: Key
    """Of the whole normalised query."""
    tools: frozenset[str]
    """Names."""


def read_task(trajectory: Trajectory) -> Task:
    """The task of a trajectory."""
    query = normalise(first_query(trajectory))
    key = make_key(query)
    if len(query) > 2 * _HALF_TEXT:
        query = f"{query[:_HALF_TEXT]} {query[-_HALF_TEXT:]}"
    return Task(query, key, tool_names(trajectory))


def make_key(*parts: str) -> Key:
    """The key of one or more texts in order."""
    # Lone surrogates cannot come out of strict JSON, yet a trajectory built in code may hold one.
    text = "\0".join(parts).encode(errors="surrogatepass")
    return hashlib.blake2b(text, digest_size=16).digest()


def row_key(trajectory: Trajectory) -> Key:
    """The key of a whole row.

    Equal for rows with the same tool documents in any order and the same messages, whatever their ids, provenance and
    white space. Loss weights count: a row that is masked otherwise teaches something else.
    """
    return make_key(*sorted(map(_tool_text, trajectory.tools)), "", *map(_message_text, trajectory.messages))


def _tool_text(tool: Tool) -> str:
    return f"{tool.name} {_squeeze(tool.description)} {_dump(tool.parameters)}"


def _message_text(message: Message) -> str:
    parts = [message.role.value, _squeeze(message.content), _squeeze(message.reasoning)]
    parts += map(_call_text, message.calls)
    if message.weight is not None or message.spans:
        parts.append(f"{message.weight} {message.spans}")
    return "\1".join(parts)


def _call_text(call: AnyCall) -> str:
    return f"{call.name} {_dump(call.arguments)}" if isinstance(call, ToolCall) else f"? {_squeeze(call.raw)}"


def _squeeze(text: str) -> str:
    return " ".join(text.split())


def _dump(value: object) -> str:
    try:
        return orjson.dumps(value, default=dict, option=orjson.OPT_SORT_KEYS).decode()
    except orjson.JSONEncodeError:  # an integer of more than 64 bits, or deeper than orjson goes
        return json.dumps(value, sort_keys=True, ensure_ascii=False, default=dict)


def shorten(text: str, length: int = 160) -> str:
    """A text on one line, for people to look at."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 3]}..."
