"""One PPO update: from a minibatch of experience to new weights of actor and critic.

Axes: B = rollout, T = completion token.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import Tensor

from tltrain.engine.optimizer import Optimizer, StepOutcome
from tltrain.engine.parallel import Processes
from tltrain.errors import TltrainError
from tltrain.rl.actor import Actor
from tltrain.rl.batches import NOTHING, plan_parts
from tltrain.rl.config import PpoConfig
from tltrain.rl.critic import Critic
from tltrain.rl.experience import Experience
from tltrain.rl.kl import KlEstimator, compute_mean_kl
from tltrain.rl.losses import clipped_policy_loss, clipped_value_loss, entropy_bonus, row_denominators
from tltrain.rl.masking import pad_rows


class Updater:
    """Optimizers of actor and critic, and what they minimise.

    Args:
        config: settings.
        actor: its weights change.
        critic: its weights change.
        num_steps: optimizer steps of the whole run, for the schedules.
        processes: share each minibatch; all call `update` with the same experience, and take the same steps.
    """

    def __init__(
        self,
        config: PpoConfig,
        actor: Actor,
        critic: Critic,
        *,
        num_steps: int,
        processes: Processes = Processes(),  # noqa: B008 - immutable
    ):
        self._config = config
        self._processes = processes
        self._actor = actor
        self._critic = critic
        self.actor_optimizer = Optimizer(actor.model.parameters(), config.actor_optimizer, num_steps, processes)
        self.critic_optimizer = Optimizer(critic.parameters(), config.critic_optimizer, num_steps, processes)

    def update(
        self,
        experience: Experience,
        minibatches: Sequence[Sequence[int]],
        *,
        first_step: int,
        kl_coef: float | None = None,
    ) -> dict[str, float]:
        """Learn from minibatches of a rollout batch, one optimizer step each.

        Args:
            experience: the whole rollout batch.
            minibatches: numbers of rollouts.
            first_step: number of the first optimizer step in the whole run.
            kl_coef: what a nat of divergence costs now, where it is paid for in the loss; by default the config's.

        Returns:
            Means over the minibatches of what `learn` tells, but for `max_ratio`, the largest; `sampling_gap`, the
            `approx_kl` of the first, before anything was updated: how far sampler and trainer disagree; and the last
            `lr` and `critic_lr`. Empty where there is no minibatch.

        Raises:
            TltrainError: a loss or gradient is not finite.
        """
        if not minibatches:
            return {}
        told = [
            self.learn(experience, rows, step=step, kl_coef=kl_coef)
            for step, rows in enumerate(minibatches, start=first_step)
        ]
        means = {name: sum(row[name] for row in told) / len(told) for name in told[0]}
        return (
            means
            | {
                "max_ratio": max(row["max_ratio"] for row in told),
                "sampling_gap": told[0]["approx_kl"],
            }
            | {name: told[-1][name] for name in ("lr", "critic_lr") if name in told[-1]}
        )

    def learn(
        self, experience: Experience, rows: Sequence[int], *, step: int, kl_coef: float | None = None
    ) -> dict[str, float]:
        """One optimizer step of the actor and one of the critic, on the mean over the tokens of some rollouts.

        Returns:
            The losses and the metrics beside them, see `rl.losses`; of each optimizer the gradient norm and the rate.
        """
        told: defaultdict[str, list[Tensor]] = defaultdict(list)
        batch = experience.select(rows)
        config = self._config
        denominators_B1 = row_denominators(batch.loss_mask, mean=config.loss_mean, max_tokens=config.max_new_tokens)
        own = batch.share(self._processes)
        planned = plan_parts([batch.sequences[row] for row in own], config, self._actor, self._processes)
        chosen = [[own[place] for place in part] for part in planned]
        parts = [batch.select(part) if part else None for part in chosen]
        denominators = [denominators_B1[part] for part in chosen]
        num_tokens = int(batch.loss_mask.sum())
        states: list[Tensor] = []
        kl_coef = config.kl_coef if kl_coef is None else kl_coef
        losses = self._actor_losses(parts, denominators, num_tokens, kl_coef, states, told)
        with _naming("actor_optimizer"):
            outcome = _outcome(self.actor_optimizer.step(losses, step))
        if config.advantage == "gae":
            with _naming("critic_optimizer"):
                critic = self.critic_optimizer.step(self._critic_losses(parts, num_tokens, states, told), step)
            outcome |= {f"critic_{name}": value for name, value in _outcome(critic).items()}
        return self._add_up(told) | outcome

    def _add_up(self, told: Mapping[str, Sequence[Tensor]]) -> dict[str, float]:
        """What the processes tell of the parts of a minibatch, as of all of it."""
        combine = {"max_ratio": max}
        # read here alone, as an accelerator is waited for
        own = {name: combine.get(name, sum)(part.item() for part in parts) for name, parts in told.items()}
        shares = self._processes.from_each(lambda: own)
        names = dict.fromkeys(name for share in shares for name in share)  # a process without a share tells nothing
        return {name: combine.get(name, sum)(share[name] for share in shares if name in share) for name in names}

    def _actor_losses(
        self,
        parts: Sequence[Experience | None],
        denominators: Sequence[Tensor],
        num_tokens: int,
        kl_coef: float,
        states: list[Tensor],
        told: defaultdict[str, list[Tensor]],
    ) -> Iterator[Tensor]:
        """Policy loss, KL and entropy bonus of each micro-batch; keeps the states for a critic that reads them.

        None is a pass for the sake of the processes that share the model.
        """
        for part, denominator_B1 in zip(parts, denominators, strict=True):
            output = self._actor.scores(part.sequences if part else [NOTHING])
            states.append(output.hidden.detach())
            if part is None:
                yield 0.0 * output.scores.logprobs.sum()
                continue
            logprobs_BT = pad_rows(output.scores.logprobs, part.loss_mask)
            policy = clipped_policy_loss(
                logprobs_BT,
                part.old_logprobs,
                part.advantages * part.importance,  # a factor above 0 passes through the minimum in the loss
                part.loss_mask,
                clip_range=self._config.clip_range,
                clip_range_high=self._config.clip_range_high,
                denominator=num_tokens,
                loss_denominator=denominator_B1,
            )
            entropy = entropy_bonus(
                pad_rows(output.scores.entropies, part.loss_mask),
                part.loss_mask,
                coef=self._config.entropy_coef,
                denominator=num_tokens,
            )
            told["policy_loss"].append(policy.loss.detach())
            told["clip_fraction"].append(policy.clip_fraction.detach())
            told["approx_kl"].append(policy.approx_kl.detach())
            told["mean_ratio"].append(policy.mean_ratio.detach())
            told["max_ratio"].append(policy.max_ratio.detach())
            told["entropy"].append(entropy.mean_entropy.detach())
            loss = policy.loss + entropy.loss
            if self._config.kl_in == "loss":
                estimator = KlEstimator(self._config.kl_estimator)
                kl = compute_mean_kl(
                    logprobs_BT, part.ref_logprobs, part.loss_mask, estimator=estimator, denominator=denominator_B1
                )
                told["kl_loss"].append(kl_coef * kl.detach())
                loss = loss + kl_coef * kl
            yield loss

    def _critic_losses(
        self,
        parts: Sequence[Experience | None],
        num_tokens: int,
        states: Sequence[Tensor],
        told: defaultdict[str, list[Tensor]],
    ) -> Iterator[Tensor]:
        for part, actor_states in zip(parts, states, strict=True):
            sequences = part.sequences if part else [NOTHING]
            values = self._critic.values(sequences, actor_states if self._critic.reads_actor else None)
            if part is None:
                yield 0.0 * values.sum()
                continue
            value = clipped_value_loss(
                pad_rows(values, part.loss_mask),
                part.values,
                part.returns,
                part.loss_mask,
                clip_range=self._config.value_clip_range,
                denominator=num_tokens,
            )
            told["value_loss"].append(value.loss.detach())
            told["value_clip_fraction"].append(value.clip_fraction.detach())
            yield self._config.vf_coef * value.loss


@contextmanager
def _naming(field: str) -> Iterator[None]:
    """Say in errors which of the two optimizers they are about."""
    try:
        yield
    except TltrainError as error:
        raise TltrainError(f"{field}: {error}") from error


def _outcome(outcome: StepOutcome) -> dict[str, float]:
    return {"grad_norm": outcome.grad_norm, "lr": outcome.learning_rate}
