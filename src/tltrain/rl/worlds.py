"""Where episodes take place: a sandbox task started again, or an environment of the user's own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tltrain.envs.user_environment import World, find_user_tasks, opening
from tltrain.generate.episode_tasks import find_tasks
from tltrain.generate.sandbox_world import SandboxWorld
from tltrain.types import Message, Tool, Trajectory


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
            open=lambda task=task: SandboxWorld(task),  # type: ignore[misc]
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
