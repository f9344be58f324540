"""Writing trajectories in any writable format, one by one, whole or not at all."""

import gzip
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TypeAlias, cast

from tltrain.errors import DataError, UsageError
from tltrain.files import atomic_file, encode_line
from tltrain.formats.base import CallMasks, WritableFormat, WrittenRows
from tltrain.formats.detect import get_writable
from tltrain.types import Json, Trajectory

_SUFFIXES = (".jsonl", ".json", ".parquet")
TEXT_COLUMN = "the shape of column {name}, which differs between rows; it is written as JSON text"
HINTS = {
    "llama_factory": (
        "For dataset_info.json of LLaMA-Factory: {file_name, formatting: sharegpt, columns: {messages: conversations, "
        "system: system, tools: tools}}. "
        "Version 0.9.5 trains on every turn, whatever its weight: for masks write llama_factory_v1"
    ),
    "verl": (
        "For verl: version 0.9.1 trains on every turn, whatever its weight, and shows each tool with the fields of all "
        "others; masks need a dataset class of your own (data.custom_cls)"
    ),
    "axolotl": (
        "For axolotl: type: chat_template, field_messages: messages, message_field_training: train, "
        "message_field_training_detail: train_detail, roles_to_train: []"
    ),
    "axolotl_segments": "For axolotl: type: input_output",
    "tokens": ("For TRL: SFTTrainer takes input_ids and labels as they are; loss_weights want a loss of their own"),
    "trl": "For TRL: assistant_only_loss=True, or it trains on feedback, too; the template must mark {% generation %}",
    "ms_swift": "For weights other than 0 and 1, ms-swift needs --is_binary_loss_scale false",
}
"""What a user has to tell the trainer for which a file was written."""
_RowWriter: TypeAlias = Callable[[Mapping[str, Json]], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class WriteResult:
    """What was written."""

    path: Path
    num_written: int
    lost: dict[str, int] = field(default_factory=dict)
    """What the format could not hold -> in how many rows."""
    refused: tuple[str, ...] = ()
    """Why trajectories could not be written at all; the first few."""
    num_refused: int = 0


def export_trajectories(
    trajectories: Iterable[Trajectory],
    path: Path,
    format: str | WritableFormat,
    *,
    masks: Mapping[str, CallMasks] | None = None,
    strict: bool = False,
) -> WriteResult:
    """Write trajectories as rows of a format.

    Args:
        trajectories: gone through once.
        path: .jsonl, .json (an array) or .parquet, each also with .gz behind.
        format: a writable format, or the name of one.
        masks: id of a trajectory -> its calls that must not teach, as an audit found.
        strict: raise where a trajectory cannot be written, instead of leaving it out.

    Raises:
        UsageError: no such format or suffix.
        DataError: there is nothing to write, or `strict`.
    """
    writable = get_writable(format) if isinstance(format, str) else format
    masks = masks or {}
    lost: Counter[str] = Counter()
    refused: list[str] = []
    num_written = 0
    with _open_rows(path, lost) as write_row:
        for trajectory in trajectories:
            try:
                written = writable.write(trajectory, masks.get(trajectory.id, {}))
            except DataError as error:
                refused.append(f"{trajectory.id}: {error}")
                if strict:
                    raise DataError(refused[-1]) from error
                continue
            for row in written.rows if isinstance(written, WrittenRows) else (written.row,):
                write_row(row)
            lost.update(written.lost)
            num_written += 1
        if not num_written:
            first = f"; first: {refused[0]}" if refused else ""
            raise DataError(f"{path}: there is no trajectory to write as {writable.name}{first}")
    return WriteResult(
        path=path,
        num_written=num_written,
        lost=dict(lost.most_common()),
        refused=tuple(refused[:5]),
        num_refused=len(refused),
    )


@contextmanager
def _open_rows(path: Path, lost: Counter[str]) -> Iterator[_RowWriter]:
    """A function that appends a row; the kind of file goes by its name."""
    name = path.name.removesuffix(".gz")
    suffix = next((each for each in _SUFFIXES if name.endswith(each)), None)
    if suffix is None:
        raise UsageError(f"{path}: the name says no kind of file; end it with {', '.join(_SUFFIXES)}, or .gz after one")
    with atomic_file(path) as plain:
        if name == path.name:
            with _write_kind(suffix, plain, lost) as write_row:
                yield write_row
            return
        # without a time in its header, the same rows give the same bytes
        packed = gzip.GzipFile(fileobj=plain, mode="wb", mtime=0, filename="")
        with packed, _write_kind(suffix, cast(BinaryIO, packed), lost) as write_row:
            yield write_row


@contextmanager
def _write_kind(suffix: str, file: BinaryIO, lost: Counter[str]) -> Iterator[_RowWriter]:
    if suffix == ".parquet":
        with _table(file, lost) as write_row:
            yield write_row
    elif suffix == ".jsonl":
        yield lambda row: _write_bytes(file, encode_line(row))
    else:
        separators = iter(["[\n"])
        yield lambda row: _write_bytes(file, next(separators, ",\n") + encode_line(row).rstrip("\n"))
        file.write(b"\n]\n")


def _write_bytes(file: BinaryIO, text: str) -> None:
    file.write(text.encode())


@contextmanager
def _table(file: BinaryIO, lost: Counter[str]) -> Iterator[_RowWriter]:
    from tltrain.formats.table_writer import TableWriter

    with TableWriter(file) as writer:
        yield writer.write
        writer.finish()
        lost.update({TEXT_COLUMN.format(name=name): writer.num_rows for name in writer.text_columns})
