"""The benchmark of PPO on whole conversations: its settings are good, and its reward that says nothing is one."""

import importlib
from pathlib import Path
from typing import Any

import pytest

from tltrain.config import load_config
from tltrain.formats.read import read_trajectories
from tltrain.rl.config import PpoConfig
from tltrain.rl.worlds import sandbox_prompts, user_prompts
from tltrain.types import ToolCall, iterate_calls

_BENCH = Path(__file__).parents[1] / "bench"


@pytest.mark.parametrize("kind", ["PPO", "scrambled"])
def test_settings_are_good(kind: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(_BENCH))
    bench: Any = importlib.import_module("learning_episodes")
    config = bench.settings(kind, seed=3, steps=7, learning_rate=None)
    plain = load_config(PpoConfig, file=_BENCH / "episodes.yaml")
    assert config.seed == 3
    assert config.max_steps == 7
    assert config.actor_optimizer == plain.actor_optimizer
    assert config.episodes.max_turns == plain.episodes.max_turns
    assert (config.episodes.environment is None) == (kind == "PPO")
    parts = config.episodes.reward
    if kind == "scrambled":
        assert (parts.no_answer, parts.malformed, parts.undocumented_call, parts.failed_call) == (0.5, 0, 0, 0)


def test_a_scrambled_score_says_what_was_done_and_not_whether_it_is_right(generated: Path):
    rows = read_trajectories(generated / "train.jsonl").trajectories
    prompts, faults = user_prompts(_BENCH / "scrambled_world.py", rows)
    assert not faults
    assert [prompt.messages for prompt in prompts] == [prompt.messages for prompt in sandbox_prompts(rows)[0]]
    call = next(step.call for step in iterate_calls(rows[0]) if isinstance(step.call, ToolCall))

    def score(*calls: ToolCall, answer: str = "Done.") -> float:
        world = prompts[0].open()
        for one in calls:
            assert not world.is_step(one, world.execute(one))
        found = world.score(answer)
        assert 0 <= found < 1
        return found

    assert score(call) == score(call)
    assert len({score(), score(call), score(call, call), score(call, answer="It is done.")}) == 4
