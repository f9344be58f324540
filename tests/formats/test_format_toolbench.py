import re
from typing import Any

import pytest

from formats.reading import count, read, read_file, read_one, refuses, steps, tool_call
from formats.research_rows import TOOLBENCH, call_node, changed, node, without
from shared import data_file
from tltrain.formats.toolbench import FINISH, GIVEN_UP
from tltrain.formats.toolbench import TOOLBENCH as FORMAT
from tltrain.types import MalformedCall, ToolCall

ROOT = ("tree", "tree", "children")


def grown(*children: dict[str, Any]) -> dict[str, Any]:
    return changed(TOOLBENCH, *ROOT, to=list(children))


def finish(answer: str) -> dict[str, Any]:
    return call_node(FINISH, {"return_type": answer}, "{}")


def test_the_taken_path_teaches_and_the_rest_is_kept():
    taken, given_up = read(FORMAT, TOOLBENCH)
    assert [tool_call(step).arguments for step in steps([taken])] == [
        {"city": "Oslo"},
        {"return_type": "give_answer", "final_answer": "Rain."},
    ]
    assert all(message.weight is None for message in taken.messages)
    assert [tool_call(step).name for step in steps([given_up])] == ["get_weather", FINISH]
    assert steps([given_up])[0].feedback == '{"error": "no such city", "response": ""}'
    spoken = [message for message in given_up.messages if message.role == "assistant"]
    assert [message.content for message in spoken] == ["I look.", "", "No way on."]
    assert {(message.weight, message.mask_reason) for message in spoken} == {(0.0, GIVEN_UP)}
    for trajectory, branch in ((taken, "taken"), (given_up, "given_up")):
        assert trajectory.messages[0].content == "Rain in Oslo?"
        assert [tool.name for tool in trajectory.tools] == ["get_weather", FINISH]
        known = {"source": "toolbench", "win": True, "finish_type": "give_answer", "valid_data": True}
        assert trajectory.provenance == known | {"branch": branch}


def test_a_chain_is_one_trajectory():
    row = grown(call_node("a", {}, "1", node("Thought", "So.", call_node("b", {}, "2", finish("give_answer")))))
    trajectory = read_one(FORMAT, row)
    assert [tool_call(step).name for step in steps([trajectory])] == ["a", "b", FINISH]
    assert trajectory.messages[3].content == "So."


def test_the_path_goes_to_an_answer_before_it_goes_to_one_that_gave_up():
    row = grown(call_node("a", {}, "1", finish("give_answer")), call_node("b", {}, "2", finish("give_up_and_restart")))
    assert tool_call(steps(read(FORMAT, row)[:1])[0]).name == "a"


def test_without_an_answer_it_goes_to_the_last_that_gave_up_or_to_the_last_leaf():
    gave_up = finish("give_up_and_restart")
    row = grown(call_node("a", {}, "1", gave_up), call_node("b", {}, "2", gave_up), call_node("c", {}, "3"))
    assert tool_call(steps(read(FORMAT, row)[:1])[0]).name == "b"
    row = grown(call_node("a", {}, "1"), call_node("b", {}, "2"))
    assert tool_call(steps(read(FORMAT, row)[:1])[0]).name == "b"


def test_a_fork_anywhere_gives_each_call_once_and_each_thought_once():
    fork = node("Thought", "Try.", call_node("a", {}, "1"), call_node("b", {}, "2"))
    inputs = node("Action", "c", node("Action Input", "{}", observation="3"), node("Action Input", "[]"))
    found = read(FORMAT, grown(fork, inputs))
    calls = [step.call for step in steps(found)]
    assert [call.name for call in calls if isinstance(call, ToolCall)] == ["a", "b", "c"]
    assert [call.raw for call in calls if isinstance(call, MalformedCall)] == ["c([])"]
    assert [message.content for trajectory in found for message in trajectory.messages].count("Try.") == 1


def test_a_branch_that_ends_within_a_call_is_malformed():
    (step,) = steps(read(FORMAT, grown(node("Action", "get_weather"))))
    assert isinstance(step.call, MalformedCall)
    assert step.call.raw == "get_weather"


def test_arguments_that_are_no_json_are_malformed():
    row = grown(node("Action", "f", node("Action Input", '{"a": ', observation="bad input")))
    (step,) = steps(read(FORMAT, row))
    assert isinstance(step.call, MalformedCall)
    assert step.feedback == "bad input"


def test_deep_trees_are_read():
    tree = finish("give_answer")
    for _ in range(3000):
        tree = call_node("a", {}, "1", tree)
    row = {**TOOLBENCH, "tree": {"tree": node("Action Input", "", tree)}}
    assert len(steps(read(FORMAT, row))) == 3001


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (without(TOOLBENCH, "tree"), "tree is missing"),
        (without(TOOLBENCH, "answer_generation", "query"), r"answer_generation\.query is missing"),
        (changed(TOOLBENCH, "answer_generation", "function", to="f"), r"function is of type string \('f'\)"),
        (changed(TOOLBENCH, *ROOT, to={}), r"tree\.tree\.children is of type object"),
        (changed(TOOLBENCH, *ROOT, 0, to=3), r"tree\.tree\.children\[0\] is of type integer"),
        (changed(TOOLBENCH, *ROOT, 0, "node_type", to="Leaf"), r"node_type is of type string \('Leaf'\); use one of"),
        (changed(TOOLBENCH, *ROOT, 0, "children", 0, "description", to=None), r"children\[0\]\.description is missing"),
    ],
)
def test_bad_trees_name_their_field(row: dict[str, object], message: str):
    refuses(FORMAT, row, message)


def test_the_real_answers():
    # 15 trees, of which 10 have branches that were given up; 300 calls besides 28 of Finish, each read once. Long
    # feedback is cut in the files, so that its "error" is looked for in the text.
    folder = data_file("toolbench/answer")
    found = [item for path in sorted(folder.glob("*/*.json")) for item in read_file(FORMAT, path)]
    assert count(found) == (25, 328, 0, 328)
    branches = [trajectory.provenance["branch"] for trajectory in found]
    assert (branches.count("taken"), branches.count("given_up")) == (15, 10)
    tried = [step for step in steps(found) if tool_call(step).name != FINISH]
    assert len(tried) == 300
    assert sum(bool(re.match(r'\{"error": "[^"]', step.feedback or "")) for step in tried) == 112
    answered = [
        trajectory for trajectory in found if trajectory.provenance["win"] and trajectory.messages[1].weight is None
    ]
    assert all(tool_call(steps([item])[-1]).arguments["return_type"] == "give_answer" for item in answered)
