"""Checkpoints that make a resumed run equal to an uninterrupted one.

What a step does depends on the weights, the optimizer's moments and the step's number alone: data order, schedule and
random draws are functions of (seed, step). So a checkpoint holds the weights that train, the moments and the number.
"""

import random
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tltrain.engine.optimizer import Optimizer
from tltrain.engine.parallel import Processes
from tltrain.engine.sharding import split_like, whole
from tltrain.errors import ModelError
from tltrain.files import atomic_folder, write_json_atomic


def seed_step(seed: int, purpose: str, step: int) -> None:
    """Set torch's generators for one step, so that what it draws does not depend on the steps before."""
    torch.manual_seed(random.Random(f"{seed}:{purpose}:{step}").getrandbits(63))


def save_checkpoint(
    folder: Path,
    step: int,
    modules: Mapping[str, torch.nn.Module],
    optimizers: Mapping[str, Optimizer],
    processes: Processes = Processes(),  # noqa: B008 - immutable
) -> None:
    """Write `folder/step-N`, whole or not at all, and remove the older ones.

    What processes hold parts of is put together, so that a checkpoint is the same however many made it.

    Args:
        folder: where the checkpoints of a stage lie.
        step: number of steps done.
        modules: by name; only parameters that train are kept.
        optimizers: by name.
        processes: all of them call this; the main one writes.
    """
    weights = {
        name: {key: whole(value, processes) for key, value in _trainable(module).items()}
        for name, module in modules.items()
    }
    moments = {name: optimizer.state_dict() for name, optimizer in optimizers.items()}
    if not processes.is_main:
        return
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"step-{step:06d}"
    with atomic_folder(target) as temporary:
        for name, tensors in weights.items():
            save_file(tensors, temporary / f"{name}.safetensors")
        for name, state in moments.items():
            torch.save(state, temporary / f"{name}.optimizer.pt")
        write_json_atomic(temporary / "position.json", {"step": step})
    for older in _checkpoints(folder):
        if older != target:
            shutil.rmtree(older)


def load_checkpoint(folder: Path, modules: Mapping[str, torch.nn.Module], optimizers: Mapping[str, Optimizer]) -> int:
    """Restore the newest checkpoint of a stage in place and return the number of steps done; 0 where there is none.

    Raises:
        ModelError: it does not fit the model.
    """
    newest = newest_checkpoint(folder)
    if newest is None:
        return 0
    for name, module in modules.items():
        saved, current = load_file(newest / f"{name}.safetensors"), _trainable(module)
        if saved.keys() != current.keys():
            odd = sorted(saved.keys() ^ current.keys())[:3]
            raise ModelError(f"{newest}: does not fit the model (parameters {odd}); remove it, or use the old config")
        with torch.no_grad():
            for key, value in saved.items():
                current[key].copy_(split_like(value, current[key]))
    for name, optimizer in optimizers.items():
        # not to the device of the process that saved, which may be another's or none here
        state = torch.load(newest / f"{name}.optimizer.pt", weights_only=True, map_location="cpu")
        optimizer.load_state_dict(state)
    return int(newest.name.removeprefix("step-"))


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint of a stage; None where there is none."""
    return next(reversed(_checkpoints(folder)), None)


def _trainable(module: torch.nn.Module) -> dict[str, Any]:
    return {name: parameter.detach() for name, parameter in module.named_parameters() if parameter.requires_grad}


def _checkpoints(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if re.fullmatch(r"step-\d+", path.name))
