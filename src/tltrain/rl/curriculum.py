"""Drawing the prompts of a step in proportion to what the policy still gets wrong: settings, and the draw itself.

Source: the idea is Prioritized Level Replay's, Jiang et al. 2021, arXiv:2010.03934: what to practise next is drawn by
how the policy did there last. Departures: the score is the share of wrong answers and not the size of TD errors; it
belongs to a kind of prompt, as a prompt is seen a few times at most; the chance is in proportion to it and not to its
rank; and a floor under all chances stands for the staleness term.
"""

import random
from collections.abc import Hashable, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from tltrain.sft.batches import Step

Kind = Literal["error", "tool", "prompt"]
"""What prompts are told apart by:

- error: the error that the policy made on them last; prompts that it got right, and those that it has not seen yet, are
  kinds of their own.
- tool: the tools of their right calls, or that text is right.
- prompt: each is its own kind.
"""


class CurriculumConfig(BaseModel):
    """How much practice goes where things go wrong.

    Raises (on construction):
        ValidationError: a field out of its range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: Kind = "error"
    """What prompts are told apart by, see `Kind`."""
    floor: float = Field(default=0.1, gt=0, allow_inf_nan=False)
    """Added to the share of wrong answers of a kind, so that none is forgotten: with 0.1 a prompt of a kind that is
    always wrong comes eleven times as often as one of a kind that is never wrong."""
    rate: float = Field(default=0.3, gt=0, le=1)
    """Weight of a step's answers in the running mean of a kind's share; 1 forgets all steps before."""


def draw_step(
    weights: Sequence[float], keys: Sequence[Hashable], *, batch_size: int, group_size: int, rng: random.Random
) -> Step:
    """Draw the prompts of one step without replacement, in groups of one key where they can.

    The first prompt of a group is drawn in proportion to its weight among all that are left, the others among those of
    its key; so a key is drawn in proportion to the sum of its weights, and what it brings in proportion to each weight.

    Args:
        weights: one a prompt, above 0.
        keys: one a prompt; equal ones (one tool list) have their beginning in common.
        batch_size: prompts of the step; all where there are fewer.
        group_size: prompts of a group; a group that finds no more of its key takes others.
        rng: where chance comes from.

    Returns:
        Groups of indices.
    """
    left = set(range(len(weights)))

    def take(indices: Sequence[int]) -> int:
        (chosen,) = rng.choices(indices, [weights[index] for index in indices])
        left.remove(chosen)
        return chosen

    groups: list[tuple[int, ...]] = []
    wanted = min(batch_size, len(weights))
    while wanted:
        group = [take(sorted(left))]
        while len(group) < min(group_size, wanted):
            same = [index for index in sorted(left) if keys[index] == keys[group[0]]]
            group.append(take(same or sorted(left)))
        groups.append(tuple(group))
        wanted -= len(group)
    return tuple(groups)


def moved_mean(mean: float, seen: Sequence[bool], rate: float) -> float:
    """A running mean after a step in which a kind's answers were wrong (True) or right; at least one of them."""
    return (1 - rate) * mean + rate * sum(seen) / len(seen)
