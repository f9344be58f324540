"""When to stop, and which weights to keep: decided by the measurements so far alone.

They stand in metrics.jsonl, which a resumed run cuts back to its checkpoint; so it decides what an uninterrupted one
does, and nothing else needs to be remembered but the best weights themselves.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tltrain.engine.checkpoint import load_checkpoint, save_checkpoint
from tltrain.engine.parallel import Processes
from tltrain.errors import DataError, ModelError
from tltrain.files import read_json_lines
from tltrain.sft.config import Measure, SftConfig

Scores = Mapping[str, float | None]


class Measurement(NamedTuple):
    """What was measured on held-out trajectories after a step."""

    num_steps: int
    """Steps that were done."""
    scores: Scores


def best_of(history: Sequence[Measurement], measure: Measure) -> Measurement | None:
    """The measurement with the best score, the earliest of equal ones; None where no score is known."""
    sign = -1 if measure == "nll" else 1
    known = [(sign * score, found) for found in history if (score := found.scores.get(measure)) is not None]
    return max(known, key=lambda pair: (pair[0], -pair[1].num_steps))[1] if known else None


def is_time_to_stop(history: Sequence[Measurement], config: SftConfig) -> bool:
    """Whether the last `config.patience` measurements are all no better than one before them."""
    best = best_of(history, config.best_by)
    if config.patience is None or best is None:
        return False
    return sum(found.num_steps > best.num_steps for found in history) >= config.patience


def read_history(metrics: Path, *, num_steps: int) -> list[Measurement]:
    """The measurements of the first steps of a run, from its metrics.jsonl."""
    if not num_steps or not metrics.is_file():
        return []
    history = []
    for _, row in read_json_lines(metrics):
        if isinstance(row, DataError):
            continue  # a line cut short by a kill
        step, scores = row.get("step"), row.get("heldout")
        if isinstance(step, int) and step < num_steps and isinstance(scores, dict):
            known: dict[str, Any] = scores
            history.append(Measurement(step + 1, known))
    return history


class BestWeights:
    """The weights of the best measurements, on disk; of adapters, these alone.

    Those of a better one do not replace the ones before until a checkpoint is written, as a run that goes on from an
    older checkpoint may need them.

    Args:
        folder: where they lie.
    """

    def __init__(self, folder: Path):
        self._folder = folder

    def save(self, model: torch.nn.Module, num_steps: int, processes: Processes) -> None:
        """Write the weights that train, whole or not at all; called by all processes."""
        folder = self._folder / f"{num_steps}"
        if processes.is_main:
            shutil.rmtree(folder, ignore_errors=True)  # of a start that was killed later on
        save_checkpoint(folder, num_steps, {"model": model}, {}, processes)

    def remove_others(self, num_steps: int) -> None:
        """Remove what is not of the best measurement up to a checkpoint."""
        for folder in self._folder.glob("*"):
            if folder.name != f"{num_steps}":
                shutil.rmtree(folder)

    def restore(self, model: torch.nn.Module, num_steps: int) -> None:
        """Give the model the weights that it had after so many steps.

        Raises:
            ModelError: they are not there.
        """
        if not load_checkpoint(self._folder / f"{num_steps}", {"model": model}, {}):
            raise ModelError(f"{self._folder}: the best weights, of step {num_steps}, are gone; pass --overwrite")
