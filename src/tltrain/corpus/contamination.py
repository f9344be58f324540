"""Training rows that are in a test set: the same query, or the same tools and nearly the same query."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple

from tltrain.corpus.near import NearIndex
from tltrain.corpus.rows import RowFacts


class TwinKind(StrEnum):
    """How a training row and a row of a test set are alike."""

    SAME_QUERY = "same_query"
    """But for case, punctuation and white space, whatever the tools."""
    NEAR_QUERY = "near_query"
    """Nearly, and the tools have the same names."""


class Twin(NamedTuple):
    """A training row that is in a test set; rows are named by their places."""

    row: int
    test: int
    """Which test set."""
    kind: TwinKind
    test_rows: tuple[int, ...]
    """All rows of the test set that it is like, the most similar first."""
    similarity: float
    """To the first of them."""


class TestSet:
    """The rows of one test file, ready to be asked.

    Args:
        name: the file, as people know it.
        rows: their toolsets numbered as those of the training rows.
        near_threshold: see `Decontaminate`.
    """

    __test__ = False  # no class of tests, whatever its name

    def __init__(self, name: str, rows: Sequence[RowFacts], *, near_threshold: float):
        self.name = name
        self.rows = rows
        self._near_threshold = near_threshold
        self._by_query: defaultdict[bytes, list[int]] = defaultdict(list)
        self._by_toolset: defaultdict[int, list[int]] = defaultdict(list)
        for number, row in enumerate(rows):
            if row.query:
                self._by_query[row.query_key].append(number)
                self._by_toolset[row.toolset].append(number)
        self._indexes: dict[int, NearIndex] = {}

    @cached_property
    def toolsets(self) -> frozenset[int]:
        """Toolsets that occur in it, rows without tools aside."""
        return frozenset(row.toolset for row in self.rows if row.has_tools)

    def find(self, row: RowFacts) -> tuple[TwinKind, tuple[int, ...], float] | None:
        """Kind, rows and similarity of the first of them, if the row is in this test set."""
        if not row.query:
            return None
        if row.query_key in self._by_query:
            return TwinKind.SAME_QUERY, tuple(self._by_query[row.query_key]), 1.0
        if row.toolset not in self._by_toolset:
            return None
        index, numbers = self._index(row.toolset), self._by_toolset[row.toolset]
        matches = index.find(index.prepare(row.query))
        if not matches:
            return None
        return TwinKind.NEAR_QUERY, tuple(numbers[match.number] for match in matches), matches[0].similarity

    def _index(self, toolset: int) -> NearIndex:
        if toolset not in self._indexes:
            queries = [self.rows[number].query for number in self._by_toolset[toolset]]
            index = self._indexes[toolset] = NearIndex(self._near_threshold, queries)
            for query in queries:
                index.add(index.prepare(query))
        return self._indexes[toolset]


def find_twins(rows: Sequence[RowFacts], tests: Sequence[TestSet]) -> Iterator[Twin]:
    """Every training row that is in a test set, once for each test set."""
    for number, row in enumerate(rows):
        for place, test in enumerate(tests):
            found = test.find(row)
            if found is not None:
                yield Twin(number, place, *found)


@dataclass(frozen=True, kw_only=True, slots=True)
class PairCount:
    """What one training file and one test file have in common."""

    train: str
    test: str
    train_rows: int
    test_rows: int
    same_query: int
    """Training rows."""
    near_query: int
    """Training rows that have not the same query."""
    test_rows_met: int
    """Rows of the test file that some training row is like."""
    same_tools: int
    """Training rows whose tools have the names of a tool list of the test file."""


def count_pairs(
    rows: Sequence[RowFacts], sources: Sequence[str], tests: Sequence[TestSet], twins: Sequence[Twin]
) -> list[PairCount]:
    """A count for each training file and each test file, in order.

    Args:
        rows: training rows.
        sources: names of the training files.
        tests: test files.
        twins: all that `find_twins` found.
    """
    of_pair: defaultdict[tuple[int, int], list[Twin]] = defaultdict(list)
    for twin in twins:
        of_pair[rows[twin.row].source, twin.test].append(twin)
    toolsets: list[list[int]] = [[] for _ in sources]
    for row in rows:
        toolsets[row.source].append(row.toolset)
    return [
        PairCount(
            train=name,
            test=test.name,
            train_rows=len(toolsets[source]),
            test_rows=len(test.rows),
            same_query=sum(twin.kind is TwinKind.SAME_QUERY for twin in of_pair[source, place]),
            near_query=sum(twin.kind is TwinKind.NEAR_QUERY for twin in of_pair[source, place]),
            test_rows_met=len({number for twin in of_pair[source, place] for number in twin.test_rows}),
            same_tools=sum(toolset in test.toolsets for toolset in toolsets[source]),
        )
        for source, name in enumerate(sources)
        for place, test in enumerate(tests)
    ]
