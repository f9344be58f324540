"""TRL's conversational rows with tools: `messages`, or `prompt` with `completion` or `chosen`.

- Arguments of calls are objects; `tools` is a list, or JSON text of one, which Arrow leaves as it is.
- The assistant's messages of a prompt do not teach; of a preference row the chosen side is read.
- TRL has no weights of messages. A row whose first messages of the assistant weigh 0 and whose others weigh nothing
  else than 1 is written as prompt and completion, so that TRL trains just those; any other row keeps a `weight` on
  its messages, which TRL itself does not look at.
"""

import json
from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

from tltrain.errors import DataError
from tltrain.formats.base import CallMasks, Companions, WrittenRow
from tltrain.formats.chat_fields import bad, write_tool
from tltrain.formats.export import Losses, kept_columns
from tltrain.formats.loss_fields import with_masks
from tltrain.formats.openai_chat import trajectory_from_row, write_message
from tltrain.formats.openai_rows import as_prompt, read_row
from tltrain.formats.untrusted import missing
from tltrain.types import Json, Message, Role, ToolCall, Trajectory

UNREAD = "loss weights; they are kept as `weight` on messages, at which TRL does not look"
_COMPLETIONS = ("completion", "chosen")


class TrlRows:
    """See the module."""

    name = "trl"
    summary = "TRL: messages with tools and arguments as objects; prompt with completion or chosen"

    def refuse(self, record: Json) -> str | None:
        """A row has `prompt` and `completion` or `chosen`, or messages with a call whose arguments are an object."""
        if not isinstance(record, dict):
            return missing(record)
        if isinstance(record.get("prompt"), list):
            given = any(isinstance(record.get(name), list) for name in _COMPLETIONS)
            return None if given else "there is a 'prompt' without 'completion' or 'chosen'"
        if isinstance(record.get("chosen"), list):
            return None
        reason = missing(record, messages=list)
        if reason:
            return reason
        if record.get("chat_template_kwargs") is not None or isinstance(record.get("tools"), str):
            return None
        if any(map(_has_object, record["messages"])):  # type: ignore[arg-type]
            return None
        return "no call has an object as arguments, and tools are no JSON text"

    def read(self, record: Json, *, where: str, companions: Companions) -> Iterator[Trajectory | DataError]:  # noqa: ARG002
        """One trajectory."""
        is_pair = isinstance(record, dict) and any(name in record for name in ("prompt", *_COMPLETIONS))
        yield _read_pair(record, where) if is_pair and isinstance(record, dict) else read_row(record, where)

    def write(self, trajectory: Trajectory, masks: CallMasks) -> WrittenRow:
        """Messages, or prompt and completion."""
        losses = Losses()
        trajectory = with_masks(trajectory, masks)
        weights = [losses.whole(message) for message in trajectory.messages]
        messages: list[Json] = [_write(message) for message in trajectory.messages]
        row: dict[str, Any] = kept_columns(trajectory)
        if trajectory.tools:
            row["tools"] = json.dumps([write_tool(tool) for tool in trajectory.tools], ensure_ascii=False)
        split = _length_of_prompt(trajectory.messages, weights)
        if split:
            row |= {"prompt": messages[:split], "completion": messages[split:]}
            return WrittenRow(row, losses.phrases())
        for message, weight in zip(messages, weights, strict=True):
            if weight is not None and isinstance(message, dict):
                message["weight"] = weight
        if any(weight not in (None, 1.0) for weight in weights):
            losses.note(UNREAD)
        return WrittenRow(row | {"messages": messages}, losses.phrases())


def _has_object(message: Any) -> bool:
    calls = message.get("tool_calls") if isinstance(message, dict) else None
    functions = (call.get("function") for call in calls if isinstance(call, dict)) if isinstance(calls, list) else ()
    return any(isinstance(function, dict) and isinstance(function.get("arguments"), dict) for function in functions)


def _read_pair(record: dict[str, Any], where: str) -> Trajectory:
    name = next((name for name in _COMPLETIONS if record.get(name) is not None), _COMPLETIONS[0])
    prompt, completion = record.get("prompt") or [], record.get(name)
    for field, value in (("prompt", prompt), (name, completion)):
        if not isinstance(value, list):
            raise bad(where, field, "is no list of messages", "give chat messages; plain text holds no calls")
    if not completion:
        raise bad(where, name, "is empty", "give at least one message")
    others = {key: value for key, value in record.items() if key not in ("prompt", name)}
    trajectory = trajectory_from_row(others | {"messages": [*prompt, *completion]}, where=where, default_id="")
    messages = (
        as_prompt(message) if index < len(prompt) else message for index, message in enumerate(trajectory.messages)
    )
    return replace(trajectory, messages=tuple(messages))


def _length_of_prompt(messages: tuple[Message, ...], weights: list[float | None]) -> int:
    """Messages before the first that teaches, if some of the assistant's stand there and all after it teach alike."""
    turns = [index for index, message in enumerate(messages) if message.role is Role.ASSISTANT]
    blocked = [index for index in turns if weights[index] == 0]
    taught = [index for index in turns if weights[index] in (None, 1.0)]
    if not blocked or not taught or len(blocked) + len(taught) < len(turns) or blocked[-1] > taught[0]:
        return 0
    return taught[0]


def _write(message: Message) -> dict[str, Json]:
    row = write_message(replace(message, weight=None, spans=(), mask_reason=""), with_faults=False)
    for call, written in zip(message.calls, row.get("tool_calls") or (), strict=True):  # type: ignore[arg-type]
        if isinstance(call, ToolCall):
            written["function"]["arguments"] = dict(call.arguments)  # type: ignore[index, call-overload]
    return row


TRL = TrlRows()
