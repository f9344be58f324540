"""A text file cut into windows of tokens, of which each predicts tokens that no other one does. No model is needed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tltrain.errors import DataError
from tltrain.files import check_file, decode_line, json_type, read_lines
from tltrain.render.tokens import tokenize
from tltrain.types import Json


@dataclass(frozen=True, kw_only=True, slots=True)
class TextFile:
    """What is measured of a file."""

    documents: Sequence[str]
    """Texts that know nothing of each other: the rows of a JSON Lines file, or the whole of any other."""
    is_whole: bool
    """False: the file goes on beyond what is measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """Tokens that a model reads together."""

    document: int
    """Place of the document, from 0."""
    start: int
    """Where the predicted text begins in its document, in bytes of UTF-8."""
    num_bytes: int
    """Of the predicted text."""
    ids: list[int]
    """Special tokens that the tokenizer begins a text with, then those of the text."""
    positions: range
    """Places in `ids` of the predicted tokens, never empty; the first is at least 1."""


def read_text_file(path: Path, *, text_field: str = "text", max_bytes: int | None = None) -> TextFile:
    """Read plain text, or JSON Lines where the name ends in .jsonl.

    Args:
        path: UTF-8; a byte order mark is dropped.
        text_field: of the rows of JSON Lines.
        max_bytes: most bytes of text to take, from the beginning; cut behind a whole character.

    Raises:
        DataError: the file is missing or no UTF-8, has no text, or a row has no such field.
    """
    check_file(path, "text file")
    documents = []
    room, is_whole = max_bytes, True
    for text in _read_rows(path, text_field) if path.suffix == ".jsonl" else _read_plain(path, max_bytes):
        taken = _clip(text, room)
        is_whole = len(taken) == len(text)
        if taken:
            documents.append(taken)
        if not is_whole:
            break
        room = None if room is None else room - len(taken.encode())
    if not any(text.strip() for text in documents):
        raise DataError(
            f"{path}: holds no text; name a file of plain text, or of JSON Lines with a `{text_field}` field"
        )
    return TextFile(documents=documents, is_whole=is_whole)


def _read_plain(path: Path, max_bytes: int | None) -> Iterator[str]:
    with path.open("rb") as file:
        # some bytes more than wanted: to see that there is more, the last character of it cut or not, and for the mark
        content = file.read() if max_bytes is None else file.read(max_bytes + 8)
    content = content.removeprefix(b"\xef\xbb\xbf")
    is_end = max_bytes is None or path.stat().st_size <= max_bytes + 8
    try:
        yield content.decode()
    except UnicodeDecodeError as error:
        if not is_end and error.end == len(content) and error.reason == "unexpected end of data":
            yield content[: error.start].decode()
            return
        raise DataError(
            f"{path}: byte 0x{content[error.start]:02x} at offset {error.start} is not UTF-8; save the file as UTF-8, "
            f"for example by `iconv -f LATIN1 -t UTF-8`"
        ) from None


def _read_rows(path: Path, text_field: str) -> Iterator[str]:
    for number, line in read_lines(path):
        row = decode_line(line, f"{path}:{number}")
        if not isinstance(row.get(text_field), str):
            raise DataError(f"{path}:{number}: {_wrong_field(row, text_field)}")
        yield str(row[text_field])


def _wrong_field(row: dict[str, Json], text_field: str) -> str:
    if text_field in row:
        return f"{text_field} is of type {json_type(row[text_field])}; it should be a string"
    named = ", ".join(name for name, value in row.items() if isinstance(value, str)) or "none"
    return f"has no field {text_field!r}; name the one with the text by --set text_field=NAME (texts: {named})"


def _clip(text: str, max_bytes: int | None) -> str:
    encoded = text.encode()
    if max_bytes is None or len(encoded) <= max_bytes:
        return text
    return encoded[:max_bytes].decode(errors="ignore")


def opening_ids(tokenizer: Any) -> list[int]:
    """Special tokens that the tokenizer itself puts before a text, such as a beginning-of-sequence token."""
    plain = tokenizer("a", add_special_tokens=False).input_ids
    full = tokenizer("a").input_ids
    place = next((place for place in range(len(full)) if full[place : place + len(plain)] == plain), 0)
    return list(full[:place])


def cut_windows(documents: Sequence[str], tokenizer: Any, *, window: int, stride: int) -> list[Window]:
    """Cut documents into windows; each token is predicted once, with all context that its window has.

    Source: "Perplexity of fixed-length models" in the documentation of transformers. Windows begin every `stride`
    tokens and are `window` long; each predicts the tokens that the one before did not reach. Departures: documents are
    not joined, and every window begins with the special tokens that the tokenizer begins a text with, where it has
    any. Where it has none, the first token of a document is predicted by nothing, and counts neither as a token nor
    with its bytes. Text that spells a special token is that token.

    Args:
        documents: texts.
        tokenizer: fast.
        window: tokens of text in a window, at least 2.
        stride: fewer than `window`.

    Returns:
        Windows in the order of the text; none for a document of one token without anything before it.
    """
    opening = opening_ids(tokenizer)
    windows = []
    for number, text in enumerate(documents):
        tokens = tokenize(tokenizer, text)
        size = len(tokens.ids)
        reached = 0 if opening else 1
        byte = len(text[: tokens.starts[reached]].encode()) if reached < size else 0
        for begin in range(0, size, stride):
            end = min(begin + window, size)
            if end <= reached:
                break
            after = tokens.starts[end] if end < size else len(text)
            num_bytes = len(text[tokens.starts[reached] : after].encode())
            ids = [*opening, *tokens.ids[begin:end]]
            positions = range(len(opening) + reached - begin, len(ids))
            windows.append(Window(document=number, start=byte, num_bytes=num_bytes, ids=ids, positions=positions))
            reached, byte = end, byte + num_bytes
    return windows
