"""How far two models' next-token distributions are apart, without ever keeping a [tokens, vocabulary] matrix.

Axes: N = target, H = hidden feature, V = vocabulary entry.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from tltrain.engine.head import Head


class Divergence(NamedTuple):
    """What sets two distributions apart, target by target."""

    kl: Tensor
    """[N], nats: KL(first || second), what the second costs where the first is the truth."""
    reverse_kl: Tensor
    """[N], nats: KL(second || first)."""
    agrees: Tensor
    """[N], bool: both have the same most likely token."""


@torch.no_grad()
def compare_distributions(
    first_NH: Tensor, first_head: Head, second_NH: Tensor, second_head: Head, *, chunk_size: int = 64
) -> Divergence:
    """Compare softmax(logits) of two models at the same targets.

    The sums run over the whole vocabulary; nothing is sampled. Where one output embedding has more rows than the other,
    as with rows that only fill it up, both distributions are those over the rows that they have in common. Logits of
    `chunk_size` targets exist at a time.

    Args:
        first_NH: last hidden states of the first model at the positions that predict the targets.
        first_head: makes logits of them.
        second_NH: as the first; the models may differ in H.
        second_head: as the first.
        chunk_size: how many rows of logits exist at once.

    Returns:
        Float32, or float64 where the hidden states are.

    Raises:
        ValueError: the two have different numbers of targets.
    """
    if len(first_NH) != len(second_NH):
        raise ValueError(f"compare_distributions wants as many targets of both; got {len(first_NH)}, {len(second_NH)}")
    exact = torch.promote_types(torch.promote_types(first_NH.dtype, second_NH.dtype), torch.float32)
    num_entries = min(len(first_head.weight), len(second_head.weight))
    found = Divergence(
        first_NH.new_empty(len(first_NH), dtype=exact),
        first_NH.new_empty(len(first_NH), dtype=exact),
        first_NH.new_empty(len(first_NH), dtype=torch.bool),
    )
    pairs = ((first_NH, first_head), (second_NH, second_head))
    heads = [(hidden, head.to(hidden.dtype)) for hidden, head in pairs]
    for start in range(0, len(first_NH), chunk_size):
        rows = slice(start, start + chunk_size)
        first, second = (
            torch.log_softmax(head.logits(hidden[rows])[:, :num_entries].to(exact), dim=-1) for hidden, head in heads
        )
        found.kl[rows] = _kl(first, second)
        found.reverse_kl[rows] = _kl(second, first)
        found.agrees[rows] = first.argmax(dim=-1) == second.argmax(dim=-1)
    return found


def _kl(first: Tensor, second: Tensor) -> Tensor:
    return (first.exp() * (first - second)).sum(dim=-1)
