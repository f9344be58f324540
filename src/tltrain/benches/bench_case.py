"""What all public test sets share: a case, an answer that was read, and the verdict on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from tltrain.benches.policy import Request
from tltrain.types import AnyCall, Json, ToolCall


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchCase:
    """One prompt of a test set with its right answers."""

    id: str
    """Unique in its set."""
    request: Request
    gold: tuple[tuple[ToolCall, ...], ...]
    """Alternatives, each the calls of one right answer; empty where no answer is listed."""
    groups: Mapping[str, str] = field(default_factory=dict)
    """Breakdowns that the case counts in, such as {"level": "heavy", "scenario": "TG"}."""
    cluster: str = ""
    """Cases of one cluster are alike, such as those of one query, and are resampled together; empty: a case alone."""
    source: Any = None
    """What the set's own rules need beside the gold answers."""


class Answer(NamedTuple):
    """An answer, as text and as the calls that were read off it."""

    text: str
    calls: tuple[AnyCall, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What a test set says about one answer; each of the three stages implies the one before."""

    ts: bool | None
    """Tool selected. None: the set does not ask, or its grader failed; left out of means."""
    pi: bool | None
    """Parameters identified."""
    cf: bool | None
    """Content filled."""
    label: str
    """`all_right`, or what is wrong, in the words of `taxonomy.CallError` where they fit."""
    details: Mapping[str, Json] = field(default_factory=dict)
    """What the set's own rules add; booleans among them are scores, too."""


class Bench(Protocol):
    """A test set of single answers. Neither method needs a model."""

    @property
    def name(self) -> str:
        """What `--bench` takes."""

    @property
    def headline(self) -> str:
        """The breakdown by which the set is reported; empty: as a whole."""

    @property
    def notes(self) -> Sequence[str]:
        """What a reader must know about its numbers, a sentence each."""

    def load(self) -> list[BenchCase]:
        """All cases, in the order of the files.

        Raises:
            DataError: a file is missing or changed, or a row is not of the set's shape.
        """

    def judge(self, case: BenchCase, answer: Answer) -> Verdict:
        """Score one answer."""
