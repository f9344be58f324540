"""What two processes do for `test_ppo_parallel`, in one start: several runs of ppo, one after the other."""

import json
import os
import sys
import traceback
import zlib
from functools import partialmethod
from pathlib import Path
from typing import Any

import torch

from tltrain.engine import tree_attention
from tltrain.engine.parallel import find_processes
from tltrain.rl import batches, train, update
from tltrain.rl.config import PpoConfig
from tltrain.stage import Reuse

_save, _loss, _loop = train.save_checkpoint, update.clipped_policy_loss, train._Trainer.run
_can_run_trees = tree_attention.can_run_trees


class StoppedError(Exception):
    """Raised by every process after a checkpoint."""


def stop_after_checkpoint(*arguments: Any) -> None:
    """In place of `save_checkpoint`: does it, and ends the run there."""
    _save(*arguments)
    raise StoppedError


def num_letters(*, completion: str, **_: object) -> float:
    """A reward for long texts; one in six cannot be judged, so that minibatches are of odd sizes."""
    if zlib.crc32(completion.encode()) % 6 == 1:
        raise ValueError("not this one")
    return sum(map(str.isalpha, completion)) / 10


def fail_in_the_second(*arguments: Any, **options: Any) -> Any:
    """In place of `clipped_policy_loss`: one of the processes cannot work it out."""
    if find_processes().rank == 1:
        raise RuntimeError("the second process broke")
    return _loss(*arguments, **options)


def loop_and_count(self: Any, held: list[int], *arguments: Any) -> Any:
    """In place of the loop over steps: does it, and counts the weights that this process holds after it."""
    measured = _loop(self, *arguments)
    models = (self.actor.model, self.actor._frozen, self._critic.model)
    held += [sum(parameter.to_local().numel() for parameter in model.parameters()) for model in models]
    return measured


def run(name: str, plan: dict[str, Any]) -> str | None:
    """One run; what ended it before its end."""
    train.save_checkpoint = stop_after_checkpoint if name.startswith("begun") else _save
    tree_attention.can_run_trees = batches.can_run_trees = _can_run_trees if name != "one_by_one" else lambda _: False
    update.clipped_policy_loss = fail_in_the_second if name == "broken" else _loss
    try:
        train.ppo(
            PpoConfig.model_validate(plan["config"]),
            data=Path(plan["data"]),
            model=plan["model"],
            out=Path(plan["out"]),
            reward=num_letters if plan["has_function"] else None,
            reuse=Reuse.RESUME,
        )
    except (StoppedError, RuntimeError) as error:
        return "\n".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", [])])
    return None


def start(plan: Path, port: int) -> None:
    """Do the runs of a file in two processes, which share the imports; write next to it what each run ended with."""
    torch.set_num_threads(1)
    children = []
    for rank in ("0", "1"):
        children.append(os.fork())
        if children[-1] == 0:
            os.environ |= {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2"}
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            try:
                ends: dict[str, Any] = {"held": []}
                for name, one in json.loads(plan.read_text()).items():
                    train._Trainer.run = partialmethod(loop_and_count, ends["held"]) if name == "split" else _loop
                    ends[name] = run(name, one)
                plan.with_suffix(f".rank{rank}").write_text(json.dumps(ends))
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
    for _ in children:
        _, status = os.wait()
        if status:  # the other would wait for it
            sys.exit(1)
