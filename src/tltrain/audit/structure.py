"""Reading structured feedback: JSON, the printed form of Python values, and either of them cut short.

Tools print dictionaries with `str()`, and harnesses cut long feedback anywhere, so a strict reader would miss most
of what data sets hold. The lenient reader here reads as far as it can and executes nothing.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

import orjson

from tltrain.types import Json

_STRICT_LIMIT = 2_000_000
"""Characters up to which the whole text goes through the strict JSON reader."""
_LENIENT_LIMIT = 20_000
"""Characters that the lenient reader looks at; what decides stands near the top."""
_MAX_DEPTH = 40
_WORDS: dict[str, Json] = {"true": True, "false": False, "null": None, "none": None}
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.])")
_PRINTED_OBJECT = re.compile(r"[A-Za-z_][\w.]{0,80}\((?=\s*(?:[A-Za-z_]\w{0,80}\s*=[^=]))")
"""`ToolResult(output=None, ...`: how Python prints a record; its fields read as those of an object."""
_FIELD_NAME = re.compile(r"\s*([A-Za-z_]\w{0,80})\s*=")
_STRING_START = re.compile(r"[bruBRU]{0,2}(['\"])")
_PLAIN_STRING = {quote: re.compile(rf"([^{quote}\\]*){quote}") for quote in "'\""}
"""The rest of a string without escapes."""
_SPACE = re.compile(r"\s*")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "\n": ""}


class Structure(NamedTuple):
    """A decoded value."""

    value: Json
    is_whole: bool
    """False where the text ended, or stopped making sense, before the value was complete."""


def read_structure(text: str) -> Structure | None:
    """Decode an object, a list or a quoted string that makes up the whole text; None if it is none of these.

    Integers of more than 64 bits may come as floats; no rule looks at their last digits.
    """
    text = text.strip()
    if text.endswith(")") and _PRINTED_OBJECT.match(text):
        structure = _read_leniently(text)
        return structure if structure is not None and structure.is_whole else None
    if not text or text[0] not in '{["':
        return None
    if len(text) <= _STRICT_LIMIT:
        try:
            return Structure(orjson.loads(text), True)
        except (ValueError, RecursionError):
            pass  # perhaps no JSON, perhaps one with NaN
    return _read_leniently(text)


def _read_leniently(text: str) -> Structure | None:
    if text[0] not in "{[" and not text.endswith(")"):
        return None
    reader = _Reader(text[:_LENIENT_LIMIT])
    try:
        value = reader.read_value(0)
    except _NoStructureError:
        return None
    rest = text[reader.position :].strip()
    if rest and reader.is_whole and (isinstance(value, list) or text[0] != "{"):
        return None  # prose that begins with a bracket: `[1] Smith et al.`
    return Structure(value, reader.is_whole and len(text) <= _LENIENT_LIMIT)


class _NoStructureError(Exception):
    """The text does not begin like a JSON or Python value."""


class _Reader:
    """A recursive descent over JSON and Python literals that ends where the text stops making sense."""

    def __init__(self, text: str):
        self.text = text
        self.position = 0
        self.is_whole = True

    def read_value(self, depth: int) -> Json:
        self._skip_space()
        if depth > _MAX_DEPTH:
            self.is_whole = False
            return None
        character = self.text[self.position : self.position + 1]
        if character == "{":
            return self._read_object(depth)
        if character == "[":
            return self._read_items("]", depth)
        if character == "(":
            return self._read_items(")", depth)
        if _STRING_START.match(self.text, self.position):
            return self._read_string()
        printed = _PRINTED_OBJECT.match(self.text, self.position)
        if printed:
            self.position = printed.end() - 1
            return self._read_fields(depth)
        number = _NUMBER.match(self.text, self.position)
        if number:
            self.position = number.end()
            digits = number.group()
            return float(digits) if any(mark in digits for mark in ".eE") or len(digits) > 300 else int(digits)
        return self._read_bare_word()

    def _read_object(self, depth: int) -> dict[str, Json]:
        members: dict[str, Json] = {}

        def read_member() -> None:
            key = self._read_key()
            if not self._take(":"):
                raise _NoStructureError
            members[key] = self.read_value(depth + 1)

        self._read_sequence("}", read_member, lambda: bool(members))
        return members

    def _read_fields(self, depth: int) -> dict[str, Json]:
        """The fields of a printed record, `(a=1, b='x')`."""
        fields: dict[str, Json] = {}

        def read_field() -> None:
            name = _FIELD_NAME.match(self.text, self.position)
            if name is None:
                raise _NoStructureError
            self.position = name.end()
            fields[name[1]] = self.read_value(depth + 1)

        self._read_sequence(")", read_field, lambda: bool(fields))
        return fields

    def _read_items(self, end: str, depth: int) -> list[Json]:
        items: list[Json] = []
        self._read_sequence(end, lambda: items.append(self.read_value(depth + 1)), lambda: bool(items))
        return items

    def _read_sequence(self, end: str, read_one: Callable[[], None], has_read: Callable[[], bool]) -> None:
        """Read what stands between the bracket at the position and `end`; a broken rest is left off."""
        self.position += 1
        while not self._take(end):
            try:
                read_one()
            except _NoStructureError:
                if not has_read():
                    raise
                self.is_whole = False
            if not self.is_whole:
                return
            if not self._take(",") and not self._at(end):
                if not self._at_text_end():
                    raise _NoStructureError
                self.is_whole = False
                return

    def _read_key(self) -> str:
        self._skip_space()
        if _STRING_START.match(self.text, self.position):
            return self._read_string()
        number = _NUMBER.match(self.text, self.position)
        if number is None:
            raise _NoStructureError
        self.position = number.end()
        return number.group()

    def _read_string(self) -> str:
        start = _STRING_START.match(self.text, self.position)
        assert start is not None
        quote, position = start[1], start.end()
        plain = _PLAIN_STRING[quote].match(self.text, position)
        if plain:
            self.position = plain.end()
            return plain[1]
        parts: list[str] = []
        while position < len(self.text):
            character = self.text[position]
            if character == quote:
                self.position = position + 1
                return "".join(parts)
            if character == "\\":
                decoded, position = self._read_escape(position + 1)
                parts.append(decoded)
            else:
                stop = min(
                    (found for found in (self.text.find(mark, position) for mark in (quote, "\\")) if found >= 0),
                    default=len(self.text),
                )
                parts.append(self.text[position:stop])
                position = stop
        self.position, self.is_whole = len(self.text), False
        return "".join(parts)

    def _read_escape(self, position: int) -> tuple[str, int]:
        character = self.text[position : position + 1]
        width = {"u": 4, "x": 2, "U": 8}.get(character, 0)
        if width:
            digits = self.text[position + 1 : position + 1 + width]
            if re.fullmatch(rf"[0-9a-fA-F]{{{width}}}", digits) and int(digits, 16) < 0x110000:
                return chr(int(digits, 16)), position + 1 + width
        return _ESCAPES.get(character, character), position + 1

    def _read_bare_word(self) -> Json:
        """true, None, nan, `datetime.date(2024, 1, 2)`: what has no value here is kept as its own text."""
        start = position = self.position
        depth = 0
        while position < len(self.text):
            character = self.text[position]
            if depth == 0 and character in ",}]):":
                break
            depth += (character in "([{") - (character in ")]}")
            position += 1
        word = self.text[start:position].strip()
        if not re.match(r"[A-Za-z_<-]", word) or (re.search(r"\s", word) and "(" not in word and "<" not in word):
            raise _NoStructureError
        self.position = position
        if position == len(self.text):
            self.is_whole = False
        return _WORDS.get(word.lower(), word)

    def _take(self, mark: str) -> bool:
        self._skip_space()
        if self.text.startswith(mark, self.position):
            self.position += 1
            return True
        return False

    def _at(self, mark: str) -> bool:
        self._skip_space()
        return self.text.startswith(mark, self.position)

    def _at_text_end(self) -> bool:
        return not self.text[self.position :].strip(" \t\r\n.\u2026")

    def _skip_space(self) -> None:
        if self.text[self.position : self.position + 1].isspace():
            match = _SPACE.match(self.text, self.position)
            assert match is not None
            self.position = match.end()
