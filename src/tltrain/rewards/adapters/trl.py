"""A reward function for TRL's GRPOTrainer and RLOOTrainer.

    GRPOTrainer(reward_funcs=make_reward(syntax="hermes"), train_dataset=rows, ...)

Each row of the data set has `gold`, the right call, and `tools`, what is on offer; both best as JSON text, since a
table of objects fills in the fields that a row lacks.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from tltrain.errors import DataError, UsageError
from tltrain.rewards.adapters.shared import Compare, Judge, Table, stages_of
from tltrain.rewards.rules import Reward


def make_reward(
    *,
    syntax: str = "hermes",
    reward: Table = None,
    compare: Compare = None,
    gold_column: str = "gold",
    tools_column: str = "tools",
    name: str = "tool_call_reward",
) -> Callable[..., list[float | None]]:
    """A reward function in TRL's signature.

    Of a conversational completion the first turn of the assistant counts: its calls in the text and in `tool_calls`.
    A row whose gold or tools cannot be read gives None, which TRL leaves out, and a warning.

    Args:
        syntax: how calls are written in text.
        reward: what each error is worth; the paper's table by default.
        compare: when values are the same; equal as JSON by default.
        gold_column: column of the right calls, see `read_golds`.
        tools_column: column of the tools.
        name: what TRL logs it as.

    Raises:
        UsageError: a setting is not known or breaks a rule; when called, the data set lacks a column.
    """
    judge = Judge(syntax, reward, compare)

    def tool_call_reward(
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[Any] | None = None,  # noqa: ARG001 - TRL's signature
        trainer_state: Any = None,  # noqa: ARG001
        log_extra: Callable[[str, list[Any]], None] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        environments: Any = None,  # noqa: ARG001
        **dataset_columns: Sequence[Any],
    ) -> list[float | None]:
        for column in (gold_column, tools_column):
            if column not in dataset_columns:
                known = ", ".join(sorted(dataset_columns)) or "none"
                raise UsageError(f"{name}: the data set has no column {column!r}; it has {known}. Name the right one")
        golds, tools = dataset_columns[gold_column], dataset_columns[tools_column]
        results: list[Reward | None] = []
        for number in range(len(prompts)):
            try:
                results.append(judge.score(completions[number], golds[number], tools[number]))
            except DataError as error:
                warnings.warn(f"{name}: row {number} of the batch is not scored: {error}", stacklevel=2)
                results.append(None)
        _log(results, log_extra, log_metric)
        return [None if result is None else result.total for result in results]

    tool_call_reward.__name__ = tool_call_reward.__qualname__ = name
    return tool_call_reward


def _log(
    results: Sequence[Reward | None],
    log_extra: Callable[[str, list[Any]], None] | None,
    log_metric: Callable[[str, float], None] | None,
) -> None:
    scored = [result for result in results if result is not None]
    if log_extra:
        log_extra("error", ["unscored" if result is None else result.diagnosis.label for result in results])
    if log_metric and results:
        log_metric("tool_call/unscored", (len(results) - len(scored)) / len(results))
        stages = [stages_of(result) for result in scored]
        for stage in ("ts", "pi", "cf") if stages else ():
            log_metric(f"tool_call/{stage}", sum(one[stage] for one in stages) / len(stages))
