"""The records of a data file, one after another: lines, elements of an array, or rows of a table.

What a file is shows in its first bytes, whatever its name: gzip around any of the others, Parquet, JSON Lines, or a
JSON document (an array, whose elements are the records, or objects, each of which is one).
"""

import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeAlias, cast

from tltrain.errors import DataError
from tltrain.files import check_file, decode_json
from tltrain.types import Json

MAX_RECORD = 1 << 28
"""Longest record, in bytes, that is read into memory."""
_EXCERPT = 2000
"""Characters of a bad record that its quarantine entry keeps."""
_HEAD = 1 << 20
"""Bytes from which the kind of a JSON file is judged."""
_BOM = b"\xef\xbb\xbf"


Decoded: TypeAlias = "Json | DataError"
"""A decoded record, or what is wrong with it."""


class Record(NamedTuple):
    """One record, as far as it can be read."""

    number: int
    """Of the line, element or row; from 1."""
    value: Decoded
    text: bytes = b""
    """As written; empty for the row of a table."""

    def excerpt(self) -> str:
        """The beginning of the record, for people."""
        text = self.text
        if not text and not isinstance(self.value, DataError):
            text = json.dumps(self.value, ensure_ascii=False).encode()
        return text[: 4 * _EXCERPT].decode(errors="replace")[:_EXCERPT]


def iterate_records(path: Path) -> Iterator[Record]:
    """Stream a file; a record that cannot be read is a `DataError` in its place, and the rest still comes.

    Memory is that of a few records, whatever the size of the file.

    Raises:
        DataError: the file as a whole cannot be read, or is empty.
    """
    check_file(path, "file of trajectories")
    with ExitStack() as stack:
        file: BinaryIO = stack.enter_context(path.open("rb"))
        if _peek(file, 2) == b"\x1f\x8b":
            file = cast(BinaryIO, stack.enter_context(gzip.GzipFile(fileobj=file)))
        number = 0
        try:
            for record in _read(file, path):
                number = record.number
                yield record
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            reason = f"{path}:{number + 1}: the gzip file is damaged from here on ({error}); compress it anew"
            yield Record(number + 1, DataError(reason))
            return
    if not number:
        raise DataError(f"{path} is empty; it should hold trajectories as JSON Lines, a JSON array or Parquet")


def _read(file: BinaryIO, path: Path) -> Iterator[Record]:
    if _peek(file, 4) == b"PAR1":
        from tltrain.formats.tables import iterate_rows

        return iterate_rows(file, path)
    if _peek(file, len(_BOM)) == _BOM:
        file.read(len(_BOM))
    start = file.tell()
    head = _read_head(file)
    file.seek(start)
    if _is_document(head):
        from tltrain.formats.documents import iterate_elements

        return iterate_elements(file, path)
    return _iterate_lines(file, path)


def _read_head(file: BinaryIO) -> bytes:
    """The first bytes; those before the damage of a gzip file."""
    head = b""
    while len(head) < _HEAD:
        try:
            piece = file.read(min(_HEAD, 1 << 14))
        except (EOFError, zlib.error):
            break
        if not piece:
            break
        head += piece
    return head


def _peek(file: BinaryIO, size: int) -> bytes:
    start = file.tell()
    content = file.read(size)
    file.seek(start)
    return content


def _is_document(head: bytes) -> bool:
    """Whether the file that begins so is a JSON document rather than JSON Lines.

    An array is one unless its first line is a whole array and more lines follow; an object is one unless some line
    from its first column on is a whole object, as in JSON Lines with some damaged ones.
    """
    text = head.lstrip()
    lines = text.splitlines()
    if text.startswith(b"["):
        return len(lines) < 2 or not _is_whole(lines[0])
    if not text.startswith(b"{") or len(lines) < 2:
        return False
    return not any(_is_whole(line) for line in lines if line.startswith(b"{") and line.strip() != b"{}")


def _is_whole(line: bytes) -> bool:
    try:
        decode_json(line)
    except ValueError:
        return False
    return True


def _iterate_lines(file: BinaryIO, path: Path) -> Iterator[Record]:
    number = 0
    while line := file.readline(MAX_RECORD):
        number += 1
        if len(line) == MAX_RECORD and not line.endswith(b"\n"):
            _skip_line(file)
            reason = f"the line is longer than {MAX_RECORD:,} bytes; give each trajectory a line of its own"
            yield Record(number, DataError(f"{path}:{number}: {reason}"), line[: 4 * _EXCERPT])
        elif not line.isspace():
            text = line.rstrip(b"\r\n")
            yield Record(number, decode_record(text, f"{path}:{number}"), text)


def _skip_line(file: BinaryIO) -> None:
    while (rest := file.readline(_HEAD)) and not rest.endswith(b"\n"):
        pass


def decode_record(text: bytes, where: str) -> Decoded:
    """The JSON value that a record is, or what is wrong with it."""
    try:
        return decode_json(text)
    except UnicodeDecodeError as error:
        problem = f"byte 0x{text[error.start]:02x} at column {error.start + 1} is not UTF-8; save the file as UTF-8"
    except ValueError as error:
        problem = f"{error}; each record must be one complete JSON object"
    if b"\0" in text:
        column = text.index(0) + 1
        problem = f"NUL byte at column {column}; the file is damaged or no UTF-8 text: write it anew"
    return DataError(f"{where}: {problem}")
