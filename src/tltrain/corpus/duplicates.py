"""Rows that say the same as an earlier one."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tltrain.corpus.near import NearIndex
from tltrain.corpus.rows import RowFacts


class Duplicate(NamedTuple):
    """A row that a kept one makes superfluous; rows are named by their place in the sequence."""

    row: int
    kept: int
    similarity: float | None
    """Of the two queries, where these are nearly the same; None: the rows are equal."""


def find_duplicates(rows: Sequence[RowFacts], *, near_threshold: float | None = None) -> list[Duplicate]:
    """Find the rows to remove so that no two of those left are duplicates of each other; the first of equals stays.

    Args:
        rows: all rows.
        near_threshold: least likeness of two queries over the same tools that makes the rows duplicates, whatever
            follows the query; None: only equal rows are. Equal rows are removed first, so it never decides which of
            them stays.

    Returns:
        In the order of rows. Each names a row that stays.
    """
    first: dict[bytes, int] = {}
    equal = [
        Duplicate(number, first[row.key], None)
        for number, row in enumerate(rows)
        if first.setdefault(row.key, number) != number
    ]
    if near_threshold is None:
        return equal
    near = {found.row: found for found in _find_near(rows, sorted(first.values()), near_threshold)}
    # The row that an equal one was to be dropped for may itself be nearly another one.
    moved = [near[found.kept]._replace(row=found.row) if found.kept in near else found for found in equal]
    return sorted([*moved, *near.values()], key=lambda found: found.row)


def _find_near(rows: Sequence[RowFacts], numbers: Sequence[int], threshold: float) -> Iterator[Duplicate]:
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for number in numbers:
        if rows[number].query:
            groups[rows[number].toolset].append(number)
    for group in groups.values():
        if len(group) == 1:
            continue
        index = NearIndex(threshold, (rows[number].query for number in group))
        kept: list[int] = []
        for number in group:
            prepared = index.prepare(rows[number].query)
            matches = index.find(prepared)
            if matches:
                yield Duplicate(number, kept[matches[0].number], matches[0].similarity)
            else:
                index.add(prepared)
                kept.append(number)
