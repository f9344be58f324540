"""What two processes do for `test_sharding`, in one start: several runs of sft, one after the other."""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from tltrain.engine import sharding, tree_attention
from tltrain.engine.parallel import find_processes
from tltrain.sft import train
from tltrain.sft.config import SftConfig
from tltrain.stage import Reuse

_save, _shard, _can_run_trees = train.save_checkpoint, train.shard, tree_attention.can_run_trees


class StoppedError(Exception):
    """Raised by every process after a checkpoint."""


def stop_after_checkpoint(*arguments: Any) -> None:
    """In place of `save_checkpoint`: does it, and ends the run there."""
    _save(*arguments)
    raise StoppedError


def main(plan: Path) -> None:
    """Do the runs of a file: each has a config, a data file, a model, an output folder, and how it goes."""
    torch.set_num_threads(1)
    sizes: dict[str, tuple[int, int]] = {}
    for name, run in json.loads(plan.read_text()).items():

        def noting(model: Any, processes: Any, name: str = name) -> Any:
            sharded = _shard(model, processes)
            parameters = list(sharded.parameters())
            assert all(isinstance(parameter, DTensor) for parameter in parameters)
            held = sum(parameter.to_local().numel() for parameter in parameters)
            sizes[name] = (held, sum(parameter.numel() for parameter in parameters))
            return sharded

        train.shard = noting
        train.save_checkpoint = stop_after_checkpoint if run["stops"] else _save
        train.can_run_trees = sharding.can_run_trees = tree_attention.can_run_trees = (
            _can_run_trees if run["as_trees"] else lambda _: False
        )
        try:
            train.sft(
                SftConfig.model_validate(run["config"]),
                data=Path(run["data"]),
                model=run["model"],
                out=Path(run["out"]),
                reuse=Reuse.RESUME,
            )
        except StoppedError:
            assert run["stops"]
    plan.with_suffix(f".rank{find_processes().rank}").write_text(json.dumps(sizes))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
