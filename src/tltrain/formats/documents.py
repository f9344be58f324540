"""JSON documents, element by element: an array, or objects one after another, of any size in a small buffer."""

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tltrain.errors import DataError
from tltrain.formats.records import MAX_RECORD, Record, decode_record

_CHUNK = 1 << 20
"""Bytes that are read at a time."""
_DECODER = json.JSONDecoder()
"""Finds where a value ends; what it lets through, the strict reader refuses afterwards."""
_BLANKS = re.compile(r"[ \t\r\n]*+")
_BLANKS_AND_COMMA = re.compile(r"[ \t\r\n]*+,?+[ \t\r\n]*+")
_TO_BRACKET = re.compile(r'(?:[^"\[\]{}]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+([\[\]{}])', re.DOTALL)
_SCALAR = re.compile(r'(?:[^",\[\]{}]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")++(?=[,\[\]{}])', re.DOTALL)


def iterate_elements(file: BinaryIO, path: Path) -> Iterator[Record]:
    """Stream the elements of the array, or the objects, that the file holds.

    An element that is no JSON but closes all its brackets and strings is one `DataError`; one that does not takes
    what follows with it.
    """
    text = _Buffer(file)
    text.skip(_BLANKS)
    is_array = text.take("[")
    number = 0
    while True:
        text.skip(_BLANKS if number == 0 else _BLANKS_AND_COMMA)
        if is_array and text.take("]"):
            break
        if text.is_at_end:
            if is_array:
                reason = "the array ends without ']'; the file was cut off: write it anew"
                yield Record(number + 1, DataError(f"{path}:{number + 1}: {reason}"))
            return
        number += 1
        where = f"{path}:{number}"
        element = text.next_element()
        if element is None:
            reason = f"the element is longer than {MAX_RECORD:,} bytes, or its brackets do not close; mend it"
            yield Record(number, DataError(f"{where}: {reason}"))
            return
        yield Record(number, decode_record(element, where), element)
    text.skip(_BLANKS)
    if not text.is_at_end:
        problem = f"{text.excerpt()!r} follows the end of the array; remove it, or write JSON Lines"
        yield Record(number + 1, DataError(f"{path}:{number + 1}: {problem}"))


class _Buffer:
    """The part of the text that is being looked at; bytes that are no UTF-8 become lone surrogates in it."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="surrogateescape")
        self._text = ""
        self._position = 0
        self._is_complete = False

    @property
    def is_at_end(self) -> bool:
        """Whether nothing follows; asked after blanks were skipped."""
        return self._is_complete and self._position == len(self._text)

    def excerpt(self) -> str:
        """What comes next."""
        return self._text[self._position : self._position + 20]

    def skip(self, pattern: re.Pattern[str]) -> None:
        """Step over what matches, however long it is."""
        while True:
            match = pattern.match(self._text, self._position)
            assert match is not None, "the pattern matches the empty string"
            if match.end() < len(self._text) or self._is_complete:
                self._position = match.end()
                return
            self._read()

    def take(self, symbol: str) -> bool:
        """Step over the symbol if it is next."""
        is_next = self._text.startswith(symbol, self._position)
        self._position += len(symbol) if is_next else 0
        return is_next

    def next_element(self) -> bytes | None:
        """The text of the next value, good or bad; None if it does not end."""
        while True:
            end = _end_of_value(self._text, self._position)
            if end is None or (end == len(self._text) and not self._is_complete):
                end = len(self._text) if self._is_complete else None
            if end is not None:
                text = self._text[self._position : end]
                self._position = end
                return text.encode(errors="surrogateescape")
            if len(self._text) - self._position > MAX_RECORD:
                return None
            self._read()

    def _read(self) -> None:
        """Let go of what is done with, and read at least as much again as is left."""
        rest = self._text[self._position :]
        chunk = self._file.read(max(_CHUNK, len(rest)))
        self._is_complete = not chunk
        self._text = rest + self._decoder.decode(chunk, final=not chunk)
        self._position = 0


def _end_of_value(text: str, start: int) -> int | None:
    """Offset after the value; of one that is no JSON, after its last bracket; None if it has no end in the text."""
    if text[start : start + 1] not in ("[", "{", '"'):
        scalar = _SCALAR.match(text, start)  # up to what follows, as 1 may be the beginning of 12
        return scalar.end() if scalar else None
    try:
        return _DECODER.raw_decode(text, start)[1]
    except (ValueError, RecursionError):
        pass
    depth, position = 0, start
    while bracket := _TO_BRACKET.match(text, position):
        depth += 1 if bracket[1] in "[{" else -1
        position = bracket.end()
        if depth <= 0:
            return position
    return None
