"""Bad rows, set aside as they come."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO

from tltrain.errors import DataError
from tltrain.files import atomic_file, encode_line

_NUM_REASONS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class BadRow:
    """A record, or a trajectory of it, that could not be read, as the quarantine file keeps it."""

    file: str
    line: int
    """Number of the line, element or row; from 1."""
    reason: str
    row: str
    """The record as written, cut after 2,000 characters."""


@dataclass(slots=True)
class Quarantine:
    """Counts bad rows, and writes them to a file."""

    path: Path | None
    count: int = 0
    reasons: list[str] = field(default_factory=list)
    """Of the first few."""
    _file: BinaryIO | None = None
    _stack: ExitStack = field(default_factory=ExitStack)

    def add(self, row: BadRow) -> None:
        """Set one aside."""
        self.count += 1
        if len(self.reasons) < _NUM_REASONS:
            self.reasons.append(row.reason)
        if self.path is None:
            return
        if self._file is None:
            self._file = self._stack.enter_context(atomic_file(self.path))
        self._file.write(encode_line(asdict(row)).encode(errors="backslashreplace"))

    def nothing_read(self, path: Path) -> DataError:
        """The error that a file held bad rows alone."""
        listed = f"; all are listed in {self.path}" if self.path else ""
        first = f". First: {self.reasons[0]}" if self.reasons else ""
        return DataError(f"{path}: none of {self.count} rows can be read{listed}{first}")


@contextmanager
def quarantined(path: Path | None) -> Iterator[Quarantine]:
    """A place for bad rows; the file is there at the end if there were any, and one of an earlier reading is not.

    Args:
        path: JSON Lines file to write; None to count alone.
    """
    if path is not None:
        path.unlink(missing_ok=True)
    rows = Quarantine(path)
    with rows._stack:
        yield rows
