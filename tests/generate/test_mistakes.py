"""Proposals of wrong calls: each is of the kind it says, by the judgement of `diagnose`."""

import ast
import random

import pytest

from tltrain.envs.sandbox import KITS
from tltrain.generate.mistakes import PROPOSALS, Scene, propose_mistake, scalars_of
from tltrain.generate.task import Task, run_gold, start
from tltrain.generate.templates import TEMPLATES
from tltrain.generate.toolsets import choose_toolset
from tltrain.syntax import get_syntax
from tltrain.taxonomy import CallError, diagnose
from tltrain.types import MalformedCall, Tool, ToolCall


def scenes() -> list[Scene]:
    """Every call of a gold run of every template."""
    found = []
    for kit, template in TEMPLATES:
        task = Task(kit=kit, template=template, seed=5, toolset=choose_toolset(kit, 2, tuple(KITS), 0))
        tools = start(task).sandbox.tools
        found += [Scene(right=call, tools=tools, seen=("A100", 7, 2.5)) for call in run_gold(task).calls]
    return found


SCENES = scenes()


def proposals(kind: CallError):
    rng = random.Random(0)
    for scene in SCENES:
        for _ in range(6):
            call = propose_mistake(kind, scene, rng)
            if call is not None:
                yield scene, call


@pytest.mark.parametrize("kind", PROPOSALS)
def test_a_proposal_is_of_its_kind(kind):
    judged = [(diagnose(call, scene.tools, scene.right), scene, call) for scene, call in proposals(kind)]
    assert len(judged) >= 50
    for diagnosis, scene, call in judged:
        # A renamed parameter is hallucinated and missing at once; every other proposal errs in one way only.
        allowed = {kind, CallError.PARAM_MISSING} if kind is CallError.PARAM_HALLUCINATED else {kind}
        assert kind in diagnosis.errors, (scene.right, call)
        assert set(diagnosis.errors) <= allowed, (scene.right, call)


def test_malformed_text_is_no_python_and_survives_the_call_syntax():
    syntax = get_syntax("python")
    reasons = set()
    for _, call in proposals(CallError.FORMAT):
        assert isinstance(call, MalformedCall)
        with pytest.raises(SyntaxError):
            ast.parse(call.raw, mode="eval")
        (parsed,) = syntax.parse(syntax.render("", [call])).calls
        assert isinstance(parsed, MalformedCall)
        reasons.add(call.reason)
    assert len(reasons) == 5


def test_siblings_with_a_shared_prefix_are_taken_more_often():
    tools = tuple(Tool(name=name) for name in ("get_event_by_day", "get_event_by_id", "delete_all", "lock_door"))
    scene = Scene(right=ToolCall(name="get_event_by_id"), tools=tools)
    rng = random.Random(0)
    names = [propose_mistake(CallError.WRONG_TOOL, scene, rng).name for _ in range(300)]
    assert names.count("get_event_by_day") > 4 * names.count("lock_door") > 0


@pytest.mark.parametrize(
    ("kind", "tools"),
    [
        (CallError.WRONG_TOOL, (Tool(name="ping"),)),
        (CallError.PARAM_MISSING, (Tool(name="ping"),)),
        (CallError.PARAM_REDUNDANT, (Tool(name="ping"),)),
        (CallError.CONTENT, (Tool(name="ping"),)),
    ],
)
def test_impossible_mistakes_are_none(kind, tools):
    assert propose_mistake(kind, Scene(right=ToolCall(name="ping"), tools=tools), random.Random(0)) is None


def test_a_renamed_parameter_never_hits_another_one_of_the_tool():
    names = ("event_id", "id", "event", "eventId", "event_id_value")
    tool = Tool(name="ping", parameters={"type": "object", "properties": {name: {} for name in names}})
    scene = Scene(right=ToolCall(name="ping", arguments={"event_id": "e1"}), tools=(tool,))
    rng = random.Random(0)
    calls = [propose_mistake(CallError.PARAM_HALLUCINATED, scene, rng) for _ in range(40)]
    assert None in calls
    assert all(set(call.arguments) - set(names) for call in calls if call is not None)


def test_scalars_of_a_result():
    value = [{"id": "e1", "n": 2, "free": True, "tags": ["x", None, 1.5]}, "end"]
    assert scalars_of(value) == ("e1", 2, "x", 1.5, "end")
