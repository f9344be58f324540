"""Who is tested: something that reads conversations and writes the next turn of each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from tltrain.syntax import CallSyntax
from tltrain.types import Message, Tool


@dataclass(frozen=True, slots=True)
class Request:
    """A conversation that the assistant is to go on with."""

    tools: tuple[Tool, ...]
    messages: tuple[Message, ...]
    one_call: bool = True
    """One call is all that is wanted, so a reply may end once it is complete."""
    goes_on: bool = False
    """Another request may follow that begins with this one and its reply; changes nothing about the reply."""


class Stop(StrEnum):
    """Why a reply ends where it does."""

    END = "end"
    """It was ended by whoever wrote it, or a call was complete."""
    LENGTH = "length"
    """Cut off at the limit of new tokens."""
    TOO_LONG = "too_long"
    """Nothing was written: the prompt leaves no room for a reply in the model's context."""
    UNWRITABLE = "unwritable"
    """Nothing was asked: the model's chat template cannot write the conversation; `Reply.note` says why."""
    FAILED = "failed"
    """An endpoint gave no usable reply after all retries; `Reply.note` says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What came back."""

    text: str
    """Without the end-of-turn token."""
    num_tokens: int
    """Tokens written, the end-of-turn token included."""
    stop: Stop
    prompt: str = ""
    """The conversation as it was read, where there is such a text."""
    note: str = ""


class Policy(Protocol):
    """A model, or someone in its place."""

    @property
    def syntax(self) -> CallSyntax:
        """How it writes calls."""

    def answer(self, requests: Sequence[Request], told: Callable[[int], None] | None = None) -> list[Reply]:
        """Write one reply to each request.

        Args:
            requests: any number.
            told: called with the number of replies so far, as they come.
        """
