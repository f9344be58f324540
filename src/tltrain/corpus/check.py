"""Compares training files with test files, and says which training rows are in them."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tltrain.corpus.config import DataFile
from tltrain.corpus.contamination import PairCount, TestSet, Twin, count_pairs, find_twins
from tltrain.corpus.queries import shorten
from tltrain.corpus.reading import data_files, iterate_rows
from tltrain.corpus.rows import RowFacts, RowReader
from tltrain.errors import DataError
from tltrain.formats.quarantine import BadRow
from tltrain.types import Json


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A training row that is in a test file, in words."""

    train: str
    """File."""
    id: str
    test: str
    """File."""
    test_id: str
    """The most similar row."""
    kind: str
    similarity: float
    query: str
    test_query: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckResult:
    """What training and test files have in common."""

    pairs: tuple[PairCount, ...]
    """For each training and each test file, in order."""
    found: tuple[Found, ...]
    bad_rows: dict[str, int]
    """File -> rows that could not be read, where there were any."""
    unreadable: dict[str, str]
    """File in a folder -> why it could not be read."""

    @property
    def num_found(self) -> int:
        """Training rows that are in some test file."""
        return len({(found.train, found.id) for found in self.found})

    def to_json(self) -> dict[str, Json]:
        """As `tltrain data check --json` prints it."""
        fields: dict[str, Json] = asdict(self)
        return {"in_test_sets": self.num_found, **fields}


def check(train: Sequence[DataFile], against: Sequence[DataFile], *, near_threshold: float = 0.7) -> CheckResult:
    """Find the training rows that are in test files.

    Args:
        train: training files, or folders of them.
        against: test files, or folders of them. In a folder, training files, and files that are in no known format,
            are passed over.
        near_threshold: see `Decontaminate`.

    Raises:
        DataError: a file that was named cannot be read, or none in a folder can.
    """
    reading = _Reading()
    parts = reading.read(train)
    sources = [name for name, _ in parts]
    rows = [row for _, part in parts for row in part]
    own = {Path(name).resolve() for name in sources}
    tests = [TestSet(name, part, near_threshold=near_threshold) for name, part in reading.read(against, without=own)]
    twins = list(find_twins(rows, tests))
    return CheckResult(
        pairs=tuple(count_pairs(rows, sources, tests, twins)),
        found=tuple(_describe(twin, rows, sources, tests) for twin in twins),
        bad_rows=reading.bad_rows,
        unreadable=reading.unreadable,
    )


class _Reading:
    """Reads files into facts, and keeps count of what could not be read."""

    def __init__(self) -> None:
        self.bad_rows: dict[str, int] = {}
        self.unreadable: dict[str, str] = {}
        self._reader = RowReader()

    def read(self, files: Sequence[DataFile], *, without: Collection[Path] = ()) -> list[tuple[str, list[RowFacts]]]:
        """Name and rows of each file, those in folders in place of the folders, some files there left out."""
        found: list[tuple[str, list[RowFacts]]] = []
        for file in files:
            num_before = len(found)
            inside = data_files(file.path)
            rest = [path for path in inside if path == file.path or path.resolve() not in without]
            for path in rest:
                try:
                    found.append((str(path), self._read_file(file.model_copy(update={"path": path}), len(found))))
                except DataError as error:
                    if path == file.path:
                        raise
                    self.unreadable[str(path)] = str(error).splitlines()[0]
            if len(found) == num_before and len(rest) == len(inside):
                listed = "; ".join(self.unreadable.values())
                raise DataError(f"{file.path}: no file in this folder can be read: {listed}")
        return found

    def _read_file(self, file: DataFile, source: int) -> list[RowFacts]:
        bad: list[BadRow] = []
        rows = [self._reader.read(trajectory, source) for trajectory in iterate_rows(file, bad.append)]
        if bad:
            self.bad_rows[str(file.path)] = len(bad)
        return rows


def _describe(twin: Twin, rows: Sequence[RowFacts], sources: Sequence[str], tests: Sequence[TestSet]) -> Found:
    row, test = rows[twin.row], tests[twin.test]
    like = test.rows[twin.test_rows[0]]
    return Found(
        train=sources[row.source],
        id=row.id,
        test=test.name,
        test_id=like.id,
        kind=twin.kind.value,
        similarity=round(twin.similarity, 4),
        query=shorten(row.query),
        test_query=shorten(like.query),
    )
