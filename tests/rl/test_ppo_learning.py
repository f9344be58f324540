"""Learning itself: a reward that can be earned is earned, and one that cannot be is not."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

import pytest

from tltrain.engine.settings import OptimizerConfig
from tltrain.formats.openai_chat import write_trajectories
from tltrain.rl.config import PpoConfig
from tltrain.rl.train import ppo
from tltrain.types import Message, Role, Tool, ToolCall, Trajectory

_CONFIG = PpoConfig(
    prompts_per_step=4,
    group_size=4,
    samples_per_prompt=8,
    minibatch_size=16,
    micro_batch_tokens=4000,
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


def letters_of_steps(
    config: PpoConfig, rows: Path, model: Path, out: Path, reward: Callable[[str], float]
) -> list[float]:
    """What share of the characters are letters, for each step the mean over its completions."""
    shares: list[float] = []

    def watched(*, completion: str, **_: object) -> float:
        shares.append(share_of_letters(completion))
        return reward(completion)

    ppo(config, data=rows, model=model, out=out, reward=watched)
    size = config.rollouts_per_step
    return [fmean(shares[start : start + size]) for start in range(0, len(shares), size)]


def gain(values: list[float]) -> float:
    return fmean(values[-3:]) - fmean(values[:2])


@pytest.mark.parametrize("critic", ["head", pytest.param("separate", marks=pytest.mark.slow)])
def test_a_reward_that_can_be_earned_rises(short_rows: Path, tiny_sft: Path, tmp_path: Path, critic: str):
    config = _CONFIG.model_copy(update={"critic": critic})
    letters = letters_of_steps(config, short_rows, tiny_sft, tmp_path / "out", share_of_letters)
    assert len(letters) == 12
    assert gain(letters) > 0.3  # found with seeds 0 to 3: 0.36 to 0.44; with a reward at random 0.04 to 0.07
    logged = [json.loads(line)["reward"] for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert logged == pytest.approx(letters)


def test_a_reward_at_random_teaches_nothing(short_rows: Path, tiny_sft: Path, tmp_path: Path):
    rng = random.Random(0)
    letters = letters_of_steps(_CONFIG, short_rows, tiny_sft, tmp_path / "out", lambda _: rng.random())
    assert gain(letters) < 0.15
