"""What rendering gives: tokens with loss weights, and the places of turns and calls among them."""

from dataclasses import dataclass
from enum import StrEnum

from tltrain.render.tokens import TokenSpan


class TurnKind(StrEnum):
    """What a turn of the assistant is to the loss."""

    CALLS = "calls"
    """Holds calls, at least one of which is trained."""
    ANSWER = "answer"
    """Text alone; trained."""
    BLOCKED = "blocked"
    """All its calls are blocked; nothing of it is trained."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RenderedTurn:
    """One turn of the assistant, from after the generation prompt through the end-of-turn token."""

    message: int
    """Its index in the trajectory's messages."""
    start: int
    """Position of its first token."""
    end: int
    """Position after its last token."""
    kind: TurnKind
    has_end: bool = True
    """Whether its last token is the end-of-turn token. False: the chat template puts another in its place once more
    messages follow; that one is context."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RenderedParameter:
    """Where one argument of a call is written."""

    name: str
    key: TokenSpan
    value: TokenSpan


@dataclass(frozen=True, kw_only=True, slots=True)
class RenderedCall:
    """One call among the tokens. A token that holds a character of it belongs to it."""

    number: int
    """Position among all calls of the trajectory, from 0; see `iterate_calls`."""
    span: TokenSpan
    name: TokenSpan | None
    """None: the call cannot be read."""
    key_positions: tuple[int, ...]
    """Positions in the sequence; empty for a call that cannot be read."""
    num_key: int
    num_nonkey: int
    """Tokens of the call that are no key tokens."""
    weight: float
    """Of each key token, were the call not blocked."""
    blocked: bool
    """Its tokens weigh 0."""
    parameters: tuple[RenderedParameter, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class RenderedTrajectory:
    """One training sequence."""

    id: str
    input_ids: list[int]
    weights: list[float]
    """Weight of each token as the target of the prediction before it; 0 where it is not trained."""
    turns: tuple[RenderedTurn, ...]
    calls: tuple[RenderedCall, ...]
    text: str
    """What the tokens stand for."""
