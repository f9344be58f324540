"""Whole conversations in the sandbox: the model acts on a rebuilt task until it answers.

Episodes advance together, a turn at a time, so that their replies are written in batches.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

from tltrain.benches.advance import advance
from tltrain.benches.policy import Policy, Reply, Request, Stop
from tltrain.envs.base import Feedback
from tltrain.formats.openai_chat import row_from_trajectory
from tltrain.generate.episode_tasks import EpisodeTask, FoundTasks, find_tasks, gives_up, is_done
from tltrain.generate.task import run_gold, start
from tltrain.generate.teacher import Conversation
from tltrain.stage import Progress
from tltrain.syntax import CallSyntax
from tltrain.taxonomy import diagnose_schema
from tltrain.types import AnyCall, MalformedCall, Message, Role, Trajectory

__all__ = ["EpisodeEnd", "EpisodeRow", "EpisodeTask", "FoundTasks", "find_tasks", "gives_up", "run_episodes"]


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
            success=is_valid and is_done(self._started, self._gold, self._calls) if is_scored else None,
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
