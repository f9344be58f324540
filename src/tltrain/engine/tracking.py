"""Metrics of a run in an experiment tracker, beside metrics.jsonl, through accelerate's trackers.

A tracker never decides anything: one that fails is warned about once, and training goes on without it.
"""

import json
import sys
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tltrain.engine.device import process_state
from tltrain.engine.settings import TrackerName
from tltrain.errors import UsageError
from tltrain.files import write_json_atomic

_PROJECT = "tltrain"
_FILE = "tracker.json"


def check_tracker(name: TrackerName | None) -> None:
    """That a tracker is installed.

    Raises:
        UsageError: it is not; names the package.
    """
    spec = find_spec(name) if name is not None else None
    if name is not None and (spec is None or spec.origin is None):  # a folder of that name is no package
        raise UsageError(f"tracker={name}: the package {name} is not installed; run `pip install {name}`, or use none")


class Tracker:
    """One stage of a run in a tracker.

    A stage that was killed goes on in the same place, which `tracker.json` in its folder names. TensorBoard forgets the
    steps that are done again, wandb ignores them, and the others show them twice with the same values.

    Args:
        name: which tracker; installed, see `check_tracker`.
        folder: the stage's folder. TensorBoard writes into `tensorboard` in it; to the others it gives the run's name,
            its last two parts.
        settings: of the stage, to be shown beside the curves.
        resumed_step: the first step that will be logged.
    """

    def __init__(self, name: TrackerName, folder: Path, *, settings: Mapping[str, object], resumed_step: int):
        self._name, self._folder, self._settings = name, folder, settings
        self._tracker: Any = None
        self._guard(lambda: self._open(resumed_step))

    def log(self, row: Mapping[str, object]) -> None:
        """Send a row of metrics; it has a field `step`. Numbers in sections are named `section/number`."""
        values = {key: value for key, value in _flatten(row) if _is_number(value) and key != "step"}
        if self._tracker is not None:
            self._guard(lambda: self._tracker.log(values, step=row["step"]))

    def close(self) -> None:
        """Send what is left; later calls do nothing."""
        if self._tracker is not None:
            self._guard(self._tracker.finish)
        self._tracker = None

    def _guard(self, work: Callable[[], object]) -> None:
        try:
            with redirect_stdout(sys.stderr):  # trackio prints, and stdout is for results
                work()
        except Exception as error:  # whatever a tracker's client, server or disk comes up with
            self._tracker = None
            warnings.warn(
                f"tracker {self._name} failed ({type(error).__name__}: {error}); training goes on without it, and "
                "metrics.jsonl has all rows",
                stacklevel=4,
            )

    def _open(self, resumed_step: int) -> None:
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        process_state()  # accelerate's trackers ask which process they are in
        kind = LOGGER_TYPE_TO_CLASS[self._name]
        earlier = self._read_id()
        title = "/".join(self._folder.absolute().parts[-2:])
        match self._name:
            case "tensorboard":
                tracker = kind("tensorboard", self._folder, purge_step=resumed_step or None)
            case "mlflow":
                tracker = kind(_PROJECT, run_name=title, run_id=earlier)
            case "wandb":
                earlier = earlier or uuid.uuid4().hex[:12]
                tracker = kind(_PROJECT, name=title, id=earlier, resume="allow", dir=str(self._folder))
            case "trackio":
                earlier = earlier or f"{title}-{uuid.uuid4().hex[:6]}"
                tracker = kind(_PROJECT, name=earlier, resume="allow")
        tracker.start()
        if self._name != "tensorboard":  # it would show each setting as a run of its own
            tracker.store_init_configuration(dict(_flatten(self._settings)))
        identity = tracker.tracker.info.run_id if self._name == "mlflow" else earlier
        write_json_atomic(self._folder / _FILE, {"tracker": self._name, "id": identity})
        self._tracker = tracker

    def _read_id(self) -> str | None:
        """What the tracker calls this run, if it knows it."""
        path = self._folder / _FILE
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return found.get("id") if found.get("tracker") == self._name else None


def _flatten(row: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in row.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}", value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
