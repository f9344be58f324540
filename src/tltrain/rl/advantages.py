"""From a score for each completion to an advantage for each token.

Axes: B = sequence, T = completion token. The steps of a row are its trained tokens, in order; whatever lies before,
between or after them (prompt, tool replies, padding) is no step, gets 0 and is never read.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tltrain.rl.masking import check_shapes, keep_trained, masked_mean

_SPREAD_FLOOR = 1e-4


class Advantages(NamedTuple):
    """What the policy and the critic learn from."""

    advantages: Tensor
    """(B, T); how much better the token did than the critic expected; reward units, not whitened."""
    returns: Tensor
    """(B, T); advantage plus value: the critic's target; reward units."""


@torch.no_grad()
def token_rewards(
    scores_B: Tensor,
    kl_BT: Tensor,
    loss_mask_BT: Tensor,
    *,
    kl_coef: float,
    reward_clip: float | None,
    earlier_BT: Tensor | None = None,
) -> Tensor:
    """The score on the last trained token of each row, minus `kl_coef` times the KL estimate on every trained token.

    Source: Ouyang et al. 2022, arXiv:2203.02155, Eq. 2, its KL term token by token. Only the score is clipped, as in
    the code the paper was trained with; the KL term is not.

    Args:
        scores_B: reward of each completion.
        kl_BT: estimate of KL(pi || ref) at each token, as from `compute_kl`; nats.
        loss_mask_BT: bool; True on tokens the model wrote.
        kl_coef: beta; the paper's script 0.4.
        reward_clip: scores are clipped to [-reward_clip, reward_clip], the paper 5; None leaves them as they are.
        earlier_BT: rewards of earlier steps of an episode, at the last token of each; clipped alike, one by one.

    Returns:
        (B, T) float32 without gradient; 0 where nothing is trained.

    Raises:
        ValueError: shapes differ, a row has no trained token to carry its score, or reward_clip is not positive.
    """
    check_shapes(loss_mask_BT, kl_BT=kl_BT)
    num_rows, num_tokens = loss_mask_BT.shape
    if scores_B.shape != (num_rows,):
        raise ValueError(f"scores_B has shape {tuple(scores_B.shape)}; it must be ({num_rows},), a score for each row")
    if reward_clip is not None and not reward_clip > 0:
        raise ValueError(f"reward_clip={reward_clip} must be positive; give None to leave scores as they are")
    empty_rows = (~loss_mask_BT.any(dim=1)).nonzero().flatten().tolist()
    if empty_rows:
        raise ValueError(f"loss_mask_BT has no trained token in rows {empty_rows}; drop rows that cannot be scored")
    scores_B = scores_B.float()
    if reward_clip is not None:
        scores_B = scores_B.clamp(-reward_clip, reward_clip)
    positions_T = torch.arange(num_tokens, device=loss_mask_BT.device)
    last_B = torch.where(loss_mask_BT, positions_T, -1).amax(dim=1)
    is_last_BT = positions_T == last_B[:, None]
    rewards_BT = torch.where(is_last_BT, scores_B[:, None], 0.0)
    if earlier_BT is not None:
        check_shapes(loss_mask_BT, earlier_BT=earlier_BT)
        earlier_BT = keep_trained(earlier_BT, loss_mask_BT)
        rewards_BT = rewards_BT + (earlier_BT if reward_clip is None else earlier_BT.clamp(-reward_clip, reward_clip))
    return rewards_BT - kl_coef * keep_trained(kl_BT, loss_mask_BT)


@torch.no_grad()
def gae(rewards_BT: Tensor, values_BT: Tensor, loss_mask_BT: Tensor, *, gamma: float, gae_lambda: float) -> Advantages:
    """Generalised advantage estimates; an episode ends with the last trained token of its row.

    Source: Schulman et al. 2016, arXiv:1506.02438, Eq. 16; as PPO's Eq. 11 and 12, arXiv:1707.06347, where the value
    after the last step is 0.

    Args:
        rewards_BT: reward of each token, as from `token_rewards`.
        values_BT: the critic's estimate, before each token, of the discounted rewards from it on.
        loss_mask_BT: bool; True on tokens the model wrote.
        gamma: discount a token, in [0, 1]; the paper 1.
        gae_lambda: in [0, 1]; 0 trusts the critic after one step, 1 never; the paper's script 0.95.

    Returns:
        Two (B, T) float32 tensors without gradient; 0 where nothing is trained.

    Raises:
        ValueError: shapes differ, or gamma or gae_lambda lies outside [0, 1].
    """
    check_shapes(loss_mask_BT, rewards_BT=rewards_BT, values_BT=values_BT)
    for name, share in (("gamma", gamma), ("gae_lambda", gae_lambda)):
        if not 0 <= share <= 1:
            raise ValueError(f"{name}={share} must lie in [0, 1]")
    rewards_BT = keep_trained(rewards_BT, loss_mask_BT)
    values_BT = keep_trained(values_BT, loss_mask_BT)
    advantages_BT = torch.zeros_like(rewards_BT)
    next_advantage_B = rewards_BT.new_zeros(rewards_BT.shape[0])
    next_value_B = torch.zeros_like(next_advantage_B)
    for t in reversed(range(rewards_BT.shape[1])):
        is_step_B = loss_mask_BT[:, t]
        delta_B = rewards_BT[:, t] + gamma * next_value_B - values_BT[:, t]
        # a token that is no step hands on what follows it, so that "next" means the next trained token
        next_advantage_B = torch.where(is_step_B, delta_B + gamma * gae_lambda * next_advantage_B, next_advantage_B)
        next_value_B = torch.where(is_step_B, values_BT[:, t], next_value_B)
        advantages_BT[:, t] = next_advantage_B
    advantages_BT = keep_trained(advantages_BT, loss_mask_BT)
    return Advantages(advantages_BT, advantages_BT + values_BT)


@torch.no_grad()
def leave_one_out(rewards_BT: Tensor, loss_mask_BT: Tensor, groups: Sequence[Hashable]) -> Tensor:
    """The rewards of a completion, beyond the mean of the other completions of its prompt, at each of its tokens.

    Source: RLOO, Ahmadian et al. 2024, arXiv:2402.14740, Eq. 7, the KL penalty being part of the rewards. A completion
    whose prompt has no other gets 0: there is nothing to compare it with.

    Args:
        rewards_BT: reward of each token, as from `token_rewards`.
        loss_mask_BT: bool; True on tokens the model wrote.
        groups: of each row, which prompt it answers.

    Returns:
        (B, T) float32 without gradient; 0 where nothing is trained.

    Raises:
        ValueError: shapes differ.
    """
    return _beside_group(rewards_BT, loss_mask_BT, groups, lambda own: own - (own.sum() - own) / (len(own) - 1))


@torch.no_grad()
def relative_to_group(
    rewards_BT: Tensor, loss_mask_BT: Tensor, groups: Sequence[Hashable], *, scale_by_spread: bool
) -> Tensor:
    """The rewards of a completion beyond the mean of all completions of its prompt, in units of their spread.

    Source: GRPO, Shao et al. 2024, arXiv:2402.03300, section 4.1.2; the spread is the standard deviation of a sample
    (divided by n - 1) plus 1e-4, as in TRL. Without `scale_by_spread`: Dr. GRPO, Liu et al. 2025, arXiv:2503.20783.
    A completion whose prompt has no other gets 0.

    Args:
        rewards_BT: reward of each token, as from `token_rewards`; their sum over a completion counts.
        loss_mask_BT: bool; True on tokens the model wrote.
        groups: of each row, which prompt it answers.
        scale_by_spread: divide by the spread.

    Returns:
        (B, T) float32 without gradient; 0 where nothing is trained.

    Raises:
        ValueError: shapes differ.
    """

    def measure(own: Tensor) -> Tensor:
        beyond = own - own.mean()
        return beyond / (own.std() + _SPREAD_FLOOR) if scale_by_spread else beyond

    return _beside_group(rewards_BT, loss_mask_BT, groups, measure)


@torch.no_grad()
def rewards_to_go(rewards_BT: Tensor, loss_mask_BT: Tensor, *, gamma: float) -> Tensor:
    """The discounted rewards from each token on, measured against nothing.

    Source: REINFORCE++, Hu et al. 2025, arXiv:2501.03262, Eq. 7 at gamma 1: the score at the end minus the KL penalty
    of the tokens to come. It is meant to be whitened over the whole batch.

    Args:
        rewards_BT: reward of each token, as from `token_rewards`.
        loss_mask_BT: bool; True on tokens the model wrote.
        gamma: discount a token, in [0, 1].

    Returns:
        (B, T) float32 without gradient; 0 where nothing is trained.

    Raises:
        ValueError: shapes differ, or gamma lies outside [0, 1].
    """
    return gae(rewards_BT, torch.zeros_like(rewards_BT), loss_mask_BT, gamma=gamma, gae_lambda=1.0).advantages


def without_spread(scores: Sequence[float], groups: Sequence[Hashable]) -> list[bool]:
    """Of each completion, whether all those of its prompt earned the same, so that they teach nothing.

    Source: DAPO, Yu et al. 2025, arXiv:2503.14476, Eq. 11, which draws others in their place; here they are left out.
    """
    equal = [False] * len(scores)
    for members in _rows_of_groups(groups, len(scores)):
        if len({scores[row] for row in members}) == 1:
            for row in members:
                equal[row] = True
    return equal


def length_penalty(num_tokens: int, *, max_tokens: int, buffer: int) -> float:
    """What a long completion loses: 0 up to `max_tokens - buffer` tokens, falling evenly to -1 at `max_tokens`.

    Source: soft overlong punishment of DAPO, Yu et al. 2025, arXiv:2503.14476, Eq. 13.
    """
    over = num_tokens - (max_tokens - buffer)
    return -min(1.0, over / buffer) if buffer > 0 and over > 0 else 0.0


def _beside_group(
    rewards_BT: Tensor, loss_mask_BT: Tensor, groups: Sequence[Hashable], measure: Callable[[Tensor], Tensor]
) -> Tensor:
    """What a measure makes of the summed rewards of a prompt's completions, at each token; 0 for a lone one."""
    check_shapes(loss_mask_BT, rewards_BT=rewards_BT)
    totals_B = keep_trained(rewards_BT, loss_mask_BT).sum(dim=1)
    beyond_B = torch.zeros_like(totals_B)
    for members in _rows_of_groups(groups, len(totals_B)):
        if len(members) > 1:
            beyond_B[members] = measure(totals_B[members])
    return keep_trained(beyond_B[:, None].expand_as(rewards_BT), loss_mask_BT)


def _rows_of_groups(groups: Sequence[Hashable], num_rows: int) -> list[list[int]]:
    if len(groups) != num_rows:
        raise ValueError(f"{len(groups)} groups for {num_rows} rows; give one for each row")
    rows: dict[Hashable, list[int]] = {}
    for row, group in enumerate(groups):
        rows.setdefault(group, []).append(row)
    return list(rows.values())


@torch.no_grad()
def whiten(x_BT: Tensor, loss_mask_BT: Tensor, *, shift_mean: bool = True) -> Tensor:
    """Scale trained tokens to variance 1 and, with `shift_mean`, to mean 0.

    Mean and variance (of the population, divided by n) are those of the trained tokens given here: call it on the
    whole rollout batch, not on a micro-batch. Equal numbers have no spread to scale by and become 0 (or stay at their
    mean): the variance is floored at 1e-8.

    Returns:
        (B, T) float32 without gradient; 0 where nothing is trained.

    Raises:
        ValueError: shapes differ, or no token is trained.
    """
    check_shapes(loss_mask_BT, x_BT=x_BT)
    mean = masked_mean(x_BT, loss_mask_BT)
    centred_BT = keep_trained(x_BT.float() - mean, loss_mask_BT)
    variance = masked_mean(centred_BT.square(), loss_mask_BT)
    whitened_BT = centred_BT * variance.clamp(min=1e-8).rsqrt()
    return whitened_BT if shift_mean else keep_trained(whitened_BT + mean, loss_mask_BT)
