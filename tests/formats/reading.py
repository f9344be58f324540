"""Reads records of one format, for the tests."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytest

from tltrain.errors import DataError
from tltrain.formats.base import Companions, Format
from tltrain.types import CallStep, Json, MalformedCall, ToolCall, Trajectory, iterate_calls


def read(format: Format, record: Json, companions: Companions | None = None) -> list[Trajectory]:
    """All trajectories of a record; an error that comes as a value is raised."""
    found = []
    for item in format.read(record, where="data.json:3", companions=companions or Companions()):
        if isinstance(item, DataError):
            raise item
        found.append(item)
    return found


def read_one(format: Format, record: Json, companions: Companions | None = None) -> Trajectory:
    (trajectory,) = read(format, record, companions)
    return trajectory


def refuses(format: Format, record: Json, message: str, companions: Companions | None = None) -> None:
    """The record cannot be read, and the error says so where it stands."""
    with pytest.raises(DataError, match=message) as caught:
        read(format, record, companions)
    assert str(caught.value).startswith("data.json:3: ")
    assert "; " in str(caught.value)


def steps(trajectories: Iterable[Trajectory]) -> list[CallStep]:
    return [step for trajectory in trajectories for step in iterate_calls(trajectory)]


def tool_call(step: CallStep) -> ToolCall:
    assert isinstance(step.call, ToolCall)
    return step.call


class Count(NamedTuple):
    """What a file holds."""

    trajectories: int
    calls: int
    malformed: int
    answered: int


def load(path: Path) -> list[Json]:
    """The elements of a JSON array, the lines of JSON Lines, or the one object of a file."""
    text = path.read_text()
    if text.lstrip().startswith("["):
        return list(json.loads(text))
    try:
        return [json.loads(text)]
    except json.JSONDecodeError:
        return [json.loads(line) for line in text.splitlines() if line.strip()]


def read_file(format: Format, path: Path, companions: Companions | None = None) -> list[Trajectory]:
    """All trajectories of a file, none of whose records is refused or bad."""
    found = []
    for number, record in enumerate(load(path), start=1):
        assert format.refuse(record) is None
        for item in format.read(record, where=f"{path}:{number}", companions=companions or Companions()):
            assert isinstance(item, Trajectory), str(item)
            found.append(item)
    return found


def count(trajectories: list[Trajectory]) -> Count:
    all_steps = steps(trajectories)
    return Count(
        trajectories=len(trajectories),
        calls=len(all_steps),
        malformed=sum(isinstance(step.call, MalformedCall) for step in all_steps),
        answered=sum(step.feedback is not None for step in all_steps),
    )
