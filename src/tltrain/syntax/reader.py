"""A cursor that reads values off a model's text: bounded in depth and length, linear in time, never evaluating."""

import math
import re
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from tltrain.syntax.base import Span
from tltrain.syntax.literals import MAX_DEPTH, Dialect
from tltrain.types import Json

Item = TypeVar("Item")

MAX_DIGITS = 4300
"""Longest integer that is read; Python's own default limit, as the conversion takes quadratic time."""

_BLANK = re.compile(r"[ \t\r\n]*+")
_WORD = re.compile(r"\w++")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


class UnreadableError(Exception):
    """The text is not what the reader was asked for; caught within `syntax/`."""

    def __init__(self, reason: str, position: int):
        super().__init__(reason)
        self.reason = reason
        self.position = position
        """Offset of the character that does not fit; the length of the text where it ends too early."""


class Member(NamedTuple):
    """One member of an object, with the places where it is written."""

    name: str
    key: Span
    """Without quotes."""
    value: Json
    value_span: Span


class Reader:
    """A cursor that reads values off a text. Every method raises `UnreadableError` where the text does not fit."""

    def __init__(self, text: str, position: int, dialect: Dialect):
        self.text = text
        self.position = position
        self._dialect = dialect

    def value(self, depth: int = 0) -> Json:
        """Any value; `depth` counts the lists and objects around it."""
        self._skip_blank()
        char = self.text[self.position : self.position + 1]
        if char in self._dialect.bodies:
            return self.string()
        if char == "{":
            return {member.name: member.value for member in self.members(depth)}
        if char == "[" or (char == "(" and self._dialect.is_python):
            return self._list(depth)
        if number := self._dialect.number.match(self.text, self.position):
            return self._number(number.group())
        word = _WORD.match(self.text, self.position)
        if word and word.group() in self._dialect.constants:
            self.position = word.end()
            return self._dialect.constants[word.group()]
        raise self.unexpected("a value")

    def string(self) -> str:
        """A quoted string."""
        self._skip_blank()
        start = self.position
        quote = self.text[start : start + 1]
        if quote not in self._dialect.bodies:
            raise self.unexpected("a quoted string")
        body = self._dialect.bodies[quote].match(self.text, start + 1)
        assert body is not None, "the pattern matches the empty string"
        self.position = body.end()
        if not self.text.startswith(quote, self.position):
            raise self.unexpected(f"{quote} at the end of the string")
        self.position += 1
        return self._decode(body.group(), start)

    def members(self, depth: int = 0) -> list[Member]:
        """An object's members, in the order written."""
        names: set[str] = set()

        def read_member() -> Member:
            self._skip_blank()
            start = self.position
            name, key = self.string(), Span(start + 1, self.position - 1)
            if name in names:
                raise UnreadableError(f"the key {name!r} occurs twice", start)
            names.add(name)
            self.expect(":")
            value, span = self.spanned_value(depth + 1)
            return Member(name, key, value, span)

        self._open("{", depth)
        return self.items("}", read_member)

    def items(self, closing: str, read_item: Callable[[], Item]) -> list[Item]:
        """Items between commas, up to and with the closing bracket; the opening one is read already."""
        items: list[Item] = []
        if self.take(closing):
            return items
        while True:
            items.append(read_item())
            if self.take(closing):
                return items
            if not self.take(","):
                raise self.unexpected(f"',' or {closing!r}")
            if self._dialect.is_python and self.take(closing):
                return items

    def spanned_value(self, depth: int = 0) -> tuple[Json, Span]:
        """A value and where it is written."""
        self._skip_blank()
        start = self.position
        return self.value(depth), Span(start, self.position)

    def take(self, symbol: str) -> bool:
        """Step over blanks, and over the symbol if it is next."""
        self._skip_blank()
        is_next = self.text.startswith(symbol, self.position)
        self.position += len(symbol) if is_next else 0
        return is_next

    def take_match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Step over blanks, and over the pattern if it is next."""
        self._skip_blank()
        match = pattern.match(self.text, self.position)
        self.position = match.end() if match else self.position
        return match

    def expect(self, symbol: str) -> None:
        """Step over blanks and the symbol."""
        if not self.take(symbol):
            raise self.unexpected(repr(symbol))

    def unexpected(self, wanted: str) -> UnreadableError:
        """The error that something else stands here."""
        excerpt = self.text[self.position : self.position + 20]
        return UnreadableError(f"expected {wanted}, found {repr(excerpt) if excerpt else 'the end'}", self.position)

    def _skip_blank(self) -> None:
        blank = _BLANK.match(self.text, self.position)
        assert blank is not None, "the pattern matches the empty string"
        self.position = blank.end()

    def _open(self, bracket: str, depth: int) -> None:
        self.expect(bracket)
        if depth >= MAX_DEPTH:
            raise UnreadableError(f"values are nested deeper than {MAX_DEPTH} levels", self.position)

    def _list(self, depth: int) -> Json:
        is_tuple = self.text.startswith("(", self.position)
        self._open("(" if is_tuple else "[", depth)
        end_of_item = self.position

        def read_item() -> Json:
            nonlocal end_of_item
            value = self.value(depth + 1)
            end_of_item = self.position
            return value

        items = self.items(")" if is_tuple else "]", read_item)
        if is_tuple and len(items) == 1 and "," not in self.text[end_of_item : self.position]:
            return items[0]  # (1) is 1, (1,) is a tuple
        return items

    def _number(self, digits: str) -> Json:
        if any(char in ".eE" for char in digits):
            number = float(digits)
            if not math.isfinite(number):
                raise UnreadableError("a number is out of range", self.position)
            self.position += len(digits)
            return number
        try:
            integer = int(digits) if len(digits) <= MAX_DIGITS else None
        except ValueError:  # the process runs under a lower limit than Python's default
            integer = None
        if integer is None:
            raise UnreadableError(f"an integer has {len(digits):,} digits", self.position)
        self.position += len(digits)
        return integer

    def _decode(self, body: str, start: int) -> str:
        try:
            decoded = self._dialect.escape.sub(self._unescape, body) if "\\" in body else body
            if _SURROGATE.search(decoded):  # joins the pairs that JSON writes as two escapes
                decoded = decoded.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError:
            raise UnreadableError("a string holds half of a surrogate pair", start) from None
        except ValueError as error:
            raise UnreadableError(str(error), start) from None
        return decoded

    def _unescape(self, escape: re.Match[str]) -> str:
        if escape["code"] is not None:
            code = int(escape["code"], 16)
        elif escape["octal"] is not None:
            code = int(escape["octal"], 8)
        else:
            char = escape["char"]
            if char in self._dialect.escaped_chars:
                return self._dialect.escaped_chars[char]
            if not self._dialect.is_python or char in "xuUN":
                raise ValueError(f"a string holds an invalid escape \\{char}")
            return escape.group()
        if code > 0x10FFFF:
            raise ValueError(f"a string holds an invalid escape {escape.group()}")
        return chr(code)
