"""What the layers of the audit hand to each other."""

from typing import NamedTuple

from tltrain.audit.rules import Rule, RuleBook
from tltrain.audit.verdict import VerdictLabel


class Finding(NamedTuple):
    """A verdict before its kind is named and its evidence located."""

    label: VerdictLabel
    proof: str
    excerpt: str = ""
    """What was matched, as decoded."""
    key: str | None = None
    """Field that holds the excerpt."""
    text: str = ""
    """Everything by which an error explains itself."""
    status: int | None = None
    rule: Rule | None = None
    """The text rule behind the proof."""


class Reader(NamedTuple):
    """What stays the same while one feedback is read."""

    book: RuleBook
    words: frozenset[str]
