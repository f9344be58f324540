"""A run of `ppo` that samples with a stand-in for vLLM."""

import json
from pathlib import Path

import pytest

from tltrain.rl.config import PpoConfig
from tltrain.rl.train import ppo
from tltrain.rollout import vllm_colocated

FAKE = Path(__file__).parent.parent / "rollout" / "vllm_fake_worker.py"
CONFIG = {
    "prompts_per_step": 4,
    "group_size": 2,
    "minibatch_size": 4,
    "max_new_tokens": 6,
    "num_epochs": 10,
    "max_steps": 2,
    "checkpoint_every": 1,
    "precision": "float32",
    "heldout_share": 0.2,
    "evaluate_every": 1,
}


@pytest.fixture
def log(tmp_path, monkeypatch):
    monkeypatch.setattr(vllm_colocated, "WORKER", FAKE)
    monkeypatch.setenv("FAKE_LOG", str(tmp_path / "log.jsonl"))
    return tmp_path / "log.jsonl"


def test_weights_go_over_after_each_update_and_drift_is_told_and_warned_of(tiny_sft, few_rows, tmp_path, log):
    result = ppo(PpoConfig(**CONFIG, vllm={}), data=few_rows, model=tiny_sft, out=tmp_path / "out")
    assert result.num_steps == 2
    # held-out prompts and the first step have the first weights; what the last update made is measured
    ops = [json.loads(line)["op"] for line in log.read_text().splitlines()]
    assert ops == ["hello", "start", "sample", "sample", "load", "sample", "sample", "load", "sample"]
    rows = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        assert row["drift_mean"] > 0.1
        assert row["drift_max"] >= row["drift_mean"]
        assert 0 <= row["importance_capped"] <= 1
        assert row["importance_mean"] <= 2
        # the ratio of the update is the trainer's own: the same before anything was updated
        assert row["sampling_gap"] < 1e-6
    assert "drift" in result.warnings


def test_a_small_cap_all_but_stops_the_policy(tiny_sft, few_rows, tmp_path, log):
    losses = []
    for cap in (None, 1e-6):
        out = tmp_path / str(cap)
        ppo(
            PpoConfig(**CONFIG | {"max_steps": 1}, vllm={"importance_cap": cap}), data=few_rows, model=tiny_sft, out=out
        )
        row = json.loads((out / "metrics.jsonl").read_text().splitlines()[0])
        losses.append(row["grad_norm"])
    assert log.exists()
    assert losses[1] < 1e-4 * losses[0]
