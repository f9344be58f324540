"""GRPO, RLOO, REINFORCE++ and the options around them, against plain loops in float64."""

import copy
import math
import statistics

import pytest
import torch
from pydantic import ValidationError
from test_ppo_update import CONFIG, make_scene, norm_of_gradient, plain_logprobs, spread

from tltrain.rl.advantages import length_penalty, relative_to_group, rewards_to_go, without_spread
from tltrain.rl.config import PpoConfig
from tltrain.rl.experience import rows_to_learn
from tltrain.rl.kl import AdaptiveKl
from tltrain.rl.losses import clipped_policy_loss, row_denominators

SEVERAL = {"prompts_per_step": 2, "group_size": 1, "samples_per_prompt": 3, "minibatch_size": 6}


def as_mask(*rows):
    return torch.tensor([[int(c) for c in row] for row in rows]).bool()


@pytest.mark.parametrize("scale", [True, False])
def test_relative_to_group(scale):
    generator = torch.Generator().manual_seed(3)
    rewards = torch.randn(6, 4, generator=generator)
    mask = as_mask("1100", "1111", "0110", "1000", "1110", "1100")
    groups = ["a", "b", "a", "a", "b", "alone"]
    found = relative_to_group(rewards, mask, groups, scale_by_spread=scale)
    totals = [sum(rewards[row, t].item() for t in range(4) if mask[row, t]) for row in range(6)]
    for row, group in enumerate(groups):
        own = [totals[other] for other in range(6) if groups[other] == group]
        expected = totals[row] - statistics.fmean(own)
        if scale and len(own) > 1:
            expected /= statistics.stdev(own) + 1e-4
        for t in range(4):
            assert found[row, t].item() == pytest.approx(expected if mask[row, t] else 0.0, abs=1e-5)
    with pytest.raises(ValueError, match="2 groups for 6 rows"):
        relative_to_group(rewards, mask, ["a", "b"], scale_by_spread=scale)


def test_rewards_to_go():
    rewards = torch.tensor([[1.0, 2.0, math.nan, 4.0]])
    assert rewards_to_go(rewards, as_mask("1101"), gamma=0.5).tolist() == [[3.0, 4.0, 0.0, 4.0]]


def test_prompts_without_spread():
    assert without_spread([1.0, 0.5, 1.0, 0.5, 2.0], ["a", "b", "a", "c", "c"]) == [True, True, True, False, False]


def test_length_penalty():
    worth = [length_penalty(tokens, max_tokens=20, buffer=8) for tokens in (1, 12, 14, 20)]
    assert worth == [0.0, 0.0, -0.25, -1.0]
    assert length_penalty(20, max_tokens=20, buffer=0) == 0.0


def test_denominators_of_micro_batches_add_up():
    losses = torch.arange(12.0).reshape(3, 4)
    mask = as_mask("1100", "1111", "1000")
    rows = [[losses[row, t].item() for t in range(4) if mask[row, t]] for row in range(3)]
    expected = {
        "token": statistics.fmean(loss for row in rows for loss in row),
        "sequence": statistics.fmean(statistics.fmean(row) for row in rows),
        "constant": sum(loss for row in rows for loss in row) / (3 * 10),
    }
    for mean, value in expected.items():
        denominators = row_denominators(mask, mean=mean, max_tokens=10)
        assert (losses.masked_fill(~mask, 0) / denominators).sum().item() == pytest.approx(value, rel=1e-6), mean


def test_a_ratio_may_rise_further_than_it_may_fall():
    ratios = torch.tensor([[1.25, 1.35, 0.75]])
    options = {"clip_range": 0.2, "clip_range_high": 0.3}
    found = clipped_policy_loss(ratios.log(), torch.zeros(1, 3), torch.ones(1, 3), as_mask("111"), **options)
    assert found.loss.item() == pytest.approx(-(1.25 + 1.3 + 0.75) / 3)
    assert found.clip_fraction.item() == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="clip_range_high=-1"):
        clipped_policy_loss(
            ratios, ratios, ratios, as_mask("111"), clip_range=0.2, clip_range_high=-1, denominator=None
        )


def test_the_price_of_kl_follows_the_divergence():
    kl = AdaptiveKl(0.4, target=6.0, horizon=100)
    kl.update(6.6, 50)  # a tenth over
    assert kl.value == pytest.approx(0.4 * (1 + 0.1 * 0.5))
    kl.update(100.0, 50)
    assert kl.value == pytest.approx(0.42 * (1 + 0.2 * 0.5))
    kl.update(0.0, 100)
    assert kl.value == pytest.approx(0.462 * 0.8)
    fixed = AdaptiveKl(0.4, target=None, horizon=100)
    fixed.update(100.0, 50)
    assert fixed.value == 0.4


def plain_update(scene, config):
    """The actor's loss on all rollouts and its gradient's norm, in float64."""
    wide = [copy.deepcopy(model).double() for model in (scene.sampling_actor, scene.sft_model, scene.actor.model)]
    rows = []
    for rollout in scene.rollouts:
        with torch.no_grad():
            old, reference = (plain_logprobs(model, rollout, config.temperature)[0] for model in wide[:2])
        new = plain_logprobs(wide[2], rollout, config.temperature)[0]
        rewards = [0.0] * len(new)
        if config.kl_in == "reward":
            rewards = [-config.kl_coef * (o - r).item() for o, r in zip(old, reference, strict=True)]
        over = max(0, len(new) - (config.max_new_tokens - config.overlong_buffer))
        score = spread(completion=rollout.text) - (over / config.overlong_buffer if config.overlong_buffer else 0.0)
        rewards[-1] += max(-config.reward_clip, min(config.reward_clip, score))
        rows.append((rollout.prompt.id, old, reference, new, rewards))
    advantages = []
    for prompt, *_, rewards in rows:
        own = sum(rewards)
        group = [sum(row[-1]) for row in rows if row[0] == prompt]
        match config.advantage:
            case "rloo":
                per_token = [own - (sum(group) - own) / (len(group) - 1)] * len(rewards)
            case "grpo":
                unit = statistics.stdev(group) + 1e-4 if config.scale_by_spread else 1.0
                per_token = [(own - statistics.fmean(group)) / unit] * len(rewards)
            case "reinforce++":
                to_go = [
                    sum(config.gamma ** (k - t) * rewards[k] for k in range(t, len(rewards)))
                    for t in range(len(rewards))
                ]
                per_token = to_go
        advantages.append(per_token)
    if config.whiten_advantages:
        flat = [advantage for row in advantages for advantage in row]
        mean, deviation = statistics.fmean(flat), statistics.pstdev(flat)
        advantages = [[(advantage - mean) / deviation for advantage in row] for row in advantages]
    num_tokens = sum(len(row) for row in advantages)
    loss = torch.zeros((), dtype=torch.float64)
    high = config.clip_range_high or config.clip_range
    for (_, old, reference, new, _), row in zip(rows, advantages, strict=True):
        divisor = {
            "token": num_tokens,
            "sequence": len(new) * len(rows),
            "constant": len(rows) * config.max_new_tokens,
        }[config.loss_mean]
        for t, advantage in enumerate(row):
            ratio = torch.exp(new[t] - old[t].item())
            clipped = torch.clamp(ratio, 1 - config.clip_range, 1 + high)
            loss = loss - torch.min(ratio * advantage, clipped * advantage) / divisor
            if config.kl_in == "loss":
                log_r = reference[t].item() - new[t]
                loss = loss + config.kl_coef * (torch.exp(log_r) - 1 - log_r) / divisor
    loss.backward()
    return loss.item(), norm_of_gradient(wide[2])


@pytest.mark.parametrize(
    "options",
    [
        {"advantage": "rloo", "clip_range_high": 0.28},
        {
            "advantage": "grpo",
            "kl_in": "loss",
            "kl_estimator": "k3",
            "loss_mean": "sequence",
            "whiten_advantages": False,
        },
        {"advantage": "grpo", "scale_by_spread": False, "loss_mean": "constant", "whiten_advantages": False},
        {"advantage": "reinforce++", "overlong_buffer": 6},
    ],
    ids=["rloo", "grpo", "dr grpo", "reinforce++"],
)
def test_an_update_equals_the_plain_one(tiny_sft, few_rows, options):
    config = CONFIG.model_copy(update=SEVERAL | {"entropy_coef": 0.0} | options)
    scene = make_scene(tiny_sft, few_rows, config)
    loss, norm = plain_update(scene, config)
    told = scene.updater.learn(scene.experience, range(len(scene.rollouts)), step=0)
    assert told["policy_loss"] + told.get("kl_loss", 0.0) == pytest.approx(loss, rel=1e-5, abs=1e-6)
    assert told["grad_norm"] == pytest.approx(norm, rel=1e-5)
    assert "value_loss" not in told
    assert scene.experience.values.abs().max() == 0


def test_what_is_not_learnt_from(tiny_sft, few_rows):
    config = CONFIG.model_copy(update=SEVERAL | {"advantage": "grpo", "max_new_tokens": 4})
    scene = make_scene(tiny_sft, few_rows, config)
    finished = [rollout.completion.is_finished for rollout in scene.rollouts]
    assert not all(finished)
    masked = config.model_copy(update={"truncated": "mask"})
    assert rows_to_learn(scene.rollouts, masked) == [row for row, is_finished in enumerate(finished) if is_finished]
    assert rows_to_learn(scene.rollouts, config) == list(range(12))
    equal = [rollout.score.value for rollout in scene.rollouts[:3]]
    assert len(set(equal)) > 1
    object.__setattr__(scene.rollouts[0], "score", scene.rollouts[1].score)
    object.__setattr__(scene.rollouts[2], "score", scene.rollouts[1].score)
    dropping = config.model_copy(update={"drop_equal_groups": True})
    assert rows_to_learn(scene.rollouts, dropping) == list(range(3, 12))
    assert scene.updater.update(scene.experience, [], first_step=0) == {}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"advantage": "grpo"}, "raise samples_per_prompt"),
        ({"drop_equal_groups": True}, "raise samples_per_prompt"),
        ({"advantage": "reinforce++", "critic": "separate"}, "does without a critic"),
        ({"kl_in": "loss"}, "use k3"),
        ({"overlong_buffer": 600}, "over max_new_tokens=512"),
    ],
)
def test_settings_that_do_not_go_together(fields, reason):
    with pytest.raises(ValidationError, match=reason):
        PpoConfig(**fields)
