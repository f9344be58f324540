"""Reading trajectories from a file, or a folder of files, of any known format."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from tltrain.errors import DataError
from tltrain.files import check_file
from tltrain.formats.base import Companions, Format
from tltrain.formats.detect import SAMPLE, detect_format, get_format
from tltrain.formats.numbered_ids import NumberedIds
from tltrain.formats.openai_rows import OPENAI, TLTRAIN
from tltrain.formats.quarantine import BadRow, quarantined
from tltrain.formats.records import Record, iterate_records
from tltrain.types import Trajectory

__all__ = ["BadRow", "ReadResult", "Source", "iterate_trajectories", "open_source", "read_source", "read_trajectories"]

_SUFFIXES = {".json", ".jsonl", ".ndjson", ".parquet"}
_SPLITS = re.compile(r"(?:^|[^a-z])(train|test|valid|validation|val|dev|eval)(?=$|[^a-z])")
_LOOKED_AT = 1000
"""Records among which `SAMPLE` good ones are looked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadResult:
    """What a file held."""

    trajectories: list[Trajectory]
    num_bad: int
    """Rows that could not be read."""
    quarantine: Path | None
    """File that lists them with reasons; None if there are none or no file was asked for."""
    reasons: tuple[str, ...] = ()
    """Reasons of the first few bad rows."""
    format: str = TLTRAIN.name
    """Name of the format, found out or asked for."""


class Source(NamedTuple):
    """A file or folder whose format is known."""

    path: Path
    format: Format
    records: Iterator[tuple[Path, Record]]
    """With the file of each; to be gone through once."""


def read_trajectories(
    path: Path,
    *,
    quarantine: Path | None = None,
    strict: bool = False,
    format: str | None = None,
    companions: Companions = Companions(),  # noqa: B008 - frozen
) -> ReadResult:
    """Read a whole file of any known format; bad rows are set aside and counted.

    Args:
        path: JSON Lines, JSON or Parquet, each also gzipped; or a folder of such files of one kind.
        quarantine: where to write the bad rows; a file left from an earlier reading is removed.
        strict: raise on the first bad row instead.
        format: name of the format; by default found out from the first records.
        companions: second files that some formats need.

    Raises:
        DataError: the file cannot be read, or is in no known format, or holds no good row, or `strict` and a bad row.
        UsageError: no such format.
    """
    source = open_source(path, format=format)
    trajectories: list[Trajectory] = []
    with quarantined(quarantine) as bad:
        for item in read_source(source, companions=companions):
            if isinstance(item, Trajectory):
                trajectories.append(item)
            elif strict:
                raise DataError(item.reason)
            else:
                bad.add(item)
    if not trajectories:
        raise bad.nothing_read(path)
    return ReadResult(
        trajectories=trajectories,
        num_bad=bad.count,
        quarantine=quarantine if bad.count else None,
        reasons=tuple(bad.reasons),
        format=source.format.name,
    )


def iterate_trajectories(
    path: Path,
    *,
    format: str | None = None,
    companions: Companions = Companions(),  # noqa: B008 - frozen
) -> Iterator[Trajectory | BadRow]:
    """Stream a file of any known format; see `read_source` for ids and `read_trajectories` for the arguments.

    Raises:
        DataError: the file as a whole cannot be read, is empty, or is in no known format.
        UsageError: no such format.
    """
    return read_source(open_source(path, format=format), companions=companions)


def open_source(path: Path, *, format: str | None = None) -> Source:
    """Find out the format of a file or folder from its first records; where none can be decoded, it is OpenAI's.

    Raises:
        DataError: the file as a whole cannot be read, is empty, or is in no known format.
        UsageError: no such format.
    """
    named = get_format(format) if format is not None else None
    records = ((file, record) for file in _files(path) for record in iterate_records(file))
    if named is not None:
        return Source(path, named, records)
    seen: list[tuple[Path, Record]] = []
    sample = []
    for file, record in islice(records, _LOOKED_AT):
        seen.append((file, record))
        if not isinstance(record.value, DataError):
            sample.append(record.value)
        if len(sample) == SAMPLE:
            break
    found = detect_format(sample, str(path)) if sample else OPENAI
    return Source(path, found, chain(seen, records))


def read_source(source: Source, *, companions: Companions) -> Iterator[Trajectory | BadRow]:
    """Read its records one by one.

    A trajectory without an id is called `<file stem>:<number>`, or `<file stem>:<number>.<k>` where its record holds
    several; one whose id was read before is bad. Provenance gets the `source_format`, unless the rows are OpenAI's
    or tltrain's own, or say it themselves.
    """
    ids = NumberedIds()
    origin = {} if source.format in (OPENAI, TLTRAIN) else {"source_format": source.format.name}
    last = None
    shown = stem = ""
    for file, record in source.records:
        if file is not last:
            last, shown, stem = file, str(file), _stem(file, source.path)
        where = f"{shown}:{record.number}"
        items = _read_record(source.format, record, where, companions)
        for place, item in enumerate(items, start=1):
            if isinstance(item, Trajectory):
                suffix = "" if len(items) == 1 else f".{place}"
                identifier = item.id or f"{stem}:{record.number}{suffix}"
                earlier = ids.add(identifier, record.number)
                if earlier is None:
                    provenance = origin | dict(item.provenance) if origin else item.provenance
                    yield Trajectory(id=identifier, tools=item.tools, messages=item.messages, provenance=provenance)
                    continue
                problem = f"id {identifier!r} is also the id of line {earlier}"
                item = DataError(f"{where}: {problem}; give every row an id of its own, or none")
            yield BadRow(file=shown, line=record.number, reason=str(item), row=record.excerpt())


def _read_record(format: Format, record: Record, where: str, companions: Companions) -> list[Trajectory | DataError]:
    if isinstance(record.value, DataError):
        return [record.value]
    try:
        items = list(format.read(record.value, where=where, companions=companions))
    except DataError as error:
        return [error]
    except Exception as error:  # a fault of ours must not end a run over a million other rows
        problem = f"the reader of format {format.name} failed ({type(error).__name__}: {error})"
        return [DataError(f"{where}: {problem}; this is a fault of tltrain: report it with this row")]
    return items or [DataError(f"{where}: the record holds no trajectory; leave it out")]


def _files(path: Path) -> Iterator[Path]:
    """The file itself, or the data files in the folder and its subfolders, by name."""
    if not path.is_dir():
        check_file(path, "file of trajectories")
        return iter([path])
    suffixes = {*_SUFFIXES, *(f"{suffix}.gz" for suffix in _SUFFIXES)}
    files = sorted(file for file in path.rglob("*") if any(file.name.endswith(suffix) for suffix in suffixes))
    if not files:
        raise DataError(f"{path} is a folder without any {', '.join(sorted(_SUFFIXES))} file; name a file")
    splits = {found[1] for file in files if (found := _SPLITS.search(file.name.lower()))}
    if len(splits) > 1:
        listed = ", ".join(str(file.relative_to(path)) for file in files[:5])
        raise DataError(f"{path} is a folder with several splits ({', '.join(sorted(splits))}); name a file: {listed}")
    return iter(files)


def _stem(file: Path, path: Path) -> str:
    """Name of a file without its suffixes; in a folder, with the subfolders that lead to it."""
    name = file.name if file == path else str(file.relative_to(path))
    for suffix in (".gz", *_SUFFIXES):
        name = name.removesuffix(suffix)
    return name
