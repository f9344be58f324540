"""Rows into a Parquet file whose columns are found out on the way, in the memory of a few hundred rows.

The rows wait in a temporary file until the types of all columns are known. A column that Arrow has no one type for,
or in which it would lose something (objects of no fields, whole numbers of more than 64 bits), is written as JSON text.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from itertools import islice
from types import TracebackType
from typing import Any, BinaryIO, Self

from tltrain.files import decode_json
from tltrain.types import Json

JSON_COLUMNS = b"tltrain.json_columns"
"""Key of a table's metadata: JSON text of the names of columns that hold JSON text."""
_BATCH = 256
"""Rows that are looked at, and written, at a time."""


class TableWriter:
    """Collects rows, and writes them as a table at the end; a context manager."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self._rows = tempfile.TemporaryFile()  # noqa: SIM115 - closed on leaving the context
        self.num_rows = 0
        self._batch: list[Mapping[str, Any]] = []
        self._types: dict[str, Any] = {}
        """Column -> its Arrow type; None: JSON text."""

    @property
    def text_columns(self) -> list[str]:
        """Columns that are written as JSON text; complete once all rows are."""
        return [name for name, kind in self._types.items() if kind is None]

    def write(self, row: Mapping[str, Json]) -> None:
        """Add a row; calls' arguments become JSON text, which OpenAI's rows have anyway."""
        self.num_rows += 1
        row = with_arguments_as_text(row)
        self._rows.write(json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n")
        self._batch.append(row)
        if len(self._batch) == _BATCH:
            self._learn()

    def finish(self) -> None:
        """Write the table."""
        import pyarrow
        from pyarrow import parquet

        self._learn()
        types = [(name, pyarrow.string() if kind is None else kind) for name, kind in self._types.items()]
        schema = pyarrow.schema(types, metadata={JSON_COLUMNS: json.dumps(self.text_columns)})
        with parquet.ParquetWriter(self._file, schema, compression="zstd") as writer:
            for batch in self._batches():
                writer.write_table(pyarrow.table([self._column(name, batch) for name in self._types], schema=schema))

    def _learn(self) -> None:
        for name in dict.fromkeys(key for row in self._batch for key in row):
            seen = _type_of([row.get(name) for row in self._batch])
            self._types[name] = _merged(self._types[name], seen) if name in self._types else seen
        self._batch = []

    def _batches(self) -> Iterator[list[dict[str, Any]]]:
        self._rows.seek(0)
        while lines := list(islice(self._rows, _BATCH)):
            yield [decode_json(line) for line in lines]  # type: ignore[misc]

    def _column(self, name: str, batch: list[dict[str, Any]]) -> Any:
        import pyarrow

        kind = self._types[name]
        values = [row.get(name) for row in batch]
        if kind is None:
            texts = [None if value is None else json.dumps(value, ensure_ascii=False) for value in values]
            return pyarrow.array(texts, pyarrow.string())
        return pyarrow.array(values, kind)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._rows.close()


def _type_of(values: list[Any]) -> Any:
    import pyarrow

    try:
        kind = pyarrow.array(values).type
    except (pyarrow.ArrowException, OverflowError):
        return None
    return None if _is_lossy(kind) else kind


def _is_lossy(kind: Any) -> bool:
    """Whether an object without fields is somewhere in the type, which Parquet cannot hold."""
    if kind.num_fields == 0:
        return str(kind) == "struct<>"
    return any(_is_lossy(kind.field(index).type) for index in range(kind.num_fields))


def _merged(before: Any, seen: Any) -> Any:
    import pyarrow

    if before is None or seen is None:
        return None
    fields = [pyarrow.schema([("x", kind)]) for kind in (before, seen)]
    try:
        return pyarrow.unify_schemas(fields, promote_options="permissive").field("x").type
    except pyarrow.ArrowException:
        return None


def with_arguments_as_text(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The row with the arguments of OpenAI's calls as JSON text, since a table would give each call those of all."""
    columns = {
        name: [_message(message) for message in value]
        for name, value in row.items()
        if name in ("messages", "prompt", "completion") and isinstance(value, list)
    }
    return {**row, **columns}


def _message(message: Any) -> Any:
    calls = message.get("tool_calls") if isinstance(message, dict) else None
    return {**message, "tool_calls": [_call(call) for call in calls]} if isinstance(calls, list) else message


def _call(call: dict[str, Any]) -> dict[str, Any]:
    function = call["function"]
    if isinstance(function["arguments"], str):
        return call
    return {**call, "function": {**function, "arguments": json.dumps(function["arguments"], ensure_ascii=False)}}
