"""From loss weights to the loss of a step.

Axes: N = target token.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from tltrain.errors import DataError
from tltrain.render.rendered import RenderedTrajectory
from tltrain.sft.config import Normalisation

_FLOAT32 = torch.finfo(torch.float32)


def loss_coefficients(step: Sequence[RenderedTrajectory], normalisation: Normalisation) -> list[list[float]]:
    """The factor of each trained token's negative log-prob in the loss of a step.

    The loss of the step is the plain sum of factor times nll, over however many micro-batches: accumulation changes
    nothing.

    Args:
        step: all trajectories of one optimizer step.
        normalisation: see `Normalisation`.

    Returns:
        One list a trajectory, in the order of `target_positions`.

    Raises:
        DataError: no token of the step weighs anything, so that nothing but weight decay would happen, or weights are
            so small or large that float32 has no factor for them.
    """
    coefficients = _coefficients(step, normalisation)
    factors = [factor for row in coefficients for factor in row]
    if not (math.isfinite(sum(factors)) and _FLOAT32.tiny <= max(factors, default=0.0) <= _FLOAT32.max):
        weights = [weight for rendered in step for weight in rendered.weights]
        raise DataError(
            f"the rows {', '.join(rendered.id for rendered in step)} make a step whose largest loss weight is "
            f"{max(weights, default=0.0):g}, of which no loss can be made; leave them out, or correct the weights that "
            "their file gives them"
        )
    return coefficients


def _coefficients(step: Sequence[RenderedTrajectory], normalisation: Normalisation) -> list[list[float]]:
    sums = [_turn_sums(rendered) for rendered in step]
    if normalisation == "turn":
        num_turns = sum(total > 0 for turns in sums for _, total in turns)
        return [
            [rendered.weights[position] / (total * num_turns) for positions, total in turns for position in positions]
            for rendered, turns in zip(step, sums, strict=True)
        ]
    if normalisation == "step":
        divisor = sum(total for turns in sums for _, total in turns)
    else:
        divisor = sum(len(positions) for turns in sums for positions, _ in turns)
    return [
        [rendered.weights[position] / divisor for positions, _ in turns for position in positions]
        for rendered, turns in zip(step, sums, strict=True)
    ]


def target_positions(rendered: RenderedTrajectory) -> list[int]:
    """Positions of the tokens that train, ascending."""
    return [position for position, weight in enumerate(rendered.weights) if weight > 0]


def weighted_nll(logprobs_N: Tensor, coefficients: Sequence[Sequence[float]]) -> Tensor:
    """Sum of factor times negative log-prob (method: L_MAE, L_PKT); scalar, float32."""
    flat = torch.tensor([factor for row in coefficients for factor in row], dtype=logprobs_N.dtype)
    return -(flat.to(logprobs_N.device) * logprobs_N).sum()


def _turn_sums(rendered: RenderedTrajectory) -> list[tuple[list[int], float]]:
    """Trained positions and the sum of their weights, a turn."""
    turns = []
    for turn in rendered.turns:
        positions = [position for position in range(turn.start, turn.end) if rendered.weights[position] > 0]
        turns.append((positions, sum(rendered.weights[position] for position in positions)))
    return turns
