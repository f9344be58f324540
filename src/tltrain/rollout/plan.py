"""Which prompts are sampled together, so that few tokens are computed."""

from collections.abc import Sequence
from itertools import pairwise

from tltrain.engine.prefix_tree import common_length

_STEP_COST = 20
"""What a decoding step costs beside its rows, in prefilled tokens: it reads all weights for few products. Measured with
the embedded model on one core: 4 ms a prefilled token, 80 ms a step of 1 row, 140 ms of 16, 270 ms of 32."""
_NUM_STEPS = 32
"""Decoding steps that a batch is taken to need; calls are some 20 to 60 tokens long."""


def plan_batches(prompts: Sequence[Sequence[int]], max_size: int) -> list[list[int]]:
    """Group prompts into batches of the least total cost; every prompt occurs once.

    A batch costs, counted in tokens: those of its prompts, shared ones once; and for each decoding step 20 and one more
    a row. Its key-value cache is padded to the longest prompt, and at most half of it may be padding.

    Batches are runs of the sorted order, in which neighbours share the longest beginnings; among those, the cut is
    the best one (dynamic programming, `max_size` steps a prompt).

    Args:
        prompts: token ids, none empty.
        max_size: most prompts of a batch; at least 1.

    Returns:
        Indices into `prompts`, batch by batch in sorted order.
    """
    order = sorted(range(len(prompts)), key=lambda index: list(prompts[index]))
    ordered = [list(prompts[index]) for index in order]
    shared_with_next = [common_length(one, next_) for one, next_ in pairwise(ordered)]
    costs, starts = [0.0], [0]
    """Cost of the cheapest plan for the first n prompts, and where its last batch starts."""
    for end in range(1, len(order) + 1):
        best, best_start = float("inf"), end
        longest = num_cached = num_computed = 0
        for start in range(end - 1, max(end - max_size, 0) - 1, -1):
            length = len(ordered[start])
            longest, num_cached = max(longest, length), num_cached + length
            num_computed += length - (shared_with_next[start] if start < end - 1 else 0)
            if (end - start) * longest > 2 * num_cached:
                continue
            cost = costs[start] + batch_cost(end - start, num_computed)
            if cost <= best:
                best, best_start = cost, start
        costs.append(best)
        starts.append(best_start)
    batches: list[list[int]] = []
    end = len(order)
    while end:
        batches.append(order[starts[end] : end])
        end = starts[end]
    return batches[::-1]


def batch_cost(num_rows: int, num_tokens: int) -> float:
    """Cost of one batch in tokens, see `plan_batches`.

    Args:
        num_rows: prompts in the batch.
        num_tokens: tokens of its prompts, shared ones counted once.
    """
    return num_tokens + _NUM_STEPS * (_STEP_COST + num_rows)
