"""One PPO update: from a minibatch of experience to new weights of actor and critic.

Axes: B = rollout, T = completion token.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor

from tltrain.engine.optimizer import Optimizer, StepOutcome
from tltrain.errors import TltrainError
from tltrain.rl.actor import Actor
from tltrain.rl.batches import plan_parts
from tltrain.rl.config import PpoConfig
from tltrain.rl.critic import Critic
from tltrain.rl.experience import Experience
from tltrain.rl.losses import clipped_policy_loss, clipped_value_loss, entropy_bonus
from tltrain.rl.masking import pad_rows


class Updater:
    """Optimizers of actor and critic, and what they minimise.

    Args:
        config: settings.
        actor: its weights change.
        critic: its weights change.
        num_steps: optimizer steps of the whole run, for the schedules.
    """

    def __init__(self, config: PpoConfig, actor: Actor, critic: Critic, *, num_steps: int):
        self._config = config
        self._actor = actor
        self._critic = critic
        self.actor_optimizer = Optimizer(actor.model.parameters(), config.actor_optimizer, num_steps)
        self.critic_optimizer = Optimizer(critic.parameters(), config.critic_optimizer, num_steps)

    def update(
        self, experience: Experience, minibatches: Sequence[Sequence[int]], *, first_step: int
    ) -> dict[str, float]:
        """Learn from minibatches of a rollout batch, one optimizer step each.

        Args:
            experience: the whole rollout batch.
            minibatches: numbers of rollouts.
            first_step: number of the first optimizer step in the whole run.

        Returns:
            Means over the minibatches of what `learn` tells, but for `max_ratio`, the largest; `sampling_gap`, the
            `approx_kl` of the first, before anything was updated: how far sampler and trainer disagree; and the last
            `lr` and `critic_lr`.

        Raises:
            TltrainError: a loss or gradient is not finite.
        """
        told = [self.learn(experience, rows, step=step) for step, rows in enumerate(minibatches, start=first_step)]
        means = {name: sum(row[name] for row in told) / len(told) for name in told[0]}
        return means | {
            "max_ratio": max(row["max_ratio"] for row in told),
            "sampling_gap": told[0]["approx_kl"],
            "lr": told[-1]["lr"],
            "critic_lr": told[-1]["critic_lr"],
        }

    def learn(self, experience: Experience, rows: Sequence[int], *, step: int) -> dict[str, float]:
        """One optimizer step of the actor and one of the critic, on the mean over the tokens of some rollouts.

        Returns:
            The losses and the metrics beside them, see `rl.losses`; of each optimizer the gradient norm and the rate.
        """
        told: defaultdict[str, float] = defaultdict(float)
        batch = experience.select(rows)
        parts = [batch.select(part) for part in plan_parts(batch.sequences, self._config)]
        num_tokens = sum(int(part.loss_mask.sum()) for part in parts)
        states: list[Tensor] = []
        with _naming("actor_optimizer"):
            actor_outcome = self.actor_optimizer.step(self._actor_losses(parts, num_tokens, states, told), step)
        with _naming("critic_optimizer"):
            critic_outcome = self.critic_optimizer.step(self._critic_losses(parts, num_tokens, states, told), step)
        return dict(told) | _outcomes(actor_outcome, critic_outcome)

    def _actor_losses(
        self, parts: Sequence[Experience], num_tokens: int, states: list[Tensor], told: defaultdict[str, float]
    ) -> Iterator[Tensor]:
        """Policy loss and entropy bonus of each micro-batch; keeps the hidden states for a critic that reads them."""
        for part in parts:
            output = self._actor.scores(part.sequences)
            states.append(output.hidden.detach())
            policy = clipped_policy_loss(
                pad_rows(output.scores.logprobs, part.loss_mask),
                part.old_logprobs,
                part.advantages,
                part.loss_mask,
                clip_range=self._config.clip_range,
                denominator=num_tokens,
            )
            entropy = entropy_bonus(
                pad_rows(output.scores.entropies, part.loss_mask),
                part.loss_mask,
                coef=self._config.entropy_coef,
                denominator=num_tokens,
            )
            told["policy_loss"] += policy.loss.item()
            told["clip_fraction"] += policy.clip_fraction.item()
            told["approx_kl"] += policy.approx_kl.item()
            told["mean_ratio"] += policy.mean_ratio.item()
            told["max_ratio"] = max(told["max_ratio"], policy.max_ratio.item())
            told["entropy"] += entropy.mean_entropy.item()
            yield policy.loss + entropy.loss

    def _critic_losses(
        self, parts: Sequence[Experience], num_tokens: int, states: Sequence[Tensor], told: defaultdict[str, float]
    ) -> Iterator[Tensor]:
        for part, actor_states in zip(parts, states, strict=True):
            values = self._critic.values(part.sequences, actor_states if self._critic.reads_actor else None)
            value = clipped_value_loss(
                pad_rows(values, part.loss_mask),
                part.values,
                part.returns,
                part.loss_mask,
                clip_range=self._config.value_clip_range,
                denominator=num_tokens,
            )
            told["value_loss"] += value.loss.item()
            told["value_clip_fraction"] += value.clip_fraction.item()
            yield self._config.vf_coef * value.loss


@contextmanager
def _naming(field: str) -> Iterator[None]:
    """Say in errors which of the two optimizers they are about."""
    try:
        yield
    except TltrainError as error:
        raise TltrainError(f"{field}: {error}") from error


def _outcomes(actor: StepOutcome, critic: StepOutcome) -> dict[str, float]:
    return {
        "grad_norm": actor.grad_norm,
        "lr": actor.learning_rate,
        "critic_grad_norm": critic.grad_norm,
        "critic_lr": critic.learning_rate,
    }
