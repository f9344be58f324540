"""Audit of the reward on a file of trajectories: the turns that PPO would learn from, or all."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, field_validator

from tltrain.audit.policy import Block
from tltrain.audit.run import blocked_calls, verdicts_on
from tltrain.errors import DataError
from tltrain.formats.base import Companions
from tltrain.formats.read import read_trajectories
from tltrain.rewards.answers import Turn
from tltrain.rewards.audit import RewardAudit, audit_turns, find_fault
from tltrain.rewards.compare import check_parameters
from tltrain.rewards.judge import RewardRules
from tltrain.rl.prompts import Prompt
from tltrain.rl.turns import Turns, right_turns
from tltrain.syntax import CallSyntax, get_syntax
from tltrain.types import Json, masked_calls

_MAX_NAMED = 5


class RewardAuditConfig(RewardRules):
    """Settings of `reward audit`; those of the same name mean what they mean in `ppo`.

    Raises (on construction):
        ValidationError: a field out of its range, or a syntax that is not known.
    """

    block: Block = "paper"
    """Which verdicts keep a call from being a right answer."""
    syntaxes: tuple[str, ...] = Field(default=("python", "hermes"), min_length=1)
    """How calls are written; each is audited."""
    turns: Turns = "one_call"
    """Which turns, see `Turns`."""
    max_turns: int | None = Field(default=None, ge=1)
    """Only so many, the first of the file."""

    @field_validator("syntaxes")
    @classmethod
    def _check_syntaxes(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            get_syntax(name)
        return names


@dataclass(frozen=True, kw_only=True, slots=True)
class RewardAuditResult:
    """What the audit of a file found."""

    num_bad_rows: int
    """Rows of the file that could not be read."""
    left_out: Mapping[str, int]
    """Why a call or turn is not audited -> number of such."""
    audits: tuple[RewardAudit, ...]
    """One for each syntax."""

    @property
    def is_clean(self) -> bool:
        """Whether every answer earns what it should."""
        return all(audit.is_clean for audit in self.audits)

    def to_json(self) -> dict[str, Json]:
        """As `tltrain reward audit --json` prints it."""
        return {
            "is_clean": self.is_clean,
            "num_bad_rows": self.num_bad_rows,
            "left_out": dict(self.left_out),
            "syntaxes": {audit.syntax: audit.to_json() for audit in self.audits},
        }


def audit_reward(
    config: RewardAuditConfig,
    data: Path,
    *,
    verdicts: Path | None = None,
    format: str | None = None,
    companions: Companions = Companions(),  # noqa: B008 - frozen
) -> RewardAuditResult:
    """Score answers of every kind to the turns of a file, in each syntax.

    Args:
        config: the rules, and which turns.
        data: trajectories of any format that `formats.read` knows.
        verdicts: verdicts.jsonl of `audit`; None audits the data on the way.
        format: name of the format, by default found out.
        companions: second files that some formats need.

    Raises:
        DataError: the file cannot be read, or no turn of it can be audited.
        UsageError: a parameter with a rule of its own is of no tool in the data.
    """
    read = read_trajectories(data, format=format, companions=companions)
    check_parameters(config.compare, (tool for one in read.trajectories for tool in one.tools))
    judged = verdicts_on(data, read.trajectories, verdicts)
    blocked = blocked_calls(judged, policy=config.block)
    left_out: Counter[str] = Counter()
    turns = [
        Turn(id=turn.id, tools=trajectory.tools, golds=turn.golds, text=turn.text)
        for trajectory in read.trajectories
        for turn in right_turns(
            trajectory, config.turns, blocked.get(trajectory.id, frozenset()) | masked_calls(trajectory), left_out
        )
    ]
    if config.max_turns is not None and len(turns) > config.max_turns:
        left_out["more than max_turns"] = len(turns) - config.max_turns
        turns = turns[: config.max_turns]
    if not turns:
        counts = "; ".join(f"{number} left out ({why})" for why, number in left_out.items())
        remedy = "" if config.turns == "all" else "set turns=all to audit turns of several calls and of text, or "
        raise DataError(f"{data}: no turn to audit: {counts or 'no row has a call'}; {remedy}use other data")
    return RewardAuditResult(
        num_bad_rows=read.num_bad,
        left_out=dict(left_out),
        audits=tuple(audit_turns(turns, get_syntax(name), config) for name in config.syntaxes),
    )


def turn_of(prompt: Prompt) -> Turn:
    """A prompt as the audit sees it."""
    return Turn(id=prompt.id, tools=prompt.tools, golds=prompt.golds, text=prompt.text)


def check_gold(prompts: Sequence[Prompt], syntax: CallSyntax, rules: RewardRules, *, refuse: bool) -> dict[str, str]:
    """Ids of the prompts whose right call cannot earn the highest reward, with the reasons.

    Raises:
        DataError: there are some, and they are to be refused.
    """
    turns = (turn_of(prompt) for prompt in prompts)
    bad = [fault for turn in turns if (fault := find_fault(turn, syntax, rules))]
    if bad and refuse:
        named = "; ".join(f"{one.id}: {one.reason}" for one in bad[:_MAX_NAMED])
        more = f"; and {len(bad) - _MAX_NAMED} more" if len(bad) > _MAX_NAMED else ""
        raise DataError(
            f"the right calls of {len(bad)} of {len(prompts)} prompts cannot earn the highest reward: {named}{more}. "
            "Correct or drop these rows (`tltrain reward audit` lists them), or set bad_gold=drop to train "
            "without them"
        )
    return {one.id: one.reason for one in bad}
