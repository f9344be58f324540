"""Against bfcl-eval itself, in the Python that TLTRAIN_BFCL_PYTHON names; its own data lies beside it."""

import ast
import json
import os
import random
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace
from policies import TextPolicy, reply

from tltrain.benches.bfcl_cases import MULTI_TURN
from tltrain.benches.bfcl_environment import VARIABLE, BfclEnvironment, Session
from tltrain.benches.bfcl_multi_turn import NAME, TalkEnd, run_multi_turn
from tltrain.benches.bfcl_multi_turn_cases import load_multi_turn
from tltrain.benches.bfcl_worker import check_code
from tltrain.benches.data_folder import DataFolder
from tltrain.benches.public_config import PublicEvalConfig
from tltrain.benches.public_run import evaluate_public
from tltrain.syntax import get_syntax
from tltrain.types import ToolCall

DIRECTLY = """
import json, sys
from bfcl_eval.eval_checker.multi_turn_eval.multi_turn_checker import multi_turn_checker
from bfcl_eval.eval_checker.multi_turn_eval.multi_turn_utils import is_empty_execute_response
for number, line in enumerate(sys.stdin):
    entry, turns, truth = json.loads(line)
    turns = [[step for step in turn if not is_empty_execute_response(step)] for turn in turns]
    found = multi_turn_checker(turns, truth, entry, "", f"direct{number}")
    print("@", json.dumps([found["valid"], found.get("error_type")]))
"""
"""Verdicts on calls as Python text, by the official function alone."""


@pytest.fixture(scope="module")
def environment():
    if not os.environ.get(VARIABLE):
        pytest.skip(f"{VARIABLE} names no Python with bfcl-eval")
    with closing(BfclEnvironment(Path(os.environ[VARIABLE]))) as made:
        yield made


@pytest.fixture(scope="module")
def data(environment, tmp_path_factory):
    return DataFolder(tmp_path_factory.mktemp("empty"), more={"bfcl": environment.describe().data})


class Player:
    """Holds conversations as planned: a step is calls, or None, which ends the turn."""

    def __init__(self, plans):
        self.syntax = get_syntax("hermes")
        self._plans = [list(plan) for plan in plans]

    def answer(self, requests):
        running = [plan for plan in self._plans if plan]
        assert len(requests) == len(running)
        steps = [plan.pop(0) for plan in running]
        return [reply("Done." if step is None else self.syntax.render("", tuple(step))) for step in steps]


def right_turns(case):
    tools = {tool.name: tool for tool in case.tools[-1]}
    return [[_read(text, tools) for text in texts] for texts in case.ground_truth]


def _read(text, tools):
    node = ast.parse(text, mode="eval").body
    given = dict(zip(tools[node.func.id].properties, map(ast.literal_eval, node.args), strict=False))
    given |= {keyword.arg: ast.literal_eval(keyword.value) for keyword in node.keywords}
    return ToolCall(name=node.func.id, arguments=given)


def hold(cases, turns, environment):
    """Conversations in which all calls of a turn are one step."""
    plans = [[step for calls in each for step in ([calls, None] if calls else [None])] for each in turns]
    return run_multi_turn(cases, Player(plans), environment, max_steps=20)


@pytest.mark.parametrize("category", MULTI_TURN)
def test_right_calls_are_valid(environment, data, category):
    cases = load_multi_turn(data, category)
    rows = hold(cases, map(right_turns, cases), environment)
    assert len(rows) == 200
    assert [row.id for row in rows if not row.valid or row.num_failed] == []


def _mutate(turns, chance):
    """A conversation with one fault, or none."""
    turns = [list(calls) for calls in turns]
    turn = chance.choice([number for number, calls in enumerate(turns) if calls])
    place = chance.randrange(len(turns[turn]))
    call = turns[turn][place]
    match chance.choice(["dropped", "changed", "extra", "empty", "reversed", "invented"]):
        case "dropped":
            del turns[turn][place]
        case "changed":
            changed = {name: _change(value) for name, value in call.arguments.items()}
            turns[turn][place] = replace(call, arguments=changed or {"more": 1})
        case "extra":
            turns[chance.randrange(len(turns))].append(call)
        case "empty":
            turns[turn] = []
        case "reversed":
            turns[turn].reverse()
        case "invented":
            turns[turn].insert(place, ToolCall(name=chance.choice(["no_tool", "a.b", "exit"]), arguments={"x": [None]}))
    return turns


def _change(value):
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int | float) else f"{value}x" if isinstance(value, str) else None


def test_verdicts_are_those_of_the_official_function(environment, data):
    chance = random.Random(5)
    cases = [case for category in MULTI_TURN for case in chance.sample(load_multi_turn(data, category), 40)]
    turns = [_mutate(right_turns(case), chance) for case in cases]
    ours = [[row.valid, None if row.valid else row.label] for row in hold(cases, turns, environment)]
    asked = "".join(
        json.dumps([dict(case.entry), [[list(map(_text, calls))] for calls in each], case.ground_truth]) + "\n"
        for case, each in zip(cases, turns, strict=True)
    )
    done = subprocess.run(
        [os.environ[VARIABLE], "-c", DIRECTLY], input=asked, capture_output=True, text=True, check=True
    )
    theirs = [json.loads(line[2:]) for line in done.stdout.splitlines() if line.startswith("@ ")]
    assert ours == theirs
    assert {valid for valid, _ in ours} == {True, False}
    assert len({error for _, error in ours}) == 4  # none, and one for each check


def _text(call):
    return f"{call.name}({', '.join(f'{name}={value!r}' for name, value in call.arguments.items())})"


def test_more_steps_than_allowed(environment, data):
    (case,) = (case for case in load_multi_turn(data, "multi_turn_base") if case.id == "multi_turn_base_0")
    plan = [[call] for call in right_turns(case)[0][:1] * 21]
    (row,) = run_multi_turn([case], Player([plan]), environment, max_steps=20)
    assert (row.end, row.valid, row.label) == (TalkEnd.MAX_STEPS, False, "multi_turn:force_terminated")


def test_nothing_is_left_of_a_verdict(environment, data):
    case = load_multi_turn(data, "multi_turn_base")[0]
    steps = [[[{call.name: json.dumps(dict(call.arguments))} for call in calls]] for calls in right_turns(case)]
    session = Session(environment, "verdicts", case.entry)
    assert [session.judge(steps, case.ground_truth)["valid"] for _ in range(2)] == [True, True]


def test_long_contexts_are_long(environment, data):
    found = {}
    for category in ("multi_turn_base", "multi_turn_long_context"):
        with closing(Session(environment, category, load_multi_turn(data, category)[0].entry)) as session:
            (found[category],) = session.execute([{"find": "{}"}])
    assert len(found["multi_turn_long_context"]) > 2 * len(found["multi_turn_base"])


def test_the_data_of_the_package_are_enough(environment, tmp_path):
    config = PublicEvalConfig(benches=("bfcl:multi_turn_miss_func",), max_cases=2, num_resamples=50)
    policy = TextPolicy(lambda _: "Done.")
    found = evaluate_public(
        config, data_dir=tmp_path, model="stub", out=tmp_path / "out", policy=policy, environment=environment
    ).scores.benches[NAME]
    assert (found.n, found.scores["valid"].mean) == (2, 0)
    assert found.errors == {"multi_turn:empty_turn_model_response": 2}
    assert not found.changed_files


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("open", "name 'open' is not defined"),
        ("os.system", "name 'os' is not defined"),
        ("__import__", "name '__import__' is not defined"),
        ("exit", "Function call exit is not allowed."),
        ("_load_scenario", "name '_load_scenario' is not defined"),
        ("(lambda: 1)", "this is no call of a function"),
    ],
)
def test_what_a_model_invents_is_not_run(environment, data, name, said):
    case = load_multi_turn(data, "multi_turn_base")[0]
    with closing(Session(environment, "invented", case.entry)) as session:
        assert session.execute([{name: '{"path": "x"}'}, {"pwd": "{}"}]) == [
            f"Error during execution: {said}",
            '{"current_working_directory": "/workspace"}',
        ]


@pytest.mark.parametrize("text", ["i.f(x=[1, -2.5], y={'a': (None, True)})", "i.f(1, i.g(x='a'))"])
def test_calls_that_are_run(text):
    check_code(ast.parse(text.replace("i.", "tltrain_0_X_instance."), mode="eval").body)


@pytest.mark.parametrize(
    "text",
    [
        "i.f(x=g())",
        "i.f(x=y)",
        "i.f(**{'x': 1})",
        "i.f(*[1])",
        "i.f(x=2 ** 99)",
        "i.f(x=-g())",
        "i.f(x=[y for y in 'ab'])",
        "i._f()",
        "i.f",
        "i.f.g()",
        "i.f()()",
        "j_instance.f()",
    ],
)
def test_code_that_is_not_run(text):
    with pytest.raises((NameError, ValueError), match=r"is not defined|no call"):
        check_code(ast.parse(text.replace("i.", "tltrain_0_X_instance."), mode="eval").body)
