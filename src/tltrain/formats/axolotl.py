"""axolotl's `chat_template` rows: OpenAI messages with `train`, and `train_detail` for parts of a text.

`train_detail` is a list of `{"begin_offset", "end_offset", "train"}`; the last character belongs to its part. Every
message of the assistant is written with its flag, so set `roles_to_train: []` and `message_field_training: train`.
"""

from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

from tltrain.errors import DataError
from tltrain.files import json_type
from tltrain.formats.base import CallMasks, Companions, WrittenRow
from tltrain.formats.chat_fields import bad, write_tool
from tltrain.formats.export import Losses, kept_columns
from tltrain.formats.loss_fields import with_masks
from tltrain.formats.openai_chat import trajectory_from_row, write_message
from tltrain.formats.openai_rows import has_field
from tltrain.formats.untrusted import expect_object, missing
from tltrain.types import Json, Message, Role, Trajectory, WeightSpan

_FIELDS = {"train", "train_detail"}


class AxolotlRows:
    """See the module."""

    name = "axolotl"
    summary = "axolotl chat_template: OpenAI messages with train and train_detail"

    def refuse(self, record: Json) -> str | None:
        """A row has a message with `train` or `train_detail`."""
        reason = missing(record, messages=list)
        if reason or not isinstance(record, dict):
            return reason
        return None if has_field(record["messages"], _FIELDS) else "no message has 'train' or 'train_detail'"

    def read(self, record: Json, *, where: str, companions: Companions) -> Iterator[Trajectory | DataError]:  # noqa: ARG002
        """One trajectory."""
        row = expect_object(record, where, "the record")
        messages = row.get("messages")
        if isinstance(messages, list):
            read = [_read_detail(value, where, f"messages[{index}]") for index, value in enumerate(messages)]
            row = row | {"messages": read}
        yield trajectory_from_row(row, where=where, default_id="")

    def write(self, trajectory: Trajectory, masks: CallMasks) -> WrittenRow:
        """A flag for each message of the assistant, and parts where it is text alone."""
        losses = Losses()
        trajectory = with_masks(trajectory, masks)
        row: dict[str, Json] = kept_columns(trajectory)
        row["messages"] = [_write(message, losses) for message in trajectory.messages]
        if trajectory.tools:
            row["tools"] = [write_tool(tool) for tool in trajectory.tools]
        return WrittenRow(row, losses.phrases())


def _read_detail(value: Any, where: str, field: str) -> Any:
    detail = value.get("train_detail") if isinstance(value, dict) else None
    if detail is None or value.get("role") != Role.ASSISTANT:
        return value
    if not isinstance(detail, list):
        raise bad(where, f"{field}.train_detail", f"is of type {json_type(detail)}", "give a list of parts")
    spans: list[Json] = []
    for index, part in enumerate(detail):
        begin, end = (part.get("begin_offset"), part.get("end_offset")) if isinstance(part, dict) else (None, None)
        if not isinstance(begin, int) or not isinstance(end, int) or not isinstance(part.get("train"), bool):
            problem = "is no {begin_offset, end_offset, train} of two integers and a boolean"
            raise bad(where, f"{field}.train_detail[{index}]", problem, "mend it, or leave train_detail out")
        spans.append({"field": "content", "start": begin, "end": end + 1, "weight": float(part["train"])})
    return value | {"spans": spans}


def _write(message: Message, losses: Losses) -> Json:
    plain = replace(message, weight=None, spans=(), mask_reason="")
    row: dict[str, Any] = write_message(plain, with_faults=False)
    if message.role is not Role.ASSISTANT:
        return row
    of_text = [span for span in message.spans if span.field == "content" and span.start != span.end]
    if of_text and not message.calls and not message.reasoning:
        base = losses.binary(losses.whole(replace(message, spans=())))
        row["train"] = base != 0
        row["train_detail"] = [_write_part(span, message, losses) for span in of_text]
    else:
        row["train"] = losses.binary(losses.whole(message)) != 0
    return row


def _write_part(span: WeightSpan, message: Message, losses: Losses) -> Json:
    end = len(message.content) if span.end is None else span.end
    return {"begin_offset": span.start, "end_offset": end - 1, "train": losses.binary(span.weight) != 0}


AXOLOTL = AxolotlRows()
