"""Second files that a format needs beside the one that is read: loaded once, and anew when they change."""

from functools import lru_cache
from pathlib import Path

from tltrain.errors import DataError
from tltrain.files import check_file, decode_json
from tltrain.types import Json


def require_file(path: Path | None, where: str, what: str, option: str) -> Path:
    """The second file that a format needs; it may be a folder.

    Args:
        path: as the user named it.
        where: the record that needs it.
        what: what it holds.
        option: how it is named on the command line.

    Raises:
        DataError: it was not named, or is not there.
    """
    if path is None:
        raise DataError(f"{where}: the record holds no {what} of its own; name the file that does ({option})")
    if not path.is_dir():
        check_file(path, f"file of {what}")
    return path


def file_stamp(path: Path) -> tuple[int, int]:
    """What changes when a file is written anew; part of the key of caches of what it holds."""
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size


def load_records(path: Path) -> tuple[Json, ...]:
    """All records of a second file: the elements of a JSON array, or the lines of a JSON Lines file.

    Raises:
        DataError: the file cannot be read, or is neither.
    """
    check_file(path)
    return _load_records(path, file_stamp(path))


@lru_cache(maxsize=8)
def _load_records(path: Path, stamp: tuple[int, int]) -> tuple[Json, ...]:  # noqa: ARG001 - part of the key
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start + 1} is not UTF-8; save the file as UTF-8") from None
    if text.lstrip()[:1] == "[":
        return tuple(_decode_array(text, path))
    records = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                records.append(decode_json(line))
            except ValueError as error:
                raise DataError(f"{path}:{number}: {error}; each line must be one complete JSON value") from None
    return tuple(records)


def _decode_array(text: str, path: Path) -> list[Json]:
    try:
        value = decode_json(text)
    except ValueError as error:
        raise DataError(f"{path}: {error}; write the file anew") from None
    assert isinstance(value, list), "the text begins with a bracket"
    return value
