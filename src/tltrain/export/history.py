"""What trained a model, out of the records that stages and runs leave beside it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tltrain.errors import DataError
from tltrain.stage import fingerprint, read_stage


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedBy:
    """One stage that trained it."""

    stage: str
    """sft or ppo."""
    facts: dict[str, Any]
    """A few settings and results, for people; the record has them all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """How a model came to be; empty where nothing is known."""

    base: str | None = None
    """The model that training began with."""
    stages: tuple[TrainedBy, ...] = ()
    """In order."""
    run: str | None = None
    """Name of the recipe."""
    versions: dict[str, str] | None = None
    """Of the libraries that trained it."""


def read_history(model: Path) -> History:
    """The history of a model folder or adapter; its stage.json stands one folder up, run.json two.

    An sft folder of the same run counts as the stage before where its model is the one that ppo was given.
    """
    record = _record(model.parent)
    if record is None:
        return History()
    records = [record]
    start = str(record.get("inputs", {}).get("model", ""))
    earlier = model.parent.parent / "sft"
    if record.get("stage") == "ppo" and (earlier / "model").is_dir() and fingerprint(earlier / "model") == start:
        before = _record(earlier)
        if before is not None:
            records.insert(0, before)
            start = str(before.get("inputs", {}).get("model", ""))
    return History(
        base=start if start and ":" not in start else None,  # a folder is recorded as the hashes of its files
        stages=tuple(TrainedBy(stage=str(one.get("stage")), facts=_facts(one)) for one in records),
        run=_run_name(model.parent.parent),
        versions=record.get("versions"),
    )


def _record(folder: Path) -> dict[str, Any] | None:
    try:
        return read_stage(folder)
    except DataError:
        return None


def _run_name(folder: Path) -> str | None:
    try:
        fields = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    name = fields.get("name") if isinstance(fields, dict) else None
    return name if isinstance(name, str) else None


def _facts(record: dict[str, Any]) -> dict[str, Any]:
    config, result = record.get("config", {}), record.get("result", {})
    facts = {
        "epochs": config.get("num_epochs"),
        "learning rate": config.get("optimizer", config.get("actor_optimizer", {})).get("learning_rate"),
        "weighting of key tokens": config.get("weighting", {}).get("variant"),
        "wrong calls blocked by": config.get("block"),
        "estimator": config.get("baseline"),
        "seed": config.get("seed"),
        "trajectories": result.get("num_trained"),
        "steps": result.get("num_steps"),
        "seconds": record.get("seconds"),
    }
    return {name: value for name, value in facts.items() if value is not None}
