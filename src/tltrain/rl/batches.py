"""Which prompts form a step, and which rollouts an optimizer step: decided by the seed and the step's number alone."""

import math
import random
from collections.abc import Sequence

from tltrain.engine.logprobs import TargetSequence
from tltrain.engine.parallel import Processes
from tltrain.engine.prefix_tree import plan_micro_batches
from tltrain.engine.tree_attention import can_run_trees
from tltrain.rl.actor import Actor
from tltrain.rl.config import PpoConfig
from tltrain.rl.prompts import Prompt
from tltrain.rl.worlds import EpisodePrompt
from tltrain.sft.batches import Step, plan_epoch, share_step

NOTHING = TargetSequence([0, 0], [1])
"""What runs through a model for the sake of the processes that share it."""


def plan_steps(prompts: Sequence[Prompt | EpisodePrompt], config: PpoConfig) -> list[Step]:
    """The prompts of each step, in groups that have a tool list in common where they can.

    Returns:
        For each step its groups of indices into `prompts`. Every prompt occurs once an epoch; the last step of an
        epoch may be smaller.
    """
    steps: list[Step] = []
    num_epochs = math.ceil(config.num_epochs)
    for epoch in range(num_epochs):
        steps += plan_epoch(
            [prompt.toolset for prompt in prompts],
            batch_size=config.prompts_per_step,
            group_size=config.group_size,
            seed=config.seed,
            epoch=epoch,
        )
    num_steps = max(1, round(config.num_epochs * len(steps) / num_epochs))
    return steps[: min(num_steps, config.max_steps or num_steps)]


def plan_minibatches(
    groups: Sequence[int],
    *,
    num_updates: int,
    minibatch_size: int,
    seed: int,
    step: int,
    rows: Sequence[int] | None = None,
) -> list[list[int]]:
    """The rollouts of each optimizer step on one rollout batch.

    Groups are shuffled anew for each pass and stay together, so that their common beginning is computed once.

    Args:
        groups: of each rollout; equal for those that begin alike, and these stand together.
        num_updates: passes over the rollouts.
        minibatch_size: rollouts an optimizer step; the last of a pass may have fewer.
        seed: decides the order, together with
        step: the number of the rollout batch.
        rows: numbers of the rollouts that are learnt from; None: all.

    Returns:
        Indices of rollouts, pass after pass.
    """
    members: dict[int, list[int]] = {}
    for index in range(len(groups)) if rows is None else rows:
        members.setdefault(groups[index], []).append(index)
    rng = random.Random(f"{seed}:minibatches:{step}")
    minibatches: list[list[int]] = []
    for _ in range(num_updates):
        order = [index for group in rng.sample(list(members), len(members)) for index in members[group]]
        minibatches += split(order, minibatch_size)
    return minibatches


def count_updates(num_prompts: int, config: PpoConfig) -> int:
    """Optimizer steps on the rollouts of a step of so many prompts."""
    num_rollouts = num_prompts * config.samples_per_prompt
    return config.num_updates * math.ceil(num_rollouts / config.minibatch_size)


def plan_parts(
    sequences: Sequence[TargetSequence], config: PpoConfig, actor: Actor, processes: Processes
) -> list[tuple[int, ...]]:
    """Numbers of the sequences that run through the models together.

    Processes that share the models make equally many passes: those that have fewer make the last ones with `NOTHING`,
    which stand here as empty parts.
    """
    ids = [sequence.ids for sequence in sequences]
    # a model without trees makes a pass for each sequence
    is_one_by_one = actor.is_sharded and not can_run_trees(actor.model)
    parts = plan_micro_batches(ids, 1 if is_one_by_one else config.micro_batch_tokens, share=config.share_prefixes)
    if actor.is_sharded:
        parts = [*parts, *[()] * (processes.max(len(parts)) - len(parts))]
    return parts


def share_rows(groups: Sequence[int], sizes: Sequence[int], processes: Processes) -> list[int]:
    """Numbers of the rows that this process computes: whole groups, about evenly by size, where there are enough.

    Args:
        groups: of each row; equal for those that begin alike.
        sizes: tokens of each row.
        processes: which this one is.

    Returns:
        In order; may be empty.
    """
    members: dict[int, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    return sorted(share_step(tuple(map(tuple, members.values())), sizes, processes.size)[processes.rank])


def split(indices: Sequence[int], size: int) -> list[list[int]]:
    """Runs of at most so many indices."""
    return [list(indices[start : start + size]) for start in range(0, len(indices), size)]
