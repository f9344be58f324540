"""What a step of reinforcement learning tells of itself in metrics.jsonl, beside what its update does."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import fmean, pstdev
from typing import Any

from tltrain.rl.config import PpoConfig
from tltrain.rl.drift import measure_drift
from tltrain.rl.experience import Experience
from tltrain.rl.losses import explained_variance
from tltrain.rl.masking import masked_mean
from tltrain.rl.rollouts import Drawn


def describe_rollouts(drawn: Drawn, experience: Experience, kl_coef: float) -> dict[str, Any]:
    """Metrics of a rollout batch before anything is learnt from it."""
    rollouts = drawn.rollouts
    values = [rollout.score.value for rollout in rollouts]
    parts: defaultdict[str, float] = defaultdict(float)
    for rollout in rollouts:
        for name, value in rollout.score.parts.items():
            parts[name] += value / len(rollouts)
    labels = Counter(rollout.score.label for rollout in rollouts)
    kl = masked_mean(experience.kl, experience.loss_mask).item()
    foreseen = explained_variance(experience.values, experience.returns, experience.loss_mask)
    return {
        "reward": fmean(values),
        "reward_std": pstdev(values),
        "reward_parts": dict(parts),
        "errors": {label: count / len(rollouts) for label, count in labels.most_common()},
        "kl": kl,
        "kl_completion": (kl_completion := experience.kl.sum(1).mean().item()),
        "kl_coef": kl_coef,
        "kl_penalty": kl_coef * kl_completion,
        "length": fmean(len(rollout.completion.ids) for rollout in rollouts),
        "truncated": fmean(not rollout.completion.is_finished for rollout in rollouts),
        "num_rollouts": len(rollouts),
        "num_unscored": len(drawn.unscored),
        "explained_variance": foreseen if experience.values.any() else None,  # all are 0 where no critic is asked
    }


def describe_drift(experience: Experience, config: PpoConfig) -> dict[str, float]:
    """How far vLLM and the trainer are apart on a rollout batch; nothing where the trainer itself sampled."""
    if config.vllm is None:
        return {}
    drift = measure_drift(
        experience.old_logprobs, experience.rollout_logprobs, experience.loss_mask, cap=config.vllm.importance_cap
    )
    return {
        "drift_mean": drift.mean,
        "drift_max": drift.max,
        "importance_mean": masked_mean(experience.importance, experience.loss_mask).item(),
        "importance_capped": drift.num_capped / int(experience.loss_mask.sum()),
    }


def describe_times(times: Sequence[float], drawn: Drawn) -> dict[str, float]:
    """Seconds of sampling, of the passes of reference and critic, of the updates, and of all."""
    start, sampled, looked_back, end = times
    num_samples = len(drawn.rollouts) + len(drawn.unscored)
    return {
        "seconds_rollout": round(sampled - start, 3),
        "seconds_experience": round(looked_back - sampled, 3),
        "seconds_update": round(end - looked_back, 3),
        "seconds": round(end - start, 3),
        "samples_per_second": round(num_samples / max(end - start, 1e-9), 3),
    }
