"""Audit of a reward before any training: whether right answers earn the most, and wrong ones what the rules say."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tltrain.errors import DataError
from tltrain.rewards.answers import KINDS, Turn, gold_text, make_answers
from tltrain.rewards.judge import RewardRules, judge_text
from tltrain.rewards.rules import Reward
from tltrain.syntax import CallSyntax
from tltrain.taxonomy import TurnDiagnosis
from tltrain.types import Json, MalformedCall

_TOLERANCE = 1e-9
"""What adding up rewards rounds."""
_MAX_EXAMPLES = 3
_MAX_TEXT = 200
_NUM_BINS = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class BadGold:
    """A turn whose right answer cannot earn the highest reward."""

    id: str
    reason: str

    def to_json(self) -> dict[str, Json]:
        """As a row."""
        return {"id": self.id, "reason": self.reason}


@dataclass(kw_only=True, slots=True)
class KindTally:
    """What the answers of one kind earned."""

    kind: str
    n: int = 0
    expected: set[float] = field(default_factory=set)
    """What they should earn; several values where turns have several right calls."""
    lowest: float = math.inf
    highest: float = -math.inf
    total: float = 0.0
    num_out_of_line: int = 0
    """Answers that earn something else than they should."""
    examples: list[dict[str, Json]] = field(default_factory=list)
    """The first few of these."""

    def add(self, identity: str, text: str, expected: float, reward: float) -> None:
        """Count one answer."""
        self.n += 1
        self.expected.add(round(expected, 9))
        self.lowest, self.highest = min(self.lowest, reward), max(self.highest, reward)
        self.total += reward
        if abs(reward - expected) > _TOLERANCE:
            self.num_out_of_line += 1
            if len(self.examples) < _MAX_EXAMPLES:
                self.examples.append(
                    {"id": identity, "expected": expected, "reward": reward, "answer": text[:_MAX_TEXT]}
                )

    def to_json(self) -> dict[str, Json]:
        """As a row; `expected` is [least, most]."""
        return {
            "kind": self.kind,
            "n": self.n,
            "expected": [min(self.expected), max(self.expected)],
            "min": self.lowest,
            "mean": self.total / self.n,
            "max": self.highest,
            "num_out_of_line": self.num_out_of_line,
            "examples": list(self.examples),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class RewardAudit:
    """What the audit of a reward found, for one syntax."""

    syntax: str
    num_turns: int
    kinds: tuple[KindTally, ...]
    bad_gold: tuple[BadGold, ...]
    rewards: Counter[float]
    """Reward, rounded to six digits -> number of answers."""

    @property
    def num_out_of_line(self) -> int:
        """Answers that earn something else than they should."""
        return sum(tally.num_out_of_line for tally in self.kinds)

    @property
    def is_clean(self) -> bool:
        """Whether every answer earns what it should."""
        return not self.num_out_of_line and not self.bad_gold

    @property
    def histogram(self) -> dict[str, int]:
        """Reward, or a range of rewards where there are many -> number of answers, the lowest first."""
        values = sorted(self.rewards)
        if len(values) <= _NUM_BINS:
            return {f"{value:g}": self.rewards[value] for value in values}
        low, width = values[0], (values[-1] - values[0]) / _NUM_BINS
        counts: Counter[int] = Counter()
        for value in values:
            counts[min(int((value - low) / width), _NUM_BINS - 1)] += self.rewards[value]
        return {
            f"{low + number * width:.2f} to {low + (number + 1) * width:.2f}": counts[number]
            for number in range(_NUM_BINS)
        }

    def to_json(self) -> dict[str, Json]:
        """As `tltrain reward audit --json` prints it."""
        return {
            "num_turns": self.num_turns,
            "num_answers": self.rewards.total(),
            "num_out_of_line": self.num_out_of_line,
            "num_bad_gold": len(self.bad_gold),
            "kinds": [tally.to_json() for tally in self.kinds],
            "histogram": dict(self.histogram),
            "bad_gold": [bad.to_json() for bad in self.bad_gold],
        }


def audit_turns(turns: Iterable[Turn], syntax: CallSyntax, rules: RewardRules) -> RewardAudit:
    """Score answers of every kind to each turn.

    A turn whose right answer does not earn the most is listed; its other answers, made from the right one, are counted
    all the same where the syntax can write them.
    """
    tallies: dict[str, KindTally] = {}
    bad: list[BadGold] = []
    rewards: Counter[float] = Counter()
    num_turns = 0
    for turn in turns:
        num_turns += 1
        fault = find_fault(turn, syntax, rules)
        if fault is not None:
            bad.append(fault)
        for answer in make_answers(turn, syntax, rules.reward):
            earned = judge_text(answer.text, turn.tools, answer.golds, syntax, rules).total
            tally = tallies.setdefault(answer.kind, KindTally(kind=answer.kind))
            tally.add(turn.id, answer.text, answer.expected, earned)
            rewards[round(earned, 6)] += 1
    return RewardAudit(
        syntax=syntax.name,
        num_turns=num_turns,
        kinds=tuple(tallies[kind] for kind in KINDS if kind in tallies),
        bad_gold=tuple(bad),
        rewards=rewards,
    )


def find_fault(turn: Turn, syntax: CallSyntax, rules: RewardRules) -> BadGold | None:
    """Why the right answer of a turn cannot earn the highest reward; None if it can."""
    try:
        text = gold_text(turn, syntax)
    except DataError as error:
        return BadGold(id=turn.id, reason=f"the right call cannot be written as a {syntax.name} call: {error}")
    earned = judge_text(text, turn.tools, turn.golds, syntax, rules)
    if earned.total >= rules.reward.right - _TOLERANCE:
        return None
    reason = f"the right answer earns {earned.total:g} of {rules.reward.right:g} ({earned.diagnosis.label})"
    return BadGold(id=turn.id, reason=f"{reason}: {_explain(text, turn, earned, syntax)}")


def _explain(text: str, turn: Turn, earned: Reward, syntax: CallSyntax) -> str:
    """What the text reads as."""
    calls = syntax.parse(text, tools=turn.tools).calls
    broken = next((call for call in calls if isinstance(call, MalformedCall)), None)
    if not turn.golds:
        return f"its text reads as {len(calls)} {syntax.name} call{'s' * (len(calls) > 1)}"
    if len(calls) != len(turn.golds):
        return f"it reads back as {len(calls)} calls instead of {len(turn.golds)}"
    if broken is not None:
        return f"it cannot be read back: {broken.reason}"
    parts = earned.diagnosis.parts if isinstance(earned.diagnosis, TurnDiagnosis) else (earned.diagnosis,)
    names = [name for part in parts for name in (*part.differing, *part.missing, *part.redundant, *part.hallucinated)]
    return f"it reads back with other {'parameters: ' + ', '.join(names) if names else 'tool names'}"
