"""What a step learns from: log-probs, values, rewards and advantages of every sampled token.

Axes: B = rollout, T = completion token.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from tltrain.engine.logprobs import TargetSequence
from tltrain.engine.parallel import Processes
from tltrain.rl.actor import Actor
from tltrain.rl.advantages import (
    gae,
    leave_one_out,
    length_penalty,
    relative_to_group,
    rewards_to_go,
    token_rewards,
    whiten,
    without_spread,
)
from tltrain.rl.batches import NOTHING, plan_parts, share_rows
from tltrain.rl.config import PpoConfig
from tltrain.rl.critic import Critic
from tltrain.rl.drift import importance_weights
from tltrain.rl.episodes import EpisodeRollout
from tltrain.rl.kl import KlEstimator, compute_kl
from tltrain.rl.masking import mask_of_lengths, pad_rows
from tltrain.rl.rollouts import Attempt


@dataclass(frozen=True, kw_only=True, slots=True)
class Experience:
    """A rollout batch, without gradient. All tensors are (B, T), float32 but for the mask."""

    sequences: tuple[TargetSequence, ...]
    groups: tuple[int, ...]
    """Equal for rollouts that were drawn together."""
    loss_mask: Tensor
    """bool; True on sampled tokens, with which every row starts."""
    old_logprobs: Tensor
    """Under the policy that sampled, as the sampler saw them; as the trainer sees them where vLLM sampled; nats."""
    rollout_logprobs: Tensor
    """Under the policy that sampled, as the sampler saw them; nats."""
    importance: Tensor
    """What a token counts for in the policy's loss, see `importance_weights`; 1 where the trainer itself sampled."""
    ref_logprobs: Tensor
    """Under the SFT model; nats."""
    kl: Tensor
    """Estimate of the divergence from the SFT model; nats."""
    values: Tensor
    """The critic's, at sampling time; reward units. 0 where advantages do without a critic."""
    advantages: Tensor
    """Whitened over the whole batch where the config says so."""
    returns: Tensor
    """Reward units."""

    def select(self, rows: Sequence[int]) -> "Experience":
        """The rollouts of these numbers."""
        index = torch.tensor(rows, device=self.loss_mask.device)
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        chosen: dict[str, Any] = {
            name: value[index] if isinstance(value, Tensor) else tuple(value[row] for row in rows)
            for name, value in named.items()
        }
        return Experience(**chosen)

    def share(self, processes: Processes) -> list[int]:
        """Numbers of the rollouts that are this process's to run through models."""
        return share_rows(self.groups, [len(sequence.ids) for sequence in self.sequences], processes)


@torch.no_grad()
def gain_experience(
    actor: Actor,
    critic: Critic,
    rollouts: Sequence[Attempt],
    config: PpoConfig,
    *,
    kl_coef: float | None = None,
    processes: Processes = Processes(),  # noqa: B008 - immutable
) -> Experience:
    """Run reference and critic over a rollout batch, and work out rewards and advantages (method.md section 3).

    Processes share the forward passes; what these give goes to all of them, so that advantages, and the mean and spread
    that these are whitened by, are those of the whole batch in each.

    Old log-probs are the sampler's, so there are at most two forward passes: the reference's, and where advantages
    need it the critic's or, where that reads the actor's states, the actor's. Where vLLM sampled, the actor makes one
    more, for its own opinion of the tokens.

    Args:
        actor: with its reference.
        critic: not asked unless `config.advantage` is gae.
        rollouts: at least one.
        config: settings.
        kl_coef: what a nat of divergence costs now; by default the config's.
        processes: all of them call this with the same rollouts.
    """
    sequences = tuple(rollout.sequence for rollout in rollouts)
    groups = tuple(rollout.group for rollout in rollouts)
    own = share_rows(groups, [len(sequence.ids) for sequence in sequences], processes)
    planned = plan_parts([sequences[row] for row in own], config, actor, processes)
    parts = [[own[place] for place in part] for part in planned]
    if actor.is_sharded:  # the passes are work in common
        mine = _look_back(actor, critic, sequences, parts, config)
        found = processes.from_each(lambda: mine)
    else:
        found = processes.from_each(lambda: _look_back(actor, critic, sequences, parts, config))
    ref_logprobs = {row: numbers for part, _, _ in found for row, numbers in part.items()}
    values = {row: numbers for _, part, _ in found for row, numbers in part.items()}
    own_logprobs = {row: numbers for _, _, part in found for row, numbers in part.items()}
    device = actor.device
    loss_mask_BT = mask_of_lengths([len(rollout.completion.ids) for rollout in rollouts], device)
    sampled = torch.tensor([logprob for rollout in rollouts for logprob in rollout.completion.logprobs], device=device)
    rollout_logprobs_BT = pad_rows(sampled, loss_mask_BT)
    old_logprobs_BT = pad_rows(_in_order(own_logprobs, device), loss_mask_BT) if own_logprobs else rollout_logprobs_BT
    importance_BT = importance_weights(
        old_logprobs_BT, rollout_logprobs_BT, loss_mask_BT, cap=config.vllm.importance_cap if config.vllm else None
    )
    ref_logprobs_BT = pad_rows(_in_order(ref_logprobs, device), loss_mask_BT)
    values_BT = pad_rows(_in_order(values, device), loss_mask_BT) if values else torch.zeros_like(ref_logprobs_BT)
    kl_BT = compute_kl(old_logprobs_BT, ref_logprobs_BT, loss_mask_BT, estimator=KlEstimator(config.kl_estimator))
    rewards_BT = token_rewards(
        torch.tensor([_worth(rollout, config) for rollout in rollouts], device=device),
        kl_BT,
        loss_mask_BT,
        kl_coef=0.0 if config.kl_in == "loss" else config.kl_coef if kl_coef is None else kl_coef,
        reward_clip=config.reward_clip,
        earlier_BT=_earlier(rollouts, loss_mask_BT),
    )
    advantages_BT, returns_BT = _advantages(
        rewards_BT, values_BT, loss_mask_BT, [rollout.prompt.id for rollout in rollouts], config
    )
    return Experience(
        sequences=sequences,
        groups=groups,
        loss_mask=loss_mask_BT,
        old_logprobs=old_logprobs_BT,
        rollout_logprobs=rollout_logprobs_BT,
        importance=importance_BT,
        ref_logprobs=ref_logprobs_BT,
        kl=kl_BT,
        values=values_BT,
        advantages=whiten(advantages_BT, loss_mask_BT) if config.whiten_advantages else advantages_BT,
        returns=returns_BT,
    )


def rows_to_learn(rollouts: Sequence[Attempt], config: PpoConfig) -> list[int]:
    """Numbers of the rollouts that the policy learns from; all of them count in what rewards are measured against."""
    equal = without_spread([rollout.score.value for rollout in rollouts], [rollout.prompt.id for rollout in rollouts])
    return [
        row
        for row, rollout in enumerate(rollouts)
        if not (config.drop_equal_groups and equal[row])
        and (config.truncated == "score" or rollout.completion.is_finished)
    ]


def _earlier(rollouts: Sequence[Attempt], loss_mask_BT: Tensor) -> Tensor | None:
    """What turns before the last earned, at their last tokens; None where there are no episodes."""
    episodes = [(row, rollout) for row, rollout in enumerate(rollouts) if isinstance(rollout, EpisodeRollout)]
    if not episodes:
        return None
    earlier_BT = torch.zeros(loss_mask_BT.shape, device=loss_mask_BT.device)
    for row, rollout in episodes:
        for place, value in rollout.earlier_rewards:
            earlier_BT[row, place] = value
    return earlier_BT


def _worth(rollout: Attempt, config: PpoConfig) -> float:
    """The score of a completion, less what its length costs; of an episode, what its last turn and its end earned."""
    if isinstance(rollout, EpisodeRollout):
        return rollout.last_reward
    num_tokens = len(rollout.completion.ids)
    return rollout.score.value + length_penalty(
        num_tokens, max_tokens=config.max_new_tokens, buffer=config.overlong_buffer
    )


def _advantages(
    rewards_BT: Tensor, values_BT: Tensor, loss_mask_BT: Tensor, prompts: Sequence[str], config: PpoConfig
) -> tuple[Tensor, Tensor]:
    """Advantages before whitening, and what a critic learns."""
    found = gae(rewards_BT, values_BT, loss_mask_BT, gamma=config.gamma, gae_lambda=config.gae_lambda)
    match config.advantage:
        case "gae":
            return found
        case "rloo":
            return leave_one_out(rewards_BT, loss_mask_BT, prompts), found.returns
        case "grpo":
            relative_BT = relative_to_group(rewards_BT, loss_mask_BT, prompts, scale_by_spread=config.scale_by_spread)
            return relative_BT, found.returns
        case "reinforce++":
            return rewards_to_go(rewards_BT, loss_mask_BT, gamma=config.gamma), found.returns


def _look_back(
    actor: Actor, critic: Critic, sequences: Sequence[TargetSequence], parts: Sequence[Sequence[int]], config: PpoConfig
) -> tuple[dict[int, list[float]], dict[int, list[float]], dict[int, list[float]]]:
    """Of the rollouts of these numbers: the reference's log-probs, values where advantages need them, and the actor's
    log-probs where another program sampled.
    """
    ref_logprobs: dict[int, list[float]] = {}
    values: dict[int, list[float]] = {}
    own_logprobs: dict[int, list[float]] = {}
    for rows in parts:
        part = [sequences[row] for row in rows] or [NOTHING]
        lengths = [len(sequence.positions) for sequence in part]
        ref_logprobs |= zip(rows, _cut(actor.reference_scores(part).logprobs, lengths), strict=False)
        if config.advantage == "gae":
            part_values = critic.values(part, actor.states(part) if critic.reads_actor else None)
            values |= zip(rows, _cut(part_values, lengths), strict=False)
        if config.vllm is not None:
            own_logprobs |= zip(rows, _cut(actor.scores(part).scores.logprobs, lengths), strict=False)
    return ref_logprobs, values, own_logprobs


def _cut(flat: Tensor, lengths: Sequence[int]) -> list[list[float]]:
    """The numbers of each sequence of a part."""
    numbers = flat.tolist()
    return [numbers[end - length : end] for end, length in zip(accumulate(lengths), lengths, strict=True)]


def _in_order(rows: Mapping[int, Sequence[float]], device: torch.device) -> Tensor:
    """Numbers of each rollout, one after the other in the order of rollouts."""
    return torch.tensor([number for row in range(len(rows)) for number in rows[row]], device=device)
