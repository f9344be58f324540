"""What two processes do for `test_ppo_parallel`, in one start: several runs of ppo, one after the other."""

import json
import sys
from pathlib import Path
from typing import Any

import torch

from tltrain.engine.parallel import find_processes
from tltrain.rl import train, update
from tltrain.rl.config import PpoConfig
from tltrain.stage import Reuse

_save, _loss = train.save_checkpoint, update.clipped_policy_loss


class StoppedError(Exception):
    """Raised by every process after a checkpoint."""


def stop_after_checkpoint(*arguments: Any) -> None:
    """In place of `save_checkpoint`: does it, and ends the run there."""
    _save(*arguments)
    raise StoppedError


def num_letters(*, completion: str, **_: object) -> float:
    """A reward for long texts, but none for those of one letter, which cannot be judged."""
    letters = sum(map(str.isalpha, completion))
    return float("nan") if letters == 1 else float(letters)


def fail_in_the_second(*arguments: Any, **options: Any) -> Any:
    """In place of `clipped_policy_loss`: one of the processes cannot work it out."""
    if find_processes().rank == 1:
        raise RuntimeError("the second process broke")
    return _loss(*arguments, **options)


def run(name: str, plan: dict[str, Any]) -> str | None:
    """One run; the error that ended it."""
    train.save_checkpoint = stop_after_checkpoint if name.startswith("begun") else _save
    update.clipped_policy_loss = fail_in_the_second if name == "broken" else _loss
    try:
        train.ppo(
            PpoConfig.model_validate(plan["config"]),
            data=Path(plan["data"]),
            model=plan["model"],
            out=Path(plan["out"]),
            reward=num_letters if plan["reward"] else None,
            reuse=Reuse.RESUME,
        )
    except Exception as error:
        return "\n".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", [])])
    return None


def main(plan: Path) -> None:
    """Do the runs of a file, and write next to it what each ended with."""
    torch.set_num_threads(1)
    ends = {name: run(name, one) for name, one in json.loads(plan.read_text()).items()}
    plan.with_suffix(f".rank{find_processes().rank}").write_text(json.dumps(ends))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
