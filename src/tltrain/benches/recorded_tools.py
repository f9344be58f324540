"""Calls of tools and what they were answered, in a file: made by one run, played back by another.

JSON Lines, a line a call: `tool` (its name), `arguments` (a JSON object), `feedback` (the text that the model read) and
`error` (null, or a kind of `FeedbackKind`). A call is found again by its tool and its arguments, compared as JSON; of
several lines of one call the last counts.
"""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, ValidationError

from tltrain.benches.simulated_tools import SimulatedTools
from tltrain.envs.base import Feedback
from tltrain.errors import DataError
from tltrain.files import encode_line, read_json_lines, write_text_atomic
from tltrain.taxonomy import FeedbackKind
from tltrain.types import AnyCall, MalformedCall, ToolCall

FILE = "tooleyes_calls.jsonl"
"""The recording in the folder of a run."""
NO_ANSWER = "No answer: this call was not recorded."
Missing: TypeAlias = Literal["simulate", "unanswered"]


class RecordedCall(BaseModel):
    """One line of a recording."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tool: str
    arguments: dict[str, Any]
    feedback: str
    error: FeedbackKind | None = None


class ToolAnswers:
    """Who answers the calls of all conversations of a run, and what they answered.

    Args:
        recording: what is played back, of `read_recording`; None: everything is simulated.
        missing: what a call gets that is not recorded: a simulated answer, or the error that there is none.
    """

    def __init__(self, recording: Mapping[str, Feedback] | None = None, missing: Missing = "simulate"):
        self._recording = recording
        self._missing = missing
        self._made: dict[str, RecordedCall] = {}
        self.counts: Counter[str] = Counter()
        """Of readable calls: `recorded`, `simulated`, `unanswered`."""

    def execute(self, call: AnyCall, simulated: SimulatedTools) -> Feedback:
        """The answer to one call; one that cannot be read gets the error of the simulation."""
        if isinstance(call, MalformedCall):
            return simulated.execute(call)
        feedback, how = self._find(call, simulated)
        self.counts[how] += 1
        self._made[_key(call)] = RecordedCall(
            tool=call.name, arguments=dict(call.arguments), feedback=feedback.text, error=feedback.error
        )
        return feedback

    def _find(self, call: ToolCall, simulated: SimulatedTools) -> tuple[Feedback, str]:
        found = (self._recording or {}).get(_key(call))
        if found is not None:
            return found, "recorded"
        if self._recording is None or self._missing == "simulate":
            return simulated.execute(call), "simulated"
        return Feedback(text=NO_ANSWER, error=FeedbackKind.UNANSWERED), "unanswered"

    def write(self, path: Path) -> None:
        """Write a recording of all calls so far, in an order of its own."""
        lines = sorted(encode_line(row.model_dump(mode="json")) for row in self._made.values())
        write_text_atomic(path, "".join(lines))

    def notes(self) -> list[str]:
        """What a reader must know about the answers, a sentence each."""
        if self._recording is None:
            return []
        counts, rest = self.counts, "were simulated" if self._missing == "simulate" else "got no answer"
        left = counts["simulated"] + counts["unanswered"]
        return [f"Tools: {counts['recorded']} calls were answered from a recording; {left} are not in it, and {rest}."]


def read_recording(path: Path) -> dict[str, Feedback]:
    """Feedback by call.

    Raises:
        DataError: the file is missing or empty, or a line of it is no recorded call.
    """
    if not path.is_file():
        raise DataError(f"tooleyes_replay: there is no file {path}; name a {FILE} that a run wrote")
    found: dict[str, Feedback] = {}
    for number, row in read_json_lines(path):
        if isinstance(row, DataError):
            raise row
        try:
            line = RecordedCall.model_validate(row)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "line"
            raise DataError(
                f"{path}:{number}: {field}: {first['msg']}; a line has tool, arguments, feedback and error"
            ) from None
        call = ToolCall(name=line.tool, arguments=line.arguments)
        found[_key(call)] = Feedback(text=line.feedback, error=line.error)
    return found


def _key(call: ToolCall) -> str:
    return json.dumps([call.name, dict(call.arguments)], sort_keys=True, ensure_ascii=False)
