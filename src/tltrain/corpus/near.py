"""Texts that are nearly the same: every pair at or above a threshold of likeness is found, none is guessed.

Likeness is the Jaccard similarity of the sets of character trigrams: what two texts share, over what either has.
Candidates come from prefix filtering: two sets that are alike enough must share some of their rarest trigrams, so only
those are indexed. Source: Xiao et al. 2011, Efficient Similarity Joins for Near-Duplicate Detection, ACM TODS 36(3),
sections 2-3; the bound below counts what the two prefixes share at once, in place of going from match to match.
"""

import math
from array import array
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

_ROUNDING = 1e-9
"""Far below one trigram, far above the error of a product of floats."""


class NearMatch(NamedTuple):
    """An entry of the index that is like a text."""

    number: int
    """Which entry, counted from 0 as they were added."""
    similarity: float
    """In [threshold, 1]."""


def trigrams(text: str) -> frozenset[str]:
    """All runs of three characters of a text with a blank before and after it."""
    padded = f" {text} "
    return frozenset([padded[start : start + 3] for start in range(max(1, len(padded) - 2))])


class NearIndex:
    """Texts that can be asked which of them are like another one.

    Args:
        threshold: least similarity of a match, in (0, 1].
        texts: texts like those to come, which tell how common each trigram is. They decide the speed, not the result.
    """

    def __init__(self, threshold: float, texts: Iterable[str]):
        self._threshold = threshold
        counts = Counter(trigram for text in texts for trigram in trigrams(text))
        rarest_first = sorted(counts, key=lambda trigram: (counts[trigram], trigram))
        self._ranks = {trigram: rank for rank, trigram in enumerate(rarest_first)}
        self._num_uncounted = 0
        self._postings: dict[int, array[int]] = {}
        """Rank of a trigram -> entries that have it in their prefix."""
        self._entries: list[array[int]] = []
        """Ranks of each entry's trigrams, the rarest first."""
        self._sizes = array("i")
        self._rests = array("i")
        """How many trigrams each entry has behind its prefix."""
        self._ends = array("i")
        """Rank of the last trigram in each entry's prefix."""

    def __len__(self) -> int:
        return len(self._entries)

    def prepare(self, text: str) -> "array[int]":
        """A text as this index compares it: the ranks of its trigrams, ascending.

        A trigram that was not counted is taken for rarer than all before it.
        """
        ranks = []
        for trigram in trigrams(text):
            rank = self._ranks.get(trigram)
            if rank is None:
                self._num_uncounted += 1
                rank = self._ranks[trigram] = -self._num_uncounted
            ranks.append(rank)
        return array("i", sorted(ranks))

    def add(self, prepared: "array[int]") -> None:
        """Add an entry."""
        rest = self._num_behind_prefix(len(prepared))
        for rank in prepared[: len(prepared) - rest]:
            self._postings.setdefault(rank, array("i")).append(len(self._entries))
        self._entries.append(prepared)
        self._sizes.append(len(prepared))
        self._rests.append(rest)
        self._ends.append(prepared[len(prepared) - rest - 1])

    def find(self, prepared: "array[int]") -> list[NearMatch]:
        """Entries that are like a text, the most similar first, equal ones in the order added."""
        own = set(prepared)
        matches = []
        for number in self._candidates(prepared):
            num_shared = len(own.intersection(self._entries[number]))
            similarity = num_shared / (len(prepared) + self._sizes[number] - num_shared)
            if similarity >= self._threshold:
                matches.append(NearMatch(number, similarity))
        return sorted(matches, key=lambda match: (-match.similarity, match.number))

    def _num_behind_prefix(self, size: int) -> int:
        """A set that shares none but these trigrams with another one is less alike than the threshold."""
        return math.ceil(self._threshold * size - _ROUNDING) - 1

    def _candidates(self, prepared: "array[int]") -> list[int]:
        """Entries that may be alike, by their number of trigrams and by how many of both prefixes they share.

        Beyond the prefix that ends with the rarer trigram, its side has only its rest to share, and all that it has
        shared so far lies in both prefixes. So two sets share at most what their prefixes do, and that rest.
        """
        size, rest = len(prepared), self._num_behind_prefix(len(prepared))
        prefix = prepared[: size - rest]
        found = [self._postings[rank] for rank in prefix if rank in self._postings]
        if not found:
            return []
        entries = np.concatenate([np.frombuffer(part, np.int32) for part in found])
        numbers, num_shared = np.unique(entries, return_counts=True)
        sizes, rests, ends = (np.frombuffer(part, np.int32)[numbers] for part in (self._sizes, self._rests, self._ends))
        at_most = num_shared + np.where(ends < prefix[-1], rests, rest)
        at_least = self._threshold / (1 + self._threshold) * (size + sizes) - _ROUNDING
        chosen: list[int] = numbers[np.minimum(at_most, np.minimum(size, sizes)) >= at_least].tolist()
        return chosen
