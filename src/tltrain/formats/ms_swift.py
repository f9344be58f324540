"""ms-swift's agent rows: calls and feedback are messages of the roles `tool_call` and `tool_response`.

- Each call is a message whose content is JSON text of `{"name", "arguments"}`; those of one turn follow one another,
  after an `assistant` message with its text, if any.
- `loss` (true or false) or `loss_scale` (a number) stands on messages; of a group of calls the first message's counts.
- `tools` is JSON text.
- Also where the last message does not teach, ms-swift 4.6.0 trains on the token that ends it.
"""

import json
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from tltrain.errors import DataError
from tltrain.files import json_type
from tltrain.formats.base import CallMasks, Companions, WrittenRow
from tltrain.formats.chat_fields import bad, write_tool
from tltrain.formats.export import Losses, in_call_order, kept_columns, with_faults_as_text
from tltrain.formats.loss_fields import ALIASES, read_weight, with_masks
from tltrain.formats.openai_chat import trajectory_from_row
from tltrain.formats.openai_rows import has_field
from tltrain.formats.text_turns import (
    add_calls,
    note_turns,
    read_answered_texts,
    read_call_text,
    read_turn,
    write_call_text,
    write_turn,
)
from tltrain.formats.untrusted import expect_object, missing
from tltrain.types import Json, Message, Role, Trajectory

LAST_END = "that the end of a last message does not teach; ms-swift trains on it"
_CALL, _FEEDBACK = "tool_call", "tool_response"


class MsSwiftRows:
    """See the module."""

    name = "ms_swift"
    summary = "ms-swift: messages with the roles tool_call and tool_response, loss and loss_scale"

    def refuse(self, record: Json) -> str | None:
        """A row has messages, one of which has a role or a field of ms-swift's own."""
        reason = missing(record, messages=list)
        if reason or not isinstance(record, dict):
            return reason
        roles = {str(item.get("role")) for item in record["messages"] if isinstance(item, dict)}  # type: ignore[union-attr]
        if roles & {_CALL, _FEEDBACK} or has_field(record["messages"], {"loss", "loss_scale"}):
            return None
        return f"no message has the role {_CALL!r} or {_FEEDBACK!r}, 'loss' or 'loss_scale'"

    def read(self, record: Json, *, where: str, companions: Companions) -> Iterator[Trajectory | DataError]:  # noqa: ARG002
        """One trajectory."""
        row = expect_object(record, where, "the record")
        messages, places = row.get("messages"), None
        if isinstance(messages, list):
            joined = _join_calls(messages, where)
            row = row | {"messages": read_answered_texts([message for message, _ in joined])}
            places = [f"messages[{index}]" for _, index in joined]
        yield trajectory_from_row(row, where=where, default_id="", places=places)

    def write(self, trajectory: Trajectory, masks: CallMasks) -> WrittenRow:
        """Weights other than 0 and 1 as `loss_scale`, which ms-swift takes with `--is_binary_loss_scale false`."""
        losses = Losses()
        trajectory = with_faults_as_text(in_call_order(with_masks(trajectory, masks), losses), losses)
        note_turns(trajectory.messages, losses)
        row: dict[str, Json] = kept_columns(trajectory)
        if trajectory.tools:
            row["tools"] = json.dumps([write_tool(tool) for tool in trajectory.tools], ensure_ascii=False)
        if any(
            message.role is Role.ASSISTANT and losses.parts(message)[-1 if message.calls else 0] == 0
            for message in trajectory.messages[-1:]
        ):
            losses.note(LAST_END)
        row["messages"] = [part for message in trajectory.messages for part in _write(message, losses)]
        return WrittenRow(row, losses.phrases())


def _join_calls(values: list[Any], where: str) -> list[tuple[Any, int]]:
    """The messages as OpenAI's, each group of calls behind the text of its turn; with their numbers in the row."""
    messages: list[tuple[Any, int]] = []
    for is_call, group in groupby(enumerate(values), key=lambda pair: _role(pair[1]) == _CALL):
        if not is_call:
            messages += [(_plain_message(value, where, f"messages[{index}]"), index) for index, value in group]
            continue
        numbered = list(group)
        weight = read_weight(numbered[0][1], where, f"messages[{numbered[0][0]}]")
        last: Any = messages[-1][0] if messages else None
        if _role(last) != Role.ASSISTANT or last.get("tool_calls"):
            messages.append((read_turn("") | {"weight": weight}, numbered[0][0]))
        calls = [call for index, value in numbered for call in _read_calls(value, where, f"messages[{index}]")]
        add_calls(messages[-1][0], calls, weight)
    return messages


def _role(value: Any) -> Any:
    return value.get("role") if isinstance(value, dict) else None


def _plain_message(value: Any, where: str, field: str) -> Json:
    if _role(value) == _FEEDBACK:
        return {**value, "role": Role.TOOL.value}
    if _role(value) != Role.ASSISTANT:
        return value  # type: ignore[no-any-return]
    turn = {name: item for name, item in value.items() if name not in ALIASES}
    turn["weight"] = read_weight(value, where, field)
    if isinstance(turn.get("content"), str) and not turn.get("reasoning_content"):
        turn |= read_turn(turn["content"])
    return turn


def _read_calls(value: dict[str, Any], where: str, field: str) -> list[Json]:
    content = value.get("content")
    if isinstance(content, dict | list):
        content = json.dumps(content, ensure_ascii=False)
    if not isinstance(content, str):
        raise bad(where, f"{field}.content", f"is of type {json_type(content)}", "give a call as JSON text")
    return read_call_text(content)


def _write(message: Message, losses: Losses) -> Iterator[dict[str, Json]]:
    if message.role is not Role.ASSISTANT:
        role = _FEEDBACK if message.role is Role.TOOL else message.role.value
        yield {"role": role, "content": message.content}
        return
    text_weight, calls_weight = losses.parts(message)
    if message.content or message.reasoning or not message.calls:
        yield {"role": "assistant", "content": write_turn(message, losses), **_loss(text_weight)}
    for place, call in enumerate(message.calls):
        yield {"role": _CALL, "content": write_call_text(call), **(_loss(calls_weight) if place == 0 else {})}


def _loss(weight: float | None) -> dict[str, Json]:
    if weight is None:
        return {}
    return {"loss": bool(weight)} if weight in (0.0, 1.0) else {"loss_scale": weight}


MS_SWIFT = MsSwiftRows()
