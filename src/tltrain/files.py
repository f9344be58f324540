"""Files: whole-file writes that never leave a half, JSON Lines in and out, hashes."""

import difflib
import hashlib
import json
import math
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NoReturn, Self

import orjson

from tltrain.errors import DataError, UsageError
from tltrain.types import Json

_MAX_DEPTH = 254
"""Lists and objects around a value; what orjson writes at most, and far from where Python's recursion ends."""
_DIGITS_ALONE = bytes(ord("0") if ord("0") <= code <= ord("9") else ord(" ") for code in range(256))
_LONG_NUMBER = b"0" * 19
"""So many digits may be more than the 64 bits to which orjson reads integers exactly."""


def write_text_atomic(path: Path, text: str) -> None:
    """Write a whole UTF-8 file: readers see the old text or the new one, never a part. Makes parent folders."""
    with atomic_file(path) as file:
        file.write(text.encode())


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Give a new file to fill; it takes the place of `path` on success and disappears on an error.

    Makes parent folders.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _sibling(path)
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json_atomic(path: Path, value: object) -> None:
    """Write one indented JSON document with `write_text_atomic`.

    Raises:
        ValueError: the value holds NaN or an infinity, which are no JSON.
    """
    write_text_atomic(path, json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


@contextmanager
def atomic_folder(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a fresh folder beside `path` to fill; it becomes `path` on success and disappears on an error.

    Args:
        path: the folder to make; parents are made too. It may exist if it is empty.
        overwrite: replace a folder that is not empty; the old one stays until the new one is complete.

    Raises:
        UsageError: `path` is a file, or a folder that is not empty without `overwrite`.
    """
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is a file; a folder is to be made there: choose another name")
    if path.is_dir() and any(path.iterdir()) and not overwrite:
        raise UsageError(f"{path} is not empty; choose a new folder, or overwrite it")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, old = _sibling(path), _sibling(path)
    temporary.mkdir()
    try:
        yield temporary
        if path.exists():
            path.rename(old)
        temporary.rename(path)
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _sibling(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")


def hash_file(path: Path) -> str:
    """SHA-256 of the file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_file(path: Path, what: str = "file") -> None:
    """Raise unless `path` is a file that can be opened.

    Args:
        path: the file that the user named.
        what: what it should hold, for the message.

    Raises:
        DataError: missing (the message lists files of similar names), a folder, or not readable.
    """
    if path.is_dir():
        inside = sorted(child.name for child in path.iterdir() if child.is_file() and child.suffix == ".jsonl")[:5]
        hint = f"such as {', '.join(inside)}" if inside else "it holds no .jsonl file"
        raise DataError(f"{path} is a folder, not a {what}; name one file in it: {hint}")
    if not path.is_file():
        raise DataError(f"{path}: no such {what}; {_nearest(path)}")
    if not os.access(path, os.R_OK):
        raise DataError(f"{path}: the {what} may not be read; check its permissions")


def _nearest(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"the folder {folder} does not exist either"
    names = [child.name for child in folder.iterdir() if child.is_file()]
    near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.5) or sorted(names)[:3]
    return f"{folder} has {', '.join(near)}" if near else f"{folder} holds no files"


def decode_json(text: str | bytes) -> Json:
    """Decode strict JSON: NaN, infinities and half surrogate pairs, which Python's reader lets through, are refused.

    Integers are exact, whatever their length.

    Raises:
        UnicodeDecodeError: the bytes are no UTF-8.
        ValueError: one sentence on what is wrong and at which column.
    """
    encoded = text if isinstance(text, bytes) else text.encode(errors="surrogatepass")
    try:
        value: Json = orjson.loads(encoded)
    except orjson.JSONDecodeError:
        value = _decode_slowly(text)
    else:
        if len(encoded) >= len(_LONG_NUMBER) and _LONG_NUMBER in encoded.translate(_DIGITS_ALONE):
            value = _decode_slowly(text)
    if len(encoded) > 2 * _MAX_DEPTH and encoded.count(b"{") + encoded.count(b"[") > _MAX_DEPTH:
        _check_depth(value)
    return value


def _decode_slowly(text: str | bytes) -> Json:
    """What Python's own reader gives, or the sentence on what is wrong."""
    text = text if isinstance(text, str) else text.decode()
    try:
        value: Json = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        where = "at its end" if error.pos >= len(text.rstrip()) else f"at column {error.pos + 1}"
        raise ValueError(f"not JSON: {error.msg} {where}") from None
    except RecursionError:
        raise ValueError("JSON nested too deeply") from None
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("a \\ud... escape is half of a surrogate pair and names no character") from None
    except RecursionError:
        raise ValueError("JSON nested too deeply") from None
    return value


def _check_depth(value: Json) -> None:
    try:
        orjson.dumps(value)
    except orjson.JSONEncodeError:  # too deep, or an integer of more than 64 bits
        level: list[Json] = [value]
        for _ in range(_MAX_DEPTH):
            level = [child for parent in level for child in _children(parent)]
        if any(isinstance(value, dict | list) for value in level):
            raise ValueError("JSON nested too deeply") from None


def _children(value: Json) -> list[Json]:
    match value:
        case dict():
            return list(value.values())
        case list():
            return value
    return []


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON; use null or a number")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"the number {digits} is too large")
    return number


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Stream the non-blank lines of a file with their numbers, from 1; a byte order mark is dropped.

    Raises:
        DataError: no such file, a folder, or a file without any text.
    """
    check_file(path)
    is_empty = True
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            content = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if content.strip():
                is_empty = False
                yield number, content.rstrip(b"\r\n")
    if is_empty:
        raise DataError(f"{path} is empty; it should hold one JSON object per line")


def decode_line(line: bytes, where: str) -> dict[str, Json]:
    """Decode one line of a JSON Lines file.

    Raises:
        DataError: names `where` and says what is wrong and what to do.
    """
    if b"\0" in line:
        raise DataError(
            f"{where}: NUL byte at column {line.index(0) + 1}; the file is damaged or no UTF-8 text: write it anew"
        )
    try:
        value = decode_json(line.decode())
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where}: byte 0x{line[error.start]:02x} at column {error.start + 1} is not UTF-8; save the file as UTF-8"
        ) from None
    except ValueError as error:
        raise DataError(f"{where}: {error}; each line must be one complete JSON object{_line_hint(line)}") from None
    if not isinstance(value, dict):
        raise DataError(
            f"{where}: a JSON {json_type(value)}, not an object; each line must be one JSON object{_line_hint(line)}"
        )
    return value


def json_type(value: Json) -> str:
    """The JSON name of a value's type, for messages: object, array, string, integer, number, boolean or null."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case Mapping():
            return "object"
    return "array"


def _line_hint(line: bytes) -> str:
    if line.lstrip()[:1] == b"[":
        return " (this looks like one JSON array; `jq -c '.[]' FILE` makes JSON Lines of it)"
    if line.strip() == b"{":
        return " (this looks like indented JSON; `jq -c . FILE` makes JSON Lines of it)"
    return ""


def encode_line(row: Mapping[str, Any]) -> str:
    """One row of a JSON Lines file with its line end.

    Raises:
        ValueError: the row holds NaN or an infinity.
    """
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"


def read_json_lines(path: Path) -> Iterator[tuple[int, dict[str, Json] | DataError]]:
    """Stream (line number from 1, object) of a JSON Lines file; a bad line yields its `DataError` as a value.

    Raises:
        DataError: the file as a whole cannot be read, or is empty.
    """
    for number, line in read_lines(path):
        value: dict[str, Json] | DataError
        try:
            value = decode_line(line, f"{path}:{number}")
        except DataError as error:
            value = error
        yield number, value


class JsonLinesWriter:
    """Appends rows to a JSON Lines file, each one on disk before the next; a context manager.

    A last line that a killed process left without its end is closed first, so that it spoils no new row.
    """

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")
        if self._file.tell() and not _ends_with_newline(path):
            self._file.write(b"\n")

    def write(self, row: Mapping[str, Any]) -> None:
        """Append one row and flush it.

        Raises:
            ValueError: the row holds NaN or an infinity; nothing is written.
        """
        self._file.write(encode_line(row).encode())
        self._file.flush()

    def close(self) -> None:
        """Close the file; further writes fail."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
