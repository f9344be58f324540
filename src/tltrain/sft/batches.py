"""Which samples form a step, decided before training and from the seed alone."""

import random
from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import TypeAlias

MicroBatch: TypeAlias = tuple[int, ...]
"""Indices of samples that run through the model together."""
Step: TypeAlias = tuple[MicroBatch, ...]
"""Micro-batches whose gradients are added up to one optimizer step."""


def plan_epoch(
    keys: Sequence[Hashable], *, batch_size: int, micro_batch_size: int, seed: int, epoch: int
) -> list[Step]:
    """Split all samples into steps; every sample occurs once.

    Samples with equal keys (one tool list) share a micro-batch where they can, so that their common prefix is computed
    once; the micro-batches of a step are drawn at random over the keys.

    Args:
        keys: one a sample.
        batch_size: samples a step; the last step may be smaller.
        micro_batch_size: samples at most that run together; divides the batch size.
        seed: decides the order,
        epoch: together with this number, from 0.
    """
    rng = random.Random(f"{seed}:epoch:{epoch}")
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for index in rng.sample(range(len(keys)), len(keys)):
        groups[keys[index]].append(index)
    whole: list[MicroBatch] = []
    rest: list[int] = []
    for members in groups.values():
        cut = len(members) - len(members) % micro_batch_size
        whole += [tuple(members[at : at + micro_batch_size]) for at in range(0, cut, micro_batch_size)]
        rest += members[cut:]
    # what is left of each group: neighbours share a key as far as they can
    leftovers = [tuple(rest[at : at + micro_batch_size]) for at in range(0, len(rest), micro_batch_size)]
    batches = whole + leftovers
    rng.shuffle(batches)
    a_step = batch_size // micro_batch_size
    return [tuple(batches[at : at + a_step]) for at in range(0, len(batches), a_step)]
