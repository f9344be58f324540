"""Where episodes take place: a sandbox task started again, or an environment of the user's own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tltrain.envs.base import Feedback
from tltrain.envs.user_environment import World, find_user_tasks, opening
from tltrain.generate.episode_tasks import EpisodeTask, find_tasks, is_done
from tltrain.generate.task import run_gold, start
from tltrain.taxonomy import diagnose
from tltrain.types import AnyCall, Message, Tool, ToolCall, Trajectory


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
    found = find_user_tasks(path, trajectories, field="episodes.environment")
    prompts = [
        EpisodePrompt(id=task.id, tools=task.tools, messages=task.messages, open=task.open) for task in found.tasks
    ]
    return prompts, found.faults


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
