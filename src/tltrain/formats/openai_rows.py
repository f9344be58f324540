"""OpenAI chat rows as two formats: tltrain's own, which hold everything, and those that OpenAI's fine-tuning takes.

OpenAI's preference rows, `{"input", "preferred_output", "non_preferred_output"}`, are read as their preferred side;
the assistant's messages in `input` do not teach.
"""

from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

from tltrain.errors import DataError
from tltrain.files import json_type
from tltrain.formats.base import CallMasks, Companions, WrittenRow
from tltrain.formats.chat_fields import bad, write_tool
from tltrain.formats.export import TOOL_NAMES, Losses, with_call_ids
from tltrain.formats.loss_fields import with_masks
from tltrain.formats.openai_chat import row_from_trajectory, trajectory_from_row, write_message
from tltrain.formats.untrusted import missing
from tltrain.types import Json, Message, Role, Trajectory

INPUT_REASON = "part of the prompt"
"""Why an assistant's message does not teach that its row gives as a prompt."""
_PREFERRED = ("preferred_output", "preferred_completion")
_FOREIGN = {"train", "train_detail", "loss", "loss_scale", "loss_mask", "loss_weight"}
"""Fields of messages by which other trainers set the loss."""


class TltrainRows:
    """OpenAI chat rows with everything that tltrain knows of a trajectory."""

    name = "tltrain"
    summary = "tltrain's own rows: OpenAI chat with id, provenance, weights, spans and reasons; loses nothing"

    def refuse(self, record: Json) -> str | None:
        """A row has `messages` and either `provenance`, or a message with `spans` or `mask_reason`."""
        reason = missing(record, messages=list)
        if reason or not isinstance(record, dict):
            return reason
        if isinstance(record.get("provenance"), dict) or has_field(record["messages"], {"spans", "mask_reason"}):
            return None
        return "there is neither 'provenance' nor a message with 'spans' or 'mask_reason'"

    def read(self, record: Json, *, where: str, companions: Companions) -> Iterator[Trajectory | DataError]:  # noqa: ARG002
        """One trajectory."""
        yield read_row(record, where)

    def write(self, trajectory: Trajectory, masks: CallMasks) -> WrittenRow:
        """Lossless."""
        return WrittenRow(row_from_trajectory(with_masks(trajectory, masks)))


class OpenAIRows:
    """Rows of OpenAI's fine-tuning, and of the many tools that read the same."""

    name = "openai"
    summary = "OpenAI chat with tools, the fine-tuning rows with a weight of 0 or 1; also preference rows"

    def refuse(self, record: Json) -> str | None:
        """A row has `messages`, or is a preference row, and no message has a field of another trainer."""
        if isinstance(record, dict) and isinstance(record.get("input"), dict):
            return None if any(key in record for key in _PREFERRED) else f"'input' without {' or '.join(_PREFERRED)}"
        reason = missing(record, messages=(list, str))
        if reason or not isinstance(record, dict):
            return reason
        foreign = has_field(record["messages"], _FOREIGN)
        return f"a message has {foreign!r}, which OpenAI's do not" if foreign else None

    def read(self, record: Json, *, where: str, companions: Companions) -> Iterator[Trajectory | DataError]:  # noqa: ARG002
        """One trajectory."""
        if isinstance(record, dict) and isinstance(record.get("input"), dict):
            yield _read_preference(record, where)
        else:
            yield read_row(record, where)

    def write(self, trajectory: Trajectory, masks: CallMasks) -> WrittenRow:
        """Only what OpenAI's documentation names, and `reasoning_content` where there is any."""
        losses = Losses()
        losses.note_identity(trajectory)
        trajectory = with_call_ids(with_masks(trajectory, masks), losses)
        messages: list[Json] = [_write(message, losses) for message in trajectory.messages]
        row: dict[str, Json] = {"messages": messages}
        if trajectory.tools:
            row["tools"] = [write_tool(tool) for tool in trajectory.tools]
        return WrittenRow(row, losses.phrases())


def has_field(messages: Json, names: set[str]) -> str | None:
    """The first of some fields that any of the messages has."""
    if not isinstance(messages, list):
        return None
    return next((name for item in messages if isinstance(item, dict) for name in item if name in names), None)


def read_row(record: Json, where: str) -> Trajectory:
    """A row of chat messages; the id is empty where it has none.

    Raises:
        DataError: names `where`, the field, what is wrong and what to do.
    """
    if not isinstance(record, dict):
        raise DataError(f"{where}: a JSON {json_type(record)}, not an object; each record must be one JSON object")
    return trajectory_from_row(record, where=where, default_id="")


def as_prompt(message: Message) -> Message:
    """The message as part of a prompt: the assistant's do not teach."""
    if message.role is not Role.ASSISTANT:
        return message
    return replace(message, weight=0.0, spans=(), mask_reason=message.mask_reason or INPUT_REASON)


def _read_preference(record: dict[str, Any], where: str) -> Trajectory:
    outputs = next((record[key] for key in _PREFERRED if record.get(key) is not None), None)
    if not isinstance(outputs, list) or not outputs:
        raise bad(where, _PREFERRED[0], f"is of type {json_type(outputs)}, or empty", "give a list of messages")
    given = record["input"].get("messages")
    if not isinstance(given, list):
        raise bad(where, "input.messages", f"is of type {json_type(given)}", "give a list of messages")
    others = {key: value for key, value in record.items() if key not in ("input", *_PREFERRED)}
    trajectory = trajectory_from_row(
        others | record["input"] | {"messages": [*given, *outputs]}, where=where, default_id=""
    )
    messages = (
        as_prompt(message) if index < len(given) else message for index, message in enumerate(trajectory.messages)
    )
    return replace(trajectory, messages=tuple(messages))


def _write(message: Message, losses: Losses) -> Json:
    weight = losses.binary(losses.whole(message))
    if message.name is not None:
        losses.note(TOOL_NAMES)
    plain = replace(message, weight=None, spans=(), mask_reason="", name=None)
    row = write_message(plain, with_faults=False)
    if message.calls and not message.content:
        row["content"] = None
    if weight is not None:
        row["weight"] = int(weight)
    return row


TLTRAIN = TltrainRows()
OPENAI = OpenAIRows()
