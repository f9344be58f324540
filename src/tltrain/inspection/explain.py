"""One row of a file, found by its id, and all that is known of its calls."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tltrain.audit.verdict_file import verdict_row
from tltrain.errors import DataError, UsageError
from tltrain.inspection.rows import InspectedCall, InspectedRow
from tltrain.inspection.source import RowSource, SkippedRow
from tltrain.inspection.tokens import RowTokens, TokenReader
from tltrain.types import Json, ToolCall, call_weight

_COMPARED = 50_000
"""Ids among which the nearest to a wrong one are looked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExplainedRow:
    """A row, the calls of it that were asked for, and its tokens."""

    row: InspectedRow
    calls: tuple[InspectedCall, ...]
    tokens: RowTokens | DataError | None = None
    """The error says why the row cannot be trained on; None: no tokenizer was named."""


def explain(source: RowSource, row_id: str, *, call: int | None = None, model: str | None = None) -> ExplainedRow:
    """Find a row, and bring together what is known of it; the file is read up to that row alone.

    Args:
        source: where it is.
        row_id: as the file has it; rows without an id are called `<file stem>:<number>`.
        call: number of the only call to show.
        model: tokenizer by which tokens are shown.

    Raises:
        DataError: the file cannot be read, or has no such row; names the nearest ids.
        UsageError: the row has no such call.
        ModelError: there is no such tokenizer.
    """
    row = _find(source, row_id)
    if call is not None and not 0 <= call < len(row.calls):
        counted = f"calls 0 to {len(row.calls) - 1}" if row.calls else "no calls"
        raise UsageError(f"--call {call}: row {row_id!r} has {counted}")
    calls = row.calls if call is None else (row.calls[call],)
    return ExplainedRow(row=row, calls=calls, tokens=TokenReader(model).read(row) if model else None)


def _find(source: RowSource, row_id: str) -> InspectedRow:
    ids: list[str] = []
    num_skipped = 0
    for row in source.rows():
        if isinstance(row, SkippedRow):
            num_skipped += 1
        elif row.trajectory.id == row_id:
            return row
        elif len(ids) < _COMPARED:
            ids.append(row.trajectory.id)
    near = difflib.get_close_matches(row_id, ids, n=3, cutoff=0.5)
    named = f"the nearest are {', '.join(near)}" if near else f"it begins with {', '.join(ids[:3])}"
    unread = f"; {num_skipped} rows could not be read" if num_skipped else ""
    raise DataError(f"{source.file} has no row {row_id!r}; {named if ids else 'no row can be read'}{unread}")


def explained_json(explained: ExplainedRow) -> dict[str, Any]:
    """The row as one JSON object; the fields of a verdict are those of verdicts.jsonl."""
    row = explained.row
    weights: Mapping[int, Any] = explained.tokens.calls if isinstance(explained.tokens, RowTokens) else {}
    found: dict[str, Any] = {
        "id": row.trajectory.id,
        "source": row.source,
        "tools": [tool.name for tool in row.trajectory.tools],
        "num_messages": len(row.trajectory.messages),
        "calls": [_call_json(row, call, weights.get(call.step.number)) for call in explained.calls],
    }
    match explained.tokens:
        case RowTokens() as tokens:
            found["tokens"] = _tokens_json(tokens, {call.step.message for call in explained.calls})
        case DataError() as error:
            found["tokens"] = {"error": str(error)}
    return found


def _call_json(row: InspectedRow, inspected: InspectedCall, weights: Any) -> dict[str, Any]:
    step = inspected.step
    written: dict[str, Json] = (
        {"arguments": dict(step.call.arguments)}
        if isinstance(step.call, ToolCall)
        else {"raw": step.call.raw, "reason": step.call.reason}
    )
    fields: dict[str, Any] = {"call": step.number, "message": step.message, "tool": inspected.tool, **written}
    fields["feedback"] = step.feedback
    if inspected.verdict is not None:
        kept = verdict_row(inspected.verdict)
        fields["verdict"] = {
            name: value for name, value in kept.items() if name not in ("id", "call", "tool", "source")
        }
    else:
        fields["verdict"] = None
    fields["is_trained"] = not inspected.blocks
    fields["blocked"] = [{"by": block.by.value, "reason": block.reason} for block in inspected.blocks]
    fields["file_weight"] = call_weight(row.trajectory.messages[step.message], step.position)
    if weights is not None:
        fields["key_tokens"] = {"num_key": weights.num_key, "num_nonkey": weights.num_nonkey, "weight": weights.weight}
    return fields


def _tokens_json(tokens: RowTokens, messages: set[int]) -> dict[str, Any]:
    return {
        "num_tokens": tokens.num_tokens,
        "num_trained": tokens.num_trained,
        "turns": [
            {
                "message": piece.message,
                "tokens": [
                    {"text": text, "weight": weight, "kind": kind}
                    for text, weight, kind in zip(piece.token_texts(), piece.weights, piece.kinds, strict=True)
                ],
            }
            for piece in tokens.pieces
            if piece.message in messages
        ],
    }
