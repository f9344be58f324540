"""Which samples form a step, decided before training and from the seed alone, and how processes share it."""

import random
from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import TypeAlias

Group: TypeAlias = tuple[int, ...]
"""Indices of samples that begin alike, where there were as many."""
Step: TypeAlias = tuple[Group, ...]
"""Groups that make one optimizer step."""


def plan_epoch(keys: Sequence[Hashable], *, batch_size: int, group_size: int, seed: int, epoch: int) -> list[Step]:
    """Split all samples into steps; every sample occurs once.

    Samples with equal keys (one tool list) come in groups where they can, so that their common prefix is computed
    once; the groups of a step are drawn at random over the keys.

    Args:
        keys: one a sample.
        batch_size: samples a step; the last step may be smaller.
        group_size: samples of one key that are drawn together; divides the batch size.
        seed: decides the order,
        epoch: together with this number, from 0.
    """
    rng = random.Random(f"{seed}:epoch:{epoch}")
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for index in rng.sample(range(len(keys)), len(keys)):
        groups[keys[index]].append(index)
    whole: list[Group] = []
    rest: list[int] = []
    for members in groups.values():
        cut = len(members) - len(members) % group_size
        whole += [tuple(members[at : at + group_size]) for at in range(0, cut, group_size)]
        rest += members[cut:]
    # what is left of each group: neighbours share a key as far as they can
    leftovers = [tuple(rest[at : at + group_size]) for at in range(0, len(rest), group_size)]
    drawn = whole + leftovers
    rng.shuffle(drawn)
    a_step = batch_size // group_size
    return [tuple(drawn[at : at + a_step]) for at in range(0, len(drawn), a_step)]


def share_step(step: Step, sizes: Sequence[int], num_shares: int) -> list[list[int]]:
    """Split a step among processes, about evenly by size.

    Groups stay whole, so that what they have in common is computed by one process, unless there are fewer of them than
    shares.

    Args:
        step: groups of samples.
        sizes: tokens of each sample, by index.
        num_shares: at least 1.

    Returns:
        For each share its samples, in the order of the step; the last ones may be empty.
    """
    groups = list(step) if len(step) >= num_shares else [(index,) for group in step for index in group]
    shares: list[list[int]] = [[] for _ in range(num_shares)]
    loads = [0] * num_shares
    for number in sorted(range(len(groups)), key=lambda number: -sum(sizes[index] for index in groups[number])):
        least = loads.index(min(loads))
        shares[least].append(number)
        loads[least] += sum(sizes[index] for index in groups[number])
    return [[index for number in sorted(share) for index in groups[number]] for share in shares]
