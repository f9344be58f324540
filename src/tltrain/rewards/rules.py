"""The reward of one call: a value for each kind of error. Source: method.md section 3 (TL-Training, IRM)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

from tltrain.errors import UsageError
from tltrain.taxonomy import PARAMETER_ERRORS, CallError, Diagnosis, TurnDiagnosis


@dataclass(frozen=True, kw_only=True, slots=True)
class RewardTable:
    """What each kind of error is worth. Defaults are the paper's; the three parameter errors add up."""

    format: float = -2.0
    """Also for text where a call is right, and for a call where none is."""
    tool_hallucination: float = -2.0
    wrong_tool: float = -1.5
    hallucinated: float = -0.8
    redundant: float = -0.5
    missing: float = -0.5
    content: float = -0.25
    right: float = 1.0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            UsageError: a value is no finite number, an error is worth as much as the right call, or a parameter error,
                which is added to others, is worth more than 0.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            where = f"reward.{field.name}={value!r}"
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise UsageError(f"{where} is no finite number; write one such as -0.5")
            if field.name != "right" and value >= self.right:
                raise UsageError(f"{where} is not below reward.right={self.right!r}; lower it, or no error is one")
            if field.name in ("hallucinated", "redundant", "missing") and value > 0:
                raise UsageError(f"{where} is above 0, and parameter errors add up; choose 0 or less")

    @property
    def lowest(self) -> float:
        """The worst reward there is."""
        alone = (self.format, self.tool_hallucination, self.wrong_tool, self.content)
        return min(*alone, math.fsum((self.hallucinated, self.redundant, self.missing)))

    def value_of(self, error: CallError) -> float:
        """The reward of a call with this error alone."""
        match error:
            case CallError.FORMAT | CallError.MISSING_CALL | CallError.UNWANTED_CALL:
                return self.format
            case CallError.TOOL_HALLUCINATION:
                return self.tool_hallucination
            case CallError.WRONG_TOOL:
                return self.wrong_tool
            case CallError.PARAM_HALLUCINATED:
                return self.hallucinated
            case CallError.PARAM_REDUNDANT:
                return self.redundant
            case CallError.PARAM_MISSING:
                return self.missing
            case CallError.CONTENT:
                return self.content


PAPER_TABLE = RewardTable()


@dataclass(frozen=True, kw_only=True, slots=True)
class Reward:
    """The reward of one call or turn, and where it comes from."""

    total: float
    """In [table.lowest, table.right]."""
    parts: Mapping[str, float]
    """By error, or by `all_right`; they add up to the total."""
    diagnosis: Diagnosis | TurnDiagnosis


def reward(diagnosis: Diagnosis, table: RewardTable = PAPER_TABLE) -> Reward:
    """The reward of a diagnosed call: the sum over its errors, of which only parameter errors occur together."""
    assert len(diagnosis.errors) <= 1 or PARAMETER_ERRORS.issuperset(diagnosis.errors), diagnosis.errors
    parts = {error.value: table.value_of(error) for error in diagnosis.errors} or {diagnosis.label: table.right}
    # fsum rounds once: -0.1 - 0.2 - 0.3 is -0.6, and not -0.6000000000000001.
    return Reward(total=math.fsum(parts.values()), parts=parts, diagnosis=diagnosis)


def reward_turn(turn: TurnDiagnosis, table: RewardTable = PAPER_TABLE) -> Reward:
    """The reward of all calls of a turn: the mean over the right ones, where a missing call is worth `format`."""
    if len(turn.parts) == 1:
        return reward(turn.parts[0], table)
    found = [reward(part, table) for part in turn.parts]
    names = dict.fromkeys(name for one in found for name in one.parts)
    parts = {name: math.fsum(one.parts.get(name, 0.0) for one in found) / len(found) for name in names}
    return Reward(total=math.fsum(one.total for one in found) / len(found), parts=parts, diagnosis=turn)
