"""Whole conversations, in the sandbox or an environment of the user's: the model acts on a task until it answers.

Episodes advance together, a turn at a time, so that their replies are written in batches.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict

from tltrain.benches.advance import advance
from tltrain.benches.policy import Policy, Reply, Request, Stop
from tltrain.benches.single_turn import kit_of
from tltrain.envs.base import Feedback
from tltrain.envs.user_environment import UserTask, World
from tltrain.formats.openai_chat import row_from_trajectory
from tltrain.generate.episode_tasks import EpisodeTask, FoundTasks, find_tasks, gives_up
from tltrain.generate.sandbox_world import SandboxWorld
from tltrain.stage import Progress
from tltrain.syntax import CallSyntax
from tltrain.taxonomy import diagnose_schema
from tltrain.types import AnyCall, MalformedCall, Message, Role, Tool, ToolCall, Trajectory

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
    FAILED = "failed"
    """The user's environment raised; the episode is not scored."""


UNSCORED = (EpisodeEnd.UNWRITABLE, EpisodeEnd.FAILED)


class EpisodeRow(BaseModel):
    """One line of episodes.jsonl: a conversation and what became of it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    kit: str
    """`all`: the row names none."""
    template: str
    """Of the sandbox; empty for tasks of the user's own."""
    query: str
    messages: list[dict[str, Any]]
    """In chat format, see `formats.openai_chat`."""
    success: bool | None
    """It ended with a valid answer in the right state, and, where the state says nothing, after the right calls; None
    if it is not scored."""
    score: float | None = None
    """Of the final state, in [0, 1], 1 being success, as the user's environment has it; 0 without a valid answer. None
    in the sandbox, or if it is not scored."""
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
    tasks: Sequence[EpisodeTask | UserTask],
    policy: Policy,
    *,
    max_turns: int,
    at_once: int | None = None,
    progress: Progress | None = None,
) -> list[EpisodeRow]:
    """Let a policy do tasks, each in a world of its own.

    A call that fails or cannot be read gets the world's error as feedback, and the episode goes on. What a user's
    environment raises ends the episode.

    Args:
        tasks: what to do.
        policy: who does it.
        max_turns: most replies of one episode, the answer included.
        at_once: most of them under way at the same time; None: all.
        progress: told (episodes ended, all episodes, a remark).

    Returns:
        One row a task, in order.
    """
    episodes = [_begin(task, policy.syntax) for task in tasks]
    advance(episodes, policy, max_replies=max_turns, at_once=at_once, progress=progress)
    return [episode.row() for episode in episodes]


def _begin(task: EpisodeTask | UserTask, syntax: CallSyntax) -> "_Episode":
    if isinstance(task, UserTask):
        said = next((message.content for message in reversed(task.messages) if message.role is Role.USER), "")
        fields = {"id": task.id, "kit": kit_of(task.row), "template": "", "query": said}
        return _Episode(fields, task.tools, task.messages, task.open, syntax)
    world = SandboxWorld(task)
    fields = {"id": task.id, "kit": task.task.kit, "template": task.task.template, "query": world.query}
    return _Episode(fields, world.tools, (Message(role=Role.USER, content=world.query),), lambda: world, syntax)


class _Episode:
    """One conversation on its way."""

    def __init__(
        self,
        fields: Mapping[str, str],
        tools: tuple[Tool, ...],
        messages: Sequence[Message],
        opened: Callable[[], World],
        syntax: CallSyntax,
    ):
        self._fields, self._tools, self._syntax = fields, tools, syntax
        self._messages = [*messages]
        self._open = opened
        self._world: World | None = None
        self._calls: list[tuple[AnyCall, Feedback]] = []
        self._num_turns = self._num_tokens = 0
        self._score = 0.0
        self._note = ""
        self.end: EpisodeEnd | None = None
        """None while it goes on."""

    def request(self) -> Request:
        """What the model reads next."""
        return Request(self._tools, tuple(self._messages), goes_on=True)

    def take(self, reply: Reply) -> None:
        """Act on one reply of the model."""
        if reply.stop in (Stop.TOO_LONG, Stop.UNWRITABLE):
            self.end = EpisodeEnd.CONTEXT_FULL if reply.stop is Stop.TOO_LONG else EpisodeEnd.UNWRITABLE
            self._note = reply.note
            return
        self._num_turns += 1
        self._num_tokens += reply.num_tokens
        parsed = self._syntax.parse(reply.text, tools=self._tools)
        first = len(self._calls) + 1
        calls = tuple(replace(call, id=f"call_{number}") for number, call in enumerate(parsed.calls, start=first))
        self._messages.append(Message(role=Role.ASSISTANT, content=parsed.text, calls=calls))
        try:
            self._act(calls, parsed.text, is_cut=reply.stop is Stop.LENGTH)
        except Exception as error:  # not our code: whatever it raises
            if isinstance(self._world, SandboxWorld):
                raise
            self.end = EpisodeEnd.FAILED
            self._note = f"the environment raised {type(error).__name__}: {error}"

    def _act(self, calls: Sequence[AnyCall], text: str, *, is_cut: bool) -> None:
        self._world = world = self._world or self._open()
        for call in calls:
            feedback = world.execute(call)
            name = call.name if isinstance(call, ToolCall) else None
            self._messages.append(Message(role=Role.TOOL, content=feedback.text, call_id=call.id, name=name))
            self._calls.append((call, feedback))
        if calls:
            return
        if is_cut:
            self.end = EpisodeEnd.CUT_OFF
            return
        self.end = EpisodeEnd.ANSWER if text else EpisodeEnd.EMPTY
        if text and not gives_up(text):
            self._score = world.score(text)

    def row(self) -> EpisodeRow:
        """What became of it."""
        is_scored = self.end not in UNSCORED
        is_valid = self.end is EpisodeEnd.ANSWER and not gives_up(self._messages[-1].content)
        readable = [call for call, _ in self._calls if not isinstance(call, MalformedCall)]
        told = Trajectory(id=self._fields["id"], tools=(), messages=tuple(self._messages))
        chat: Any = row_from_trajectory(told)["messages"]
        return EpisodeRow(
            **self._fields,
            messages=chat,
            success=self._score >= 1 if is_scored else None,
            score=self._score if is_scored and not self._fields["template"] else None,
            valid_answer=is_valid if is_scored else None,
            end=self.end or EpisodeEnd.MAX_TURNS,
            num_turns=self._num_turns,
            num_calls=len(self._calls),
            num_malformed=len(self._calls) - len(readable),
            num_undocumented=sum(bool(diagnose_schema(call, self._tools).errors) for call in readable),
            num_failed=sum(feedback.error is not None for _, feedback in self._calls),
            num_tokens=self._num_tokens,
            note=self._note,
        )
