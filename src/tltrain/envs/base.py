"""What an environment is: something that lists tools and executes calls."""

from dataclasses import dataclass
from typing import Protocol

from tltrain.taxonomy import FeedbackKind
from tltrain.types import AnyCall, Json, Tool


@dataclass(frozen=True, kw_only=True, slots=True)
class Feedback:
    """The answer to one call."""

    text: str
    """What the model reads."""
    error: FeedbackKind | None = None
    """The truth, known to the environment alone; None: the call did what it says. Audits are measured against it."""
    value: Json = None
    """The decoded result of a call without error."""


class Environment(Protocol):
    """Tools with state behind them."""

    @property
    def tools(self) -> tuple[Tool, ...]:
        """The tools on offer, in the order shown to the model."""

    def execute(self, call: AnyCall) -> Feedback:
        """Run one call; one that fails answers with an error and leaves the state as it was. Never raises on input."""

    def snapshot(self) -> Json:
        """The whole state, equal for equal states; final states are compared by it."""
