"""Which weights are kept, and when training stops; the same under kill and resume, and in several processes."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tltrain.engine.parallel import Processes
from tltrain.engine.settings import LoraConfig, OptimizerConfig
from tltrain.errors import DataError, ModelError
from tltrain.sft.best import BestWeights, Measurement, best_of, is_time_to_stop, read_history
from tltrain.sft.config import SftConfig
from tltrain.sft.train import SftResult, sft
from tltrain.stage import Reuse

# at this rate the held-out nll falls until step 4, rises at 6 and 8, is least at 10 and higher at 15, the last
_CONFIG = SftConfig(
    optimizer=OptimizerConfig(learning_rate=0.05, schedule="constant"),
    batch_size=8,
    micro_batch_tokens=3000,
    num_epochs=5,
    heldout_share=0.3,
    num_evaluations=10,
    checkpoint_every=3,
    precision="float32",
    best_by="nll",
)
_SCRIPT = """
import os, signal, sys, torch
torch.set_num_threads(1)
from pathlib import Path
from tltrain.sft.config import SftConfig
from tltrain.sft.train import sft
from tltrain.stage import Reuse
config, data, model, out, end = sys.argv[1:]
def progress(done, total, remark):
    if done == int(end):
        os.kill(os.getpid(), signal.SIGKILL)
sft(SftConfig.model_validate_json(config), data=Path(data), model=model, out=Path(out), reuse=Reuse.RESUME,
    progress=progress)
"""


def _history(*scores: float | None, measure: str = "call_accuracy") -> list[Measurement]:
    return [Measurement(10 * number, {measure: score}) for number, score in enumerate(scores, start=1)]


def test_the_best_is_the_highest_and_of_equal_ones_the_earliest():
    assert best_of(_history(0.1, 0.4, 0.4, 0.2), "call_accuracy").num_steps == 20
    assert best_of(_history(None, 0.0, None), "call_accuracy").num_steps == 20
    assert best_of(_history(None), "call_accuracy") is None


def test_of_nll_less_is_better():
    assert best_of(_history(2.0, 1.5, 1.5, 1.7, measure="nll"), "nll").num_steps == 20


@pytest.mark.parametrize(
    ("scores", "stops"),
    [
        ((0.1, 0.2, 0.2), False),
        ((0.1, 0.2, 0.2, 0.1), True),
        ((0.1, 0.2, None, 0.1), True),
        ((0.1, 0.2, 0.1, 0.3), False),
        ((), False),
        ((None, None, None), False),
    ],
)
def test_patience_counts_measurements_since_the_best(scores, stops):
    config = SftConfig(patience=2)
    assert is_time_to_stop(_history(*scores), config) is stops
    assert not is_time_to_stop(_history(*scores), config.model_copy(update={"patience": None}))


def test_the_history_is_that_of_the_steps_that_a_checkpoint_has(tmp_path: Path):
    rows = [{"step": 0}, {"step": 1, "heldout": {"nll": 3.0}}, {"step": 2, "heldout": {"nll": 2.0}}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 3, "he')
    assert read_history(tmp_path / "metrics.jsonl", num_steps=2) == [Measurement(2, {"nll": 3.0})]
    assert len(read_history(tmp_path / "metrics.jsonl", num_steps=9)) == 2
    assert read_history(tmp_path / "none.jsonl", num_steps=9) == []


def test_weights_come_back_and_only_what_trains_is_written(tmp_path: Path):
    model = torch.nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    best = BestWeights(tmp_path)
    for steps in (10, 20):
        model.weight.data.fill_(steps)
        best.save(model, steps, Processes())
    model.weight.data.zero_()
    best.restore(model, 10)
    assert model.weight.unique().item() == 10
    assert load_file(next(tmp_path.glob("20/*/model.safetensors"))).keys() == {"weight"}
    best.save(model, 20, Processes())  # again, as after a kill
    best.remove_others(20)
    with pytest.raises(ModelError, match="step 10, are gone"):
        best.restore(model, 10)


def _train(config: SftConfig, generated: Path, model: Path, out: Path, **options: Any) -> SftResult:
    return sft(config, data=generated / "train.jsonl", model=model, out=out, **options)


def _update(**fields: Any) -> SftConfig:
    return _CONFIG.model_copy(update=fields)


def _measured(out: Path) -> dict[int, float]:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return {row["step"] + 1: row["heldout"]["nll"] for row in rows if "heldout" in row}


def _weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model" / "model.safetensors")


def _assert_equal(one: Path, other: Path) -> None:
    left, right = _weights(one), _weights(other)
    assert left.keys() == right.keys()
    assert all(torch.equal(left[key], right[key]) for key in left)


@pytest.fixture(scope="module")
def last(tiny_model: Path, generated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("last") / "out"
    _train(_CONFIG, generated, tiny_model, out)
    return out


@pytest.fixture(scope="module")
def best(tiny_model: Path, generated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("best") / "out"
    _train(_update(keep="best"), generated, tiny_model, out)
    return out


def test_the_best_weights_become_the_model(best: Path, last: Path, tiny_model: Path, generated: Path, tmp_path: Path):
    measured = _measured(best)
    assert measured == _measured(last)
    result = json.loads((best / "stage.json").read_text())["result"]
    number = min(measured, key=measured.__getitem__)
    assert 4 < number < 15 == result["num_steps"]
    assert (result["num_kept_steps"], result["heldout"]["nll"]) == (number, measured[number])
    kept, ended = _weights(best), _weights(last)
    assert any(not torch.equal(kept[key], ended[key]) for key in kept)
    # as many steps alone, at a constant rate, give those weights
    short = _update(num_epochs=5 * number / 15, num_evaluations=1)
    assert _train(short, generated, tiny_model, tmp_path / "out").num_steps == number
    _assert_equal(best, tmp_path / "out")
    assert not (best / "checkpoints").exists()


def test_patience_ends_training_and_the_kept_weights_are_the_best(tiny_model: Path, generated: Path, tmp_path: Path):
    told: list[tuple[int, int, str]] = []
    config = _update(keep="best", patience=2)
    result = _train(config, generated, tiny_model, tmp_path / "out", progress=lambda *now: told.append(now))
    assert (result.num_steps, result.num_kept_steps) == (8, 4)
    assert list(_measured(tmp_path / "out")) == [2, 3, 4, 6, 8]
    assert told[-1] == (8, 8, "nll is no better since 2 measurements")


def test_patience_without_best_keeps_the_last(last: Path, tiny_model: Path, generated: Path, tmp_path: Path):
    result = _train(_update(patience=2), generated, tiny_model, tmp_path / "out")
    assert (result.num_steps, result.num_kept_steps) == (8, 8)
    assert result.heldout["nll"] == _measured(last)[8]


# 11: after the best (10) and its checkpoint (9), so that the best is found anew; 13: after a checkpoint that knows it
@pytest.mark.parametrize("end", [11, pytest.param(13, marks=pytest.mark.slow)])
def test_a_run_killed_after_the_best_ends_with_the_same_model(
    end: int, best: Path, tiny_model: Path, generated: Path, tmp_path: Path
):
    out = tmp_path / "out"
    config = _update(keep="best")
    arguments = [config.model_dump_json(), str(generated / "train.jsonl"), str(tiny_model), str(out), str(end)]
    killed = subprocess.run([sys.executable, "-c", _SCRIPT, *arguments], env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert killed.returncode == -signal.SIGKILL
    assert (out / "checkpoints" / "best" / "10").exists()
    result = _train(config, generated, tiny_model, out, reuse=Reuse.RESUME)
    assert result.num_kept_steps == 10
    assert _measured(out) == _measured(best)
    _assert_equal(out, best)


@pytest.mark.slow
def test_what_stopped_early_stops_at_the_same_step_after_a_kill(tiny_model: Path, generated: Path, tmp_path: Path):
    out = tmp_path / "out"
    config = _update(keep="best", patience=2, checkpoint_every=2)
    arguments = [config.model_dump_json(), str(generated / "train.jsonl"), str(tiny_model), str(out), "8"]
    killed = subprocess.run([sys.executable, "-c", _SCRIPT, *arguments], env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert killed.returncode == -signal.SIGKILL
    assert (out / "checkpoints" / "step-000008").exists()  # there is nothing left to do but to stop
    result = _train(config, generated, tiny_model, out, reuse=Reuse.RESUME)
    assert (result.num_steps, result.num_kept_steps) == (8, 4)


def test_of_adapters_these_alone_are_kept(tiny_model: Path, generated: Path, tmp_path: Path):
    out = tmp_path / "out"
    sizes: list[set[str]] = []

    def look(*_: object) -> None:
        sizes.extend(set(load_file(file)) for file in out.glob("checkpoints/best/*/*/model.safetensors"))

    config = _update(keep="best", lora=LoraConfig(rank=2), num_epochs=1, num_evaluations=3)
    _train(config, generated, tiny_model, out, progress=look)
    assert sizes
    assert all("lora" in name for names in sizes for name in names)
    assert _weights(out).keys() == load_file(tiny_model / "model.safetensors").keys()


@pytest.mark.slow
def test_two_processes_take_the_same_decision(tiny_model: Path, generated: Path, tmp_path: Path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    out = tmp_path / "out"
    (tmp_path / "config.yaml").write_text(_update(keep="best", patience=2).model_dump_json())
    launch = ["torch.distributed.run", "--nproc-per-node=2", f"--master-port={port}", "-m", "tltrain", "sft"]
    verb = [str(generated / "train.jsonl"), "--model", str(tiny_model), "--out", str(out), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", *launch, *verb, "--config", str(tmp_path / "config.yaml")],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        timeout=240,
    )
    assert done.returncode == 0
    result = json.loads(done.stdout)
    assert (result["num_steps"], result["num_kept_steps"]) == (8, 4)


def test_nothing_to_decide_by_is_refused_before_training(tiny_model: Path, generated: Path, tmp_path: Path):
    with pytest.raises(DataError, match=r"keep='best' goes by nll, and no trajectory is held out.*raise heldout_share"):
        _train(_update(keep="best", heldout_share=0), generated, tiny_model, tmp_path / "one")
    with pytest.raises(DataError, match=r"patience=1 goes by nll"):
        _train(_update(patience=1, heldout_share=0), generated, tiny_model, tmp_path / "two")
    assert not (tmp_path / "one" / "metrics.jsonl").exists()


def test_held_out_rows_without_calls_cannot_decide_by_calls(tiny_model: Path, generated: Path, tmp_path: Path):
    row = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}], "tools": []}
    (tmp_path / "talk.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match="goes by call_accuracy, and 1 held-out trajectories have nothing"):
        _train(
            _update(keep="best", best_by="call_accuracy"),
            generated,
            tiny_model,
            tmp_path / "out",
            validation=tmp_path / "talk.jsonl",
        )
