"""From a completion's text to its reward: the rules that ship, or any Python callable."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tltrain.rewards.compare import CompareConfig
from tltrain.rewards.rules import PAPER_TABLE, RewardTable, reward_turn
from tltrain.rl.prompts import Prompt
from tltrain.syntax import CallSyntax
from tltrain.taxonomy import Diagnosis, TurnDiagnosis, diagnose_calls
from tltrain.types import Message, Tool, ToolCall


class RewardFunction(Protocol):
    """A reward of one's own; it is called with these keywords (`**_` takes those that it does not need).

    Whatever it raises, and a result that is no finite number, leave the completion unscored: it is counted, and
    nothing is learnt from it.
    """

    def __call__(
        self,
        *,
        messages: Sequence[Message],
        tools: Sequence[Tool],
        gold: ToolCall | tuple[ToolCall, ...] | None,
        completion: str,
    ) -> float:
        """Reward one completion.

        Args:
            messages: the conversation so far.
            tools: what is on offer.
            gold: the right call; where `ppo.turns` is not one_call also several, or None where none is right.
            completion: what the model wrote, without the end-of-turn token.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """What one completion is worth."""

    value: float
    """The reward that is learnt from."""
    diagnosis: Diagnosis | TurnDiagnosis
    """By the shipped rules, whoever gave the value."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """By error, or by `all_right`; they add up to the value. Empty where the value is not of the shipped rules."""

    @property
    def label(self) -> str:
        """The error, or `all_right`."""
        return self.diagnosis.label


@dataclass(frozen=True, kw_only=True, slots=True)
class Unscored:
    """A completion that the reward function could not judge."""

    reason: str


@dataclass(frozen=True, slots=True)
class Scorer:
    """Judges completions.

    Args:
        syntax: how calls are written.
        table: what each error is worth.
        function: gives the reward in place of the table; the diagnosis is still made, for the error mix.
        compare: when values are the same; equal as JSON by default.
    """

    syntax: CallSyntax
    table: RewardTable = PAPER_TABLE
    function: RewardFunction | None = None
    compare: CompareConfig = CompareConfig()  # noqa: RUF009 - frozen

    def score(self, prompt: Prompt, completion: str) -> Score | Unscored:
        """Judge the completion of a prompt, with or without text beside its calls."""
        calls = self.syntax.parse(completion, tools=prompt.tools).calls
        by_rules = reward_turn(diagnose_calls(calls, prompt.tools, prompt.golds, self.compare), self.table)
        if self.function is None:
            return Score(value=by_rules.total, diagnosis=by_rules.diagnosis, parts=by_rules.parts)
        try:
            value = float(
                self.function(messages=prompt.messages, tools=prompt.tools, gold=prompt.gold, completion=completion)
            )
        except Exception as error:  # the function is not ours: whatever it raises
            return Unscored(reason=f"{type(error).__name__}: {error}")
        if not math.isfinite(value):
            return Unscored(reason=f"the reward is {value}, no finite number")
        return Score(value=value, diagnosis=by_rules.diagnosis)


def function_name(function: RewardFunction) -> str:
    """A name by which a resumed run can tell that it has another reward function than before."""
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"
