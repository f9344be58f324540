"""Where episodes take place: a sandbox task started again, or an environment of the user's own."""

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tltrain.envs.base import Feedback
from tltrain.errors import UsageError
from tltrain.generate.episode_tasks import EpisodeTask, find_tasks, is_done
from tltrain.generate.task import run_gold, start
from tltrain.taxonomy import diagnose
from tltrain.types import AnyCall, Message, Role, Tool, ToolCall, Trajectory


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
        """Run one call; text alone is a result without an error."""

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
class EpisodePrompt:
    """A task, before anything is done about it."""

    id: str
    """Of its row."""
    tools: tuple[Tool, ...]
    messages: tuple[Message, ...]
    """All that the model reads at first."""
    open: Callable[[], World]
    """A fresh world."""
    ids: tuple[int, ...] = ()
    """Token ids of what the model reads at first."""
    toolset: int = 0
    """Equal for tasks with the same tool list."""

    @property
    def trajectory(self) -> str:
        """What it is held out by."""
        return self.id


def sandbox_prompts(trajectories: Sequence[Trajectory]) -> tuple[list[EpisodePrompt], dict[str, str]]:
    """The tasks of rows that were made in the sandbox, and why other rows of it cannot be started again."""
    found = find_tasks(trajectories)
    rows = {trajectory.id: trajectory for trajectory in trajectories}
    prompts = [
        EpisodePrompt(
            id=task.id,
            tools=rows[task.id].tools,
            messages=opening(rows[task.id]),
            open=lambda task=task: _SandboxWorld(task),  # type: ignore[misc]
        )
        for task in found.tasks
    ]
    return prompts, found.faults


def user_prompts(path: Path, trajectories: Sequence[Trajectory]) -> tuple[list[EpisodePrompt], dict[str, str]]:
    """The tasks that an environment of the user's makes of rows, and why it makes none of others.

    Raises:
        UsageError: the file cannot be run, or has no function `reset`.
    """
    reset = load_environment(path)
    prompts: list[EpisodePrompt] = []
    faults: dict[str, str] = {}
    for row in trajectories:
        try:
            world = reset(row)
        except Exception as error:  # not our code: whatever it raises
            faults[row.id] = f"reset raised {type(error).__name__}: {error}"
            continue
        if world is None:
            faults[row.id] = "reset gave None"
        elif not opening(row):
            faults[row.id] = "no message stands before the assistant's first; begin with what the user says"
        else:
            prompts.append(
                EpisodePrompt(
                    id=row.id,
                    tools=row.tools,
                    messages=opening(row),
                    open=lambda row=row: _UserWorld(reset(row)),  # type: ignore[misc]
                )
            )
    return prompts, faults


def load_environment(path: Path) -> Callable[[Trajectory], Any]:
    """The function `reset` of a Python file.

    Raises:
        UsageError: there is no such file, it raises, or it has no such function.
    """
    field = f"episodes.environment={path}"
    if not path.is_file():
        raise UsageError(f"{field} is no file; name a Python file with a function reset(row)")
    spec = importlib.util.spec_from_file_location(f"tltrain_environment_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{field} is no Python file; its name must end with .py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UsageError(f"{field} cannot be run: {type(error).__name__}: {error}; correct it") from error
    reset = getattr(module, "reset", None)
    if not callable(reset):
        raise UsageError(f"{field} has no function reset(row); it must return an object with execute and score")
    return reset  # type: ignore[no-any-return]


def opening(trajectory: Trajectory) -> tuple[Message, ...]:
    """The messages before the assistant's first."""
    messages = trajectory.messages
    end = next((at for at, message in enumerate(messages) if message.role is Role.ASSISTANT), len(messages))
    return messages[:end]


class _SandboxWorld:
    """A task of the sandbox, which knows the calls of its own plan."""

    def __init__(self, task: EpisodeTask):
        self._started = start(task.task, task.style, task.failure_rate)
        self._gold = run_gold(task.task)
        self._wanted: list[ToolCall] = list(self._gold.calls)
        self._calls: list[tuple[AnyCall, Feedback]] = []

    def execute(self, call: AnyCall) -> Feedback:
        feedback = self._started.sandbox.execute(call)
        self._calls.append((call, feedback))
        return feedback

    def is_step(self, call: AnyCall, feedback: Feedback) -> bool:
        tools = self._started.sandbox.tools
        if feedback.error is not None:
            return False
        met = next((wanted for wanted in self._wanted if diagnose(call, tools, wanted).content_filled), None)
        if met is not None:
            self._wanted.remove(met)
        return met is not None

    def score(self, answer: str) -> float:  # noqa: ARG002 - the state says it
        return float(is_done(self._started, self._gold, self._calls))


class _UserWorld:
    """What a user's `reset` returned, its results brought into our types."""

    def __init__(self, world: Any):
        self._world = world

    def execute(self, call: AnyCall) -> Feedback:
        feedback = self._world.execute(call)
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
