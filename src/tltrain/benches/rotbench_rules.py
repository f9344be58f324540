"""How RoTBench scores one answer: as its released script does, bugs included, and with those bugs mended.

Source: Ye et al. 2024, RoTBench (EMNLP); `Code/Evaluation/evaluate.py`, version 0, of github.com/Junjie-Ye/RoTBench at
637e43ae9a978036774c92bb2ab11a83609e304b.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tltrain.files import decode_json
from tltrain.taxonomy import json_equal
from tltrain.types import Json, MalformedCall, Tool, ToolCall

FREE = "None"
"""A golden value that says: the parameter must be given, with any content."""
_FINISH, _ASK = "finish", "ask_to_user"
_ACTION = re.compile(r"Action:[^\S\n]*(?P<name>[^\n]*?)\s*\n?\s*Action Input:\s*(?P<input>.*)", re.DOTALL)


class Stages(NamedTuple):
    """Scores of one answer; each stage implies the one before."""

    ts: bool = False
    pi: bool = False
    cf: bool = False


@dataclass(frozen=True, slots=True)
class OfficialScore:
    """What the released script makes of one answer."""

    stages: Stages
    crashes: bool = False
    """The script ends with an exception at this answer, so that it prints no score at all; we go on."""


def score_official(text: str, alternatives: Sequence[str], tool_names: Sequence[str]) -> OfficialScore:
    """Score an answer as the released script does, to the case.

    An input that is no JSON, a JSON string, or empty (`{}`, `[]`, 0) is wrong at every stage, even if it is the golden
    one. Content is free for tools that carry the name of the last or last but one tool, and for those that are called
    finish or ask_to_user. The values that a golden answer leaves free are deleted from the prediction for good, so a
    later alternative may miss them.

    Args:
        text: the model's turn, `Thought: ... Action: NAME Action Input: {...}`.
        alternatives: golden turns of the same shape.
        tool_names: of the tools on offer, in their order.
    """
    name, written = _cut(text)
    if not name:
        return OfficialScore(Stages(), crashes=True)
    name = name.removesuffix("\n")
    try:
        given = json.loads(written)
    except json.JSONDecodeError:
        return OfficialScore(Stages())
    except (ValueError, RecursionError):  # an integer of thousands of digits, or brackets nested as deep
        return OfficialScore(Stages(), crashes=True)
    if not given or isinstance(given, str):
        return OfficialScore(Stages())
    has_name = any(_same_tool(name, _cut_name(wanted), tool_names) for wanted in alternatives)
    if not isinstance(given, dict):
        return OfficialScore(Stages(ts=has_name), crashes=has_name)
    return OfficialScore(Stages(has_name, *_compare_inputs(name, given, alternatives, tool_names)))


def _cut(text: str) -> tuple[str, str]:
    """Name and input by the script's character counts; what is not found counts from position -1."""
    end = text.find("Action Input:")
    name = text[text.find("Action:") + 8 : end]
    return name, text[end + 14 :]


def _cut_name(turn: str) -> str:
    return _cut(turn)[0].removesuffix("\n")


def _same_tool(name: str, wanted: str, tool_names: Sequence[str]) -> bool:
    return name == wanted or (name == _FINISH and wanted == tool_names[-1])


def _compare_inputs(
    name: str, given: Mapping[str, Any], alternatives: Sequence[str], tool_names: Sequence[str]
) -> tuple[bool, bool]:
    """Whether an alternative has the same parameters, and one the same content."""
    has_parameters = False
    left = dict(given)
    for turn in alternatives:
        wanted_name = _cut_name(turn)
        wanted: dict[str, Any] = json.loads(_cut(turn)[1])
        if not _same_tool(name, wanted_name, tool_names):
            continue
        name = wanted_name  # the script keeps the name that finish stood for
        has_parameters = has_parameters or wanted.keys() == given.keys()
        if wanted.keys() != left.keys():
            continue
        free = [key for key, value in wanted.items() if value == FREE]
        for key in free:
            del wanted[key], left[key]
        if wanted == left or wanted_name in (*tool_names[-2:], _FINISH, _ASK):
            return has_parameters, True
    return has_parameters, False


def read_turn(text: str) -> ToolCall | MalformedCall:
    """The call of a ReAct turn: the first action, whose input must be one JSON object and nothing else."""
    match = _ACTION.search(text)
    if match is None or not match["name"]:
        return MalformedCall(raw=text, reason="there is no Action with an Action Input")
    try:
        arguments: Json = decode_json(match["input"])
    except ValueError as error:
        return MalformedCall(raw=text, reason=f"the Action Input is {error}")
    if not isinstance(arguments, dict):
        return MalformedCall(raw=text, reason="the Action Input is no JSON object")
    return ToolCall(name=match["name"], arguments=arguments, raw=match.group())


def write_turn(call: ToolCall) -> str:
    """A call as the golden turns write it."""
    return f"Thought:\nAction: {call.name}\nAction Input: {json.dumps(dict(call.arguments), ensure_ascii=False)}"


def score_fixed(call: ToolCall, gold: ToolCall, tools: Sequence[Tool]) -> Stages:
    """Score a call against one alternative, with the script's bugs mended.

    A call without arguments counts, every alternative sees the whole prediction, and content is free only where the
    golden answer is a call of the last tool (finish) or the last but one (ask_to_user) itself: its parameters fit that
    tool, so a namesake elsewhere in the list does not count.
    """
    if call.name != gold.name and not (call.name == _FINISH and _is_call_of(tools[-1], gold)):
        return Stages()
    if call.arguments.keys() != gold.arguments.keys():
        return Stages(ts=True)
    is_free = any(_is_call_of(tool, gold) for tool in tools[-2:])
    has_content = all(
        wanted == FREE or json_equal(call.arguments[key], wanted) for key, wanted in gold.arguments.items()
    )
    return Stages(ts=True, pi=True, cf=is_free or has_content)


def _is_call_of(tool: Tool, gold: ToolCall) -> bool:
    return gold.name == tool.name and tool.required <= gold.arguments.keys() <= tool.properties.keys()
