"""Two processes train what one trains."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from processes import kill_with_children
from tltrain.cli import failures
from tltrain.engine.optimizer import Optimizer
from tltrain.engine.parallel import Processes
from tltrain.engine.settings import OptimizerConfig
from tltrain.errors import TltrainError, UsageError
from tltrain.launcher import leave_to_the_first
from tltrain.sft.batches import share_step

_SETTINGS = {
    "optimizer.learning_rate": 1e-3,
    "batch_size": 8,
    "group_size": 2,
    "num_epochs": 1,
    "heldout_share": 0.2,
    "checkpoint_every": 1,
    "precision": "float32",
}


def _start(num_processes: int, data: Path, model: Path, out: Path, *more: str) -> subprocess.Popen[bytes]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launch = ["torch.distributed.run", f"--nproc-per-node={num_processes}", f"--master-port={port}", "-m"]
    settings = [f"--set={key}={value}" for key, value in _SETTINGS.items()]
    verb = ["tltrain", "sft", str(data), "--model", str(model), "--out", str(out), "--json", *settings, *more]
    return subprocess.Popen(
        [sys.executable, "-m", *(launch if num_processes > 1 else []), *verb],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
    )


def _metrics(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def alone(generated: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("alone") / "out"
    assert _start(1, generated / "train.jsonl", tiny_model, out).wait(timeout=120) == 0
    return out


def _assert_same(out: Path, alone: Path) -> None:
    for mine, other in zip(_metrics(out), _metrics(alone), strict=True):
        assert mine["loss"] == pytest.approx(other["loss"], rel=1e-4)
        assert mine["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-3)
        assert mine["spans"].keys() == other["spans"].keys()
        for kind, means in mine["spans"].items():
            assert means == pytest.approx(other["spans"][kind], rel=1e-3)
    weights, others = (load_file(folder / "model" / "model.safetensors") for folder in (out, alone))
    assert max((weights[key] - others[key]).abs().max().item() for key in others) < 2e-5


@pytest.mark.slow  # in the default tests: test_what_two_began_one_ends, for which they must agree too
def test_two_processes_train_the_same_model(alone: Path, generated: Path, tiny_model: Path, tmp_path: Path):
    out = tmp_path / "out"
    process = _start(2, generated / "train.jsonl", tiny_model, out)
    printed, _ = process.communicate(timeout=240)
    assert process.returncode == 0
    assert json.loads(printed)["num_steps"] == len(_metrics(out))  # one document: one of the processes prints
    _assert_same(out, alone)


# split among two it is tried in tests/sft/test_sharding.py
@pytest.mark.slow
def test_what_two_began_one_ends(alone: Path, generated: Path, tiny_model: Path, tmp_path: Path):
    out = tmp_path / "out"
    process = _start(2, generated / "train.jsonl", tiny_model, out)
    deadline = time.monotonic() + 120
    while not list(out.glob("checkpoints/step-*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    kill_with_children(process)
    assert not (out / "model").exists()
    assert _start(1, generated / "train.jsonl", tiny_model, out, "--resume").wait(timeout=120) == 0
    _assert_same(out, alone)


def test_other_stages_refuse_several_processes(generated: Path, tiny_model: Path, tmp_path: Path):
    command = [sys.executable, "-m", "tltrain", "eval", str(generated / "train.jsonl"), "--model", str(tiny_model)]
    found = subprocess.run(
        [*command, "--out", str(tmp_path / "out")],
        env=os.environ | {"WORLD_SIZE": "2", "RANK": "0"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert found.returncode == 2
    assert "eval runs in one process" in found.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_what_ends_all_processes_is_said_once(tiny_model: Path, tmp_path: Path):
    data = tmp_path / "data.jsonl"
    data.write_text('{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}')
    launch = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", "-m", "tltrain", "ppo", str(data)]
    found = subprocess.run(
        [sys.executable, *launch, "--model", str(tiny_model), "--out", str(tmp_path / "out")],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert found.returncode == 1
    assert [line for line in found.stderr.splitlines() if line.startswith(("Error:", "ppo: stopped"))] == [
        "ppo: stopped",
        f"Error: {data}: no prompt is left to train on: no row has a call; audit it with a more lenient policy, or use "
        "other data",
    ]


def test_processes_leave_it_to_the_first_to_say_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    waits: list[float] = []
    monkeypatch.setattr(failures.time, "sleep", waits.append)

    def said(error: Exception) -> str:
        failures.report_failure(error)
        return capsys.readouterr().err

    shared = leave_to_the_first(UsageError("no"))
    assert said(shared) == "Error: no\n"
    assert waits == []
    monkeypatch.setenv("RANK", "1")
    shared = leave_to_the_first(UsageError("no"))
    wrapped = TltrainError("because of that")
    wrapped.__cause__ = shared
    assert said(shared) == said(wrapped) == ""
    assert failures.report_failure(leave_to_the_first(ZeroDivisionError())) == failures.FAILED  # without traceback
    assert waits == [3.0, 3.0, 3.0]  # else the launcher might end the first before it has spoken
    assert said(UsageError("in this process only")) == "Error: in this process only\n"


def test_shares_hold_every_sample_once_groups_whole_and_even():
    step = ((0, 1), (2, 3), (4, 5), (6, 7))
    shares = share_step(step, [10, 10, 1, 1, 5, 5, 6, 6], 2)
    assert sorted(index for share in shares for index in share) == list(range(8))
    assert all({0, 1} <= set(share) or {0, 1}.isdisjoint(share) for share in shares)
    assert [sorted(share) for share in shares] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert share_step(((0, 1, 2),), [1, 1, 1], 2) == [[0, 2], [1]]
    assert share_step(((0,),), [1], 3) == [[0], [], []]


def test_a_parameter_without_gradient_anywhere_keeps_none():
    parameter, unused = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(3))
    optimizer = Optimizer([parameter, unused], OptimizerConfig(learning_rate=0.1), 1, Processes())
    optimizer.step([parameter.sum()], 0)
    assert unused.tolist() == [1, 1, 1]
    assert parameter.tolist() != [1, 1, 1]
