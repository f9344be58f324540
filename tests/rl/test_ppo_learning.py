"""Learning itself: a reward that can be earned is earned, and one that cannot be is not."""

import json
import random
from pathlib import Path
from statistics import fmean

import pytest

from tltrain.engine.settings import OptimizerConfig
from tltrain.formats.openai_chat import write_trajectories
from tltrain.rl.config import PpoConfig
from tltrain.rl.scoring import RewardFunction
from tltrain.rl.train import ppo
from tltrain.types import Message, Role, Tool, ToolCall, Trajectory

_CONFIG = PpoConfig(
    prompts_per_step=4,
    group_size=4,
    samples_per_prompt=8,
    minibatch_size=16,
    micro_batch_size=16,
    rollout_batch_size=32,
    max_new_tokens=6,
    max_steps=12,
    num_epochs=100,
    kl_coef=0.0,
    actor_optimizer=OptimizerConfig(learning_rate=3e-2, schedule="constant"),
    critic_optimizer=OptimizerConfig(learning_rate=1e-3, schedule="constant"),
    precision="float32",
    heldout_share=0,
)


@pytest.fixture(scope="module")
def short_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [
        Trajectory(
            id=f"row-{number}",
            tools=(Tool(name="finish"),),
            messages=(
                Message(role=Role.USER, content=f"Task {number}"),
                Message(role=Role.ASSISTANT, calls=(ToolCall(name="finish"),)),
            ),
        )
        for number in range(4)
    ]
    path = tmp_path_factory.mktemp("short") / "rows.jsonl"
    write_trajectories(path, rows)
    return path


def share_of_letters(text: str) -> float:
    return sum(character.isascii() and character.isalpha() for character in text) / max(1, len(text))


def run(
    config: PpoConfig, rows: Path, model: Path, out: Path, reward: RewardFunction
) -> tuple[list[float], list[float]]:
    """Mean reward of each step, and what share of the characters of its shown rollouts are letters."""
    ppo(config, data=rows, model=model, out=out, reward=reward)
    rewards = [json.loads(line)["reward"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    shown = [json.loads(line) for line in (out / "rollouts.jsonl").read_text().splitlines()]
    letters = [
        fmean(share_of_letters(row["completion"]) for row in shown if row["step"] == step)
        for step in range(len(rewards))
    ]
    return rewards, letters


def gain(values: list[float]) -> float:
    return fmean(values[-3:]) - fmean(values[:2])


# With seeds 0 to 2 the gains are 0.35 to 0.45 in reward; with a reward at random -0.12 to 0.07, in letters up to 0.1.


@pytest.mark.parametrize("critic", ["head", "separate"])
def test_a_reward_that_can_be_earned_rises(short_rows: Path, tiny_sft: Path, tmp_path: Path, critic: str):
    def letters_please(*, completion: str, **_: object) -> float:
        return share_of_letters(completion)

    config = _CONFIG.model_copy(update={"critic": critic})
    rewards, letters = run(config, short_rows, tiny_sft, tmp_path / "out", letters_please)
    assert gain(rewards) > 0.25
    assert gain(letters) > 0.25


def test_a_reward_at_random_teaches_nothing(short_rows: Path, tiny_sft: Path, tmp_path: Path):
    rng = random.Random(0)

    def at_random(**_: object) -> float:
        return rng.random()

    rewards, letters = run(_CONFIG, short_rows, tiny_sft, tmp_path / "out", at_random)
    assert gain(rewards) < 0.15
    assert abs(gain(letters)) < 0.2
