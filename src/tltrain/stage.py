"""One stage of a run in its own folder: what it was asked to do, whether it is done, and what came out.

`stage.json` in the folder holds the resolved config, the hashes of the input files and library versions from the start,
and the result at the end. It decides whether a second start may skip, resume or must refuse.
"""

import importlib.metadata
import json
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import BaseModel

from tltrain.errors import DataError, UsageError
from tltrain.files import hash_file, write_json_atomic
from tltrain.launcher import num_launched

Progress: TypeAlias = Callable[[int, int, str], None]
"""Told (units done, all units, a short remark) as long work goes on."""

_FILE = "stage.json"
_LIBRARIES = ("tltrain", "torch", "transformers", "tokenizers", "peft", "accelerate", "numpy")


class Reuse(StrEnum):
    """What to do with an output folder that was used before."""

    REFUSE = "refuse"
    RESUME = "resume"
    """Go on where an earlier start with the same config and inputs stopped; skip what is done."""
    OVERWRITE = "overwrite"


class Stage:
    """A stage folder that was opened for work.

    Args:
        folder: made where it does not exist.
        name: the stage's verb.
        config: resolved settings; a resume under other ones is refused.
        inputs: files and folders that the result depends on.
        reuse: what to do where the folder was used before.
        is_shared: several processes do the stage together, the first of which opens it.

    Raises:
        UsageError: the folder is in use and `reuse` says to refuse, it was begun with another config or inputs, or
            several processes were started for a stage of one.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str,
        config: BaseModel,
        inputs: Mapping[str, Path | None],
        reuse: Reuse,
        is_shared: bool = False,
    ):
        if not is_shared and num_launched() > 1:
            raise UsageError(
                f"{name} runs in one process, and was started in several (WORLD_SIZE={num_launched()}); "
                "start it without accelerate launch or torchrun"
            )
        self.folder = folder
        self._config = config
        self._start = time.monotonic()
        self._record: dict[str, Any] = {
            "stage": name,
            "status": "running",
            "config": json.loads(config.model_dump_json()),
            "inputs": {key: fingerprint(path) for key, path in inputs.items() if path is not None},
            "versions": _versions(_LIBRARIES),
        }
        earlier = read_stage(folder)
        self.is_done = False
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder} is a file; name a folder for the output of {name}")
        if reuse is Reuse.OVERWRITE and folder.exists():
            if earlier is None and any(folder.iterdir()):
                raise UsageError(f"{folder} was not made by tltrain; remove it yourself, or name another folder")
            shutil.rmtree(folder)
        elif earlier is not None and reuse is Reuse.RESUME:
            self._check_same(earlier)
            self.is_done = earlier.get("status") == "done"
            if self.is_done:
                self._record = earlier
                return
        elif folder.exists() and any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty; pass --resume to go on there, or --overwrite to start anew")
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(".*.tmp"):  # of a start that was killed while it wrote
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        write_json_atomic(folder / _FILE, self._record)

    @property
    def result(self) -> dict[str, Any]:
        """What `finish` was given."""
        return dict(self._record.get("result", {}))

    def finish(self, result: Mapping[str, object]) -> None:
        """Mark the stage as done; called once everything is on disk."""
        spent = {"seconds": round(time.monotonic() - self._start, 1), "peak_memory_mb": peak_memory_mb()}
        self._record |= {"status": "done", "result": dict(result)} | spent
        write_json_atomic(self.folder / _FILE, self._record)
        self.is_done = True

    def _check_same(self, earlier: Mapping[str, Any]) -> None:
        for part in ("config", "inputs"):
            mine, other = self._record[part], earlier.get(part, {})
            if part == "config":
                mine, other = (_deciding(fields, self._config) for fields in (mine, other))
            changes = list(_differences(other, mine, part))
            if changes:
                raise UsageError(
                    f"{self.folder} was begun with other settings: {'; '.join(changes)}. "
                    "Use the old ones to resume, or pass --overwrite"
                )


def read_stage(folder: Path) -> dict[str, Any] | None:
    """The record of a stage folder; None where there is none.

    Raises:
        DataError: the record is damaged.
    """
    path = folder / _FILE
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: is damaged ({error}); remove the folder {folder} and run the stage again") from error
    return record if isinstance(record, dict) else None


def is_current(folder: Path, *, config: BaseModel, inputs: Mapping[str, Path | None]) -> bool:
    """Whether the folder holds the finished result of just this config and these inputs."""
    record = read_stage(folder)
    return (
        record is not None
        and record.get("status") == "done"
        and _deciding(record.get("config", {}), config) == _deciding(json.loads(config.model_dump_json()), config)
        and record.get("inputs") == {key: fingerprint(path) for key, path in inputs.items() if path is not None}
    )


def fingerprint(path: Path) -> str:
    """Hash of a file; of a folder, over the names and hashes of the files in it."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        parts = (f"{file.relative_to(path)}:{hash_file(file)}" for file in files)
        return " ".join(parts)
    return hash_file(path) if path.is_file() else str(path)


def peak_memory_mb() -> int:
    """Peak resident memory of this process, in MiB."""
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 2**20 if sys.platform == "darwin" else peak // 2**10


def _deciding(fields: Mapping[str, Any], config: BaseModel) -> dict[str, Any]:
    """Without the fields of which the config's class says that they change no result."""
    without_effect: frozenset[str] = getattr(config, "WITHOUT_EFFECT", frozenset())
    return {name: value for name, value in fields.items() if name not in without_effect}


def _versions(libraries: Iterable[str]) -> dict[str, str]:
    found = {}
    for library in libraries:
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _differences(old: Any, new: Any, where: str) -> Iterable[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted(old.keys() | new.keys()):
            yield from _differences(old.get(key), new.get(key), f"{where}.{key}")
    elif old != new:
        yield f"{where} was {_short(old)} and is {_short(new)}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
