"""Sequences that begin alike as one tree, in which every common beginning stands once.

In tool-use data most tokens are tool documents that many samples share. The sequences of a batch become a forest of
segments; its tokens are laid out in one row, without copies and without padding, and run through the model together
(see `tree_attention`). For groups of rollouts this is known (Prefix Grouper, arXiv:2506.05433).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

MIN_SHARED = 16
"""Shorter common beginnings are not worth a segment of their own."""
MIN_TRUNK = 64
"""Shorter common beginnings of several groups are run with each of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """A run of tokens that one or more sequences have in common."""

    start: int
    """Row of its first token in the layout."""
    end: int
    """Row after its last token."""
    position: int
    """Position of its first token in the sequences that hold it: the number of tokens before it."""
    before: tuple[int, ...]
    """Numbers of the segments that lead to it, the first of the sequence first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PrefixTree:
    """Sequences laid out in one row."""

    ids: list[int]
    """Token of each row."""
    positions: list[int]
    """Position of each row's token in its sequence."""
    segments: tuple[Segment, ...]
    """In the order of their rows; segments without successors stand next to their siblings."""
    paths: tuple[tuple[int, ...], ...]
    """For each sequence, in the order given, the numbers of its segments."""

    def rows(self, sequence: int) -> list[int]:
        """The row of each token of a sequence."""
        return [
            row
            for number in self.paths[sequence]
            for row in range(self.segments[number].start, self.segments[number].end)
        ]


def build_tree(sequences: Sequence[Sequence[int]], *, share: bool = True, trunk: int = 0) -> PrefixTree:
    """Lay sequences out in one row.

    Args:
        sequences: token ids, none empty; equal ones share all their rows.
        share: False keeps every sequence apart.
        trunk: so many leading tokens, which all have in common and none ends with, are a segment of their own, the
            first; 0: none.
    """
    builder = _Builder(sequences)
    if share:
        order = sorted(range(len(sequences)), key=lambda number: list(sequences[number]))
        path = builder.add_segment(list(sequences[0][:trunk]), offset=0, path=()) if trunk else ()
        builder.add_group(order, offset=trunk, path=path)
    else:
        for number, sequence in enumerate(sequences):
            builder.paths[number] = builder.add_segment(sequence, offset=0, path=())
    return builder.finish()


class _Builder:
    def __init__(self, sequences: Sequence[Sequence[int]]):
        self._sequences = [list(sequence) for sequence in sequences]
        self._ids: list[int] = []
        self._positions: list[int] = []
        self._segments: list[Segment] = []
        self.paths: dict[int, tuple[int, ...]] = {}

    def add_segment(self, tokens: Sequence[int], *, offset: int, path: tuple[int, ...]) -> tuple[int, ...]:
        """Append a segment; returns the path through it."""
        start = len(self._ids)
        self._ids += tokens
        self._positions += range(offset, offset + len(tokens))
        self._segments.append(Segment(start=start, end=len(self._ids), position=offset, before=path))
        return (*path, len(self._segments) - 1)

    def add_group(self, members: Sequence[int], *, offset: int, path: tuple[int, ...]) -> None:
        """Add what follows `offset` of sorted sequences that agree up to there: ends first, then branches."""
        for member in members:
            if len(self._sequences[member]) == offset:
                self.paths[member] = path
        groups = self._split([member for member in members if len(self._sequences[member]) > offset], offset)
        for group in (group for group in groups if len(group) == 1):
            self.paths[group[0]] = self.add_segment(self._sequences[group[0]][offset:], offset=offset, path=path)
        for group in (group for group in groups if len(group) > 1):
            first, last = self._sequences[group[0]], self._sequences[group[-1]]
            # what the first and the last of sorted sequences share, all between them share too
            end = common_length(first, last)
            self.add_group(group, offset=end, path=self.add_segment(first[offset:end], offset=offset, path=path))

    def _split(self, members: Sequence[int], offset: int) -> list[list[int]]:
        """Runs of sequences that share enough beyond `offset`, or are equal."""
        groups: list[list[int]] = []
        for member in members:
            if groups:
                here, there = self._sequences[groups[-1][0]], self._sequences[member]
                if common_length(here, there) >= offset + MIN_SHARED or here == there:
                    groups[-1].append(member)
                    continue
            groups.append([member])
        return groups

    def finish(self) -> PrefixTree:
        paths = tuple(self.paths[number] for number in range(len(self._sequences)))
        return PrefixTree(ids=self._ids, positions=self._positions, segments=tuple(self._segments), paths=paths)


def common_length(first: Sequence[int], second: Sequence[int]) -> int:
    """Number of leading tokens that two sequences of one type share."""
    limit = min(len(first), len(second))
    if first[:limit] == second[:limit]:
        return limit
    low, high = 0, limit  # first[:low] agrees, first[:high] does not; slices compare much faster than loops
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if first[low:middle] == second[low:middle] else (low, middle)
    return low


def plan_micro_batches(
    sequences: Sequence[Sequence[int]], max_tokens: int, *, share: bool = True
) -> list[tuple[int, ...]]:
    """Split sequences into groups that run through the model together, with the fewest tokens in all.

    Groups are runs of the sorted order, in which neighbours share the longest beginnings; the cut among those is the
    best one (dynamic programming).

    Args:
        sequences: token ids, none empty.
        max_tokens: most tokens of a group, those that its sequences share counted once; a longer sequence is a group
            of its own.
        share: False counts every token of every sequence.

    Returns:
        Indices into `sequences`, each once.
    """
    order = sorted(range(len(sequences)), key=lambda number: list(sequences[number]))
    ordered = [list(sequences[number]) for number in order]
    shared = [0] + [common_length(one, next_) if share else 0 for one, next_ in pairwise(ordered)]
    # (tokens, groups) of the cheapest plan for the first n sequences, and where its last group starts
    best: list[tuple[int, int]] = [(0, 0)]
    starts = [0]
    for end in range(1, len(ordered) + 1):
        plans = []
        added = 0
        for start in range(end - 1, -1, -1):
            tokens = added + len(ordered[start])
            if tokens > max_tokens and start < end - 1:
                break
            plans.append((best[start][0] + tokens, best[start][1] + 1, start))
            added += len(ordered[start]) - shared[start]
        tokens, number, start = min(plans)
        best.append((tokens, number))
        starts.append(start)
    groups: list[tuple[int, ...]] = []
    end = len(ordered)
    while end:
        groups.append(tuple(order[starts[end] : end]))
        end = starts[end]
    return groups[::-1]


class TrunkGroups(NamedTuple):
    """Groups of sequences that run one after the other, and what they run only once."""

    trunk: int
    """Number of leading tokens that all sequences of all these groups have in common; 0: nothing is shared."""
    groups: list[tuple[int, ...]]


def plan_trunks(
    sequences: Sequence[Sequence[int]], groups: Sequence[tuple[int, ...]], first_targets: Sequence[int]
) -> list[TrunkGroups]:
    """Join neighbouring groups that begin alike, so that as many tokens as possible are saved (dynamic programming).

    A trunk of n tokens over g groups saves n (g - 1) tokens. The state of its last token predicts nothing, so that a
    trunk ends before the token before a sequence's first target.

    Args:
        sequences: token ids.
        groups: of `plan_micro_batches`.
        first_targets: the first position of each sequence that is predicted.
    """
    limits = [min(first_targets[number] - 1 for number in group) for group in groups]
    inner = [
        common_length(min(members), max(members))
        for members in ([list(sequences[number]) for number in group] for group in groups)
    ]
    between = [common_length(list(sequences[one[0]]), list(sequences[other[0]])) for one, other in pairwise(groups)]
    # tokens saved by the best plan for the first n groups, and where its last run of groups starts
    best: list[tuple[int, int]] = [(0, 0)]
    for end in range(1, len(groups) + 1):
        plans = []
        trunk = min(inner[end - 1], limits[end - 1])
        for start in range(end - 1, -1, -1):
            if start < end - 1:
                trunk = min(trunk, inner[start], limits[start], between[start])
                if trunk < MIN_TRUNK:
                    break
            plans.append((best[start][0] + trunk * (end - 1 - start), start))
        best.append(max(plans))
    joined: list[TrunkGroups] = []
    end = len(groups)
    while end:
        start = best[end][1]
        run = list(range(start, end))
        trunk = min([*(min(inner[n], limits[n]) for n in run), *(between[n] for n in run[:-1])])
        joined.append(TrunkGroups(trunk if len(run) > 1 else 0, [groups[n] for n in run]))
        end = start
    return joined[::-1]
