"""Two processes that hold a part of the model each train what one trains that holds all of it."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sharded_runs
import torch
from safetensors.torch import load_file

from processes import kill_with_children
from tltrain.engine.parallel import Processes
from tltrain.engine.settings import LoraConfig, OptimizerConfig
from tltrain.engine.sharding import resolve_sharding
from tltrain.errors import UsageError
from tltrain.sft import train
from tltrain.sft.config import SftConfig
from tltrain.sft.train import sft
from tltrain.stage import Reuse

_CONFIG = SftConfig(
    optimizer=OptimizerConfig(learning_rate=1e-3),
    batch_size=8,
    group_size=2,
    heldout_share=0.2,
    checkpoint_every=1,
    precision="float32",
)
_ADAPTED = _CONFIG.model_copy(update={"lora": LoraConfig(rank=3, variant="dora")})
_SHARDED = {
    # asked for by the launcher; one sequence in a micro-batch, so that the last step's 3 are 2 for one process, 1 for
    # the other
    "full": (_CONFIG, {"activation_checkpointing": True, "micro_batch_tokens": 1}),
    "one-by-one": (_ADAPTED, {"sharding": "fsdp"}),
    "begun-sharded": (_CONFIG, {"sharding": "fsdp"}),
    "ended-sharded": (_ADAPTED, {"sharding": "fsdp"}),
}


@pytest.fixture(scope="module")
def folder(generated: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the runs of one process, and after them those of two, of which two are begun or ended by the one."""
    folder = tmp_path_factory.mktemp("sharded")

    def alone(config: SftConfig, name: str) -> None:
        sft(config, data=generated / "train.jsonl", model=tiny_model, out=folder / name, reuse=Reuse.RESUME)

    alone(_CONFIG, "alone")
    alone(_ADAPTED, "alone-adapted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "save_checkpoint", sharded_runs.stop_after_checkpoint)
        with pytest.raises(sharded_runs.StoppedError):
            alone(_ADAPTED, "ended-sharded")
    runs = {
        name: {
            "config": json.loads(config.model_copy(update=changes).model_dump_json()),
            "data": str(generated / "train.jsonl"),
            "model": str(tiny_model),
            "out": str(folder / name),
            "stops": name == "begun-sharded",
            "as_trees": name != "one-by-one",
        }
        for name, (config, changes) in _SHARDED.items()
    }
    (folder / "plan.json").write_text(json.dumps(runs))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launch = ["-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={port}"]
    process = subprocess.Popen(
        [sys.executable, *launch, sharded_runs.__file__, str(folder / "plan.json")],
        env=os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"},
    )
    try:
        assert process.wait(timeout=240) == 0
    finally:  # processes that wait for each other would do so for half an hour
        kill_with_children(process)
    # the rest by one process, which holds all of the model
    assert not (folder / "begun-sharded" / "model").exists()
    alone(_CONFIG, "begun-sharded")
    return folder


def _metrics(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("full", "alone"),
        ("one-by-one", "alone-adapted"),
        ("begun-sharded", "alone"),
        ("ended-sharded", "alone-adapted"),
    ],
)
def test_losses_norms_measurements_and_weights_are_those_of_one(folder: Path, name: str, reference: str):
    # sums of float32 in another order; where a gradient is near 0, Adam makes 1e-7 of it 1e-5 of a weight
    rows, others = _metrics(folder / name), _metrics(folder / reference)
    assert len(rows) == 3
    for row, other in zip(rows, others, strict=True):
        assert row["loss"] == pytest.approx(other["loss"], rel=1e-5)
        assert row["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-5)
        assert row["heldout"] == pytest.approx(other["heldout"], rel=1e-5)
    weights, expected = (load_file(folder / run / "model" / "model.safetensors") for run in (name, reference))
    assert weights.keys() == expected.keys()
    assert max((weights[key] - expected[key]).abs().max().item() for key in expected) < 2e-5
    files = [sorted(path.name for path in (folder / run / "model").iterdir()) for run in (name, reference)]
    assert files[0] == files[1]
    configs = [(folder / run / "model" / "config.json").read_text() for run in (name, reference)]
    assert configs[0] == configs[1]


@pytest.mark.parametrize("name", _SHARDED)
def test_each_process_held_a_part(folder: Path, name: str):
    held = [json.loads((folder / f"plan.rank{rank}").read_text())[name] for rank in (0, 1)]
    whole = held[0][1]
    assert held[0][0] + held[1][0] == whole
    # rows that do not divide by two are the first one's
    assert 0.45 * whole < held[1][0] <= held[0][0] < 0.55 * whole


def test_the_result_says_how_the_model_was_held(folder: Path):
    results = {
        name: json.loads((folder / name / "stage.json").read_text())["result"] for name in ("full", "begun-sharded")
    }
    assert (results["full"]["num_processes"], results["full"]["sharding"]) == (2, "fsdp")
    assert (results["begun-sharded"]["num_processes"], results["begun-sharded"]["sharding"]) == (1, "none")


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"FSDP_VERSION": "1"}, "fsdp_version: 2"),
        ({"FSDP_OFFLOAD_PARAMS": "true"}, "fsdp_offload_params: false"),
        ({"FSDP_ACTIVATION_CHECKPOINTING": "true"}, "--set activation_checkpointing=true"),
    ],
)
def test_what_the_launcher_asks_for_and_does_not_get_is_refused(
    environment: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert resolve_sharding("auto", Processes(0, 2)) == "fsdp"
    assert resolve_sharding("auto", Processes(0, 1)) == "none"
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=words):
        resolve_sharding("auto", Processes(0, 2))
    assert resolve_sharding("none", Processes(0, 2)) == "none"


@pytest.mark.parametrize("name", ["ddp", "fsdp2"])
def test_the_shipped_files_say_to_the_launcher_what_they_are_named_for(name: str, monkeypatch: pytest.MonkeyPatch):
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_multi_gpu_env

    file = Path(train.__file__).parents[1] / "launch" / f"{name}.yaml"
    parser = launch_command_parser()
    arguments, *_ = _validate_launch_command(
        parser.parse_args(["--config_file", str(file), "--num_processes", "3", "script.py"])
    )
    assert (arguments.use_fsdp, arguments.multi_gpu) == (name == "fsdp2", name == "ddp")
    for key, value in prepare_multi_gpu_env(arguments).items():
        monkeypatch.setenv(key, value)
    assert os.environ.get("FSDP_VERSION") == ("2" if name == "fsdp2" else None)
    assert resolve_sharding("auto", Processes(0, 3)) == ("fsdp" if name == "fsdp2" else "none")


def test_four_bits_are_not_split():
    with pytest.raises(ValueError, match=r"use lora\.base=full"):
        SftConfig(sharding="fsdp", lora=LoraConfig(base="nf4"))


def test_a_model_that_is_not_sharded_runs_as_ever():
    from tltrain.engine.sharding import gather_model, run_whole, split_like, whole

    model = torch.nn.Linear(2, 2)
    before = model.weight
    gather_model(model, Processes())
    assert model.weight is before
    assert run_whole(model, lambda: 3) == 3
    assert whole(before, Processes()) is before
    assert split_like(before, before) is before
