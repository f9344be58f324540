"""Loss weights that a file gives its messages: `weight` and its many names, `spans`, `mask_reason`; and our masks."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from tltrain.errors import DataError
from tltrain.files import json_type
from tltrain.formats.base import CallMasks
from tltrain.types import Json, Message, Trajectory, WeightSpan

ALIASES = ("weight", "loss_weight", "loss_scale", "loss", "train", "trainable", "loss_mask")
"""Names of a message's loss weight: OpenAI, LLaMA-Factory, ms-swift (two), axolotl, and what others call it."""
_ALIASES = frozenset(ALIASES)
_CALL_FIELD = re.compile(r"tool_calls\[(\d{1,9})\]")


def read_weight(value: Mapping[str, Any], where: str, field: str) -> float | None:
    """The product of all loss weights that a message carries; None if it carries none.

    A boolean says whether it is trained; a list, with one entry for each part of the message, must agree with itself.

    Raises:
        DataError: a weight is no number, negative or not finite.
    """
    if _ALIASES.isdisjoint(value):
        return None
    weights = [_number(value[name], where, f"{field}.{name}") for name in ALIASES if value.get(name) is not None]
    return math.prod(weights) if weights else None


def _number(value: Any, where: str, field: str) -> float:
    if isinstance(value, list) and value and all(item == value[0] for item in value):
        value = value[0]
    if not isinstance(value, (bool, int, float)):
        shown = json_type(value)
        raise DataError(f"{where}: {field} is of type {shown}; give a number, 0 to keep the message from teaching")
    weight = float(value) if abs(value) < 1e9 else math.inf
    if not 0 <= weight < math.inf:
        raise DataError(f"{where}: {field} is {value}; give a weight from 0 to 1e9")
    return weight


def read_spans(value: Mapping[str, Any], message: Message, where: str, field: str) -> Iterator[WeightSpan]:
    """The `spans` of a message: objects {field, start, end, weight}.

    Raises:
        DataError: a span lies outside of the message, or has no weight.
    """
    spans = value.get("spans")
    if spans is None:
        return
    if not isinstance(spans, list):
        raise DataError(f"{where}: {field}.spans is of type {json_type(spans)}; give a list of spans")
    for index, span in enumerate(spans):
        place = f"{field}.spans[{index}]"
        if not isinstance(span, dict):
            raise DataError(f"{where}: {place} is of type {json_type(span)}; give {{field, start, end, weight}}")
        yield _read_span(span, message, where, place)


def _read_span(span: Mapping[str, Any], message: Message, where: str, place: str) -> WeightSpan:
    name, start, end = span.get("field"), span.get("start", 0), span.get("end")
    length = _length(name, message)
    if length is None:
        fields = "content, reasoning_content or tool_calls[i] with i below the number of calls"
        raise DataError(f"{where}: {place}.field is {str(name)[:40]!r}; use {fields}")
    if not all(
        isinstance(offset, int) and not isinstance(offset, bool) for offset in (start, 0 if end is None else end)
    ):
        raise DataError(f"{where}: {place} has start or end that is no integer; give character offsets")
    if not 0 <= start <= (length if end is None else end) <= length:
        raise DataError(f"{where}: {place} goes from {start} to {end} of {length} characters; mend the offsets")
    if span.get("weight") is None:
        raise DataError(f"{where}: {place}.weight is missing; give a number, 0 to keep the part from teaching")
    weight = _number(span["weight"], where, f"{place}.weight")
    return WeightSpan(str(name), start, end, weight)


def _length(name: Any, message: Message) -> int | None:
    """Characters in which a span may lie; 0 for a call, which is weighed as a whole."""
    match name:
        case "content":
            return len(message.content)
        case "reasoning_content":
            return len(message.reasoning)
        case str():
            call = _CALL_FIELD.fullmatch(name)
            return 0 if call and int(call[1]) < len(message.calls) else None
    return None


def write_spans(message: Message) -> list[Json]:
    """Spans as `read_spans` reads them."""
    return [
        {"field": span.field, "start": span.start, "end": span.end, "weight": span.weight} for span in message.spans
    ]


def with_masks(trajectory: Trajectory, masks: CallMasks) -> Trajectory:
    """The trajectory with the masks of an audit beside the weights of its file.

    As in training, a message whose calls are all masked weighs 0 as a whole; of another, the masked calls do.
    """
    if not masks:
        return trajectory
    messages, number = [], 0
    for message in trajectory.messages:
        numbers = range(number, number + len(message.calls))
        number += len(message.calls)
        reasons = {place: masks[call] for place, call in enumerate(numbers) if call in masks}
        messages.append(_masked(message, reasons) if reasons else message)
    return replace(trajectory, messages=tuple(messages))


def _masked(message: Message, reasons: Mapping[int, str]) -> Message:
    listed = "; ".join(dict.fromkeys([*filter(None, [message.mask_reason]), *reasons.values()]))
    if len(reasons) == len(message.calls):
        return replace(message, weight=0.0, spans=(), mask_reason=listed)
    fields = {f"tool_calls[{place}]" for place in reasons}
    kept = [span for span in message.spans if span.field not in fields]
    masked = [WeightSpan(field, 0, None, 0.0) for field in sorted(fields)]
    return replace(message, spans=(*kept, *masked), mask_reason=listed)
