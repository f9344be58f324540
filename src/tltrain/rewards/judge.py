"""From the text of one turn to its reward: what the audit of the reward and the adapters share."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from tltrain.rewards.compare import CompareConfig
from tltrain.rewards.rules import Reward, RewardTable, reward_turn
from tltrain.syntax import CallSyntax
from tltrain.taxonomy import RightCall, diagnose_calls
from tltrain.types import AnyCall, Tool


class RewardRules(BaseModel):
    """What decides the reward of a turn.

    Raises (on construction):
        ValidationError: a table that rewards errors, or a comparison that breaks a rule of its own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    reward: RewardTable = RewardTable()
    """What each error is worth. Default: the paper's table."""
    compare: CompareConfig = CompareConfig()
    """When values are the same. Default: when they are equal as JSON."""


def judge_text(
    text: str, tools: Sequence[Tool], golds: Sequence[RightCall], syntax: CallSyntax, rules: RewardRules
) -> Reward:
    """The reward of a turn as it was written; text beside its calls is free.

    Args:
        text: what the model wrote.
        tools: what was on offer.
        golds: the calls that are right, in any order; none says that plain text is right.
        syntax: how calls are written.
        rules: what each error is worth, and when values are the same.
    """
    return judge_calls(syntax.parse(text, tools=tools).calls, tools, golds, rules)


def judge_calls(
    calls: Sequence[AnyCall], tools: Sequence[Tool], golds: Sequence[RightCall], rules: RewardRules
) -> Reward:
    """The reward of a turn whose calls are read already; see `judge_text`."""
    return reward_turn(diagnose_calls(calls, tools, golds, rules.compare), rules.reward)
