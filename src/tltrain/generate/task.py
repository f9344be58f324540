"""A task: a user's query over a fresh sandbox, rebuilt exactly from four values."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from msgspec.structs import replace

import tltrain.generate.tasks  # noqa: F401 - registers the templates
from tltrain.envs.sandbox import KITS
from tltrain.envs.sandbox.environment import ErrorStyle, Sandbox
from tltrain.errors import DataError
from tltrain.generate.templates import TEMPLATES, Plan
from tltrain.generate.toolsets import Toolset, owner_of
from tltrain.types import Json, ToolCall


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """What to ask, of which state, with which tools on offer."""

    kit: str
    template: str
    seed: int
    """Decides the state, the query's values and wording, and which calls meet a service failure."""
    toolset: Toolset


@dataclass(frozen=True, kw_only=True, slots=True)
class Started:
    """A task that is ready to be acted on."""

    task: Task
    sandbox: Sandbox
    query: str
    plan: Plan
    """Past its query: the next value is the first right call; see `advance`."""


def start(task: Task, style: ErrorStyle = ErrorStyle.PYTHON, failure_rate: float = 0.0) -> Started:
    """Build the sandbox and the query of a task; equal arguments give equal starts.

    Args:
        task: what to start.
        style: wording of errors.
        failure_rate: share of calls, in [0, 1), that end in a service failure.
    """
    owners = dict.fromkeys([task.kit, *(owner_of(name) for name in task.toolset.names)])
    kits = [KITS[name](task.seed) for name in owners]
    sandbox = Sandbox(
        kits,
        shown=task.toolset.names,
        new_names=task.toolset.new_names,
        style=style,
        failure_rate=failure_rate,
        seed=task.seed,
    )
    plan = _plan(task, kits[0])
    query = next(plan)
    assert isinstance(query, str), f"template {task.kit}/{task.template} must yield its query first"
    return Started(task=task, sandbox=sandbox, query=query, plan=plan)


def query_of(task: Task) -> str:
    """The query alone, for much less work than `start`."""
    query = next(_plan(task, KITS[task.kit](task.seed)))
    assert isinstance(query, str), f"template {task.kit}/{task.template} must yield its query first"
    return query


def _plan(task: Task, kit: object) -> Plan:
    """The template's plan, its calls under the names that are shown."""
    rng = random.Random(f"query:{task.kit}:{task.template}:{task.seed}")
    plan = TEMPLATES[task.kit, task.template].plan(kit, rng)
    result: Json = None
    while True:
        try:
            step = plan.send(result)
        except StopIteration as stop:
            answer: str = stop.value
            return answer
        if isinstance(step, ToolCall):
            step = replace(step, name=task.toolset.new_names.get(step.name, step.name))
        result = yield step


def advance(plan: Plan, result: Json = None) -> ToolCall | str:
    """Tell the plan the result of its last call (None at first); get its next call, or the closing text."""
    try:
        step = plan.send(result)
    except StopIteration as stop:
        answer: str = stop.value
        return answer
    assert isinstance(step, ToolCall), "a plan yields one query, then calls"
    return step


@dataclass(frozen=True, kw_only=True, slots=True)
class GoldRun:
    """The task done without a mistake or a failure."""

    calls: tuple[ToolCall, ...]
    answer: str
    snapshot: Json
    """The state that the task should end in."""


def run_gold(task: Task) -> GoldRun:
    """Follow the task's plan in a sandbox of its own."""
    started = start(task)
    calls: list[ToolCall] = []
    step = advance(started.plan)
    while isinstance(step, ToolCall):
        calls.append(step)
        feedback = started.sandbox.execute(step)
        assert feedback.error is None, f"{task}: its own plan fails at {step}: {feedback.text}"
        step = advance(started.plan, feedback.value)
    return GoldRun(calls=tuple(calls), answer=step, snapshot=started.sandbox.snapshot())


@cache
def planned_calls(kit: str, template: str, seed: int) -> tuple[str, ...]:
    """The kit's own names of the tools that a task's plan calls, in order."""
    everything = Toolset(0, tuple(tool.name for tool in KITS[kit].tools()))
    task = Task(kit=kit, template=template, seed=seed, toolset=everything)
    return tuple(call.name for call in run_gold(task).calls)


def task_provenance(task: Task) -> dict[str, Json]:
    """The part of a trajectory's provenance that rebuilds its task."""
    return {
        "environment": "sandbox",
        "kit": task.kit,
        "template": task.template,
        "seed": task.seed,
        "toolset": task.toolset.number,
        "offered": list(task.toolset.names),
        **({"shown_as": list(task.toolset.shown_as)} if task.toolset.shown_as else {}),
    }


def task_from_provenance(provenance: Mapping[str, Json]) -> Task:
    """Read a task back from a trajectory's provenance.

    Raises:
        DataError: not made in the sandbox, a field is missing or of another type, or no such template.
    """
    if provenance.get("environment") != "sandbox":
        environment = provenance.get("environment")
        raise DataError(
            f"provenance.environment is {environment!r}; only rows made in the 'sandbox' can be started again"
        )
    kit, template, seed, number, offered = (
        provenance.get(name) for name in ("kit", "template", "seed", "toolset", "offered")
    )
    if not (isinstance(seed, int) and isinstance(number, int) and isinstance(offered, list)):
        raise DataError("provenance needs seed and toolset (integers) and offered (list of tool names); generate anew")
    if not (isinstance(kit, str) and isinstance(template, str) and (kit, template) in TEMPLATES):
        known = ", ".join("/".join(key) for key in TEMPLATES)
        raise DataError(
            f"provenance names the template {kit}/{template}, which does not exist; the templates are {known}"
        )
    shown_as = provenance.get("shown_as", [])
    if not isinstance(shown_as, list) or len(shown_as) not in (0, len(offered)):
        raise DataError("provenance.shown_as should be a list with one name for each in offered; generate anew")
    toolset = Toolset(number, tuple(str(name) for name in offered), tuple(str(name) for name in shown_as))
    return Task(kit=kit, template=template, seed=seed, toolset=toolset)
