"""What a dataset format is: how its records become trajectories, and how trajectories become its rows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias

from tltrain.errors import DataError
from tltrain.types import Json, Trajectory

CallMasks: TypeAlias = Mapping[int, str]
"""Number of each call that must not teach -> the reason, such as `error: refused`; what an audit says of one row."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Companions:
    """Second files that some formats need beside the one that is read."""

    tools: Path | None = None
    """Tool documents for rows that carry none of their own, such as those of tau-bench."""
    answers: Path | None = None
    """Right calls for rows that hold questions alone, such as those of BFCL."""


class Format(Protocol):
    """One dataset format. A record is one line, array element or table row; it may hold several trajectories."""

    name: str
    """What `--format` takes."""
    summary: str
    """One line that says what it is."""

    def refuse(self, record: Json) -> str | None:
        """Why a record is not of this format, in words for a user; None if it is, or may be."""
        ...

    def read(self, record: Json, *, where: str, companions: Companions) -> Iterator[Trajectory | DataError]:
        """Turn one record into trajectories; one that cannot be read gives its error as a value.

        Args:
            record: decoded JSON, not yet checked in any way.
            where: `FILE:NUMBER` of the record, with which every error begins.
            companions: second files, as the user named them.

        Yields:
            Trajectories, whose id is empty where the format has none; the driver then names them. Message weights of
            the file stand in `Message.weight`, `.mask_reason` and `.spans`.

        Raises:
            DataError: the record as a whole cannot be read, or a companion file is missing or damaged.
        """
        ...


class WrittenRow(NamedTuple):
    """A row in some format, and what that format could not hold."""

    row: dict[str, Json]
    lost: tuple[str, ...] = ()
    """One short phrase for each loss, the same for all rows of one kind, so that they can be counted."""


class WrittenRows(NamedTuple):
    """The same, where one row may not hold a trajectory."""

    rows: tuple[dict[str, Json], ...]
    lost: tuple[str, ...] = ()


class WritableFormat(Format, Protocol):
    """A format that can be written, too."""

    def write(self, trajectory: Trajectory, masks: CallMasks) -> WrittenRow | WrittenRows:
        """Turn a trajectory into a row, or several.

        Weights of its file and our masks are written as far as the format can.

        Reading the row gives the trajectory back, but for what `lost` lists.
        """
        ...
