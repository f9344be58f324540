"""Tasks of a data set, started again from its provenance, and whether an episode has done its task."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tltrain.envs.base import Feedback
from tltrain.envs.sandbox.environment import ErrorStyle
from tltrain.errors import DataError, UsageError
from tltrain.generate.task import GoldRun, Started, Task, start, task_from_provenance
from tltrain.taxonomy import diagnose, json_equal
from tltrain.types import AnyCall, Role, Trajectory


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


def is_done(started: Started, gold: GoldRun, calls: Sequence[tuple[AnyCall, Feedback]]) -> bool:
    """Whether the state is the one that the task's plan ends in; for a plan that leaves the state as it was, also
    whether each of its calls was made, and answered without an error.

    Args:
        started: the task, acted on.
        gold: its plan's run.
        calls: what was called, with the answers.
    """
    if not json_equal(started.sandbox.snapshot(), gold.snapshot):
        return False
    untouched = start(started.task).sandbox.snapshot()
    if not json_equal(untouched, gold.snapshot):
        return True
    tools = started.sandbox.tools
    succeeded = [call for call, feedback in calls if feedback.error is None]
    return all(any(diagnose(call, tools, wanted).content_filled for call in succeeded) for wanted in gold.calls)


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
