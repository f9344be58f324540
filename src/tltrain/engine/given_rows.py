"""Prefix trees of which some rows have run before, so that only the others need run."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from tltrain.engine.prefix_tree import PrefixTree, Segment
from tltrain.engine.tree_blocks import KeysValues


class KeptRows(Protocol):
    """Keys and values of beginnings that ran earlier, under the weights that the model still has."""

    def length(self, ids: Sequence[int]) -> int:
        """Tokens at the front of a sequence whose keys and values are at hand."""

    def rows(self, ids: Sequence[int], start: int, end: int) -> list[KeysValues]:
        """Those of the tokens from `start` to `end`, at most `length`, layer by layer."""


class Source(NamedTuple):
    """Where the rows of a given segment stand."""

    sequence: int
    """One that holds them."""
    start: int
    """Place of the first in that sequence."""
    end: int


class PartedTree(NamedTuple):
    """A tree whose given rows come first."""

    tree: PrefixTree
    sources: list[Source]
    """Of the given segments, which are the first ones, each leading to one that is not given."""

    @property
    def num_rows(self) -> int:
        """Rows that are given."""
        return self.tree.segments[len(self.sources) - 1].end if self.sources else 0


def part_tree(tree: PrefixTree, given: Sequence[int]) -> PartedTree:
    """Cut the segments of a tree into what is given and what is to run, and put the former first.

    A row is given if it is for every sequence that holds it.

    Args:
        tree: of `build_tree`.
        given: for each sequence, how many of its first tokens are; fewer than it has.
    """
    holders: dict[int, int] = {}
    lengths = [segment.end - segment.start for segment in tree.segments]
    for sequence, path in enumerate(tree.paths):
        for number in path:
            segment = tree.segments[number]
            lengths[number] = min(lengths[number], max(0, given[sequence] - segment.position))
            holders[number] = sequence
    ids: list[int] = []
    positions: list[int] = []
    segments: list[Segment] = []
    parts: list[list[int]] = [[] for _ in tree.segments]
    """New numbers of each old segment: of what is given of it, then of what is run."""

    def add(number: int, start: int, end: int) -> None:
        segment = tree.segments[number]
        before = [part for old in segment.before for part in parts[old]] + parts[number]
        parts[number].append(len(segments))
        segments.append(
            Segment(
                start=len(ids),
                end=len(ids) + end - start,
                position=segment.position + start,
                before=tuple(before),
            )
        )
        ids.extend(tree.ids[segment.start + start : segment.start + end])
        positions.extend(tree.positions[segment.start + start : segment.start + end])

    sources = []
    for number, (segment, length) in enumerate(zip(tree.segments, lengths, strict=True)):
        if length:
            add(number, 0, length)
            sources.append(Source(holders[number], segment.position, segment.position + length))
    for number, (segment, length) in enumerate(zip(tree.segments, lengths, strict=True)):
        if length < segment.end - segment.start:
            add(number, length, segment.end - segment.start)
    paths = tuple(tuple(part for number in path for part in parts[number]) for path in tree.paths)
    return PartedTree(PrefixTree(ids=ids, positions=positions, segments=tuple(segments), paths=paths), sources)
