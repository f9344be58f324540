"""A reward function for a rubric of verifiers.

    vf.Rubric(funcs=[make_reward(syntax="hermes")], weights=[1.0])

A row's `answer` is the right call as text, see `read_golds`, unless its `info` has `gold`; the tools stand in
`info["tools"]`, `info["tool_defs"]` or, of older versions, `info["oai_tools"]`, or in the same fields of the state,
where an environment puts its `tool_defs`. `info` may be JSON text. A rubric logs what a reward function raises, and
gives the completion 0, which is more than wrong calls earn: read its log when you start.

Rubrics were run with verifiers 0.3.1, the last version that has them.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from tltrain.errors import DataError
from tltrain.rewards.adapters.shared import Compare, Judge, Table

_TOOL_FIELDS = ("tools", "oai_tools", "tool_defs")


def make_reward(
    *, syntax: str = "hermes", reward: Table = None, compare: Compare = None, name: str = "tool_call_reward"
) -> Callable[..., float]:
    """A reward function in the signature of a rubric; the first turn of the completion counts.

    Args:
        syntax: how calls are written in text.
        reward: what each error is worth; the paper's table by default.
        compare: when values are the same; equal as JSON by default.
        name: what the rubric logs it as.

    Raises:
        UsageError: a setting is not known or breaks a rule.
        DataError: when called: the right call or the tools cannot be read.
    """
    judge = Judge(syntax, reward, compare)

    def tool_call_reward(
        prompt: Any = None,  # noqa: ARG001 - the signature of verifiers
        completion: Any = None,
        answer: Any = None,
        state: Any = None,
        task: Any = None,  # noqa: ARG001
        info: Any = None,
        parser: Any = None,  # noqa: ARG001
        **_: Any,
    ) -> float:
        facts = _object(info)
        gold = facts.get("gold", answer)
        held = state if isinstance(state, Mapping) else {}
        tools = next((facts[key] for key in _TOOL_FIELDS if facts.get(key) is not None), None)
        if tools is None:  # a state has an empty list where nobody said what is on offer
            tools = next((held[key] for key in _TOOL_FIELDS if held.get(key)), None)
        if tools is None:
            raise DataError(f"{name}: the row has no tools; put them into info.tools")
        # A rubric hands over an empty answer where a row has none; what is right must then be said in info.
        if gold == "":
            raise DataError(
                f"{name}: the row has no answer; write the right call there, or info.gold, null for no call"
            )
        return judge.score(completion, gold, tools).total

    tool_call_reward.__name__ = tool_call_reward.__qualname__ = name
    return tool_call_reward


def _object(info: Any) -> Mapping[str, Any]:
    if isinstance(info, str):
        try:
            info = json.loads(info)
        except ValueError:
            raise DataError(f"info={info[:60]!r} is no JSON; give an object with tools") from None
    return info if isinstance(info, Mapping) else {}
