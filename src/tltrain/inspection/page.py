"""The page: one HTML file that needs no network and no other file, for some ten thousand trajectories."""

import base64
import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from tltrain.errors import DataError, UsageError
from tltrain.files import atomic_file
from tltrain.inspection.body import BodyWriter, printable_text
from tltrain.inspection.chunks import ChunkWriter, SharedValues, encode_json, script_element
from tltrain.inspection.index import IndexBuilder, InspectCounts
from tltrain.inspection.rows import policy_name
from tltrain.inspection.source import RowSource, SkippedRow
from tltrain.inspection.tokens import TokenReader
from tltrain.stage import Progress
from tltrain.types import Json

if TYPE_CHECKING:
    import jinja2

MAX_ROWS = 20_000
"""Rows of a page by default; a browser opens several times as many, but slowly."""
_HERE = Path(__file__).parent
_SCRIPTS = ("data.js", "filter.js", "text.js", "conversation.js", "tokens.js", "list.js", "main.js")
_MARKER = "<!-- data -->"
_MAX_REASONS = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class InspectResult:
    """The page, and what it holds."""

    page: Path
    counts: InspectCounts
    num_bytes: int
    is_cut: bool
    """The file has more rows than were asked for."""


def inspect(
    source: RowSource,
    out: Path,
    *,
    model: str | None = None,
    max_rows: int = MAX_ROWS,
    progress: Progress | None = None,
) -> InspectResult:
    """Write the page of a file of trajectories, whole or not at all.

    Rows are packed as they are read: beside the index, about 200 bytes a row, one chunk of them is in memory.

    Args:
        source: what to show.
        out: the HTML file to write.
        model: tokenizer by which tokens are shown; None shows none.
        max_rows: most rows; the first ones are taken.
        progress: told how many rows are done, where their number can be known beforehand.

    Raises:
        UsageError: `out` is no name for a page, or `max_rows` no number of rows.
        DataError: the file cannot be read, holds no good row, or the verdicts are not on it.
        ModelError: there is no such tokenizer.
    """
    _check(out, max_rows)
    reader = TokenReader(model) if model else None
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=out.parent) as bodies, tempfile.TemporaryFile(dir=out.parent) as shared:
        packed = _Packer(bodies, shared, reader)
        packed.pack(source, max_rows, progress)
        with atomic_file(out) as file:
            _write_page(file, packed, source, model)
            num_bytes = file.tell()
    counts = packed.index.counts(num_skipped=packed.num_skipped)
    return InspectResult(page=out, counts=counts, num_bytes=num_bytes, is_cut=packed.is_cut)


def _check(out: Path, max_rows: int) -> None:
    if out.is_dir() or out.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--out {out}: the page is one file; give a name that ends in .html")
    if max_rows < 1:
        raise UsageError(f"--max-rows {max_rows}: give at least 1")


class _Packer:
    """All rows of a source as chunks in two files, and their index."""

    def __init__(self, bodies: BinaryIO, shared: BinaryIO, reader: TokenReader | None):
        self.files = (shared, bodies)
        """In the order of the page: a row can be shown before the page has loaded to its end."""
        self.index = IndexBuilder()
        self.num_skipped = 0
        self.reasons: list[Json] = []
        self.is_cut = False
        self.rows = ChunkWriter("rows", bodies)
        self.shared = ChunkWriter("shared", shared)
        self._writer = BodyWriter(SharedValues(self.shared))
        self._reader = reader

    def pack(self, source: RowSource, max_rows: int, progress: Progress | None) -> None:
        total = _count_lines(source.file) if progress else None
        for row in source.rows():
            if isinstance(row, SkippedRow):
                self.num_skipped += 1
                if len(self.reasons) < _MAX_REASONS:
                    self.reasons.append(printable_text(row.reason))
                continue
            if self.index.num_rows == max_rows:
                self.is_cut = True
                break
            self.index.add(row)
            self.rows.add(self._writer.write(row, self._reader.read(row) if self._reader else None))
            if progress and total:
                progress(self.index.num_rows, min(total, max_rows), "rows")
        if not self.index.num_rows:
            first = f" First: {self.reasons[0]}" if self.reasons else ""
            raise DataError(f"{source.file}: none of {self.num_skipped} rows can be read.{first}")
        self.rows.flush()
        self.shared.flush()


def _count_lines(path: Path) -> int | None:
    """Lines of a JSON Lines file; None for other files, whose rows are not lines."""
    if path.suffix not in (".jsonl", ".ndjson") or not path.is_file():
        return None
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


def _write_page(file: BinaryIO, packed: _Packer, source: RowSource, model: str | None) -> None:
    head, tail = _render(source).split(_MARKER)
    index: dict[str, Json] = packed.index.to_json() | {
        "row_chunks": list(packed.rows.starts),
        "shared_chunks": list(packed.shared.starts),
        "policy": policy_name(source.config.block),
        "model": model,
        "num_skipped": packed.num_skipped,
        "reasons": packed.reasons,
        "is_cut": packed.is_cut,
    }
    file.write(head.encode())
    file.write(script_element("index", encode_json(index)))
    file.write(tail.encode())
    for part in packed.files:
        part.seek(0)
        shutil.copyfileobj(part, file)
    file.write(b"</body>\n</html>\n")


def _render(source: RowSource) -> str:
    script = '"use strict";\n' + "\n".join((_HERE / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    style = (_HERE / "page.css").read_text(encoding="utf-8")
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            name=printable_text(source.file.name),
            style=style,
            style_hash=_hash(style),
            script=script,
            script_hash=_hash(script),
            marker=_MARKER,
        )
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@cache
def _environment() -> "jinja2.Environment":
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
