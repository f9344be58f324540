"""The trajectories made so far, on disk, so that a killed run can go on."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tltrain.errors import DataError, UsageError
from tltrain.files import JsonLinesWriter, read_json_lines
from tltrain.formats.openai_chat import row_from_trajectory, trajectory_from_row
from tltrain.types import Json, Trajectory


class PartialFile:
    """A JSON Lines file: a first line with the config, then a row for each finished trajectory; a context manager.

    Rows that a kill left incomplete are passed over, and made again.

    Args:
        path: the file; made if it is not there.
        config: everything that decides what the trajectories look like.

    Raises:
        UsageError: the file was begun under another config.
    """

    def __init__(self, path: Path, config: Mapping[str, Json]):
        self._path = path
        self.done: dict[str, Trajectory] = {}
        """Finished trajectories by id."""
        has_header = self._read(config)
        if not has_header:
            path.unlink(missing_ok=True)
        self._writer = JsonLinesWriter(path)
        if not has_header:
            self._writer.write({"config": config})

    def _read(self, config: Mapping[str, Json]) -> bool:
        """Whether the file has a config, which is then the same."""
        if not self._path.exists() or not self._path.stat().st_size:
            return False
        has_header = False
        for number, row in read_json_lines(self._path):
            if isinstance(row, DataError):
                continue
            if isinstance(begun := row.get("config"), dict):
                self._check(begun, config)
                has_header = True
            elif has_header:
                trajectory = trajectory_from_row(row, where=f"{self._path}:{number}")
                self.done[trajectory.id] = trajectory
        return has_header

    def _check(self, begun: Mapping[str, Json], config: Mapping[str, Json]) -> None:
        fields = [name for name in begun.keys() | config.keys() if begun.get(name) != config.get(name)]
        if fields:
            listed = ", ".join(f"{name} {begun.get(name)} -> {config.get(name)}" for name in sorted(fields))
            raise UsageError(
                f"{self._path} was begun with another config ({listed}); go on with the old one, "
                "remove the file, or choose another folder"
            )

    def add(self, trajectory: Trajectory) -> None:
        """Keep one finished trajectory."""
        self._writer.write(row_from_trajectory(trajectory))
        self.done[trajectory.id] = trajectory

    def remove(self) -> None:
        """Delete the file: all that it holds is written elsewhere."""
        self._writer.close()
        self._path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._writer.close()
