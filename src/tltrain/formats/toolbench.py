"""ToolBench answers: the tree of calls that a model tried for one query, `{"win", "tree", "answer_generation"}`.

A node is a `Thought`, an `Action` (the tool's name) or an `Action Input` (the arguments, and in `observation` the
feedback). Where a branch failed, the model went back to a node before and tried again from there.

A tree gives one or two trajectories, and each of its calls stands in exactly one of them:

- the path that was taken, from the root to the leaf with the answer, each call after the calls that led to it;
- the calls of all branches that were given up, in the order in which they were tried. They keep their verdicts and
  counts but do not teach (weight 0): here they do not stand after the calls that led to them, and ToolBench itself
  trains on the taken path alone. `provenance["branch"]` is `taken` or `given_up`.

The taken path leads to the first `Finish` that gives an answer, else to the last `Finish` (of several that gave up
ToolBench itself takes any), else to the last leaf.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from tltrain.errors import DataError
from tltrain.formats.base import Companions
from tltrain.formats.untrusted import (
    described,
    expect_object,
    fail,
    keep,
    missing,
    read_call,
    read_list,
    read_object,
    read_text,
    read_tool,
)
from tltrain.types import Json, MalformedCall, Message, Role, ToolCall, Trajectory

FINISH = "Finish"
"""Name of the tool that ends a branch."""
GIVEN_UP = "a branch of the search that was given up"
_KINDS = {"Thought", "Action", "Action Input"}


class ToolBench:
    """See the module."""

    name = "toolbench"
    summary = "ToolBench answer trees (DFS or chain): the path taken, and the branches given up"

    def refuse(self, record: Json) -> str | None:
        """A record has `tree.tree` and `answer_generation`, objects."""
        reason = missing(record, tree=dict, answer_generation=dict)
        if reason or not isinstance(record, dict):
            return reason
        inner = missing(record["tree"], tree=dict)
        return f"in 'tree', {inner}" if inner else None

    def read(self, record: Json, *, where: str, companions: Companions) -> Iterator[Trajectory | DataError]:  # noqa: ARG002
        """The taken path, then the branches given up if there are any."""
        row = expect_object(record, where, "the record")
        answer = read_object(row, "answer_generation", where)
        query = read_text(answer, "query", where, of="answer_generation")
        functions = read_list(answer, "function", where, of="answer_generation")
        tools = tuple(
            read_tool(tool, where, f"answer_generation.function[{index}]") for index, tool in enumerate(functions)
        )
        turns = _read_turns(read_object(read_object(row, "tree", where), "tree", where, of="tree"), where)
        taken = _taken_path(turns)
        shared = {"source": self.name} | keep(row, ("win",)) | keep(answer, ("finish_type", "valid_data"))
        user = Message(role=Role.USER, content=query)
        for branch, numbers in (("taken", taken), ("given_up", sorted(set(range(len(turns))) - set(taken)))):
            if numbers or branch == "taken":
                messages = [message for number in numbers for message in _messages(turns[number], branch == "taken")]
                provenance: dict[str, Json] = shared | {"branch": branch}
                yield Trajectory(id="", tools=tools, messages=(user, *messages), provenance=provenance)


class _Turn(NamedTuple):
    """A call with the thoughts before it, or thoughts after which the branch ended."""

    parent: int | None
    """Number of the turn before it on its path."""
    thoughts: tuple[str, ...]
    call: ToolCall | MalformedCall | None
    feedback: str | None
    is_leaf: bool

    @property
    def is_finish(self) -> bool:
        return isinstance(self.call, ToolCall) and self.call.name == FINISH

    @property
    def is_answer(self) -> bool:
        return (
            self.is_finish
            and isinstance(self.call, ToolCall)
            and self.call.arguments.get("return_type") == ("give_answer")
        )


class _Waiting(NamedTuple):
    """A node that is still to be visited, with what its path holds since the last call."""

    node: Json
    field: str
    parent: int | None
    thoughts: tuple[str, ...] = ()
    action: str | None = None
    """Name of the tool whose arguments are to come."""


def _read_turns(root: Mapping[str, Json], where: str) -> list[_Turn]:
    """All turns of the tree in the order in which they were tried; a loop, as recursion would end on deep trees."""
    turns: list[_Turn] = []
    waiting = [_Waiting(child, field, None) for field, child in _children(root, where, "tree.tree")][::-1]
    while waiting:
        place = waiting.pop()
        node = expect_object(place.node, where, place.field)
        kind, text = node.get("node_type"), read_text(node, "description", where, of=place.field)
        if not isinstance(kind, str) or kind not in _KINDS:
            fail(where, f"{place.field}.node_type", described(kind), f"use one of {', '.join(sorted(_KINDS))}")
        children = _children(node, where, place.field)
        parent, thoughts, action = place.parent, place.thoughts, place.action
        if kind == "Thought":
            thoughts = (*thoughts, text)
        elif kind == "Action":
            action = text
        if kind == "Action Input" or not children:
            turns.append(_turn(place, node, kind == "Action Input", thoughts, action, is_leaf=not children))
            parent, thoughts, action = len(turns) - 1, (), None
        following = [_Waiting(child, field, parent, thoughts, action) for field, child in children]
        # thoughts before a fork belong to the call that was tried first
        following[1:] = [item._replace(thoughts=()) for item in following[1:]]
        waiting += following[::-1]
    return turns


def _turn(
    place: _Waiting,
    node: Mapping[str, Json],
    is_call: bool,
    thoughts: tuple[str, ...],
    action: str | None,
    *,
    is_leaf: bool,
) -> _Turn:
    feedback = node.get("observation")
    call: ToolCall | MalformedCall | None = None
    if is_call:
        call = read_call(action, node.get("description"))
    elif action is not None:
        call = MalformedCall(raw=action, reason="the branch ends before the arguments of the call")
    return _Turn(place.parent, thoughts, call, feedback if is_call and isinstance(feedback, str) else None, is_leaf)


def _children(node: Mapping[str, Json], where: str, field: str) -> list[tuple[str, Json]]:
    if node.get("children") is None:
        return []
    children = read_list(node, "children", where, of=field)
    return [(f"{field}.children[{index}]", child) for index, child in enumerate(children)]


def _taken_path(turns: list[_Turn]) -> list[int]:
    """Numbers of the turns on the path to the answer, from the root on."""
    answers = [number for number, turn in enumerate(turns) if turn.is_answer][:1]
    finishes = [number for number, turn in enumerate(turns) if turn.is_finish][-1:]
    leaves = [number for number, turn in enumerate(turns) if turn.is_leaf][-1:]
    number: int | None = next(iter(answers + finishes + leaves), None)
    path = []
    while number is not None:
        path.append(number)
        number = turns[number].parent
    return path[::-1]


def _messages(turn: _Turn, is_taken: bool) -> Iterator[Message]:
    weight, reason = (None, "") if is_taken else (0.0, GIVEN_UP)
    content = "\n".join(thought.strip() for thought in turn.thoughts if thought.strip())
    calls = () if turn.call is None else (turn.call,)
    if content or calls:
        yield Message(role=Role.ASSISTANT, content=content, calls=calls, weight=weight, mask_reason=reason)
    if turn.feedback is not None:
        name = turn.call.name if isinstance(turn.call, ToolCall) else None
        yield Message(role=Role.TOOL, content=turn.feedback, name=name)


TOOLBENCH = ToolBench()
