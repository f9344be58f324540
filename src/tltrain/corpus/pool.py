"""All rows of a mixture: a few facts of each in memory, the rows themselves in a file that nobody sees."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from msgspec.structs import replace

from tltrain.corpus.config import MixConfig
from tltrain.corpus.reading import iterate_rows
from tltrain.corpus.rows import RowFacts, RowReader
from tltrain.files import encode_line
from tltrain.formats.openai_chat import row_from_trajectory
from tltrain.formats.quarantine import Quarantine
from tltrain.types import Trajectory

EVERY = 2000
"""Rows between two reports of progress."""


class Pool:
    """The rows that were read, in the order of the files.

    Args:
        file: where the rows wait, encoded; empty at first.
        reader: makes the facts.
    """

    def __init__(self, file: BinaryIO, reader: RowReader):
        self.rows: list[RowFacts] = []
        self.num_bad: list[int] = []
        """Of each file."""
        self._file = file
        self._reader = reader
        self._ids: set[str] = set()

    def read(self, config: MixConfig, bad: Quarantine, progress: Callable[[int, int], None] | None) -> None:
        """Read all training files.

        Args:
            config: which files.
            bad: where rows go that cannot be read.
            progress: told the number of files that are done, and of rows.

        Raises:
            DataError: a file as a whole cannot be read, or holds no good row.
        """
        for source, file in enumerate(config.train):
            num_bad_before = bad.count
            for trajectory in iterate_rows(file, bad.add):
                self._add(trajectory, source, str(file.name))
                if progress and len(self.rows) % EVERY == 0:
                    progress(source, len(self.rows))
            self.num_bad.append(bad.count - num_bad_before)

    def _add(self, trajectory: Trajectory, source: int, name: str) -> None:
        provenance = {**trajectory.provenance, "source": trajectory.provenance.get("source") or name}
        own = replace(trajectory, id=self.claim_id(trajectory.id, name), provenance=provenance)
        self.rows.append(self._reader.read(own, source))
        self._file.write(encode_line(row_from_trajectory(own)).encode())

    def claim_id(self, wanted: str, source: str) -> str:
        """An id that no row has: the wanted one, else with the source before it, else with a number behind that."""
        found, number = wanted, 1
        while found in self._ids:
            found = f"{source}/{wanted}" if number == 1 else f"{source}/{wanted}~{number}"
            number += 1
        self._ids.add(found)
        return found

    def claim_copy_id(self, original: str) -> str:
        """An id for a further copy of a row: `ID~2` and so on."""
        number = 2
        while (found := f"{original}~{number}") in self._ids:
            number += 1
        self._ids.add(found)
        return found

    def encoded(self) -> Iterator[bytes]:
        """The rows as they are written, each with its line end."""
        self._file.flush()
        self._file.seek(0)
        return iter(self._file)


@contextmanager
def open_pool(folder: Path, reader: RowReader) -> Iterator[Pool]:
    """A pool whose file lies in a folder, without a name where the system knows such files, and goes at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder, prefix=".rows.", suffix=".tmp") as file:
        yield Pool(file, reader)
