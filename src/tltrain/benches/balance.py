"""Choosing a part of a test set in which every kind is as frequent as every other."""

import random
from collections import defaultdict
from collections.abc import Sequence
from itertools import zip_longest


def choose_balanced(keys: Sequence[tuple[str, ...]], limit: int | None, *, seed: int) -> list[int]:
    """Choose items so that the values of the first key part come equally often, within them those of the second, ...

    A smaller limit chooses a part of what a larger one does.

    Args:
        keys: one an item, all of one length, such as (kit, template).
        limit: most items to choose; None takes all.
        seed: decides which of equal items are chosen.

    Returns:
        Indices of the chosen items, ascending.
    """
    rng = random.Random(f"{seed}:balance")
    order = rng.sample(range(len(keys)), len(keys))
    return sorted(_in_turns(order, keys, depth=0)[:limit])


def _in_turns(items: Sequence[int], keys: Sequence[tuple[str, ...]], depth: int) -> list[int]:
    """The items, one of each kind in turn."""
    if not items or depth == len(keys[items[0]]):
        return list(items)
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for item in items:
        groups[keys[item][depth]].append(item)
    ordered = [_in_turns(group, keys, depth + 1) for group in groups.values()]
    return [item for turn in zip_longest(*ordered) for item in turn if item is not None]
