"""The reward as verl's `compute_score`.

    custom_reward_function.path=.../tltrain/rewards/adapters/verl.py custom_reward_function.name=compute_score

`reward_model.ground_truth` of a row is the right call, see `read_golds`; the tools stand in `extra_info.tools`, or both
in a ground truth of the form {"gold", "tools"}. Each may be JSON text. `reward_kwargs` takes syntax, reward, compare.

verl leaves special tokens out of `solution_str`. Calls whose marks are such tokens cannot be read then: Mistral's
`[TOOL_CALLS]`, Llama's `<|python_tag|>`, those of DeepSeek and gpt-oss; Hermes's `<tool_call>` of Qwen stays.

Loaded and called by verl 0.9.1's own `load_reward_manager`, with `naive`.
"""

import json
from collections.abc import Mapping
from typing import Any

from tltrain.errors import DataError
from tltrain.rewards.adapters.shared import judge_from_json, stages_of


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    *,
    syntax: str = "hermes",
    reward: Mapping[str, float] | None = None,
    compare: Mapping[str, Any] | None = None,
    **_: Any,
) -> dict[str, float]:
    """Score one solution.

    Args:
        data_source: names the row in messages.
        solution_str: what the model wrote.
        ground_truth: see the module.
        extra_info: with `tools`, where the ground truth has none; `index` names the row in messages.
        syntax: how calls are written.
        reward: what each error is worth, some fields of `RewardTable`.
        compare: when values are the same, some fields of `CompareConfig`.

    Returns:
        `score`; `acc`, 1 where all is right; `ts`, `pi`, `cf`, the stages up to which it is. verl logs them all.

    Raises:
        DataError: the ground truth or the tools cannot be read.
        UsageError: a setting is not known or breaks a rule.
    """
    settings = {"syntax": syntax, "reward": _plain(reward), "compare": _plain(compare)}
    judge = judge_from_json(json.dumps(settings, sort_keys=True))
    info = extra_info or {}
    gold, tools = ground_truth, info.get("tools")
    decoded = _decoded(ground_truth)
    if isinstance(decoded, Mapping) and "gold" in decoded:
        gold, tools = decoded["gold"], decoded.get("tools", tools)
    where = f"{data_source}, row {info.get('index', '?')}"
    if tools is None:
        raise DataError(f"{where}: there are no tools; put them into extra_info.tools, or into ground_truth")
    try:
        result = judge.score(solution_str, gold, tools)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
    stages = stages_of(result)
    return {"score": result.total, "acc": stages["cf"], **stages}


def _decoded(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _plain(value: Any) -> Any:
    """Sections of a run's config, whatever class they have, as plain values."""
    return {str(key): _plain(inner) for key, inner in value.items()} if isinstance(value, Mapping) else value
