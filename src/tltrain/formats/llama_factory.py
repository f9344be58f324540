"""LLaMA-Factory's rows: v0 `conversations` with the roles function_call and observation, and v1 `messages` of parts.

- v0: `{"conversations": [{"from": "human|gpt|function_call|observation|system", "value"}], "system", "tools"}`. A
  `function_call` is JSON text of one call or a list; several feedbacks are one `observation`, parted by a line of
  closing and opening tags, as LLaMA-Factory joins them. Text beside calls stands before them, which are then between
  tags, as version 0.9.5 reads it. Roles alternate. `loss_mask`, a list of 0 and 1 for each message, is what a pending
  change of LLaMA-Factory reads; 0.9.5 trains on every turn.
- v1: `{"messages": [{"role", "content": [{"type": "text|reasoning|tool_call", "value"}], "loss_weight"}], "tools"}`.
- `tools` is JSON text in both. v1 shows it to the model as it stands, so the documents are written in full there.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from tltrain.errors import DataError
from tltrain.files import json_type
from tltrain.formats.base import CallMasks, Companions, WrittenRow
from tltrain.formats.chat_fields import bad, write_tool
from tltrain.formats.export import Losses, in_call_order, kept_columns, with_faults_as_text
from tltrain.formats.loss_fields import with_masks
from tltrain.formats.openai_chat import trajectory_from_row
from tltrain.formats.text_turns import (
    note_turns,
    read_answered_texts,
    read_call_text,
    read_turn,
    write_call_text,
    write_turn,
)
from tltrain.formats.untrusted import expect_object, missing
from tltrain.types import Json, Message, Role, Tool, Trajectory

BETWEEN = "\n</tool_response>\n<tool_response>\n"
"""What LLaMA-Factory puts between feedbacks that it joins."""
CALLS_BESIDE_TEXT = "text beside calls where either holds tags of calls (LLaMA-Factory v1 holds both)"
ALTERNATION = "turns that do not alternate, or no last turn of the assistant; LLaMA-Factory v0 leaves such rows out"
PENDING = "loss weights; LLaMA-Factory v0 trains on every turn (v1 does not); kept in `loss_mask`, for a pending change"
SYSTEM = "system messages after the first"
SEPARATOR = "lines of tags inside feedback, at which it is parted"
NOT_EXACTLY_ANSWERED = "bounds between feedbacks that are more or fewer than the calls"
_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_BESIDE_TEXT = re.compile(rf"(.*?)\n?{_OPEN}(.*){_CLOSE}", re.DOTALL)
_CALL, _FEEDBACK = "function_call", "observation"
_ROLES = {
    "human": Role.USER,
    "user": Role.USER,
    "gpt": Role.ASSISTANT,
    "assistant": Role.ASSISTANT,
    "system": Role.SYSTEM,
}
_V0_FIELDS = {"conversations", "system", "tools", "loss_mask"}
_PARTS = {"text", "reasoning", "tool_call"}


class LlamaFactoryRows:
    """LLaMA-Factory v0, in its sharegpt formatting."""

    name = "llama_factory"
    summary = "LLaMA-Factory v0: conversations with function_call and observation; loss_mask"

    def refuse(self, record: Json) -> str | None:
        """A row has `conversations` of `from` and `value`, and a turn of a role of its own, `tools` or `loss_mask`."""
        reason = missing(record, conversations=list)
        if reason or not isinstance(record, dict):
            return reason
        turns = record["conversations"]
        roles = {str(turn.get("from")) for turn in turns if isinstance(turn, dict)}  # type: ignore[union-attr]
        if roles & {_CALL, _FEEDBACK} or isinstance(record.get("loss_mask"), list):
            return None
        return f"no turn comes from {_CALL!r} or {_FEEDBACK!r}, and there is no 'loss_mask'"

    def read(self, record: Json, *, where: str, companions: Companions) -> Iterator[Trajectory | DataError]:  # noqa: ARG002
        """One trajectory."""
        row = expect_object(record, where, "the record")
        others = {name: value for name, value in row.items() if name not in _V0_FIELDS}
        messages = read_answered_texts(list(_read_turns(row, where)))
        if isinstance(row.get("system"), str) and row["system"]:
            messages.insert(0, {"role": "system", "content": row["system"]})
        chat = others | {"messages": messages, "tools": row.get("tools")}
        yield trajectory_from_row(chat, where=where, default_id="")

    def write(self, trajectory: Trajectory, masks: CallMasks) -> WrittenRow:
        """What the roles hold."""
        losses = Losses()
        trajectory = with_faults_as_text(in_call_order(with_masks(trajectory, masks), losses), losses)
        note_turns(trajectory.messages, losses)
        messages = list(trajectory.messages)
        row: dict[str, Json] = kept_columns(trajectory)
        # LLaMA-Factory wants each column that its dataset_info.json names, in whatever row
        has_system = bool(messages) and messages[0].role is Role.SYSTEM and bool(messages[0].content)
        row["system"] = messages.pop(0).content if has_system else ""
        turns = list(_write_turns(messages, losses))
        row["conversations"] = [{"from": source, "value": value} for source, value, _ in turns]
        if any(weight is not None for *_, weight in turns):
            losses.note(PENDING)
            row["loss_mask"] = [int(weight != 0) if source in ("gpt", _CALL) else 0 for source, _, weight in turns]
        row["tools"] = _write_tools(trajectory.tools)
        return WrittenRow(row, losses.phrases())


def _write_tools(tools: Sequence[Tool]) -> str:
    return json.dumps([write_tool(tool)["function"] for tool in tools], ensure_ascii=False)


def _read_turns(row: dict[str, Any], where: str) -> Iterator[dict[str, Json]]:
    turns, weights = row.get("conversations"), row.get("loss_mask")
    if not isinstance(turns, list):
        raise bad(where, "conversations", f"is of type {json_type(turns)}", "give a list of turns")
    if weights is not None and (not isinstance(weights, list) or len(weights) != len(turns)):
        raise bad(where, "loss_mask", "is no list with an entry for each turn", f"give {len(turns)} entries")
    num_calls = 0
    for index, turn in enumerate(turns):
        source, value = _read_fields(turn, where, f"conversations[{index}]")
        weight = {} if weights is None else {"loss_mask": weights[index]}
        if source == _FEEDBACK:
            parts = value.split(BETWEEN)
            yield from _feedback(parts if len(parts) == num_calls else [value])
        elif source == _CALL:
            text, calls = _read_calls(value)
            num_calls = len(calls)
            yield read_turn(text, calls) | weight
        elif _ROLES[source] is Role.ASSISTANT:
            yield read_turn(value) | weight
        else:
            yield {"role": _ROLES[source].value, "content": value}


def _read_calls(value: str) -> tuple[str, list[Json]]:
    """Text before the calls of a turn, and the calls."""
    if value[:1] not in ("{", "[") and (found := _BESIDE_TEXT.fullmatch(value)):
        return found[1], read_call_text(found[2])
    return "", read_call_text(value)


def _read_fields(turn: Any, where: str, field: str) -> tuple[str, str]:
    if not isinstance(turn, dict):
        raise bad(where, field, f"is of type {json_type(turn)}", "give an object with from and value")
    source, value = turn.get("from"), turn.get("value")
    known = [*_ROLES, _CALL, _FEEDBACK]
    if source not in known:
        raise bad(where, f"{field}.from", f"is {str(source)[:40]!r}", f"use one of {', '.join(known)}")
    if source in (_CALL, _FEEDBACK) and isinstance(value, dict | list):
        value = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, str):
        raise bad(where, f"{field}.value", f"is of type {json_type(value)}", "give a text")
    return str(source), value


def _feedback(texts: Sequence[str]) -> Iterator[dict[str, Json]]:
    for text in texts:
        yield {"role": Role.TOOL.value, "content": text}


def _write_turns(messages: Sequence[Message], losses: Losses) -> Iterator[tuple[str, str, float | None]]:
    """Role, text and weight of each turn."""
    feedback: list[str] = []
    num_calls, was_input = 0, False
    for message in [*messages, None]:
        if message is not None and message.role is Role.TOOL:
            feedback.append(message.content)
            continue
        if feedback:
            if len(feedback) != num_calls and len(feedback) > 1:
                losses.note(NOT_EXACTLY_ANSWERED)
            if any(BETWEEN in text for text in feedback):
                losses.note(SEPARATOR)
            yield _FEEDBACK, BETWEEN.join(feedback), None
            feedback, was_input = [], True
        if message is None:
            if was_input:
                losses.note(ALTERNATION)
            return
        is_input = message.role is not Role.ASSISTANT
        if is_input == was_input:
            losses.note(ALTERNATION)
        was_input, num_calls = is_input, len(message.calls)
        yield _write_turn(message, losses)


def _write_turn(message: Message, losses: Losses) -> tuple[str, str, float | None]:
    if message.role is not Role.ASSISTANT:
        if message.role is Role.SYSTEM:
            losses.note(SYSTEM)
        return ("system" if message.role is Role.SYSTEM else "human"), message.content, None
    if not message.calls:
        return "gpt", write_turn(message, losses), losses.binary(losses.whole(message))
    weight = losses.binary(losses.whole(message))
    texts = [write_call_text(call) for call in message.calls]
    value = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    if not (message.content or message.reasoning):
        return _CALL, value, weight
    text = write_turn(message, losses)
    if any(tag in each for tag in (_OPEN, _CLOSE) for each in (text, value)) or text[:1] in ("{", "["):
        losses.note(CALLS_BESIDE_TEXT)
        return _CALL, value, weight
    between = "\n" if message.content else ""  # as templates of Hermes calls part the two
    return _CALL, f"{text}{between}{_OPEN}{value}{_CLOSE}", weight


class LlamaFactoryV1Rows:
    """LLaMA-Factory v1."""

    name = "llama_factory_v1"
    summary = "LLaMA-Factory v1: messages of text, reasoning and tool_call parts with loss_weight"

    def refuse(self, record: Json) -> str | None:
        """A row has messages whose content is a list of parts with `type` and `value`."""
        reason = missing(record, messages=list)
        if reason or not isinstance(record, dict):
            return reason
        if any(map(_has_parts, record["messages"])):  # type: ignore[arg-type]
            return None
        return "no message has a content of parts with 'type' and 'value'"

    def read(self, record: Json, *, where: str, companions: Companions) -> Iterator[Trajectory | DataError]:  # noqa: ARG002
        """One trajectory."""
        row = expect_object(record, where, "the record")
        messages, extra = row.get("messages"), row.get("extra_info")
        if isinstance(messages, list):
            read = [_read_parts(value, where, f"messages[{index}]") for index, value in enumerate(messages)]
            row = row | {"messages": read_answered_texts(read)}
        if isinstance(extra, dict):
            row = {name: value for name, value in row.items() if name != "extra_info"} | extra
        yield trajectory_from_row(row, where=where, default_id="")

    def write(self, trajectory: Trajectory, masks: CallMasks) -> WrittenRow:
        """Everything but what feedback names."""
        losses = Losses()
        trajectory = with_faults_as_text(in_call_order(with_masks(trajectory, masks), losses), losses)
        row: dict[str, Json] = {"messages": [_write_parts(message, losses) for message in trajectory.messages]}
        tools = [write_tool(tool) for tool in trajectory.tools]
        row["tools"] = json.dumps(tools, ensure_ascii=False) if tools else ""  # it announces even an empty list
        return WrittenRow(row | kept_columns(trajectory), losses.phrases())


def _has_parts(message: Any) -> bool:
    content = message.get("content") if isinstance(message, dict) else None
    return isinstance(content, list) and any(
        isinstance(part, dict) and isinstance(part.get("value"), str) for part in content
    )


def _read_parts(value: Any, where: str, field: str) -> Json:
    if not _has_parts(value):
        return value  # type: ignore[no-any-return]
    texts: dict[str, str] = dict.fromkeys(_PARTS, "")
    calls: list[Json] = []
    for index, part in enumerate(value["content"]):
        kind, text = (part.get("type"), part.get("value")) if isinstance(part, dict) else (None, None)
        if str(kind) not in _PARTS or not isinstance(text, str):
            problem = "is no part of type text, reasoning or tool_call with a text as value"
            raise bad(where, f"{field}.content[{index}]", problem, "mend it, or drop the row")
        if kind == "tool_call":
            calls += read_call_text(text)
        else:
            texts[str(kind)] += text
    message: dict[str, Json] = {**value, "content": texts["text"]}
    if texts["reasoning"]:
        message["reasoning_content"] = texts["reasoning"]
    if calls:
        message["tool_calls"] = calls
    return message


def _write_parts(message: Message, losses: Losses) -> Json:
    parts: list[Json] = [{"type": "reasoning", "value": message.reasoning}] if message.reasoning else []
    if message.content or not (message.reasoning or message.calls):
        parts.append({"type": "text", "value": message.content})
    parts += [{"type": "tool_call", "value": write_call_text(call)} for call in message.calls]
    row: dict[str, Json] = {"role": message.role.value, "content": parts}
    weight = losses.whole(message) if message.role is Role.ASSISTANT else None
    if message.role is Role.ASSISTANT:
        row["loss_weight"] = 1.0 if weight is None else weight
    else:
        row["loss_weight"] = 0.0
    return row


LLAMA_FACTORY = LlamaFactoryRows()
LLAMA_FACTORY_V1 = LlamaFactoryV1Rows()
