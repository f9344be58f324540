"""Calls of tools and what they were answered, in a file: made by one run, played back by another.

JSON Lines, a line a call: `tool` (its name), `arguments` (a JSON object), `feedback` (the text that the model read) and
`error` (null, or a kind of `FeedbackKind`); of a live call also `query` and `number`, its place. A call is found again
by its place, or else by its tool and its arguments, compared as JSON; of several lines of one call the last counts.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from tltrain.envs.base import Feedback
from tltrain.errors import DataError
from tltrain.files import read_json_lines
from tltrain.taxonomy import FeedbackKind
from tltrain.types import ToolCall

FILE = "tooleyes_calls.jsonl"
"""The recording in the folder of a run."""


class Place(NamedTuple):
    """Where a call was made."""

    query: str
    number: int
    """Of the call in its conversation, from 1."""


class RecordedCall(BaseModel):
    """One line of a recording."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tool: str
    arguments: dict[str, Any]
    feedback: str
    error: FeedbackKind | None = None
    query: str | None = None
    number: int | None = None

    @classmethod
    def of(cls, call: ToolCall, feedback: Feedback, place: Place | None) -> Self:
        """The line of a call, with its place or without."""
        where = place._asdict() if place else {}
        return cls(
            tool=call.name, arguments=dict(call.arguments), feedback=feedback.text, error=feedback.error, **where
        )

    def to_json(self) -> dict[str, Any]:
        """As the file has it."""
        return self.model_dump(mode="json", exclude={"query", "number"} if self.query is None else None)


@dataclass(frozen=True, slots=True)
class Recording:
    """Calls that can be played back."""

    by_call: dict[str, Feedback] = field(default_factory=dict)
    by_place: dict[Place, tuple[str, Feedback]] = field(default_factory=dict)

    @classmethod
    def of(cls, lines: Iterable[RecordedCall]) -> Self:
        """Of several lines of one call, or one place, the last counts."""
        found = cls()
        for line in lines:
            key = key_of(ToolCall(name=line.tool, arguments=line.arguments))
            feedback = Feedback(text=line.feedback, error=line.error)
            found.by_call[key] = feedback
            if line.query is not None and line.number is not None:
                found.by_place[Place(line.query, line.number)] = key, feedback
        return found

    def find_here(self, call: ToolCall, place: Place) -> Feedback | None:
        """What just this call was answered at just this place."""
        key, feedback = self.by_place.get(place, ("", None))
        return feedback if key == key_of(call) else None

    def find(self, call: ToolCall, place: Place) -> Feedback | None:
        """What the call was answered, there or elsewhere."""
        return self.find_here(call, place) or self.by_call.get(key_of(call))


def read_recording(path: Path) -> Recording:
    """Read a recording.

    Raises:
        DataError: the file is missing or empty, or a line of it is no recorded call.
    """
    if not path.is_file():
        raise DataError(f"tooleyes_replay: there is no file {path}; name a {FILE} that a run wrote")
    lines: list[RecordedCall] = []
    for number, row in read_json_lines(path):
        if isinstance(row, DataError):
            raise row
        try:
            lines.append(RecordedCall.model_validate(row))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "line"
            raise DataError(
                f"{path}:{number}: {where}: {first['msg']}; a line has tool, arguments, feedback and error"
            ) from None
    return Recording.of(lines)


def key_of(call: ToolCall) -> str:
    """Equal for equal calls."""
    return json.dumps([call.name, dict(call.arguments)], sort_keys=True, ensure_ascii=False)
