"""axolotl's `chat_template` rows: OpenAI messages with `train`, and `train_detail` for parts of a text.

`train_detail` is a list of `{"begin_offset", "end_offset", "train"}`; the last character belongs to its part, and what
no part covers is not trained. Every message of the assistant is written with its flag, so set `roles_to_train: []` and
`message_field_training: train`. `tools` is JSON text, since a table would drop what is null in them.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from msgspec.structs import replace

from tltrain.errors import DataError
from tltrain.files import json_type
from tltrain.formats.base import CallMasks, Companions, WrittenRow
from tltrain.formats.chat_fields import bad, write_tool
from tltrain.formats.export import Losses, kept_columns, with_faults_as_text
from tltrain.formats.loss_fields import with_masks
from tltrain.formats.openai_chat import trajectory_from_row, write_message
from tltrain.formats.openai_rows import has_field
from tltrain.formats.text_turns import read_answered_texts
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
            row = row | {"messages": read_answered_texts(read)}
        yield trajectory_from_row(row, where=where, default_id="")

    def write(self, trajectory: Trajectory, masks: CallMasks) -> WrittenRow:
        """A flag for each message of the assistant, and parts where it is text alone."""
        losses = Losses()
        trajectory = with_faults_as_text(with_masks(trajectory, masks), losses)
        row: dict[str, Json] = kept_columns(trajectory)
        row["messages"] = [_write(message, losses) for message in trajectory.messages]
        if trajectory.tools:
            row["tools"] = json.dumps([write_tool(tool) for tool in trajectory.tools], ensure_ascii=False)
        return WrittenRow(row, losses.phrases())


def _read_detail(value: Any, where: str, field: str) -> Any:
    detail = value.get("train_detail") if isinstance(value, dict) else None
    if detail is None or value.get("role") != Role.ASSISTANT:
        return value
    if not isinstance(detail, list):
        raise bad(where, f"{field}.train_detail", f"is of type {json_type(detail)}", "give a list of parts")
    spans: list[Json] = []
    open_places = set(range(len(value["content"]))) if isinstance(value.get("content"), str) else set()
    for index, part in enumerate(detail):
        begin, end = (part.get("begin_offset"), part.get("end_offset")) if isinstance(part, dict) else (None, None)
        if not isinstance(begin, int) or not isinstance(end, int) or not isinstance(part.get("train"), bool):
            problem = "is no {begin_offset, end_offset, train} of two integers and a boolean"
            raise bad(where, f"{field}.train_detail[{index}]", problem, "mend it, or leave train_detail out")
        spans.append({"field": "content", "start": begin, "end": end + 1, "weight": float(part["train"])})
        open_places -= set(range(max(begin, 0), min(end + 1, len(value["content"]) if open_places else 0)))
    if spans and open_places:
        spans.insert(0, {"field": "content", "start": 0, "end": None, "weight": 0.0})
    return value | {"spans": spans}


def _write(message: Message, losses: Losses) -> Json:
    plain = replace(message, weight=None, spans=(), mask_reason="")
    row: dict[str, Any] = write_message(plain, with_faults=False)
    if message.role is not Role.ASSISTANT:
        return row
    of_text = [span for span in message.spans if span.field == "content" and span.start != span.end]
    if of_text and not message.calls and not message.reasoning:
        row["train"] = True
        row["train_detail"] = list(_write_parts(message, of_text, losses))
    else:
        row["train"] = losses.binary(losses.whole(message)) != 0
    return row


def _write_parts(message: Message, spans: Sequence[WeightSpan], losses: Losses) -> Iterator[Json]:
    """Parts that cover the whole text, of which no two overlap."""
    losses.whole(replace(message, spans=()))  # notes what else is lost
    flags = [losses.binary(message.weight) != 0] * len(message.content)
    for span in spans:
        end = len(message.content) if span.end is None else span.end
        flags[span.start : end] = [losses.binary(span.weight) != 0] * (end - span.start)
    for flag, run in groupby(range(len(flags)), key=flags.__getitem__):
        places = list(run)
        yield {"begin_offset": places[0], "end_offset": places[-1], "train": flag}


AXOLOTL = AxolotlRows()
