"""A task of the sandbox, started again and acted on."""

from tltrain.envs.base import Feedback
from tltrain.generate.episode_tasks import EpisodeTask, is_done
from tltrain.generate.task import run_gold, start
from tltrain.taxonomy import diagnose
from tltrain.types import AnyCall, Tool, ToolCall


class SandboxWorld:
    """A `World` (see `envs.user_environment`) that knows the calls of its own plan."""

    def __init__(self, task: EpisodeTask):
        self._started = start(task.task, task.style, task.failure_rate)
        self._gold = run_gold(task.task)
        self._wanted: list[ToolCall] = list(self._gold.calls)
        self._calls: list[tuple[AnyCall, Feedback]] = []

    @property
    def tools(self) -> tuple[Tool, ...]:
        """On offer."""
        return self._started.sandbox.tools

    @property
    def query(self) -> str:
        """What the user says."""
        return self._started.query

    def execute(self, call: AnyCall) -> Feedback:
        """Run one call; never raises."""
        feedback = self._started.sandbox.execute(call)
        self._calls.append((call, feedback))
        return feedback

    def is_step(self, call: AnyCall, feedback: Feedback) -> bool:
        """Whether this call, made just now, is one of the plan that had not been made yet."""
        if feedback.error is not None:
            return False
        met = next((wanted for wanted in self._wanted if diagnose(call, self.tools, wanted).content_filled), None)
        if met is not None:
            self._wanted.remove(met)
        return met is not None

    def score(self, answer: str) -> float:  # noqa: ARG002 - the state says it
        """1 if the task is done, see `is_done`, else 0."""
        return float(is_done(self._started, self._gold, self._calls))
