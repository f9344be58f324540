"""What a teacher is, and the conversation that it leads with a sandbox."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from msgspec.structs import replace

from tltrain.envs.base import Feedback
from tltrain.generate.task import Started
from tltrain.taxonomy import CallError
from tltrain.types import AnyCall, Json, Message, Role, ToolCall


@dataclass(frozen=True, kw_only=True, slots=True)
class Transcript:
    """What a teacher did with a task."""

    messages: tuple[Message, ...]
    """From the user's query to the closing text."""
    truth: tuple[str | None, ...]
    """For each call: None if it did what it says, else the `FeedbackKind` of its error, or `silent:<CallError>` for a
    known mistake that gave no error."""
    mistakes: tuple[CallError | None, ...] | None = None
    """For each call the mistake made on purpose; None for a teacher whose mistakes nobody knows."""
    notes: Mapping[str, Json] = field(default_factory=dict)
    """Further entries of the provenance."""


class TeacherFailure(Exception):  # noqa: N818 - one task that could not be done, no bug
    """The teacher could not do the task; the message is the reason, and other tasks may still succeed."""


class Teacher(Protocol):
    """Someone who does tasks. Teachers keep no state between tasks, so that tasks may run side by side."""

    @property
    def name(self) -> str:
        """Which teacher, as the provenance says it."""

    def act(self, started: Started) -> Transcript:
        """Do one task, from its query to an answer.

        Raises:
            TeacherFailure: this task could not be done.
        """


class Conversation:
    """The messages so far, and what is known about each call; built by executing calls in the task's sandbox."""

    def __init__(self, started: Started):
        self._sandbox = started.sandbox
        self._messages = [Message(role=Role.USER, content=started.query)]
        self._truth: list[str | None] = []
        self._mistakes: list[CallError | None] = []

    @property
    def messages(self) -> tuple[Message, ...]:
        """All messages so far."""
        return tuple(self._messages)

    def call(self, call: AnyCall, mistake: CallError | None = None) -> Feedback:
        """Make one call, with its kind if it is a known mistake, and get the feedback."""
        return self.reply(Message(role=Role.ASSISTANT, calls=(call,)), mistake)[0]

    def reply(self, message: Message, mistake: CallError | None = None) -> list[Feedback]:
        """Add an assistant message and execute its calls in order; without calls it closes the conversation."""
        first = len(self._truth) + 1
        calls = tuple(replace(call, id=f"call_{number}") for number, call in enumerate(message.calls, start=first))
        self._messages.append(replace(message, calls=calls))
        return [self._execute(call, mistake) for call in calls]

    def _execute(self, call: AnyCall, mistake: CallError | None) -> Feedback:
        feedback = self._sandbox.execute(call)
        name = call.name if isinstance(call, ToolCall) else None
        self._messages.append(Message(role=Role.TOOL, content=feedback.text, call_id=call.id, name=name))
        silent = None if mistake is None else f"silent:{mistake.value}"
        self._truth.append(silent if feedback.error is None else feedback.error.value)
        self._mistakes.append(mistake)
        return feedback

    def close(self, text: str) -> None:
        """Add the closing text."""
        self._messages.append(Message(role=Role.ASSISTANT, content=text))

    def transcript(self, *, mistakes_known: bool, **notes: Json) -> Transcript:
        """The conversation as it stands."""
        return Transcript(
            messages=self.messages,
            truth=tuple(self._truth),
            mistakes=tuple(self._mistakes) if mistakes_known else None,
            notes=notes,
        )
