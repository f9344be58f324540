"""Two processes that share the rollouts and updates of a run get what one gets that does all of them."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, TypeAlias

import parallel_runs
import pytest
from safetensors.torch import load_file

from processes import kill_with_children
from tltrain.engine.parallel import Processes
from tltrain.engine.settings import LoraConfig, OptimizerConfig
from tltrain.rl import train
from tltrain.rl.batches import share_rows
from tltrain.rl.config import PpoConfig
from tltrain.rl.curriculum import CurriculumConfig
from tltrain.stage import Reuse

_RATE = OptimizerConfig(learning_rate=1e-3)
_TIMES = ("seconds", "seconds_rollout", "seconds_experience", "seconds_update", "samples_per_second")
_MAIN = PpoConfig(
    prompts_per_step=4,
    group_size=2,
    samples_per_prompt=2,
    minibatch_size=4,
    micro_batch_tokens=800,
    max_new_tokens=8,
    max_steps=2,
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
_ADAPTERS = _MAIN.model_copy(update={"lora": LoraConfig(rank=4), "critic": "head", "minibatch_size": 1, "keep": "last"})
# ends after five of six steps, as nearly all completions are cut off
_STOPPED = _MAIN.model_copy(
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
        "curriculum": CurriculumConfig(),
    }
)

Ends: TypeAlias = dict[str, Any]
"""What each run ended with, and how many weights a process held."""


class _Runs:
    """Runs of ppo, each in a folder of its own, by one process or by two."""

    def __init__(self, folder: Path, data: Path, model: Path):
        self._folder = folder
        self._inputs = {"data": data, "model": model}

    def alone(self, name: str, config: PpoConfig, *, has_function: bool = True) -> None:
        train.ppo(
            config,
            **self._inputs,
            out=self._folder / name,
            reward=parallel_runs.num_letters if has_function else None,
            reuse=Reuse.RESUME,
        )

    def begin_alone(self, name: str, config: PpoConfig, *, has_function: bool = True) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(train, "save_checkpoint", parallel_runs.stop_after_checkpoint)
            with pytest.raises(parallel_runs.StoppedError):
                self.alone(name, config, has_function=has_function)

    def together(self, **configs: tuple[PpoConfig, bool]) -> list[Ends]:
        """What was to be said of the runs by the one process and by the other."""
        plan = {
            name: {
                "config": json.loads(config.model_dump_json()),
                "has_function": has_function,
                "out": str(self._folder / name),
            }
            | {key: str(path) for key, path in self._inputs.items()}
            for name, (config, has_function) in configs.items()
        }
        file = self._folder / "plan.json"
        file.write_text(json.dumps(plan))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        code = f"import parallel_runs; parallel_runs.start(parallel_runs.Path({str(file)!r}), {port})"
        path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
        process = subprocess.Popen(
            [sys.executable, "-c", code], env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
        )
        try:
            assert process.wait(timeout=120) == 0
        finally:  # processes that wait for each other would do so for half an hour
            kill_with_children(process)
        return [json.loads(file.with_suffix(f".rank{rank}").read_text()) for rank in (0, 1)]


@pytest.fixture(scope="module")
def ended(few_rows: Path, tiny_sft: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Ends]]:
    """Folder with the same run by one process, by two, and begun by two and ended by one; and what was said of these
    and of one in which a process breaks."""
    folder = tmp_path_factory.mktemp("parallel")
    runs = _Runs(folder, few_rows, tiny_sft)
    split = _MAIN.model_copy(update={"sharding": "fsdp"})
    ends = runs.together(two=(_MAIN, True), begun=(_MAIN, True), split=(split, True), broken=(_MAIN, True))
    assert not (folder / "begun" / "model").exists()
    runs.alone("begun", _MAIN)
    runs.alone("one", _MAIN)
    return folder, ends


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


def _assert_same_run(out: Path, alone: Path) -> None:
    assert (out / "rollouts.jsonl").read_text() == (alone / "rollouts.jsonl").read_text()
    rows, others = _metrics(out), _metrics(alone)
    assert len(rows) == len(others)
    for row, other in zip(rows, others, strict=True):
        _assert_alike(row, other)
    weights, expected = (load_file(run / "model" / "model.safetensors") for run in (out, alone))
    assert weights.keys() == expected.keys()
    assert max((weights[key] - expected[key]).abs().max().item() for key in expected) < 1e-5


@pytest.mark.parametrize("name", ["two", "begun", "split"])
def test_samples_metrics_and_weights_are_those_of_one(ended: tuple[Path, list[Ends]], tiny_sft: Path, name: str):
    folder, ends = ended
    assert [end[name] for end in ends] == ["StoppedError: " if name == "begun" else None] * 2
    _assert_same_run(folder / name, folder / "one")
    rows = _metrics(folder / "one")
    assert any(row["num_rollouts"] % _MAIN.minibatch_size == 1 for row in rows)  # the second had nothing to do there
    assert all(row["reward_std"] > 0 for row in rows)
    # else equal weights would say nothing
    before, after = (load_file(model / "model.safetensors") for model in (tiny_sft, folder / "one" / "model"))
    assert max((before[key] - after[key]).abs().max().item() for key in before) > 1e-3
    assert not (folder / name / "checkpoints").exists()
    files = [sorted(path.name for path in (folder / run).rglob("*")) for run in (name, "one")]
    assert files[0] == files[1]


def test_the_result_says_how_many_processes_ended_the_run(ended: tuple[Path, list[Ends]]):
    results = {
        name: json.loads((ended[0] / name / "stage.json").read_text())["result"] for name in ("two", "begun", "split")
    }
    told = {name: (result["num_processes"], result["sharding"]) for name, result in results.items()}
    assert told == {"two": (2, "none"), "begun": (1, "none"), "split": (2, "fsdp")}


def test_each_process_held_a_part_of_actor_reference_and_critic(ended: tuple[Path, list[Ends]]):
    whole = sum(tensor.numel() for tensor in load_file(ended[0] / "one" / "model" / "model.safetensors").values())
    held = [end["held"] for end in ended[1]]
    # rows that do not divide by two are the first one's; the critic has a head besides, which is not counted
    assert [sum(sizes) for sizes in zip(*held, strict=True)] == [whole, whole, whole]
    assert all(0.45 * whole < size < 0.55 * whole for sizes in held for size in sizes)


def test_what_breaks_in_one_process_is_raised_in_all(ended: tuple[Path, list[Ends]]):
    first, second = (end["broken"] for end in ended[1])
    assert first is not None
    assert first == second
    assert first.startswith("RuntimeError: the second process broke\nIn process 1:\nTraceback")
    assert "in fail_in_the_second" in first


@pytest.mark.slow
def test_other_settings(few_rows: Path, tiny_sft: Path, tmp_path: Path):
    runs = _Runs(tmp_path, few_rows, tiny_sft)
    runs.alone("adapters", _ADAPTERS, has_function=False)
    runs.begin_alone("ended", _ADAPTERS, has_function=False)
    runs.begin_alone("ended_split", _ADAPTERS, has_function=False)
    runs.alone("stopped", _STOPPED)
    assert len(_metrics(tmp_path / "stopped")) == 5
    adapters, stopped = (config.model_copy(update={"sharding": "fsdp"}) for config in (_ADAPTERS, _STOPPED))
    runs.together(
        ended=(_ADAPTERS, False),
        ended_split=(adapters, False),
        begun_split=(adapters, False),
        one_by_one=(adapters, False),
        stopped_two=(_STOPPED, True),
        stopped_split=(stopped, True),
    )
    runs.alone("begun_split", _ADAPTERS, has_function=False)
    for name in ("ended", "ended_split", "begun_split", "one_by_one"):
        _assert_same_run(tmp_path / name, tmp_path / "adapters")
    for name in ("stopped_two", "stopped_split"):
        _assert_same_run(tmp_path / name, tmp_path / "stopped")


def test_shares_are_whole_groups_and_hold_every_row_once():
    groups, sizes = [0, 0, 3, 3, 5], [10, 10, 12, 12, 30]
    shares = [share_rows(groups, sizes, Processes(rank, 2)) for rank in (0, 1)]
    assert shares == [[4], [0, 1, 2, 3]] or shares == [[0, 1, 4], [2, 3]]
    assert [share_rows([7], [5], Processes(rank, 2)) for rank in (0, 1)] == [[0], []]
    assert share_rows([2, 1, 2], [1, 1, 1], Processes()) == [0, 1, 2]
