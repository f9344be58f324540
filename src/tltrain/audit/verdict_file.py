"""verdicts.jsonl: a row a call, {id, call, tool, source, label, kind, blame, rule, evidence, start, end, truth}."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tltrain.audit.verdict import Blame, CallVerdict, Verdict, VerdictLabel
from tltrain.errors import DataError
from tltrain.files import encode_line, read_json_lines, write_text_atomic
from tltrain.taxonomy import FeedbackKind
from tltrain.types import Json


def write_verdicts(path: Path, verdicts: Iterable[CallVerdict]) -> None:
    """Write verdicts.jsonl, whole or not at all; one row for each call."""
    write_text_atomic(path, "".join(encode_line(_row(verdict)) for verdict in verdicts))


def _row(row: CallVerdict) -> dict[str, Json]:
    return {
        "id": row.trajectory,
        "call": row.number,
        "tool": row.tool,
        "source": row.source,
        **verdict_fields(row.verdict),
        "truth": row.truth,
    }


def verdict_fields(verdict: Verdict) -> dict[str, Json]:
    """A verdict as the fields of a row; kind is null where there is no error, ambiguity or gap."""
    return {
        "label": verdict.label.value,
        "kind": None if verdict.kind is None else verdict.kind.value,
        "blame": verdict.blame.value,
        "evidence": verdict.evidence,
        "start": verdict.start,
        "end": verdict.end,
        "rule": verdict.rule,
    }


def read_verdicts(path: Path) -> list[CallVerdict]:
    """Read verdicts.jsonl.

    Raises:
        DataError: the file is missing, empty or holds a row that is no verdict; names file, line and field.
    """
    return [_read_row(row, f"{path}:{number}") for number, row in read_json_lines(path)]


def _read_row(row: Mapping[str, Json] | DataError, where: str) -> CallVerdict:
    if isinstance(row, DataError):
        raise row
    try:
        kind = row.get("kind")
        return CallVerdict(
            trajectory=_typed(row, "id", str),
            number=_typed(row, "call", int),
            tool=_typed(row, "tool", str),
            source=_typed(row, "source", str),
            verdict=Verdict(
                label=VerdictLabel(_typed(row, "label", str)),
                kind=None if kind is None else FeedbackKind(_typed(row, "kind", str)),
                blame=Blame(_typed(row, "blame", str)),
                rule=_typed(row, "rule", str),
                evidence=_typed(row, "evidence", str),
                start=_typed(row, "start", int),
                end=_typed(row, "end", int),
            ),
            truth=None if row.get("truth") is None else _typed(row, "truth", str),
        )
    except ValueError as error:
        raise DataError(f"{where}: {error}; make the file anew with `tltrain audit`") from None


def _typed(row: Mapping[str, Json], field: str, kind: type[Any]) -> Any:
    value = row.get(field)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{field} is {value!r}, not of type {kind.__name__}")
    return value
