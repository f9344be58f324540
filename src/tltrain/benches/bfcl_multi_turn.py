"""BFCL's multi-turn categories: conversations in environments whose state is compared after each turn.

Source: `inference_multi_turn_FC` of `model_handler/base_handler.py` of bfcl-eval 2026.3.23, whose loop this is. A turn
goes on as long as replies have calls that can be read; what they give is told to the model. A reply without, or with
one that cannot be read, ends the turn, and the user says the next thing. Too many steps in one turn end the case.
Environments and verdicts are the package's own, see `bfcl_environment`.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict

from tltrain.benches.advance import advance
from tltrain.benches.bfcl_environment import VERSION, BfclEnvironment, EnvironmentLostError, Session, WorkerInfo
from tltrain.benches.bfcl_multi_turn_cases import MultiTurnCase
from tltrain.benches.bfcl_results import result_of
from tltrain.benches.policy import Policy, Reply, Request, Stop
from tltrain.errors import DataError
from tltrain.files import decode_json
from tltrain.formats.openai_chat import row_from_trajectory
from tltrain.stage import Progress
from tltrain.syntax import CallSyntax, get_syntax
from tltrain.taxonomy import Diagnosis
from tltrain.types import Message, Role, Tool, ToolCall, Trajectory

NAME = "bfcl_multi_turn"
"""Under which rows and scores stand beside those of BFCL's single-turn categories."""
_RIGHT = Diagnosis().label


class TalkEnd(StrEnum):
    """How a conversation came to its end."""

    DONE = "done"
    """The model ended the last turn."""
    MAX_STEPS = "max_steps"
    """It was still calling tools after the steps allowed in one turn."""
    CONTEXT_FULL = "context_full"
    """The conversation left no room for a reply in the model's context; the case is wrong."""
    UNWRITABLE = "unwritable"
    """The model's chat template cannot write the conversation; the case is not scored."""
    FAILED = "failed"
    """An endpoint gave no reply; the case is not scored."""
    LOST = "lost"
    """The environments or their checker gave nothing; the case is not scored."""


class MultiTurnRow(BaseModel):
    """One line of the results: a conversation and what became of it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    category: str
    query: str
    """What the user said first."""
    completions: list[list[str]]
    """Replies of each turn as the model wrote them; the row can be judged again from them."""
    num_tokens: list[list[int]]
    """Tokens of each of them."""
    num_cut_off: int
    """Replies that reached the limit of tokens."""
    stop: Stop | None
    """Why the last reply was not written, if it was not."""
    syntax: str
    """In which the replies are read."""
    end: TalkEnd
    valid: bool | None
    """The official verdict; None: not scored."""
    label: str
    """The official error type, `all_right`, or how the conversation ended where it is not scored."""
    result: list[list[str | list[dict[str, str]]]]
    """As BFCL's result files have it."""
    num_calls: int
    num_failed: int
    """Calls whose result is an error."""
    messages: list[dict[str, Any]]
    """The conversation, in chat format."""
    note: str = ""
    """What the checker, or whoever gave nothing, says."""


def describe_multi_turn(info: WorkerInfo) -> list[str]:
    """What a reader must know about the numbers, a sentence each."""
    notes = [
        f"valid: the verdict of multi_turn_checker of bfcl-eval {info.version} on state and results after each turn.",
        f"A reply without readable calls ends a turn; more than {info.max_steps} steps in one end the case.",
        "CE: calls whose result is an error.",
    ]
    if info.version != VERSION:
        notes.append(f"bfcl-eval is {info.version}; numbers of {VERSION} may differ.")
    return notes


def run_multi_turn(
    cases: Sequence[MultiTurnCase],
    policy: Policy,
    environment: BfclEnvironment,
    *,
    max_steps: int,
    at_once: int | None = None,
    progress: Progress | None = None,
) -> list[MultiTurnRow]:
    """Let a policy hold conversations; they advance together, a reply at a time.

    Args:
        cases: what to talk about.
        policy: who talks.
        environment: where calls are made.
        max_steps: most steps with calls in one turn; one more ends a case.
        at_once: most of them under way at the same time; None: all.
        progress: told (conversations ended, all conversations, a remark).

    Returns:
        One row a case, in order.
    """
    talks = [
        _Talk(case, policy.syntax, Session(environment, str(number), case.entry), max_steps)
        for number, case in enumerate(cases)
    ]
    advance(talks, policy, max_replies=None, at_once=at_once, progress=progress)
    return [talk.row() for talk in talks]


def rejudge_talk(
    row: MultiTurnRow, case: MultiTurnCase, environment: BfclEnvironment, *, max_steps: int
) -> MultiTurnRow:
    """The row with its replies read, its calls made and judged anew; no model is needed.

    A conversation that ended for want of a result, and would now go on, stays as it is.

    Raises:
        DataError: what the replies were written for would not have been asked, as they are read now.
    """
    talk = _Talk(case, get_syntax(row.syntax), Session(environment, "again", case.entry), max_steps)
    for text in (text for turn in row.completions for text in turn):
        if talk.end is None:
            talk.take(Reply(text=text, num_tokens=0, stop=Stop.END))
    if row.stop is not None and talk.end is None:
        talk.take(Reply(text="", num_tokens=0, stop=row.stop, note=row.note))
    if talk.end is None:
        talk.close()
        if row.end is TalkEnd.LOST:
            return row
    if talk.end is None or (talk.end is not TalkEnd.LOST and talk.completions != row.completions):
        raise DataError(f"{row.id}: its replies do not fit the turns in which they were written; make the run anew")
    kept = {"completions": row.completions, "num_tokens": row.num_tokens, "num_cut_off": row.num_cut_off}
    return talk.row().model_copy(update=kept)


_ENDS = {
    Stop.TOO_LONG: TalkEnd.CONTEXT_FULL,
    Stop.UNWRITABLE: TalkEnd.UNWRITABLE,
    Stop.FAILED: TalkEnd.FAILED,
}


class _Talk:
    """One conversation on its way."""

    def __init__(self, case: MultiTurnCase, syntax: CallSyntax, session: Session, max_steps: int):
        self._case, self._syntax, self._session, self._max_steps = case, syntax, session, max_steps
        self._messages: list[Message] = []
        self._num_tokens: list[list[int]] = []
        self._result: list[list[str | list[dict[str, str]]]] = []
        self._num_steps = self._num_calls = self._num_failed = self._num_cut_off = 0
        self._stop: Stop | None = None
        self._verdict: Mapping[str, Any] | None = None
        self._note = ""
        self.completions: list[list[str]] = []
        """Replies so far, turn by turn."""
        self.end: TalkEnd | None = None
        """None while it goes on."""
        self._begin_turn()

    @property
    def _tools(self) -> tuple[Tool, ...]:
        return self._case.tools[len(self._result) - 1]

    def request(self) -> Request:
        """What the model reads next."""
        return Request(self._tools, tuple(self._messages), one_call=False, goes_on=True)

    def take(self, reply: Reply) -> None:
        """Act on one reply of the model."""
        if reply.stop in _ENDS:
            self._stop, self._note = reply.stop, reply.note
            self._finish(_ENDS[reply.stop])
            return
        self._num_cut_off += reply.stop is Stop.LENGTH
        self.completions[-1].append(reply.text)
        self._num_tokens[-1].append(reply.num_tokens)
        parsed = self._syntax.parse(reply.text, tools=self._tools)
        step = result_of(reply.text, parsed.calls)
        self._result[-1].append(step)
        try:
            outputs = None if isinstance(step, str) else self._session.execute(step)
        except EnvironmentLostError as error:
            self._note = str(error)
            self._finish(TalkEnd.LOST)
            return
        if outputs is None:
            self._messages.append(Message(role=Role.ASSISTANT, content=reply.text))
            self._end_turn()
            return
        first = self._num_calls + 1
        calls = tuple(replace(call, id=f"call_{number}") for number, call in enumerate(parsed.calls, start=first))
        self._messages.append(Message(role=Role.ASSISTANT, content=parsed.text, calls=calls))
        for call, output in zip(calls, outputs, strict=True):
            name = call.name if isinstance(call, ToolCall) else None
            self._messages.append(Message(role=Role.TOOL, content=output, call_id=call.id, name=name))
        self._num_calls += len(calls)
        self._num_failed += sum(map(_is_error, outputs))
        self._num_steps += 1
        if self._num_steps > self._max_steps:
            self._finish(TalkEnd.MAX_STEPS)

    def _begin_turn(self) -> None:
        self._messages += self._case.said[len(self._result)]
        self.completions.append([])
        self._num_tokens.append([])
        self._result.append([])
        self._num_steps = 0

    def _end_turn(self) -> None:
        if len(self._result) < len(self._case.said):
            self._begin_turn()
        else:
            self._finish(TalkEnd.DONE)

    def _finish(self, end: TalkEnd) -> None:
        self.end = end
        if end in (TalkEnd.DONE, TalkEnd.MAX_STEPS):
            try:
                self._verdict = self._session.judge(self._result, self._case.ground_truth)
                self._note = str(self._verdict["message"])
            except EnvironmentLostError as error:
                self.end, self._note = TalkEnd.LOST, f"no verdict: {error}"
        self.close()

    def close(self) -> None:
        """Let go of the environments."""
        self._session.close()

    def row(self) -> MultiTurnRow:
        """What became of it."""
        assert self.end is not None
        valid, label = None, self.end.value
        if self._verdict is not None:
            valid = bool(self._verdict["valid"])
            label = _RIGHT if valid else str(self._verdict["error_type"])
        elif self.end is TalkEnd.CONTEXT_FULL:
            valid = False
        messages: Any = row_from_trajectory(Trajectory(id="", tools=(), messages=tuple(self._messages)))["messages"]
        return MultiTurnRow(
            id=self._case.id,
            category=self._case.category,
            query=next((message.content for message in self._case.said[0] if message.role is Role.USER), ""),
            completions=self.completions,
            num_tokens=self._num_tokens,
            num_cut_off=self._num_cut_off,
            stop=self._stop,
            syntax=self._syntax.name,
            end=self.end,
            valid=valid,
            label=label,
            result=self._result,
            num_calls=self._num_calls,
            num_failed=self._num_failed,
            messages=messages,
            note=self._note,
        )


def _is_error(output: str) -> bool:
    """Whether the environments say that a call went wrong: by an exception, or by an object with an `error`."""
    if output.startswith("Error during execution"):
        return True
    try:
        found = decode_json(output)
    except ValueError:
        return False
    return isinstance(found, dict) and "error" in found
