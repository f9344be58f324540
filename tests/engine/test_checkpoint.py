from pathlib import Path

import pytest
import torch

from tltrain.engine.checkpoint import load_checkpoint, save_checkpoint, seed_step
from tltrain.engine.optimizer import Optimizer
from tltrain.engine.settings import OptimizerConfig
from tltrain.errors import ModelError


def _setup(size: int = 3) -> tuple[torch.nn.Module, Optimizer]:
    torch.manual_seed(1)
    module = torch.nn.Linear(size, size)
    module.bias.requires_grad_(False)
    return module, Optimizer(module.parameters(), OptimizerConfig(learning_rate=0.1), num_steps=9)


def _train(module: torch.nn.Module, optimizer: Optimizer, steps: range) -> None:
    for step in steps:
        seed_step(0, "step", step)
        optimizer.step([module(torch.randn(2, module.in_features)).square().sum()], step)


def test_going_on_from_a_checkpoint_gives_the_uninterrupted_weights(tmp_path: Path):
    straight, optimizer = _setup()
    _train(straight, optimizer, range(6))

    stopped, optimizer = _setup()
    _train(stopped, optimizer, range(4))
    save_checkpoint(tmp_path, 4, {"model": stopped}, {"model": optimizer})
    resumed, optimizer = _setup()
    first = load_checkpoint(tmp_path, {"model": resumed}, {"model": optimizer})
    _train(resumed, optimizer, range(first, 6))
    assert first == 4
    assert torch.equal(resumed.weight, straight.weight)


def test_only_the_newest_checkpoint_is_kept_and_only_what_trains(tmp_path: Path):
    module, optimizer = _setup()
    for step in (1, 2):
        save_checkpoint(tmp_path, step, {"model": module}, {"model": optimizer})
    assert [path.name for path in tmp_path.iterdir()] == ["step-000002"]
    from safetensors.torch import load_file

    assert load_file(tmp_path / "step-000002" / "model.safetensors").keys() == {"weight"}


def test_a_half_written_checkpoint_is_not_read(tmp_path: Path):
    module, optimizer = _setup()
    save_checkpoint(tmp_path, 3, {"model": module}, {"model": optimizer})
    half = tmp_path / ".step-000005.0123456789ab.tmp"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")
    assert load_checkpoint(tmp_path, {"model": module}, {"model": optimizer}) == 3


def test_nothing_there_means_step_0(tmp_path: Path):
    module, optimizer = _setup()
    assert load_checkpoint(tmp_path / "none", {"model": module}, {"model": optimizer}) == 0


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path):
    module, optimizer = _setup()
    save_checkpoint(tmp_path, 1, {"model": module}, {"model": optimizer})
    module.bias.requires_grad_(True)
    with pytest.raises(ModelError, match="does not fit the model"):
        load_checkpoint(tmp_path, {"model": module}, {"model": optimizer})


def test_what_a_gpu_saved_is_read_where_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    module, optimizer = _setup()
    _train(module, optimizer, range(2))
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda _: "cuda:0")
        save_checkpoint(tmp_path, 2, {"model": module}, {"model": optimizer})
    again, other = _setup()
    assert load_checkpoint(tmp_path, {"model": again}, {"model": other}) == 2
    moments = [own.state_dict()["state"] for own in (optimizer, other)]
    torch.testing.assert_close(moments[1], moments[0])
