"""Two processes that share the rollouts and updates of a run get what one gets that does all of them."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import parallel_runs
import pytest
from safetensors.torch import load_file

from processes import kill_with_children
from tltrain.engine.settings import LoraConfig, OptimizerConfig
from tltrain.rl import train
from tltrain.rl.config import PpoConfig
from tltrain.stage import Reuse

_RATE = OptimizerConfig(learning_rate=1e-3)
_TIMES = ("seconds", "seconds_rollout", "seconds_experience", "seconds_update", "samples_per_second")
_ALL_WEIGHTS = PpoConfig(
    prompts_per_step=4,
    group_size=2,
    samples_per_prompt=2,
    minibatch_size=4,
    micro_batch_tokens=300,
    max_new_tokens=8,
    max_steps=3,
    num_epochs=10,
    kl_coef=0.05,
    kl_target=0.5,
    kl_horizon=20,
    actor_optimizer=_RATE,
    critic_optimizer=_RATE,
    critic="separate",
    entropy_coef=0.01,
    precision="float32",
    heldout_share=0.3,
    evaluate_every=1,
    keep="best",
    checkpoint_every=1,
)
# a minibatch of one rollout leaves the second process nothing to do
_ADAPTERS = _ALL_WEIGHTS.model_copy(
    update={"lora": LoraConfig(rank=4), "critic": "head", "minibatch_size": 1, "keep": "last"}
)
# ends after five of six steps, as nearly all completions are cut off; some cannot be judged
_STOPPED = _ALL_WEIGHTS.model_copy(
    update={
        "critic": "head",
        "advantage": "grpo",
        "loss_mean": "sequence",
        "kl_in": "loss",
        "kl_estimator": "k3",
        "max_steps": 6,
        "keep": "last",
        "stop_on": ("truncated",),
        "evaluate_every": 6,
    }
)
_ALONE = {"all-weights": _ALL_WEIGHTS, "adapters": _ADAPTERS, "stopped": _STOPPED}
_TOGETHER = {
    "all-weights": _ALL_WEIGHTS,
    "begun-adapters": _ADAPTERS,
    "ended-all-weights": _ALL_WEIGHTS,
    "stopped": _STOPPED,
    "broken": _ADAPTERS,
}


@pytest.fixture(scope="module")
def folder(few_rows: Path, tiny_sft: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with `alone/` and `together/`: runs of one process and of two; some are begun or ended by the other."""
    folder = tmp_path_factory.mktemp("parallel")

    def alone(config: PpoConfig, out: Path) -> None:
        reward = parallel_runs.num_letters if config is _STOPPED else None
        train.ppo(config, data=few_rows, model=tiny_sft, out=out, reward=reward, reuse=Reuse.RESUME)

    for name, config in _ALONE.items():
        alone(config, folder / "alone" / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "save_checkpoint", parallel_runs.stop_after_checkpoint)
        with pytest.raises(parallel_runs.StoppedError):
            alone(_ALL_WEIGHTS, folder / "together" / "ended-all-weights")
    plan = {
        name: {
            "config": json.loads(config.model_dump_json()),
            "data": str(few_rows),
            "model": str(tiny_sft),
            "out": str(folder / "together" / name),
            "reward": name == "stopped",
        }
        for name, config in _TOGETHER.items()
    }
    (folder / "plan.json").write_text(json.dumps(plan))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launch = ["-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={port}"]
    process = subprocess.Popen(
        [sys.executable, *launch, parallel_runs.__file__, str(folder / "plan.json")],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    try:
        assert process.wait(timeout=240) == 0
    finally:  # processes that wait for each other would do so for half an hour
        kill_with_children(process)
    # the rest by one process
    assert not (folder / "together" / "begun-adapters" / "model").exists()
    alone(_ADAPTERS, folder / "together" / "begun-adapters")
    return folder


def _metrics(out: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in _TIMES} for row in rows]


def _assert_alike(found: Any, expected: Any, where: str = "") -> None:
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for name, value in expected.items():
            _assert_alike(found[name], value, f"{where}.{name}")
    else:
        assert found == (pytest.approx(expected, rel=1e-4, abs=1e-6) if isinstance(expected, float) else expected), (
            where
        )


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("all-weights", "all-weights"),
        ("ended-all-weights", "all-weights"),
        ("begun-adapters", "adapters"),
        ("stopped", "stopped"),
    ],
)
def test_samples_metrics_and_weights_are_those_of_one(folder: Path, name: str, reference: str):
    out, alone = folder / "together" / name, folder / "alone" / reference
    assert (out / "rollouts.jsonl").read_text() == (alone / "rollouts.jsonl").read_text()
    rows, others = _metrics(out), _metrics(alone)
    assert len(rows) == (5 if name == "stopped" else 3)
    for row, other in zip(rows, others, strict=True):
        _assert_alike(row, other)
    weights, expected = (load_file(run / "model" / "model.safetensors") for run in (out, alone))
    assert weights.keys() == expected.keys()
    print(name, max((weights[key] - expected[key]).abs().max().item() for key in expected))
    assert max((weights[key] - expected[key]).abs().max().item() for key in expected) < 2e-5
