"""The scripted teacher: follows the plan of a task, and errs on purpose at a set rate. No model, seeded.

A mistake is executed like any call, so that its feedback is real; the teacher then recovers with the right call.
"""

import copy
import random
from typing import NamedTuple

from tltrain.envs.base import Feedback
from tltrain.envs.sandbox.environment import Sandbox
from tltrain.generate.mistakes import Scalar, Scene, propose_mistake, scalars_of
from tltrain.generate.task import Started, Task, advance, run_gold
from tltrain.generate.teacher import Conversation, Transcript
from tltrain.taxonomy import CallError, FeedbackKind
from tltrain.types import AnyCall, ToolCall

MISTAKE_WEIGHTS = {
    CallError.CONTENT: 0.24,
    CallError.WRONG_TOOL: 0.2,
    CallError.TOOL_HALLUCINATION: 0.14,
    CallError.PARAM_MISSING: 0.14,
    CallError.PARAM_HALLUCINATED: 0.12,
    CallError.PARAM_REDUNDANT: 1.0,
    CallError.FORMAT: 0.08,
}
"""How often each kind is tried. Few calls leave out an optional parameter, so a redundant one is possible for few of
them, and is tried often there. Our choice: the paper gives the share of wrong calls, not their mix."""
_MAX_DRAWS = 60


class Mistake(NamedTuple):
    """A wrong call and what is wrong with it."""

    kind: CallError
    call: AnyCall


class ScriptedTeacher:
    """Does every task by its plan.

    Args:
        mistake_rate: wanted share of mistakes among all calls, in [0, 0.5): each right call is preceded by at most
            one mistake.
        silent_share: wanted share, in [0, 1], of mistakes that give no error (a read of the wrong thing); they are
            the ones that an audit cannot find in the feedback.
        seed: decides with the task which mistakes are made.
    """

    name = "scripted"

    def __init__(self, *, mistake_rate: float = 0.0, silent_share: float = 0.1, seed: int = 0):
        # m mistakes before each right call give a share of m / (1 + m).
        self._mistakes_per_call = mistake_rate / (1 - mistake_rate)
        self._silent_share = silent_share
        self._seed = seed

    def act(self, started: Started) -> Transcript:
        """See `Teacher.act`; never fails."""
        rng = self._rng(started.task)
        planned = run_gold(started.task).calls if self._mistakes_per_call else ()
        talk = Conversation(started)
        seen: list[Scalar] = []
        step = advance(started.plan)
        while isinstance(step, ToolCall):
            if rng.random() < self._mistakes_per_call:
                scene = Scene(right=step, tools=started.sandbox.tools, seen=tuple(seen))
                if mistake := self._draw(scene, started.sandbox, planned, rng):
                    talk.call(mistake.call, mistake.kind)
            feedback = _insist(talk, step)
            seen += scalars_of(feedback.value)
            step = advance(started.plan, feedback.value)
        talk.close(step)
        return talk.transcript(mistakes_known=True)

    def _rng(self, task: Task) -> random.Random:
        return random.Random(f"teacher:{self._seed}:{task.kit}:{task.template}:{task.seed}:{task.toolset.number}")

    def _draw(
        self, scene: Scene, sandbox: Sandbox, planned: tuple[ToolCall, ...], rng: random.Random
    ) -> Mistake | None:
        """A mistake that leaves the state as it is, and is no call that the plan makes sooner or later."""
        wants_silent = rng.random() < self._silent_share
        for draw in range(_MAX_DRAWS):
            kind = rng.choices(list(MISTAKE_WEIGHTS), list(MISTAKE_WEIGHTS.values()))[0]
            call = propose_mistake(kind, scene, rng)
            if call is None or call in planned:
                continue
            feedback = _try(call, sandbox)
            if feedback is None or feedback.error is FeedbackKind.SERVICE_FAILURE:
                continue
            if feedback.error is not None and not (wants_silent and draw < _MAX_DRAWS // 2):
                return Mistake(kind, call)
            if feedback.error is None and wants_silent and feedback != _try(scene.right, sandbox, may_change=True):
                return Mistake(kind, call)
        return None


def _insist(talk: Conversation, call: ToolCall) -> Feedback:
    """Make a right call, again for as long as the service fails."""
    feedback = talk.call(call)
    while feedback.error is FeedbackKind.SERVICE_FAILURE:
        feedback = talk.call(call)
    assert feedback.error is None, f"the plan's own call {call} fails: {feedback.text}"
    return feedback


def _try(call: AnyCall, sandbox: Sandbox, *, may_change: bool = False) -> Feedback | None:
    """What a call would answer, found out on a copy; None if it would change the state."""
    # The documents are frozen: sharing them makes the copy several times faster.
    trial = copy.deepcopy(sandbox, {id(sandbox.tools): sandbox.tools})
    feedback = trial.execute(call)
    return feedback if may_change or trial.snapshot() == sandbox.snapshot() else None
