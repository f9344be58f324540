"""Environments of the user's own: a Python file in which each row of a data set is a task."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from tltrain.envs.base import Feedback
from tltrain.envs.user_file import last_line, load_user_file
from tltrain.errors import UsageError
from tltrain.taxonomy import FeedbackKind, diagnose_schema
from tltrain.types import AnyCall, MalformedCall, Message, Role, Tool, Trajectory


class World(Protocol):
    """The state behind one episode. What it raises leaves the episode unscored."""

    def execute(self, call: AnyCall) -> Feedback:
        """Run one call, which may be a `MalformedCall`."""

    def is_step(self, call: AnyCall, feedback: Feedback) -> bool:
        """Whether this call, made just now, is one that the task needs and that had not been made yet."""

    def score(self, answer: str) -> float:
        """How well the final state fits the task, in [0, 1], 1 being success; asked after a valid answer."""


class UserWorld(Protocol):
    """What `reset` of a user's environment returns.

    It may have `is_step(call, feedback) -> bool` too, see `World`; without it no step is rewarded.
    """

    def execute(self, call: AnyCall) -> Feedback | str:
        """Run one call; text alone is a result without an error.

        What it raises at a call that cannot be read, or that goes against the tool's document, is the answer to the
        call; what it raises at any other leaves the episode unscored.
        """

    def score(self, answer: str) -> float:
        """See `World.score`."""


class UserEnvironment(Protocol):
    """A Python file with an environment: each row of the data is a task in it.

    The row's tools are on offer, its messages before the assistant's first are what the model reads, and its provenance
    says whatever the environment needs to know.
    """

    def reset(self, row: Trajectory) -> UserWorld | None:
        """A fresh world for the task of a row, called once an episode; None: the row is no task here.

        Equal rows must give equal worlds, or a resumed run is not the one that was killed.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class UserTask:
    """A row as a task, before anything is done about it."""

    row: Trajectory
    messages: tuple[Message, ...]
    """All that the model reads at first."""
    open: Callable[[], World]
    """A fresh world."""

    @property
    def id(self) -> str:
        """Of the row."""
        return self.row.id

    @property
    def tools(self) -> tuple[Tool, ...]:
        """On offer."""
        return self.row.tools


class UserTasks(NamedTuple):
    """Tasks of a data set."""

    tasks: list[UserTask]
    faults: dict[str, str]
    """Rows that are no tasks: id -> why."""


def find_user_tasks(path: Path, trajectories: Sequence[Trajectory], *, field: str) -> UserTasks:
    """The tasks that an environment of the user's makes of rows.

    Args:
        path: the environment's file.
        trajectories: the rows.
        field: the setting that names the file.

    Raises:
        UsageError: the file cannot be run, or has no function `reset`.
    """
    reset = load_environment(path, field=field)
    tasks: list[UserTask] = []
    faults: dict[str, str] = {}
    for row in trajectories:
        try:
            world = reset(row)
        except Exception as error:  # not our code: whatever it raises
            faults[row.id] = f"reset raised {type(error).__name__}: {error}"
            continue
        messages = opening(row)
        if world is None:
            faults[row.id] = "reset gave None"
        elif not messages:
            faults[row.id] = "no message stands before the assistant's first; begin with what the user says"
        else:
            tasks.append(UserTask(row=row, messages=messages, open=lambda row=row: _World(reset(row), row.tools)))  # type: ignore[misc]
    return UserTasks(tasks, faults)


def load_environment(path: Path, *, field: str) -> Callable[[Trajectory], Any]:
    """The function `reset` of a Python file.

    Raises:
        UsageError: there is no such file, it raises, or it has no such function.
    """
    reset = getattr(load_user_file(path, field=field, needs="a function reset(row)"), "reset", None)
    if not callable(reset):
        raise UsageError(f"{field}={path} has no function reset(row); it must return an object with execute and score")
    return reset  # type: ignore[no-any-return]


def opening(trajectory: Trajectory) -> tuple[Message, ...]:
    """The messages before the assistant's first."""
    messages = trajectory.messages
    end = next((at for at, message in enumerate(messages) if message.role is Role.ASSISTANT), len(messages))
    return messages[:end]


class _World:
    """What a user's `reset` returned, its results brought into our types."""

    def __init__(self, world: Any, tools: Sequence[Tool]):
        self._world, self._tools = world, tools

    def execute(self, call: AnyCall) -> Feedback:
        try:
            feedback = self._world.execute(call)
        except Exception as error:  # not our code: whatever it raises
            if not diagnose_schema(call, self._tools).errors:
                raise
            # the model's fault: an episode that it spoils must not leave the scores
            text = f"ValueError: invalid call: {call.reason}" if isinstance(call, MalformedCall) else last_line(error)
            return Feedback(text=text, error=FeedbackKind.TYPE_OR_VALUE)
        if isinstance(feedback, str):
            return Feedback(text=feedback)
        if not isinstance(feedback, Feedback):
            raise TypeError(f"execute gave {type(feedback).__name__}; it must give a Feedback or text")
        return feedback

    def is_step(self, call: AnyCall, feedback: Feedback) -> bool:
        judge = getattr(self._world, "is_step", None)
        return bool(judge(call, feedback)) if judge else False

    def score(self, answer: str) -> float:
        score = float(self._world.score(answer))
        if not 0 <= score <= 1:
            raise ValueError(f"score gave {score}; it must lie in [0, 1]")
        return score
