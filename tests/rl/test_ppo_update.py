"""Updates against a plain re-implementation in float64: loops, whole sequences, nothing shared, nothing padded."""

import copy
import math
from types import SimpleNamespace

import pytest
import torch

from tltrain.engine.model import load_model
from tltrain.engine.settings import LoraConfig, OptimizerConfig
from tltrain.formats.read import read_trajectories
from tltrain.render.template import ensure_tool_template
from tltrain.rl.actor import Actor
from tltrain.rl.batches import plan_minibatches
from tltrain.rl.config import PpoConfig
from tltrain.rl.critic import Critic
from tltrain.rl.experience import gain_experience
from tltrain.rl.prompts import make_prompts
from tltrain.rl.rollouts import draw_rollouts
from tltrain.rl.scoring import Scorer
from tltrain.rl.update import Updater
from tltrain.syntax import get_syntax

CPU = torch.device("cpu")
CONFIG = PpoConfig(
    prompts_per_step=4,
    group_size=2,
    minibatch_size=4,
    micro_batch_tokens=900,
    max_new_tokens=9,
    temperature=0.8,
    precision="float32",
    kl_coef=0.3,
    reward_clip=3.0,
    gamma=0.97,
    gae_lambda=0.9,
    clip_range=0.2,
    value_clip_range=0.1,
    vf_coef=0.7,
    entropy_coef=0.05,
    # so that a step moves the weights by the plain rate
    actor_optimizer=OptimizerConfig(learning_rate=1e-3, schedule="constant", warmup_ratio=0, weight_decay=0),
    critic_optimizer=OptimizerConfig(learning_rate=1e-3, schedule="constant", warmup_ratio=0, weight_decay=0),
)


def spread(*, completion, **_):
    """Rewards of all sizes, some of them clipped."""
    return sum(map(ord, completion)) % 90 / 10 - 4


def disturb(module, scale, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.add_(scale * torch.randn(parameter.shape, generator=generator))


def make_scene(folder, rows, config, *, is_on_policy=False):
    """Actor and critic away from the SFT model, their rollouts and experience, and then moved once more."""
    loaded = load_model(folder)
    syntax = get_syntax(ensure_tool_template(loaded.tokenizer))
    found = make_prompts(read_trajectories(rows).trajectories, loaded.tokenizer, syntax, blocked={}, max_length=2000)
    sft_model = copy.deepcopy(loaded.model)
    critic, actor = Critic(config, loaded.model, CPU), Actor(config, loaded.model, CPU)
    disturb(actor.model, 0.05, seed=1)
    disturb(critic, 0.05, seed=2)
    groups = [found.prompts[0:2], found.prompts[2:4]]
    scorer = Scorer(syntax, function=spread)
    drawn = draw_rollouts(actor, loaded.tokenizer, groups, scorer=scorer, config=config, step=0)
    sampling = copy.deepcopy((actor.model, critic))
    experience = gain_experience(actor, critic, drawn.rollouts, config)
    if not is_on_policy:
        disturb(actor.model, 0.02, seed=3)
        disturb(critic, 0.02, seed=4)
    return SimpleNamespace(
        sft_model=sft_model,
        actor=actor,
        critic=critic,
        rollouts=drawn.rollouts,
        sampling_actor=sampling[0],
        sampling_critic=sampling[1],
        experience=experience,
        updater=Updater(config, actor, critic, num_steps=10),
    )


def plain_forward(model, ids):
    """Logits and last hidden states of one whole sequence."""
    output = model(input_ids=torch.tensor([ids]), output_hidden_states=True)
    return output.logits[0], output.hidden_states[-1][0]


def plain_logprobs(model, rollout, temperature):
    start, tokens = len(rollout.prompt.ids), rollout.completion.ids
    logits, hidden = plain_forward(model, [*rollout.prompt.ids, *tokens])
    table = torch.log_softmax(logits / temperature, dim=-1)
    logprobs = [table[start + t - 1, token] for t, token in enumerate(tokens)]
    entropies = [-(table[start + t - 1].exp() * table[start + t - 1]).sum() for t in range(len(tokens))]
    return logprobs, entropies, [hidden[start + t - 1] for t in range(len(tokens))]


def plain_values(critic, actor_states, rollout):
    if critic.model is None:
        states = [state.detach() for state in actor_states]
    else:
        start, tokens = len(rollout.prompt.ids), rollout.completion.ids
        _, hidden = plain_forward(critic.model, [*rollout.prompt.ids, *tokens])
        states = [hidden[start + t - 1] for t in range(len(tokens))]
    return [(critic.head.weight[0] * state).sum() + critic.head.bias[0] for state in states]


def plain_ppo(scene, config):
    """All losses of one update on all rollouts, in float64; and the gradients' norms."""
    wide = {
        name: copy.deepcopy(module).double()
        for name, module in {
            "old_actor": scene.sampling_actor,
            "old_critic": scene.sampling_critic,
            "reference": scene.sft_model,
            "actor": scene.actor.model,
            "critic": scene.critic,
        }.items()
    }
    tokens = []
    for rollout in scene.rollouts:
        with torch.no_grad():
            old_logprobs, _, old_states = plain_logprobs(wide["old_actor"], rollout, config.temperature)
            ref_logprobs, _, _ = plain_logprobs(wide["reference"], rollout, config.temperature)
            old_values = plain_values(wide["old_critic"], old_states, rollout)
        logprobs, entropies, states = plain_logprobs(wide["actor"], rollout, config.temperature)
        values = plain_values(wide["critic"], states, rollout)
        num = len(logprobs)
        rewards = [-config.kl_coef * (old_logprobs[t] - ref_logprobs[t]).item() for t in range(num)]
        rewards[-1] += max(-config.reward_clip, min(config.reward_clip, spread(completion=rollout.text)))
        for t in range(num):
            advantage = 0.0
            for later in range(t, num):
                next_value = old_values[later + 1].item() if later + 1 < num else 0.0
                delta = rewards[later] + config.gamma * next_value - old_values[later].item()
                advantage += (config.gamma * config.gae_lambda) ** (later - t) * delta
            tokens.append(
                SimpleNamespace(
                    logprob=logprobs[t],
                    old_logprob=old_logprobs[t].item(),
                    entropy=entropies[t],
                    value=values[t],
                    old_value=old_values[t].item(),
                    advantage=advantage,
                    ret=advantage + old_values[t].item(),
                )
            )
    num = len(tokens)
    if config.whiten_advantages:
        mean = sum(token.advantage for token in tokens) / num
        deviation = math.sqrt(sum((token.advantage - mean) ** 2 for token in tokens) / num)
        for token in tokens:
            token.advantage = (token.advantage - mean) / deviation
    policy = value = entropy = torch.zeros((), dtype=torch.float64)
    num_clipped = num_values_clipped = 0
    e, v = config.clip_range, config.value_clip_range
    for token in tokens:
        ratio = torch.exp(token.logprob - token.old_logprob)
        policy = policy - torch.min(ratio * token.advantage, torch.clamp(ratio, 1 - e, 1 + e) * token.advantage) / num
        num_clipped += abs(ratio.item() - 1) > e
        moved = token.value - token.old_value
        clipped = token.old_value + torch.clamp(moved, -v, v)
        value = value + torch.max((token.value - token.ret) ** 2, (clipped - token.ret) ** 2) / 2 / num
        num_values_clipped += abs(moved.item()) > v
        entropy = entropy + token.entropy / num
    (policy - config.entropy_coef * entropy + config.vf_coef * value).backward()
    return {
        "policy_loss": policy.item(),
        "value_loss": value.item(),
        "entropy": entropy.item(),
        "clip_fraction": num_clipped / num,
        "value_clip_fraction": num_values_clipped / num,
        "grad_norm": norm_of_gradient(wide["actor"]),
        "critic_grad_norm": norm_of_gradient(wide["critic"]),
    }


def norm_of_gradient(module):
    return math.sqrt(sum(p.grad.square().sum().item() for p in module.parameters() if p.grad is not None))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"whiten_advantages": False},
        {"critic": "separate", "lora": LoraConfig(rank=4)},
        {"critic": "separate", "critic_lora": LoraConfig(rank=4), "share_prefixes": False},
    ],
    ids=["head", "not whitened", "separate critic, adapters", "critic with adapters"],
)
def test_an_update_equals_the_plain_one(tiny_sft, few_rows, options):
    config = CONFIG.model_copy(update=options)
    scene = make_scene(tiny_sft, few_rows, config)
    expected = plain_ppo(scene, config)
    assert 0 < expected["clip_fraction"] < 1  # all branches are taken
    assert 0 < expected["value_clip_fraction"] < 1
    told = scene.updater.learn(scene.experience, range(len(scene.rollouts)), step=0)
    assert {name: told[name] for name in expected} == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_the_first_update_on_fresh_rollouts_has_ratio_1_and_clips_nothing(tiny_sft, few_rows):
    scene = make_scene(tiny_sft, few_rows, CONFIG, is_on_policy=True)
    for rollout in scene.rollouts:  # what the sampler saw token by token is what the trainer sees at once
        logprobs = scene.actor.scores([rollout.sequence]).scores.logprobs
        assert rollout.completion.logprobs == pytest.approx(logprobs.tolist(), abs=1e-5)
    told = scene.updater.learn(scene.experience, range(len(scene.rollouts)), step=0)
    assert told["clip_fraction"] == told["value_clip_fraction"] == 0
    assert told["mean_ratio"] == pytest.approx(1, abs=1e-5)
    assert told["max_ratio"] == pytest.approx(1, abs=1e-4)
    assert told["approx_kl"] < 1e-9
    again = scene.updater.learn(scene.experience, range(len(scene.rollouts)), step=1)
    assert again["max_ratio"] > 1.001


@pytest.mark.parametrize("critic", ["head", "separate"])
def test_how_much_runs_at_once_changes_nothing(tiny_sft, few_rows, critic):
    found = []
    for micro_batch_tokens, share_prefixes in ((1, False), (900, True), (9000, True)):
        update = {"micro_batch_tokens": micro_batch_tokens, "share_prefixes": share_prefixes, "critic": critic}
        scene = make_scene(tiny_sft, few_rows, CONFIG.model_copy(update=update))
        told = scene.updater.learn(scene.experience, range(len(scene.rollouts)), step=0)
        # Adam's first moment after one step is the clipped gradient times 1 - beta1
        gradients = {
            (part, number): state["exp_avg"]
            for part in ("actor", "critic")
            for number, state in getattr(scene.updater, f"{part}_optimizer").state_dict()["state"].items()
        }
        found.append((told, gradients))
    told, gradients = found[0]
    for other_told, other_gradients in found[1:]:
        assert other_told == pytest.approx(told, rel=1e-4, abs=1e-6)
        for key, gradient in gradients.items():
            torch.testing.assert_close(
                other_gradients[key], gradient, rtol=1e-4, atol=1e-6 * gradient.abs().max().item()
            )


def test_minibatches_are_summed_up_as_means_but_for_the_largest_ratio(tiny_sft, few_rows):
    scene = make_scene(tiny_sft, few_rows, CONFIG.model_copy(update={"minibatch_size": 2}))
    other = make_scene(tiny_sft, few_rows, CONFIG.model_copy(update={"minibatch_size": 2}))
    minibatches = plan_minibatches([0, 0, 1, 1], num_updates=2, minibatch_size=2, seed=0, step=0)
    summary = scene.updater.update(scene.experience, minibatches, first_step=3)
    told = [other.updater.learn(other.experience, rows, step=step) for step, rows in enumerate(minibatches, start=3)]
    assert summary["policy_loss"] == pytest.approx(sum(row["policy_loss"] for row in told) / 4)
    assert summary["max_ratio"] == max(row["max_ratio"] for row in told)
    assert summary["sampling_gap"] == told[0]["approx_kl"]


def test_what_is_drawn_for_a_prompt_does_not_depend_on_the_others(tiny_sft, few_rows):
    config = CONFIG.model_copy(update={"samples_per_prompt": 2})
    loaded = load_model(tiny_sft)
    syntax = get_syntax(ensure_tool_template(loaded.tokenizer))
    found = make_prompts(
        read_trajectories(few_rows).trajectories, loaded.tokenizer, syntax, blocked={}, max_length=2000
    )
    actor = Actor(config, loaded.model, CPU)

    def draw(groups, step=0, **update):
        drawn = draw_rollouts(
            actor,
            loaded.tokenizer,
            groups,
            scorer=Scorer(syntax),
            config=config.model_copy(update=update),
            step=step,
        )
        return [(rollout.prompt.id, tuple(rollout.completion.ids)) for rollout in drawn.rollouts]

    first, second, third = found.prompts[:3]
    together = draw([[first, second], [third]])
    assert [name for name, _ in together] == [first.id, first.id, second.id, second.id, third.id, third.id]
    assert len(set(together)) == 6  # the samples of a prompt differ
    assert draw([[third]]) == together[4:]
    assert draw([[first, second], [third]], rollout_batch_size=1) == together
    assert draw([[third]], step=1) != together[4:]
    assert draw([[third]], seed=1) != together[4:]
