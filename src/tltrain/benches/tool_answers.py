"""Who answers the calls of ToolEyes: the tools themselves, a recording, or a simulation."""

from collections import Counter
from pathlib import Path
from typing import Literal, TypeAlias

from tltrain.benches.live_tools import LiveTools
from tltrain.benches.recorded_tools import Place, RecordedCall, Recording, key_of
from tltrain.benches.simulated_tools import SimulatedTools
from tltrain.envs.base import Feedback
from tltrain.errors import DataError
from tltrain.files import JsonLinesWriter, encode_line, read_json_lines, write_text_atomic
from tltrain.taxonomy import FeedbackKind
from tltrain.types import AnyCall, MalformedCall, ToolCall

LIVE_FILE = "tooleyes_live.jsonl"
"""Live calls of a run under way, each written when it is answered: a resumed run does not make them again."""
ASK = "ask_to_user"
USER_REPLY = "I have nothing to add. Please go on with what you know."
"""What the user says when asked, if neither a recording nor a live tool says something."""
NO_ANSWER = "No answer: this call was not recorded."
NO_TOOL = "No answer: this tool cannot be reached."
Missing: TypeAlias = Literal["simulate", "unanswered"]


class ToolAnswers:
    """Who answers the calls of all conversations of a run, and what they answered.

    Args:
        recording: what is played back; None: nothing.
        missing: what a call gets that is neither recorded nor live: a simulated answer, or the error that there is
            none. Without recording and live tools everything is simulated.
        live: makes the calls that are not recorded.
        journal: a file in which live calls are kept as they are answered, and found again by a resumed run.
    """

    def __init__(
        self,
        recording: Recording | None = None,
        missing: Missing = "simulate",
        *,
        live: LiveTools | None = None,
        journal: Path | None = None,
    ):
        self._recording, self._missing, self._live = recording, missing, live
        self._kept = _read_kept(journal) if journal else Recording()
        self._journal = JsonLinesWriter(journal) if journal else None
        self._made: dict[str, RecordedCall] = {}
        self._made_live: dict[Place, RecordedCall] = {}
        self.counts: Counter[str] = Counter()
        """Of readable calls: `live`, `recorded`, `simulated`, `unanswered`, and `not_on_offer`, whose tool is not."""

    def execute(self, call: AnyCall, simulated: SimulatedTools, *, place: Place, tool_set: str) -> Feedback:
        """The answer to one call; one that cannot be read gets the error of the simulation."""
        if isinstance(call, MalformedCall):
            return simulated.execute(call)
        feedback, how = self._find(call, simulated, place, tool_set)
        self.counts[how] += 1
        if how == "live":
            self._made_live[place] = RecordedCall.of(call, feedback, place)
        else:
            self._made[key_of(call)] = RecordedCall.of(call, feedback, None)
        return feedback

    def _find(self, call: ToolCall, simulated: SimulatedTools, place: Place, tool_set: str) -> tuple[Feedback, str]:
        kept = self._kept.find_here(call, place)
        if kept is not None:
            return kept, "live"
        found = self._recording.find(call, place) if self._recording else None
        if found is not None:
            return found, "recorded"
        if not simulated.offers(call):  # text of the model must not choose among all that a file defines
            return simulated.execute(call), "not_on_offer"
        answered = self._live.execute(call, tool_set) if self._live else None
        if answered is not None:
            if self._journal:
                self._journal.write(RecordedCall.of(call, answered, place).to_json())
            return answered, "live"
        return self._fall_back(call, simulated)

    def _fall_back(self, call: ToolCall, simulated: SimulatedTools) -> tuple[Feedback, str]:
        feedback = simulated.execute(call)
        if call.name == ASK:
            return (feedback if feedback.error else Feedback(text=USER_REPLY)), "simulated"
        if self._missing == "simulate" or (self._recording is None and self._live is None):
            return feedback, "simulated"
        return Feedback(text=NO_TOOL if self._live else NO_ANSWER, error=FeedbackKind.UNANSWERED), "unanswered"

    def write(self, path: Path) -> None:
        """Write a recording of all calls so far: live ones as they were made, then the others, sorted."""
        live = [encode_line(row.to_json()) for row in self._made_live.values()]
        others = sorted(encode_line(row.to_json()) for row in self._made.values())
        write_text_atomic(path, "".join([*live, *others]))

    def close(self) -> None:
        """Close the journal."""
        if self._journal:
            self._journal.close()

    def describe(self) -> str:
        """A sentence on where the answers come from."""
        counts = self.counts
        if self._recording is None and self._live is None:
            return "The answers of the tools are simulated, not live."
        rest = "were simulated" if self._missing == "simulate" else "got no answer"
        left = counts["simulated"] + counts["unanswered"]
        if self._live is None:
            told = f"Tools: {counts['recorded']} calls were answered from a recording; {left} are not in it, and {rest}"
        else:
            made = f"Tools: {counts['live']} calls were made live, by {self._live.path.name}"
            played = f", {counts['recorded']} were answered from a recording" if self._recording else ""
            late = sum(row.feedback.startswith("TimeoutError: ") for row in self._made_live.values())
            slow = f" ({late} of them without an answer in time)" if late else ""
            told = f"{made}{slow}{played}; {left} were not, and {rest}"
        wrong = counts["not_on_offer"]
        return f"{told}; {wrong} name a tool that is not on offer." if wrong else f"{told}."


def _read_kept(path: Path) -> Recording:
    """Live calls of an earlier start; a line that was cut short by a kill is passed over."""
    if not path.is_file() or not path.stat().st_size:
        return Recording()
    rows = [row for _, row in read_json_lines(path) if not isinstance(row, DataError)]
    return Recording.of(RecordedCall.model_validate(row) for row in rows)
