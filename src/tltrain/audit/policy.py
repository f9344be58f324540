"""Which calls are kept as context but not trained on: a choice over label, kind and blame of their verdicts."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Discriminator, Tag

from tltrain.audit.verdict import Blame, CallVerdict, Verdict, VerdictLabel
from tltrain.taxonomy import FeedbackKind


class BlockPolicy(StrEnum):
    """Choices of one word."""

    PAPER = "paper"
    """Every error, whoever is to blame, as in the paper; ambiguous and unanswered calls train, and are counted."""
    STRICT = "strict"
    """Errors, ambiguous and unanswered calls: only calls that are known to be right train."""
    LENIENT = "lenient"
    """Errors of the model alone; a right call that met a broken service trains."""
    NONE = "none"
    """Nothing is kept back: standard fine-tuning."""


class BlockRule(BaseModel):
    """A choice in full: a call is blocked whose label is among `labels`, and whose kind and blame are too, where given.

    Lenient is {blames: [model]}. Errors of the model together with everything ambiguous are two rules.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: tuple[VerdictLabel, ...] = (VerdictLabel.ERROR,)
    kinds: tuple[FeedbackKind, ...] | None = None
    """None: any kind."""
    blames: tuple[Blame, ...] | None = None
    """None: whoever is to blame."""

    def blocks(self, verdict: Verdict) -> bool:
        """True if a call of this verdict must not teach."""
        return (
            verdict.label in self.labels
            and (self.kinds is None or verdict.kind in self.kinds)
            and (self.blames is None or verdict.blame in self.blames)
        )


def _form(value: object) -> str:
    """By which form a value is checked, so that a mistake gets one message; in brackets, as it is no field."""
    if isinstance(value, list | tuple):
        return "(rules)"
    return "(rule)" if isinstance(value, Mapping | BlockRule) else "(word)"


Block: TypeAlias = Annotated[
    Annotated[Literal["paper", "strict", "lenient", "none"], Tag("(word)")]
    | Annotated[BlockRule, Tag("(rule)")]
    | Annotated[tuple[BlockRule, ...], Tag("(rules)")],
    Discriminator(_form),
]
"""One word, one rule, or several of which any blocks: what a config may say."""
_IN_FULL = {
    BlockPolicy.PAPER: (BlockRule(),),
    BlockPolicy.STRICT: (BlockRule(labels=(VerdictLabel.ERROR, VerdictLabel.AMBIGUOUS, VerdictLabel.UNANSWERED)),),
    BlockPolicy.LENIENT: (BlockRule(blames=(Blame.MODEL,)),),
    BlockPolicy.NONE: (),
}


def block_rules(policy: BlockPolicy | Block | str) -> tuple[BlockRule, ...]:
    """The rules that a policy stands for.

    Raises:
        ValueError: a word that is no policy.
    """
    if isinstance(policy, BlockRule):
        return (policy,)
    return policy if isinstance(policy, tuple) else _IN_FULL[BlockPolicy(policy)]


def is_blocked(verdict: Verdict, rules: Iterable[BlockRule]) -> bool:
    """True if any of the rules blocks a call of this verdict."""
    return any(rule.blocks(verdict) for rule in rules)


def blocked_calls(
    verdicts: Iterable[CallVerdict], policy: BlockPolicy | Block | str = BlockPolicy.PAPER
) -> dict[str, frozenset[int]]:
    """Numbers of the calls that get no gradient, by trajectory id; trajectories without any are left out."""
    rules = block_rules(policy)
    blocked: defaultdict[str, set[int]] = defaultdict(set)
    for row in verdicts:
        if is_blocked(row.verdict, rules):
            blocked[row.trajectory].add(row.number)
    return {key: frozenset(numbers) for key, numbers in blocked.items()}
