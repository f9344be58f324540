"""verdicts.jsonl: a row a call, {id, call, tool, source, label, kind, blame, evidence, start, end, rule, truth, ...}.

`evidence` is the excerpt of the feedback from `start` to `end`; `witnesses` is what each layer found, the one that
decided first: rows of {layer, rule, says, kind, words}.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from tltrain.audit.verdict import Blame, CallVerdict, Layer, Verdict, VerdictLabel, Witness
from tltrain.errors import DataError
from tltrain.files import atomic_file, check_file, read_json_lines
from tltrain.taxonomy import FeedbackKind
from tltrain.types import Json


def write_verdicts(path: Path, verdicts: Iterable[CallVerdict]) -> None:
    """Write verdicts.jsonl, whole or not at all; one row for each call."""
    with atomic_file(path) as file:
        for verdict in verdicts:
            file.write(encode_verdict(verdict))


def encode_verdict(row: CallVerdict) -> bytes:
    """A line of verdicts.jsonl."""
    fields = verdict_row(row)
    try:
        return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)
    except orjson.JSONEncodeError:  # half a surrogate pair, as text from other readers may hold
        return (json.dumps(fields) + "\n").encode()


def verdict_row(row: CallVerdict) -> dict[str, Json]:
    """A row of verdicts.jsonl."""
    return {
        "id": row.trajectory,
        "call": row.number,
        "tool": row.tool,
        "source": row.source,
        **verdict_fields(row.verdict),
        "truth": row.truth,
        "witnesses": [_witness_fields(witness) for witness in row.verdict.witnesses],
    }


def _witness_fields(witness: Witness) -> dict[str, Json]:
    return {
        "layer": str(witness.layer),
        "rule": witness.rule,
        "says": str(witness.says),
        "kind": None if witness.kind is None else str(witness.kind),
        "words": witness.words,
    }


def verdict_fields(verdict: Verdict) -> dict[str, Json]:
    """A verdict as the fields of a row; kind is null where there is no error, ambiguity or gap."""
    return {
        "label": str(verdict.label),
        "kind": None if verdict.kind is None else str(verdict.kind),
        "blame": str(verdict.blame),
        "evidence": verdict.evidence,
        "start": verdict.start,
        "end": verdict.end,
        "rule": verdict.rule,
    }


def read_verdicts(path: Path) -> list[CallVerdict]:
    """Read verdicts.jsonl; an empty one, of rows without calls, has no verdicts.

    Raises:
        DataError: the file is missing, or holds a row that is no verdict; names file, line and field.
    """
    check_file(path, "file of verdicts")
    if not path.stat().st_size:
        return []
    return [_read_row(row, f"{path}:{number}") for number, row in read_json_lines(path)]


def read_verdicts_on(path: Path, data: Path, identifiers: Iterable[str]) -> list[CallVerdict]:
    """Read verdicts.jsonl for the trajectories of a file.

    Args:
        path: verdicts.jsonl.
        data: the file, for the error.
        identifiers: of its trajectories.

    Raises:
        DataError: as for `read_verdicts`; or no verdict is on any of the trajectories.
    """
    found = read_verdicts(path)
    if found and {row.trajectory for row in found}.isdisjoint(identifiers):
        raise on_other_rows(path, data, found[0].trajectory)
    return found


def on_other_rows(path: Path, data: Path, first: str) -> DataError:
    """The error that verdicts, of which the first is on row `first`, are on no row of the data."""
    return DataError(
        f"{path}: its verdicts are on other rows than those of {data}, the first on {first!r} (rows without an id are "
        "called after their file); audit this file, or leave --verdicts away"
    )


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
                witnesses=_read_witnesses(row.get("witnesses")),
            ),
            truth=None if row.get("truth") is None else _typed(row, "truth", str),
        )
    except ValueError as error:
        raise DataError(f"{where}: {error}; make the file anew with `tltrain audit`") from None


def _read_witnesses(rows: Json) -> tuple[Witness, ...]:
    """None in a file that an older version wrote."""
    if not isinstance(rows, list | None) or not all(isinstance(row, Mapping) for row in rows or ()):
        raise ValueError(f"witnesses is {rows!r}, not a list of objects")
    return tuple(
        Witness(
            layer=Layer(_typed(row, "layer", str)),
            rule=_typed(row, "rule", str),
            says=VerdictLabel(_typed(row, "says", str)),
            kind=None if row.get("kind") is None else FeedbackKind(_typed(row, "kind", str)),
            words=_typed(row, "words", str),
        )
        for row in rows or ()
        if isinstance(row, Mapping)
    )


def _typed(row: Mapping[str, Json], field: str, kind: type[Any]) -> Any:
    value = row.get(field)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{field} is {value!r}, not of type {kind.__name__}")
    return value
