"""The benchmark of PPO against TRL: both sides do the work that it says they do."""

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tltrain.engine.model import load_tokenizer
from tltrain.render.template import ensure_tool_template
from tltrain.rl import rollouts
from tltrain.rollout.sampler import sample

_BENCH = Path(__file__).parents[1] / "bench"
_SIZE = ["--num-rows", "24", "--prompts", "2", "--group-size", "4", "--new-tokens", "6", "--trl-batch-size", "4"]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tiny_model: Path, tmp_path: Path) -> Any:
    """Runs bench/ppo.py on the tiny model and returns the figures of its sets."""
    monkeypatch.syspath_prepend(str(_BENCH))

    def run(*options: str) -> list[dict[str, Any]]:
        command = ["ppo.py", "--model", str(tiny_model), "--sets", "fixed", "--out", str(tmp_path / "out"), *_SIZE]
        monkeypatch.setattr(sys, "argv", [*command, "--threads", "1", *options])
        importlib.import_module("ppo").main()
        results: list[dict[str, Any]] = json.loads((tmp_path / "out" / "ppo.json").read_text())
        return results

    return run


def test_a_step_has_completions_of_full_length_for_each_prompt(bench, tiny_model, monkeypatch, capsys):
    side = importlib.import_module("ppo_tltrain")
    # in this process, where torch is already there
    monkeypatch.setattr(importlib.import_module("ppo"), "run_side", lambda _, __, job: side.measure(job))
    (result,) = bench()
    ours = result["tltrain"]
    assert (ours["samples"], ours["tokens"]) == (2 * 4, 2 * 4 * 6)
    assert len(ours["prompts"]) == 2
    assert ours["prompt_tokens"] == 4 * sum(len(prompt["ids"]) for prompt in ours["prompts"])
    assert ours["seconds"] >= ours["seconds_rollout"] > 0
    tokenizer = load_tokenizer(tiny_model)
    ensure_tool_template(tokenizer)
    for prompt in ours["prompts"]:
        assert tokenizer(prompt["text"])["input_ids"] == prompt["ids"]
    assert "8 completions of 6 tokens" in capsys.readouterr().out
    assert rollouts.sample is sample


@pytest.mark.slow
@pytest.mark.skipif("TLTRAIN_TRL_PYTHON" not in os.environ, reason="needs TRL in an environment of its own")
def test_trl_does_the_same_work(bench):
    (result,) = bench("--trl-python", os.environ["TLTRAIN_TRL_PYTHON"])
    for name in ("samples", "tokens", "prompt_tokens"):
        assert result["trl"][name] == result["tltrain"][name]
    assert result["trl"]["seconds"] >= result["trl"]["seconds_rollout"] > 0
