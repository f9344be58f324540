"""What the page holds of one row. Every text stands once, in `texts`, which is also what a search goes through.

A text is referred to by its place in `texts`, or by -1 - n, n being its number among the shared values. Offsets are in
UTF-16 units, in which a browser counts.
"""

import json
import re
from collections.abc import Mapping, Sequence
from itertools import groupby

from tltrain.audit.verdict import Verdict
from tltrain.errors import DataError
from tltrain.inspection.chunks import SharedValues
from tltrain.inspection.rows import InspectedCall, InspectedRow, Span
from tltrain.inspection.tokens import RowTokens, TokenPiece
from tltrain.types import Json, Message, Role, Tool, ToolCall

_SHARED_CHARS = 200
"""System prompts from this length on are kept once for all rows."""
_WIDE = 72
"""Characters up to which an array or object stays on one line."""
_HALF_PAIR = re.compile("[\ud800-\udfff]")


def printable_text(text: str) -> str:
    """The text with each half of a surrogate pair, which no file can hold, replaced; as long as before."""
    return _HALF_PAIR.sub("\N{REPLACEMENT CHARACTER}", text)


class BodyWriter:
    """Turns rows into bodies; what rows have in common goes to `shared`."""

    def __init__(self, shared: SharedValues):
        self._shared = shared

    def write(self, row: InspectedRow, tokens: RowTokens | DataError | None = None) -> dict[str, Json]:
        """The body of one row."""
        return _Body(self._shared).write(row, tokens)


class _Body:
    """The body of one row while it is written."""

    def __init__(self, shared: SharedValues):
        self._shared = shared
        self._places: dict[str, int] = {}

    def write(self, row: InspectedRow, tokens: RowTokens | DataError | None) -> dict[str, Json]:
        numbers: dict[int, list[Json]] = {}
        for call in row.calls:
            numbers.setdefault(call.step.message, []).append(call.step.number)
        answered = {call.answer: call.step.number for call in row.calls if call.answer is not None}
        body: dict[str, Json] = {
            "messages": [
                self._message(message, numbers.get(index, []), answered.get(index))
                for index, message in enumerate(row.trajectory.messages)
            ],
            "calls": [self._call(call) for call in row.calls],
            "tools": [self._shared.add(_tool_fields(tool)) for tool in row.trajectory.tools],
        }
        if row.trajectory.provenance:
            body["provenance"] = self._text(write_value(dict(row.trajectory.provenance)))
        match tokens:
            case RowTokens():
                body["tokens"] = self._tokens(tokens, row)
            case DataError():
                body["tokens"] = {"error": self._text(str(tokens))}
        body["texts"] = list(self._places)
        return body

    def _text(self, text: str) -> int:
        return self._places.setdefault(printable_text(text), len(self._places))

    def _shared_text(self, text: str) -> int:
        return -1 - self._shared.add(printable_text(text))

    def _message(self, message: Message, calls: list[Json], answers: int | None) -> dict[str, Json]:
        is_shared = message.role is Role.SYSTEM and len(message.content) >= _SHARED_CHARS
        fields: dict[str, Json] = {
            "role": message.role.value,
            "text": self._shared_text(message.content) if is_shared else self._text(message.content),
        }
        if message.reasoning:
            fields["reasoning"] = self._text(message.reasoning)
        if calls:
            fields["calls"] = calls
        if answers is not None:
            fields["answers"] = answers
        if message.name:
            fields["name"] = self._text(message.name)
        return fields | self._file_weights(message)

    def _file_weights(self, message: Message) -> dict[str, Json]:
        fields: dict[str, Json] = {}
        if message.weight is not None:
            fields["weight"] = message.weight
        if message.mask_reason:
            fields["reason"] = self._text(message.mask_reason)
        texts = {"content": message.content, "reasoning_content": message.reasoning}
        spans: list[Json] = []
        for span in message.spans:
            if span.field in texts:
                text = texts[span.field]
                end = len(text) if span.end is None else span.end
                spans.append([span.field, *utf16_offsets(text, (span.start, end)), span.weight])
        return fields | ({"spans": spans} if spans else {})

    def _call(self, call: InspectedCall) -> dict[str, Json]:
        fields: dict[str, Json] = {"tool": self._text(call.tool)}
        match call.step.call:
            case ToolCall(arguments=arguments):
                fields["arguments"] = [
                    [self._text(name), self._text(write_value(value))] for name, value in arguments.items()
                ]
            case malformed:
                fields["raw"] = self._text(malformed.raw)
        if call.answer is not None:
            fields["answer"] = call.answer
        if call.verdict is not None:
            verdict = call.verdict.verdict
            fields["rule"] = self._text(verdict.rule)
            if call.evidence:
                fields["evidence"] = [list(utf16_offsets(call.step.feedback or "", span)) for span in call.evidence]
            elif verdict.evidence:
                fields["words"] = self._text(verdict.evidence)
            witnesses = self._witnesses(verdict)
            if witnesses:
                fields["witnesses"] = witnesses
            if call.verdict.truth is not None:
                fields["truth"] = call.verdict.truth
        if call.blocks:
            fields["blocks"] = [[block.by.value, self._text(block.reason)] for block in call.blocks]
        return fields

    def _witnesses(self, verdict: Verdict) -> list[Json]:
        """[layer, rule, what it speaks for, words] for each; nothing where the rule alone says it all."""
        if len(verdict.witnesses) == 1 and not verdict.witnesses[0].words:
            return []
        return [
            [witness.layer.value, self._text(witness.rule), witness.says.value, self._text(witness.words)]
            for witness in verdict.witnesses
        ]

    def _tokens(self, tokens: RowTokens, row: InspectedRow) -> dict[str, Json]:
        user = next((message.content for message in row.trajectory.messages if message.role is Role.USER), "")
        calls: dict[str, Json] = {
            str(number): [call.num_key, call.num_nonkey, round(call.weight, 4), call.is_blocked]
            for number, call in tokens.calls.items()
        }
        return {
            "pieces": [self._piece(piece, user) for piece in tokens.pieces],
            "calls": calls,
            "total": tokens.num_tokens,
            "trained": tokens.num_trained,
        }

    def _piece(self, piece: TokenPiece, user: str) -> dict[str, Json]:
        if piece.message is None:
            # what stands before the user's words is the same for all rows of the same tools
            start = piece.text.find(user) if user else 0
            texts: list[Json] = [self._shared_text(piece.text[:start])] if start > _SHARED_CHARS else []
            texts.append(self._text(piece.text[start:] if texts else piece.text))
            return {"texts": texts, "num": piece.num_tokens}
        return {
            "text": self._text(piece.text),
            "message": piece.message,
            "lengths": [_num_units(text) for text in piece.token_texts()],
            "weights": _runs(tuple(round(weight, 4) for weight in piece.weights)),
            "kinds": _runs(piece.kinds),
        }


def _runs(values: Sequence[Json]) -> list[Json]:
    """[value, how often in a row] for each run of equal values."""
    return [[value, len(list(same))] for value, same in groupby(values)]


def utf16_offsets(text: str, span: Span | tuple[int, int]) -> tuple[int, int]:
    """Offsets in characters as offsets in UTF-16 units."""
    start = _num_units(text[: span[0]])
    return start, start + _num_units(text[span[0] : span[1]])


def _num_units(text: str) -> int:
    return len(text) if text.isascii() else len(text) + sum(sign > "\uffff" for sign in text)


def _tool_fields(tool: Tool) -> list[Json]:
    """[name, description, parameters as text]."""
    parameters = write_value(dict(tool.parameters)) if tool.parameters else ""
    return [printable_text(tool.name), printable_text(tool.description), printable_text(parameters)]


def write_value(value: Json) -> str:
    """A JSON value for people: strings with their line ends as they are, small lists and objects on one line."""
    if isinstance(value, str):
        return f'"{value}"'
    text = json.dumps(value, ensure_ascii=False)
    if len(text) <= _WIDE or not isinstance(value, Mapping | list):
        return text
    return json.dumps(value, ensure_ascii=False, indent=2)
