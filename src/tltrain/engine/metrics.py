"""The record of a training run: one JSON line a step, consistent after a resume."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tltrain.engine.tracking import Tracker
from tltrain.files import JsonLinesWriter, write_text_atomic


class MetricsLog:
    """Appends rows to `metrics.jsonl`.

    A run that resumes at step n first drops the rows of steps >= n: they were done after the checkpoint, and will be
    done again. A context manager.

    Args:
        path: the file.
        resumed_step: see above; 0 at the start.
        tracker: gets each row too.
    """

    def __init__(self, path: Path, *, resumed_step: int, tracker: Tracker | None = None):
        self._tracker = tracker
        if path.exists():
            kept = [line for line in path.read_text().splitlines() if _step(line) < resumed_step]
            write_text_atomic(path, "".join(line + "\n" for line in kept))
        self._writer = JsonLinesWriter(path)

    def write(self, row: Mapping[str, object]) -> None:
        """Append one row; it has a field `step`."""
        self._writer.write(row)
        if self._tracker is not None:
            self._tracker.log(row)

    def close(self) -> None:
        """Close the file, and the tracker."""
        self._writer.close()
        if self._tracker is not None:
            self._tracker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _step(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")  # a line cut short by a kill
