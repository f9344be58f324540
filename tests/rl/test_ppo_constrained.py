"""Rollouts under a grammar: what they hold, and that policy, ratio and reference are those over the allowed tokens."""

import json

import pytest
import torch

pytest.importorskip("llguidance")

from tltrain.constrained.masks import make_constrainer
from tltrain.engine.model import load_model
from tltrain.engine.settings import OptimizerConfig
from tltrain.formats.read import read_trajectories
from tltrain.render.template import ensure_tool_template
from tltrain.rl.actor import Actor
from tltrain.rl.config import PpoConfig
from tltrain.rl.critic import Critic
from tltrain.rl.experience import gain_experience
from tltrain.rl.prompts import make_prompts
from tltrain.rl.rollouts import draw_rollouts
from tltrain.rl.scoring import Scorer
from tltrain.rl.train import ppo
from tltrain.syntax import get_syntax

CONFIG = PpoConfig(
    prompts_per_step=4,
    group_size=2,
    minibatch_size=4,
    samples_per_prompt=2,
    max_new_tokens=70,
    max_steps=2,
    num_epochs=10,
    num_updates=1,
    temperature=0.8,
    precision="float32",
    constrain="call",
    heldout_share=0.2,
    actor_optimizer=OptimizerConfig(learning_rate=1e-2),
)


def test_log_probs_of_sampler_policy_and_reference_agree_at_the_start(tiny_sft, few_rows):
    loaded = load_model(tiny_sft)
    syntax = get_syntax(ensure_tool_template(loaded.tokenizer))
    prompts = make_prompts(
        read_trajectories(few_rows).trajectories, loaded.tokenizer, syntax, blocked={}, max_length=2000
    ).prompts
    device = torch.device("cpu")
    critic, actor = Critic(CONFIG, loaded.model, device), Actor(CONFIG, loaded.model, device)
    made = make_constrainer("call", actor.model, loaded.tokenizer, syntax)
    drawn = draw_rollouts(
        actor,
        loaded.tokenizer,
        [prompts[0:2], prompts[2:4]],
        scorer=Scorer(syntax),
        config=CONFIG,
        step=0,
        constrainer=made,
    )
    experience = gain_experience(actor, critic, drawn.rollouts, CONFIG)
    for number, rollout in enumerate(drawn.rollouts):
        start, tokens = len(rollout.prompt.ids), rollout.completion.ids
        logits = actor.model(input_ids=torch.tensor([[*rollout.prompt.ids, *tokens]])).logits[0] / CONFIG.temperature
        mask = made.constraint(rollout.prompt.tools)()
        for place, token in enumerate(tokens):
            words = mask.allowed()
            allowed = [entry for entry in range(len(logits[0])) if words[entry // 32] >> (entry % 32) & 1]
            log_p = torch.log_softmax(logits[start + place - 1, allowed], dim=-1)
            expected = log_p[allowed.index(token)].item()
            assert experience.old_logprobs[number, place].item() == pytest.approx(expected, abs=1e-4)
            assert experience.ref_logprobs[number, place].item() == pytest.approx(expected, abs=1e-4)
            if len(allowed) == 1:
                assert experience.old_logprobs[number, place].item() == 0
            mask.accept(token)
    assert experience.kl.abs().max() < 1e-4
    recomputed = actor.scores(experience.sequences).scores.logprobs
    torch.testing.assert_close(recomputed, experience.old_logprobs[experience.loss_mask], rtol=0, atol=1e-4)


def test_in_a_run_only_truncation_breaks_a_call(tiny_sft, few_rows, tmp_path):
    ppo(CONFIG, data=few_rows, model=tiny_sft, out=tmp_path / "out")
    rows = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 2
    for row in rows:
        assert 0 < row["truncated"] < 1
        assert row["errors"].pop("format_error") == pytest.approx(row["truncated"])
        assert row["errors"].keys().isdisjoint({"missing_call", "tool_hallucination", "param_hallucination"})
        assert row["sampling_gap"] < 1e-4
