"""Rows of a Parquet file as JSON values.

Arrow gives every object of a column the union of all their keys, with null where an object had none; so nulls are
left out of objects, and two tools keep two schemas. The keys of a JSON object that were null on purpose are lost
with them; a column of JSON text keeps them.
"""

import gzip
import math
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

from tltrain.errors import DataError
from tltrain.files import decode_json
from tltrain.formats.records import Decoded, Record
from tltrain.formats.table_writer import JSON_COLUMNS
from tltrain.types import Json

_BATCH = 128
"""Rows that are decoded at a time."""


def iterate_rows(file: BinaryIO, path: Path) -> Iterator[Record]:
    """Stream a table row by row; the rows of a damaged row group are a `DataError` each.

    Raises:
        DataError: the file is no whole Parquet file, or has no rows.
    """
    import pyarrow
    from pyarrow import parquet

    with ExitStack() as stack:
        if isinstance(file, gzip.GzipFile):  # a table is read from its end, where gzip takes long to come to
            unpacked = stack.enter_context(tempfile.TemporaryFile())
            shutil.copyfileobj(file, unpacked)
            file = unpacked
        try:
            table = parquet.ParquetFile(file)
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(f"{path}: no whole Parquet file ({error}); write it anew") from None
        if not table.metadata.num_rows:
            raise DataError(f"{path} has no rows; it should hold trajectories")
        first = 1
        for group in range(table.num_row_groups):
            yield from _read_group(table, group, first, path)
            first += table.metadata.row_group(group).num_rows


def _read_group(table: Any, group: int, first: int, path: Path) -> Iterator[Record]:
    import pyarrow

    end = first + table.metadata.row_group(group).num_rows
    number = first
    json_columns = _json_columns(table)
    try:
        for batch in table.iter_batches(batch_size=_BATCH, row_groups=[group]):
            for row in batch.to_pylist(maps_as_pydicts="lossy"):
                yield Record(number, _row_value(row, json_columns, f"{path}:{number}"))
                number += 1
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        for rest in range(number, end):
            problem = f"the table cannot be read from row {number} on ({error}); write the file anew"
            yield Record(rest, DataError(f"{path}:{rest}: {problem}"))


def _json_columns(table: Any) -> set[str]:
    """Columns that tltrain wrote as JSON text, as no Arrow type held them."""
    named = (table.schema_arrow.metadata or {}).get(JSON_COLUMNS, b"[]")
    try:
        return set(decode_json(named))  # type: ignore[arg-type]
    except (ValueError, TypeError):
        return set()


def _row_value(row: dict[str, Any], json_columns: set[str], where: str) -> Decoded:
    try:
        given = {name: value for name, value in row.items() if not _is_missing(value)}
        return {
            name: decode_json(value) if name in json_columns and isinstance(value, str) else _value(value, name)
            for name, value in given.items()
        }
    except ValueError as error:
        return DataError(f"{where}: {error}")


def _is_missing(value: Any) -> bool:
    """Null, or the NaN that table libraries write for it."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _value(value: Any, field: str) -> Json:
    match value:
        case dict():
            return {str(key): _value(item, f"{field}.{key}") for key, item in value.items() if not _is_missing(item)}
        case list():
            return [_value(item, f"{field}[{index}]") for index, item in enumerate(value)]
        case float() if not math.isfinite(value):
            raise ValueError(f"{field} is {value}, which JSON has not; use null or a number")
        case None | bool() | int() | float() | str():
            return value
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case datetime() | date() | time():
            return value.isoformat()
        case timedelta() | UUID():
            return str(value)
        case bytes():
            return _decoded(value, field)
    raise ValueError(f"{field} is of the Arrow type {type(value).__name__}, which JSON has not; leave the column out")


def _decoded(value: bytes, field: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{field} holds bytes that are no UTF-8 text; leave the column out") from None
