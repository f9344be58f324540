"""The losses of PPO, each with the numbers that say how the update went.

Axes: B = sequence, T = completion token. Means are over trained tokens and in float32. Every function takes
`denominator`, the number of trained tokens of the whole minibatch (see `masked_mean`): with it the results of
micro-batches, means among the metrics included, add up to those of the minibatch.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from tltrain.rl.config import LossMean
from tltrain.rl.kl import KlEstimator, compute_mean_kl
from tltrain.rl.masking import check_shapes, keep_trained, masked_mean


def row_denominators(loss_mask_BT: Tensor, *, mean: LossMean, max_tokens: int) -> Tensor:
    """What the sum over each completion of a minibatch is divided by; sum the quotients for the minibatch's mean.

    Args:
        loss_mask_BT: bool; of the whole minibatch; every row has a trained token.
        mean: see `LossMean`.
        max_tokens: most tokens of a completion.

    Returns:
        (B, 1) float32, positive.
    """
    lengths_B1 = loss_mask_BT.sum(dim=1, keepdim=True).float()
    match mean:
        case "token":
            return lengths_B1.sum().expand_as(lengths_B1)
        case "sequence":
            return lengths_B1 * len(lengths_B1)
        case "constant":
            return torch.full_like(lengths_B1, len(lengths_B1) * max_tokens)


class PolicyLoss(NamedTuple):
    """Result of `clipped_policy_loss`: scalars in float32; all but the loss without gradient."""

    loss: Tensor
    """To be minimised."""
    clip_fraction: Tensor
    """Share of trained tokens with a ratio outside the clip range, in [0, 1]."""
    approx_kl: Tensor
    """KL of the updated policy from the one that sampled, nats a token, by estimator k3; at least 0."""
    mean_ratio: Tensor
    """Mean of new over old probability; 1 on the first step after sampling, if both are computed alike."""
    max_ratio: Tensor
    """Largest ratio; 0 if no token is trained. Micro-batches combine by maximum, not by sum."""


def clipped_policy_loss(
    logprobs_BT: Tensor,
    old_logprobs_BT: Tensor,
    advantages_BT: Tensor,
    loss_mask_BT: Tensor,
    *,
    clip_range: float,
    clip_range_high: float | None = None,
    denominator: float | None = None,
    loss_denominator: Tensor | None = None,
) -> PolicyLoss:
    """Clipped surrogate loss of PPO, as a mean over trained tokens.

    Source: Schulman et al. 2017, arXiv:1707.06347, Eq. 7, negated so that lower is better; two clip ranges as in DAPO,
    Yu et al. 2025, arXiv:2503.14476, Eq. 8 ("clip-higher").

    Args:
        logprobs_BT: log pi(token | prefix) of the policy being updated; nats.
        old_logprobs_BT: the same under the policy that sampled the tokens; no gradient.
        advantages_BT: whitened over the batch, hence unitless; no gradient.
        loss_mask_BT: bool; True on tokens the model wrote, False on prompt, tool replies and padding.
        clip_range: epsilon, in (0, 1); the paper 0.2.
        clip_range_high: how far the ratio may rise, positive; by default as far as it may fall, `clip_range`.
        denominator: trained tokens of the whole minibatch; by default those given here.
        loss_denominator: (B, 1), for a loss with another mean than over tokens, see `row_denominators`; the metrics
            stay means over tokens.

    Raises:
        ValueError: shapes differ, a clip range is out of bounds, or nothing is trained and no denominator given.
    """
    check_shapes(loss_mask_BT, logprobs_BT=logprobs_BT, old_logprobs_BT=old_logprobs_BT, advantages_BT=advantages_BT)
    if not 0 < clip_range < 1:
        raise ValueError(f"clip_range={clip_range} must lie in (0, 1); the paper uses 0.2")
    if clip_range_high is not None and not clip_range_high > 0:
        raise ValueError(f"clip_range_high={clip_range_high} must be positive; DAPO uses 0.28")
    old_logprobs_BT = old_logprobs_BT.detach()
    log_ratio_BT = keep_trained(logprobs_BT, loss_mask_BT) - keep_trained(old_logprobs_BT, loss_mask_BT)
    ratio_BT = log_ratio_BT.exp()
    clipped_ratio_BT = ratio_BT.clamp(1 - clip_range, 1 + (clip_range_high or clip_range))
    advantages_BT = keep_trained(advantages_BT.detach(), loss_mask_BT)
    surrogate_BT = torch.minimum(ratio_BT * advantages_BT, clipped_ratio_BT * advantages_BT)
    loss = masked_mean(
        -surrogate_BT, loss_mask_BT, denominator=denominator if loss_denominator is None else loss_denominator
    )

    with torch.no_grad():
        is_outside_BT = ratio_BT != clipped_ratio_BT
        approx_kl = compute_mean_kl(
            old_logprobs_BT, logprobs_BT, loss_mask_BT, estimator=KlEstimator.K3, denominator=denominator
        )
        return PolicyLoss(
            loss=loss,
            clip_fraction=masked_mean(is_outside_BT, loss_mask_BT, denominator=denominator),
            approx_kl=approx_kl,
            mean_ratio=masked_mean(ratio_BT, loss_mask_BT, denominator=denominator),
            max_ratio=keep_trained(ratio_BT, loss_mask_BT).amax() if ratio_BT.numel() else loss.new_zeros(()),
        )


class ValueLoss(NamedTuple):
    """Result of `clipped_value_loss`: scalars in float32; all but the loss without gradient."""

    loss: Tensor
    """To be minimised; half a squared error, reward units squared."""
    clip_fraction: Tensor
    """Share of trained tokens whose value left the clip range around the old one, in [0, 1]."""


def clipped_value_loss(
    values_BT: Tensor,
    old_values_BT: Tensor,
    returns_BT: Tensor,
    loss_mask_BT: Tensor,
    *,
    clip_range: float | None,
    denominator: float | None = None,
) -> ValueLoss:
    """Half the squared error of the critic, the worse of it and of the error of the clipped value; a mean over tokens.

    Source: not in the PPO paper but in its authors' code, openai/baselines at ea25b9e, ppo2/model.py: with e the
    clip range, max((V - R)^2, (V_old + clip(V - V_old, -e, e) - R)^2) / 2.

    Args:
        values_BT: the critic being updated; reward units.
        old_values_BT: what it said at sampling time; no gradient.
        returns_BT: its target, as from `gae`; no gradient.
        loss_mask_BT: bool; True on tokens the model wrote.
        clip_range: e, positive, in reward units; the paper 0.2. None: the plain squared error.
        denominator: trained tokens of the whole minibatch; by default those given here.

    Raises:
        ValueError: shapes differ, clip_range is not positive, or nothing is trained and no denominator given.
    """
    check_shapes(loss_mask_BT, values_BT=values_BT, old_values_BT=old_values_BT, returns_BT=returns_BT)
    if clip_range is not None and not clip_range > 0:
        raise ValueError(f"clip_range={clip_range} must be positive; give None for the plain squared error")
    values_BT = keep_trained(values_BT, loss_mask_BT)
    old_values_BT = keep_trained(old_values_BT.detach(), loss_mask_BT)
    returns_BT = keep_trained(returns_BT.detach(), loss_mask_BT)
    moved_BT = values_BT - old_values_BT
    clipped_move_BT = moved_BT if clip_range is None else moved_BT.clamp(-clip_range, clip_range)
    clipped_values_BT = old_values_BT + clipped_move_BT
    error_BT = torch.maximum((values_BT - returns_BT).square(), (clipped_values_BT - returns_BT).square())
    return ValueLoss(
        loss=masked_mean(error_BT / 2, loss_mask_BT, denominator=denominator),
        clip_fraction=masked_mean(moved_BT != clipped_move_BT, loss_mask_BT, denominator=denominator),
    )


class EntropyBonus(NamedTuple):
    """Result of `entropy_bonus`: scalars in float32."""

    loss: Tensor
    """Minus coef times the mean entropy: adding it to a loss rewards spread."""
    mean_entropy: Tensor
    """Nats a token; without gradient."""


def entropy_bonus(
    entropies_BT: Tensor, loss_mask_BT: Tensor, *, coef: float, denominator: float | None = None
) -> EntropyBonus:
    """Entropy term of the PPO objective, as a loss. Source: Schulman et al. 2017, arXiv:1707.06347, Eq. 9, negated.

    Args:
        entropies_BT: entropy of pi(. | prefix) at each token, over the whole vocabulary; nats.
        loss_mask_BT: bool; True on tokens the model wrote.
        coef: c_2, at least 0; the paper 0.
        denominator: trained tokens of the whole minibatch; by default those given here.

    Raises:
        ValueError: shapes differ, coef is negative, or nothing is trained and no denominator given.
    """
    check_shapes(loss_mask_BT, entropies_BT=entropies_BT)
    if not coef >= 0:
        raise ValueError(f"coef={coef} must be at least 0; a negative one would punish spread")
    mean_entropy = masked_mean(entropies_BT, loss_mask_BT, denominator=denominator)
    return EntropyBonus(loss=-coef * mean_entropy, mean_entropy=mean_entropy.detach())


def explained_variance(values_BT: Tensor, returns_BT: Tensor, loss_mask_BT: Tensor) -> float | None:
    """Share of the variance of the returns that the critic foresaw: 1 - Var(returns - values) / Var(returns).

    1 is perfect, 0 is no better than a constant, below 0 is worse. Call it on a whole batch: shares do not add up.

    Returns:
        At most 1; None where the returns do not vary (none or one trained token included), so nothing is measured.

    Raises:
        ValueError: shapes differ.
    """
    check_shapes(loss_mask_BT, values_BT=values_BT, returns_BT=returns_BT)
    # float64 on the CPU: the variance of equal float32 numbers is then exactly 0, which decides about None
    returns = returns_BT[loss_mask_BT].detach().to("cpu", torch.float64)
    values = values_BT[loss_mask_BT].detach().to("cpu", torch.float64)
    if len(returns) == 0 or float(returns.var(correction=0)) == 0.0:
        return None
    return 1.0 - float((returns - values).var(correction=0) / returns.var(correction=0))
