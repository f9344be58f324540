"""What goes wrong in reinforcement learning while its reward looks fine, told from the metrics of the steps."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, pstdev
from typing import Any

from tltrain.rl.config import Worry

Rows = Sequence[Mapping[str, Any]]
"""Rows of metrics.jsonl, in order."""

_KL = 10.0
"""Nats a completion beyond which the policy has little to do with the SFT model any more."""
_ENTROPY_SHARE = 0.1
"""Of the first steps' entropy; below it all completions of a prompt are the same."""
_TRUNCATED = 0.5
_LOST = 0.05
"""Fall of CF that matters, as a share."""
_CRITIC = 0.05
"""Explained variance that a critic should have reached after
so many steps:"""
_CRITIC_STEPS = 20
_DRIFT = 0.1
"""Nats a token between engine and trainer that no number format explains: bfloat16 makes some hundredths."""
_WINDOW = 5
"""Steps over which numbers are averaged."""


def find_warnings(rows: Rows) -> dict[Worry, str]:
    """What to worry about after the last of these steps: name of the worry -> cause and remedy, in a sentence.

    Args:
        rows: all steps so far; a metric that a row has not is not judged.
    """
    found = {name: check(rows) for name, check in _CHECKS.items()}
    return {name: text for name, text in found.items() if text}


def _kl(rows: Rows) -> str:
    kl = _recent(rows, "kl_completion")
    if kl is None or kl <= _KL:
        return ""
    return (
        f"the policy is {kl:.1f} nats a completion away from the SFT model, so that what SFT taught may be lost; "
        "raise kl_coef, or set kl_target, or lower the learning rate"
    )


def _entropy(rows: Rows) -> str:
    values = _values(rows, "entropy")
    if len(values) < 2 * _WINDOW:
        return ""
    first, last = fmean(values[:_WINDOW]), fmean(values[-_WINDOW:])
    if last >= _ENTROPY_SHARE * first:
        return ""
    return (
        f"the entropy of the policy fell from {first:.3f} to {last:.3f} nats a token, so that nothing new is tried; "
        "raise entropy_coef, clip_range_high or the temperature, or lower the learning rate"
    )


def _hacking(rows: Rows) -> str:
    """The training reward rises by more than its noise, and CF on held-out prompts falls."""
    # of episodes the success, of single calls CF
    right = "success" if rows and "success" in (rows[0].get("heldout_before") or {}) else "cf"
    measured = [row["heldout"][right] for row in rows if (row.get("heldout") or {}).get(right) is not None]
    before = (rows[0].get("heldout_before") or {}).get(right) if rows else None
    rewards = _values(rows, "reward")
    third = len(rewards) // 3
    if before is None or not measured or third < 2:
        return ""
    early, late = rewards[:third], rewards[-third:]
    is_rising = fmean(late) - fmean(early) > max(pstdev(early), pstdev(late))
    if not is_rising or before - measured[-1] <= _LOST:
        return ""
    return (
        f"the reward rose from {fmean(early):.2f} to {fmean(late):.2f}, and right calls on held-out prompts fell from "
        f"{before:.0%} to {measured[-1]:.0%}: the reward is won in another way than by right calls, or the prompts are "
        "learnt by heart; read rollouts.jsonl, raise kl_coef, or use more prompts"
    )


def _critic(rows: Rows) -> str:
    values = _values(rows, "explained_variance")
    if len(values) < _CRITIC_STEPS or fmean(values[-_WINDOW:]) >= _CRITIC:
        return ""
    return (
        f"after {len(values)} steps the critic explains {fmean(values[-_WINDOW:]):.0%} of the returns' variance, so "
        "that advantages are noise; raise critic_optimizer.learning_rate, or use advantage: rloo"
    )


def _truncated(rows: Rows) -> str:
    share = _recent(rows, "truncated")
    if share is None or share <= _TRUNCATED:
        return ""
    return f"{share:.0%} of the completions are cut off at max_new_tokens; raise it, or set overlong_buffer"


def _nothing_learnt(rows: Rows) -> str:
    recent = rows[-_WINDOW:]
    if len(recent) < _WINDOW or any(row.get("num_learnt", 1) for row in recent):
        return ""
    return (
        f"nothing was learnt in {_WINDOW} steps: all completions are left out (drop_equal_groups, truncated); use "
        "harder prompts, more samples_per_prompt, or a higher temperature"
    )


def _drift(rows: Rows) -> str:
    drift = _values(rows, "drift_mean")[-1:]
    if not drift or drift[0] <= _DRIFT:
        return ""
    return (
        f"vLLM's log-probs are {drift[0]:.2f} nats a token away from the trainer's, so that it samples from another "
        "policy: it has other weights, another number format, or runs the model otherwise; set "
        "vllm.dtype: float32 (of a server, --dtype float32) to find out, or leave vllm out"
    )


_CHECKS: Mapping[Worry, Callable[[Rows], str]] = {
    "kl": _kl,
    "entropy": _entropy,
    "reward_hacking": _hacking,
    "critic": _critic,
    "truncated": _truncated,
    "nothing_learnt": _nothing_learnt,
    "drift": _drift,
}


def _values(rows: Rows, name: str) -> list[float]:
    return [row[name] for row in rows if row.get(name) is not None]


def _recent(rows: Rows, name: str) -> float | None:
    values = _values(rows, name)
    return fmean(values[-_WINDOW:]) if len(values) >= _WINDOW else None
