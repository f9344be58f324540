"""axolotl's `input_output` rows: a rendered conversation in segments, each trained or not.

`{"segments": [{"label": bool, "text"}]}`. Written is ChatML with Hermes calls, as Qwen's template has it, feedback as
turns of the user; no system text is added. The only way to give a single call of several a label of its own in axolotl.
What is read must be ChatML, too.
"""

import re
from collections.abc import Iterator
from itertools import groupby
from typing import Any, NamedTuple

from tltrain.errors import DataError
from tltrain.files import json_type
from tltrain.formats.base import CallMasks, Companions, WrittenRow
from tltrain.formats.chat_fields import bad
from tltrain.formats.export import PARTS, REASONS, Losses, in_call_order, kept_columns
from tltrain.formats.hermes import SYNTAX, read_texts, write_texts
from tltrain.formats.loss_fields import with_masks
from tltrain.formats.openai_chat import trajectory_from_row
from tltrain.formats.thinking import split_thinking
from tltrain.formats.untrusted import expect_object, missing
from tltrain.syntax import Span
from tltrain.types import Json, Message, Role, Trajectory

_TURN = re.compile(r"<\|im_start\|>(system|user|assistant|tool)\n(.*?)<\|im_end\|>\n?", re.DOTALL)
_FEEDBACK = re.compile(r"<tool_response>\n.*\n</tool_response>", re.DOTALL)
_TAG = re.compile(r"<\|im_(?:start|end)\|>")


class AxolotlSegments:
    """See the module."""

    name = "axolotl_segments"
    summary = "axolotl input_output: the conversation as ChatML text in segments with labels; holds spans"

    def refuse(self, record: Json) -> str | None:
        """A row has `segments`."""
        return missing(record, segments=list)

    def read(self, record: Json, *, where: str, companions: Companions) -> Iterator[Trajectory | DataError]:  # noqa: ARG002
        """One trajectory; a message, call or part of a text weighs what its label says."""
        row = expect_object(record, where, "the record")
        text, labels = _join(row.get("segments"), where)
        turns: list[tuple[Role, str, dict[str, Json]]] = []
        position = 0
        while turn := _TURN.match(text, position):
            role = Role.TOOL if turn[1] == "user" and _FEEDBACK.fullmatch(turn[2]) else Role(turn[1])
            fields = _read_weights(turn[2], labels[turn.start(2) : turn.end(2) + 1]) if role is Role.ASSISTANT else {}
            turns.append((role, turn[2], fields))
            position = turn.end()
        if position < len(text) or not turns:
            shown = text[position : position + 40]
            raise bad(where, "segments", f"are no ChatML at {shown!r}", "give turns of <|im_start|> and <|im_end|>")
        read = read_texts(turns, where)
        others = {name: value for name, value in row.items() if name != "segments"}
        yield trajectory_from_row(
            others | {"messages": read.messages, "tools": read.tools},
            where=where,
            default_id="",
            places=[f"segments: turn {turn + 1}" for turn in read.turns],
        )

    def write(self, trajectory: Trajectory, masks: CallMasks) -> WrittenRow:
        """Labels of parts of texts and of single calls; weights are rounded to them."""
        losses = Losses()
        trajectory = in_call_order(with_masks(trajectory, masks), losses)
        segments: list[dict[str, Json]] = []
        for message, text in write_texts(trajectory, losses):
            if tag := _TAG.search(text):
                where = f"a text of role {message.role.value}"
                raise bad(trajectory.id, where, f"holds {tag[0]}, which would end it", "write it in another format")
            role = Role.USER if message.role is Role.TOOL else message.role
            _append(segments, f"<|im_start|>{role.value}\n", False)
            labels = _label(message, text, losses) if message.role is Role.ASSISTANT else bytes(len(text) + 1)
            for label, run in groupby(range(len(text)), key=labels.__getitem__):
                places = list(run)
                _append(segments, text[places[0] : places[-1] + 1], bool(label))
            _append(segments, "<|im_end|>", bool(labels[-1]))
            _append(segments, "\n", False)
        return WrittenRow(kept_columns(trajectory) | {"segments": list(segments)}, losses.phrases())


def _append(segments: list[dict[str, Json]], text: str, label: bool) -> None:
    if segments and segments[-1]["label"] is label:
        segments[-1]["text"] = f"{segments[-1]['text']}{text}"
    else:
        segments.append({"label": label, "text": text})


def _join(segments: Any, where: str) -> tuple[str, bytearray]:
    """The whole text, and 1 for each character of it that is trained."""
    if not isinstance(segments, list):
        raise bad(where, "segments", f"is of type {json_type(segments)}", "give a list of segments")
    texts: list[str] = []
    labels = bytearray()
    for index, segment in enumerate(segments):
        label, text = (segment.get("label"), segment.get("text")) if isinstance(segment, dict) else (None, None)
        if not isinstance(label, bool) or not isinstance(text, str):
            problem = "is no {label, text} of a boolean and a text"
            raise bad(where, f"segments[{index}]", problem, "mend it, or drop the row")
        texts.append(text)
        labels += bytes([label]) * len(text)
    return "".join(texts), labels


class _Places(NamedTuple):
    """Where the parts of an assistant's turn stand in its text."""

    reasoning: Span
    content: Span
    calls: tuple[Span, ...]


def _find(text: str) -> _Places:
    reasoning, content = split_thinking(text)
    start = text.find(reasoning, text.find("<think>")) if reasoning else 0
    thinking = Span(start, start + len(reasoning))
    begin = len(text) - len(content)
    if "<tool_call>" not in content:
        return _Places(thinking, Span(begin, len(text)), ())
    parsed = SYNTAX.parse(content)
    calls = tuple(Span(begin + call.call.start, begin + call.call.end) for call in parsed.spans)
    start = max(text.find(parsed.text, begin), begin)
    return _Places(thinking, Span(start, start + len(parsed.text)), calls)


def _label(message: Message, text: str, losses: Losses) -> bytearray:
    """1 for each character that is trained, and one more for the end of the turn."""
    if message.mask_reason:
        losses.note(REASONS)
    labels = bytearray([losses.binary(message.weight) != 0]) * (len(text) + 1)
    places = _find(text)
    for span in message.spans:
        label = bytes([losses.binary(span.weight) != 0])
        if span.field.startswith("tool_calls"):
            number = int(span.field[11:-1])
            if len(places.calls) != len(message.calls):
                losses.note(PARTS)
                continue
            start, end = places.calls[number]
            while not label[0] and start and text[start - 1].isspace():
                start -= 1
        else:
            part = places.reasoning if span.field == "reasoning_content" else places.content
            start, end = part.start + span.start, part.end if span.end is None else part.start + span.end
        labels[start:end] = label * (end - start)
    labels[-1] = any(labels[:-1]) if text else labels[-1]
    return labels


def _read_weights(text: str, labels: bytearray) -> dict[str, Json]:
    """Loss fields of a turn; `labels` has one more, for the end of the turn."""
    body = labels[:-1] or labels
    if len(set(body)) == 1:
        return {} if body[0] else {"weight": 0.0}
    places = _find(text)
    spans: list[Json] = []
    for field, part in (("reasoning_content", places.reasoning), ("content", places.content)):
        for label, run in groupby(range(part.start, part.end), key=labels.__getitem__):
            offsets = [place - part.start for place in run]
            if not label:
                spans.append({"field": field, "start": offsets[0], "end": offsets[-1] + 1, "weight": 0.0})
    for number, call in enumerate(places.calls):
        if not labels[call.start]:
            spans.append({"field": f"tool_calls[{number}]", "start": 0, "end": None, "weight": 0.0})
    return {"spans": spans} if spans else {}


AXOLOTL_SEGMENTS = AxolotlSegments()
