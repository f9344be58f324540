"""Whole conversations in the sandbox: the model acts on a rebuilt task until it answers.

Episodes advance together, a turn at a time, so that their replies are written in batches.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from tltrain.benches.advance import advance
from tltrain.benches.policy import Policy, Reply, Request, Stop
from tltrain.envs.base import Feedback
from tltrain.envs.sandbox.environment import ErrorStyle
from tltrain.errors import DataError, UsageError
from tltrain.formats.openai_chat import row_from_trajectory
from tltrain.generate.task import Task, run_gold, start, task_from_provenance
from tltrain.generate.teacher import Conversation
from tltrain.stage import Progress
from tltrain.syntax import CallSyntax
from tltrain.taxonomy import diagnose, diagnose_schema, json_equal
from tltrain.types import AnyCall, MalformedCall, Message, Role, Trajectory


class EpisodeEnd(StrEnum):
    """How an episode came to its end."""

    ANSWER = "answer"
    """The model answered in text."""
    EMPTY = "empty"
    """It ended its turn without text and without a call."""
    CUT_OFF = "cut_off"
    """Its text reached the limit of tokens without a call."""
    MAX_TURNS = "max_turns"
    """It was still calling tools in the last turn allowed."""
    CONTEXT_FULL = "context_full"
    """The conversation left no room for a reply in the model's context."""
    UNWRITABLE = "unwritable"
    """The model's chat template cannot write the conversation; the episode is not scored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EpisodeTask:
    """A task of a test set, with the surroundings it was done in."""

    id: str
    """Of the trajectory."""
    task: Task
    style: ErrorStyle
    failure_rate: float


class FoundTasks(NamedTuple):
    """Tasks of a data set."""

    tasks: list[EpisodeTask]
    faults: dict[str, str]
    """Sandbox rows that cannot be started again: id -> why."""


def find_tasks(trajectories: Sequence[Trajectory]) -> FoundTasks:
    """The tasks of all trajectories whose provenance says that they were made in the sandbox."""
    tasks: list[EpisodeTask] = []
    faults: dict[str, str] = {}
    for trajectory in trajectories:
        if trajectory.provenance.get("environment") != "sandbox":
            continue
        try:
            tasks.append(_read_task(trajectory))
        except (DataError, UsageError) as error:
            faults[trajectory.id] = str(error)
    return FoundTasks(tasks, faults)


def _read_task(trajectory: Trajectory) -> EpisodeTask:
    """Rebuild a task from its provenance.

    Raises:
        DataError: the provenance lacks something, or another version of tltrain made the row.
        UsageError: a tool on offer is no kit's.
    """
    provenance = trajectory.provenance
    task = task_from_provenance(provenance)
    style, failure_rate = provenance.get("style", ErrorStyle.PYTHON), provenance.get("failure_rate", 0.0)
    if style not in list(ErrorStyle):
        raise DataError(f"provenance.style is {style!r}; the sandbox knows {', '.join(ErrorStyle)}")
    if not isinstance(failure_rate, int | float) or not 0 <= failure_rate < 1:
        raise DataError(f"provenance.failure_rate is {failure_rate!r}; it must be a share in [0, 1)")
    style = ErrorStyle(str(style))
    asked = next((message.content for message in trajectory.messages if message.role is Role.USER), "")
    started = start(task, style, failure_rate)
    if started.query != asked or started.sandbox.tools != trajectory.tools:
        raise DataError("its query or tools are not those of the row; another version of tltrain made it")
    return EpisodeTask(id=trajectory.id, task=task, style=style, failure_rate=failure_rate)


class EpisodeRow(BaseModel):
    """One line of episodes.jsonl: a conversation and what became of it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    kit: str
    template: str
    query: str
    messages: list[dict[str, Any]]
    """In chat format, see `formats.openai_chat`."""
    success: bool | None
    """It ended with a valid answer in the right state, and, where the state says nothing, after the right calls; None
    if it is not scored."""
    valid_answer: bool | None
    """It ended by itself, with an answer that does not give up; None if it is not scored."""
    end: EpisodeEnd
    num_turns: int
    """Replies of the model."""
    num_calls: int
    num_malformed: int
    """Calls that cannot be read."""
    num_undocumented: int
    """Calls that can be read and go against the tool documents: an unknown tool, an unknown parameter, or a required
    parameter missing."""
    num_failed: int
    """Calls whose feedback is an error, unreadable ones included."""
    num_tokens: int
    """Tokens of all replies."""
    note: str = ""


def run_episodes(
    tasks: Sequence[EpisodeTask],
    policy: Policy,
    *,
    max_turns: int,
    at_once: int | None = None,
    progress: Progress | None = None,
) -> list[EpisodeRow]:
    """Let a policy do tasks, each in a sandbox of its own.

    A call that fails or cannot be read gets the sandbox's error as feedback, and the episode goes on.

    Args:
        tasks: what to do.
        policy: who does it.
        max_turns: most replies of one episode, the answer included.
        at_once: most of them under way at the same time; None: all.
        progress: told (episodes ended, all episodes, a remark).

    Returns:
        One row a task, in order.
    """
    episodes = [_Episode(task, policy.syntax) for task in tasks]
    advance(episodes, policy, max_replies=max_turns, at_once=at_once, progress=progress)
    return [episode.row() for episode in episodes]


class _Episode:
    """One conversation on its way."""

    def __init__(self, task: EpisodeTask, syntax: CallSyntax):
        self._task, self._syntax = task, syntax
        self._started = start(task.task, task.style, task.failure_rate)
        self._talk = Conversation(self._started)
        self._gold = run_gold(task.task)
        self._calls: list[tuple[AnyCall, Feedback]] = []
        self._num_turns = self._num_tokens = 0
        self._note = ""
        self.end: EpisodeEnd | None = None
        """None while it goes on."""

    def request(self) -> Request:
        """What the model reads next."""
        return Request(self._started.sandbox.tools, self._talk.messages, goes_on=True)

    def take(self, reply: Reply) -> None:
        """Act on one reply of the model."""
        if reply.stop in (Stop.TOO_LONG, Stop.UNWRITABLE):
            self.end = EpisodeEnd.CONTEXT_FULL if reply.stop is Stop.TOO_LONG else EpisodeEnd.UNWRITABLE
            self._note = reply.note
            return
        self._num_turns += 1
        self._num_tokens += reply.num_tokens
        parsed = self._syntax.parse(reply.text, tools=self._started.sandbox.tools)
        feedback = self._talk.reply(Message(role=Role.ASSISTANT, content=parsed.text, calls=parsed.calls))
        self._calls += zip(parsed.calls, feedback, strict=True)
        if parsed.calls:
            return
        if reply.stop is Stop.LENGTH:
            self.end = EpisodeEnd.CUT_OFF
        else:
            self.end = EpisodeEnd.ANSWER if parsed.text else EpisodeEnd.EMPTY

    def row(self) -> EpisodeRow:
        """What became of it."""
        messages = self._talk.messages
        tools = self._started.sandbox.tools
        is_scored = self.end is not EpisodeEnd.UNWRITABLE
        is_valid = self.end is EpisodeEnd.ANSWER and not gives_up(messages[-1].content)
        readable = [call for call, _ in self._calls if not isinstance(call, MalformedCall)]
        chat: Any = row_from_trajectory(Trajectory(id=self._task.id, tools=(), messages=messages))["messages"]
        return EpisodeRow(
            id=self._task.id,
            kit=self._task.task.kit,
            template=self._task.task.template,
            query=self._started.query,
            messages=chat,
            success=is_valid and self._is_done() if is_scored else None,
            valid_answer=is_valid if is_scored else None,
            end=self.end or EpisodeEnd.MAX_TURNS,
            num_turns=self._num_turns,
            num_calls=len(self._calls),
            num_malformed=len(self._calls) - len(readable),
            num_undocumented=sum(bool(diagnose_schema(call, tools).errors) for call in readable),
            num_failed=sum(feedback.error is not None for _, feedback in self._calls),
            num_tokens=self._num_tokens,
            note=self._note,
        )

    def _is_done(self) -> bool:
        """Whether the state is the one that the task's plan ends in; for a plan that leaves the state as it was,
        also whether each of its calls was made, and answered without an error.
        """
        if not json_equal(self._started.sandbox.snapshot(), self._gold.snapshot):
            return False
        untouched = start(self._task.task).sandbox.snapshot()
        if not json_equal(untouched, self._gold.snapshot):
            return True
        tools = self._started.sandbox.tools
        succeeded = [call for call, feedback in self._calls if feedback.error is None]
        return all(
            any(diagnose(call, tools, wanted).content_filled for call in succeeded) for wanted in self._gold.calls
        )


_CANNOT = r"(?:can ?not|can['’]?t|could ?n(?:o|['’])t|(?:un|not )able to)"
_WORK = r"(?:handle|complete|do|perform|solve|fulfil+|finish|help|assist|answer|process|accomplish|carry out|execute)"
_GIVES_UP = re.compile(
    rf"\b(?:i|we)\b[^.!?\n]{{0,20}}\b{_CANNOT} {_WORK}\b|\b(?:i|we) (?:have to |must )?give up\b|\bas an ai\b",
    re.IGNORECASE,
)


def gives_up(answer: str) -> bool:
    """Whether an English answer says that the task was not done, such as "I cannot handle the task.".

    An answer that reports something not found or not allowed is none of those.
    """
    return _GIVES_UP.search(answer) is not None
