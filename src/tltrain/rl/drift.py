"""How far the engine that samples and the model that trains disagree, and what is done about it.

Two programs that hold the same weights give a token different probabilities: other kernels, another order of sums,
another number format. Then completions come from another policy than the one whose gradient is taken.

Axes: B = sequence, T = completion token.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from tltrain.rl.masking import check_shapes


def importance_weights(
    trainer_logprobs_BT: Tensor, rollout_logprobs_BT: Tensor, loss_mask_BT: Tensor, *, cap: float | None
) -> Tensor:
    """Truncated importance weights: min(pi_trainer(token) / pi_rollout(token), cap), by which the policy's loss is
    multiplied token by token.

    Source: Yao et al. 2025, "Your Efficient RL Framework Secretly Brings You Off-Policy RL Training", the truncated
    importance sampling (TIS) of its PPO loss; truncation is that of Ionides 2008. Both probabilities are those of the
    weights that sampled, so a weight stays the same in all updates on a rollout batch, beside the ratio of PPO.

    Args:
        trainer_logprobs_BT: of the sampled tokens by the model that trains, before any update on them; nats.
        rollout_logprobs_BT: as the engine saw them; nats.
        loss_mask_BT: bool; True on sampled tokens.
        cap: most that a token counts; positive. None: no correction.

    Returns:
        (B, T), the inputs' dtype, without gradient: in (0, cap] on sampled tokens and 1 elsewhere; 1 throughout where
        there is no correction.

    Raises:
        ValueError: shapes differ, or the cap is not positive.
    """
    check_shapes(loss_mask_BT, trainer_logprobs_BT=trainer_logprobs_BT, rollout_logprobs_BT=rollout_logprobs_BT)
    if cap is None:
        return torch.ones_like(trainer_logprobs_BT.detach())
    if not cap > 0:
        raise ValueError(f"cap={cap} must be positive; Yao et al. use 2")
    log_ratio_BT = (trainer_logprobs_BT.detach() - rollout_logprobs_BT.detach()).masked_fill(~loss_mask_BT, 0.0)
    return log_ratio_BT.exp().clamp(max=cap).masked_fill(~loss_mask_BT, 1.0)


class Drift(NamedTuple):
    """How far log-probs of sampled tokens are apart; nats."""

    mean: float
    """Mean absolute difference a token."""
    max: float
    """Of the token on which they differ most."""
    num_capped: int
    """Tokens whose weight is cut off at the cap."""


def measure_drift(
    trainer_logprobs_BT: Tensor, rollout_logprobs_BT: Tensor, loss_mask_BT: Tensor, *, cap: float | None
) -> Drift:
    """Compare log-probs of trainer and engine, see `importance_weights`; at least one token is sampled."""
    check_shapes(loss_mask_BT, trainer_logprobs_BT=trainer_logprobs_BT, rollout_logprobs_BT=rollout_logprobs_BT)
    difference = (trainer_logprobs_BT - rollout_logprobs_BT)[loss_mask_BT].double()
    num_capped = 0 if cap is None else int((difference.exp() > cap).sum())
    return Drift(difference.abs().mean().item(), difference.abs().max().item(), num_capped)
