"""Two processes under DeepSpeed train what one trains; run where TLTRAIN_DEEPSPEED_PYTHON names a Python with it."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import sharded_runs
from safetensors.torch import load_file

from processes import kill_with_children
from tltrain.engine.parallel import Processes, find_processes
from tltrain.engine.settings import LoraConfig, OptimizerConfig
from tltrain.engine.sharding import resolve_sharding
from tltrain.errors import UsageError
from tltrain.rl.config import PpoConfig
from tltrain.rl.train import ppo
from tltrain.sft import train
from tltrain.sft.config import SftConfig
from tltrain.sft.train import sft
from tltrain.stage import Reuse

_PYTHON = os.environ.get("TLTRAIN_DEEPSPEED_PYTHON")
_LAUNCH = Path(train.__file__).parents[1] / "launch"
_CONFIG = SftConfig(
    optimizer=OptimizerConfig(learning_rate=1e-3),
    batch_size=8,
    group_size=2,
    heldout_share=0.2,
    checkpoint_every=1,
    micro_batch_tokens=600,
    precision="float32",
    keep="best",
    best_by="nll",
)
_ADAPTED = _CONFIG.model_copy(update={"lora": LoraConfig(rank=3)})
_RUNS = {
    # asked for by the launcher
    "full": (_CONFIG, {"activation_checkpointing": True, "micro_batch_tokens": 1}),
    "first-stage": (_CONFIG, {"sharding": "zero1"}),
    "adapted": (_ADAPTED, {}),
    "begun": (_CONFIG, {}),
    "ended": (_CONFIG, {}),
    "ended-adapted": (_ADAPTED, {"sharding": "zero1"}),
}
_REFERENCES = {name: "alone-adapted" if config.lora else "alone" for name, (config, _) in _RUNS.items()}
needs_deepspeed = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not _PYTHON, reason="TLTRAIN_DEEPSPEED_PYTHON names no Python with deepspeed and tltrain's needs"
    ),
]


@pytest.fixture(scope="module")
def folder(generated: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the runs of one process, and those of two, of which three are begun or ended by the one."""
    folder = tmp_path_factory.mktemp("zero")

    def alone(config: SftConfig, name: str) -> None:
        sft(config, data=generated / "train.jsonl", model=tiny_model, out=folder / name, reuse=Reuse.RESUME)

    alone(_CONFIG, "alone")
    alone(_ADAPTED, "alone-adapted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "save_checkpoint", sharded_runs.stop_after_checkpoint)
        for name in ("ended", "ended-adapted"):
            with pytest.raises(sharded_runs.StoppedError):
                alone(_RUNS[name][0], name)
    runs = {
        name: {
            "config": json.loads(config.model_copy(update=changes).model_dump_json()),
            "data": str(generated / "train.jsonl"),
            "model": str(tiny_model),
            "out": str(folder / name),
            "stops": name == "begun",
            "as_trees": True,
        }
        for name, (config, changes) in _RUNS.items()
    }
    (folder / "plan.json").write_text(json.dumps(runs))
    command = ["-m", "accelerate.commands.launch", f"--config_file={_LAUNCH / 'deepspeed_zero2.yaml'}"]
    process = subprocess.Popen(
        [str(_PYTHON), *command, "--main_process_port=0", sharded_runs.__file__, str(folder / "plan.json")],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(train.__file__).parents[2])},
    )
    try:
        assert process.wait(timeout=240) == 0
    finally:
        kill_with_children(process)
    assert not (folder / "begun" / "model").exists()
    alone(_CONFIG, "begun")
    return folder


def _metrics(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", [pytest.param(name, marks=needs_deepspeed) for name in _RUNS])
def test_losses_norms_measurements_and_weights_are_those_of_one(folder: Path, name: str):
    # sums of float32 in another order; where a gradient is near 0, Adam makes 1e-7 of it 1e-5 of a weight
    rows, others = _metrics(folder / name), _metrics(folder / _REFERENCES[name])
    assert len(rows) == 3
    for row, other in zip(rows, others, strict=True):
        assert row["loss"] == pytest.approx(other["loss"], rel=1e-5)
        assert row["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-5)
        assert row["lr"] == other["lr"]
        assert row["heldout"] == pytest.approx(other["heldout"], rel=1e-5)
    models = [folder / run / "model" for run in (name, _REFERENCES[name])]
    weights, expected = (load_file(model / "model.safetensors") for model in models)
    assert weights.keys() == expected.keys()
    assert max((weights[key] - expected[key]).abs().max().item() for key in expected) < 2e-5
    files = [sorted(path.name for path in model.iterdir()) for model in models]
    assert files[0] == files[1]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        pytest.param(name, found, marks=needs_deepspeed)
        for name, found in (("full", (2, "zero2")), ("first-stage", (2, "zero1")), ("begun", (1, "none")))
    ],
)
def test_the_result_says_how_the_model_was_held(folder: Path, name: str, found: tuple[int, str]):
    result = json.loads((folder / name / "stage.json").read_text())["result"]
    assert (result["num_processes"], result["sharding"]) == found


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}, r"launch/fsdp2\.yaml"),
        ({"ACCELERATE_DEEPSPEED_ZERO_STAGE": "0"}, r"use 1 or 2"),
        ({"ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE": "cpu"}, "offload_optimizer_device: none"),
        ({"ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE": "nvme"}, "offload_param_device: none"),
        ({"ACCELERATE_DEEPSPEED_CONFIG_FILE": "mine.json"}, "mine.json"),
    ],
)
def test_what_the_launcher_asks_for_and_does_not_get_is_refused(
    environment: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    assert resolve_sharding("auto", Processes(0, 2)) == "zero2"
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=words):
        resolve_sharding("auto", Processes(0, 2))
    assert resolve_sharding("none", Processes(0, 2)) == "none"


def test_stages_are_those_that_were_asked_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", "1")
    assert resolve_sharding("auto", Processes(0, 2)) == "zero1"
    assert resolve_sharding("zero2", Processes(0, 2)) == "zero2"
    assert resolve_sharding("auto", Processes(0, 1)) == "none"


def test_without_deepspeed_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setattr("tltrain.engine.parallel.find_spec", lambda _: None)
    with pytest.raises(UsageError, match="pip install"):
        find_processes()


def test_ppo_says_what_to_use_instead(
    generated: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("tltrain.rl.train.resolve_sharding", lambda *_: "zero2")
    with pytest.raises(UsageError, match=r"launch/fsdp2\.yaml"):
        ppo(PpoConfig(), data=generated / "train.jsonl", model=tiny_model, out=tmp_path / "ppo")


def test_the_shipped_file_says_to_the_launcher_what_it_is_named_for(monkeypatch: pytest.MonkeyPatch):
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_deepspeed_cmd_env

    arguments, *_ = _validate_launch_command(
        launch_command_parser().parse_args(
            ["--config_file", str(_LAUNCH / "deepspeed_zero2.yaml"), "--num_processes", "3", "script.py"]
        )
    )
    arguments.deepspeed_fields_from_accelerate_config = ""
    for key, value in prepare_deepspeed_cmd_env(arguments)[1].items():
        monkeypatch.setenv(key, value)
    assert resolve_sharding("auto", Processes(0, 3)) == "zero2"
