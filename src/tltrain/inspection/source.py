"""The rows of a file, one after the other, each with the verdicts on its calls."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tltrain.audit.config import AuditConfig
from tltrain.audit.layers import Auditor
from tltrain.audit.verdict import CallVerdict
from tltrain.audit.verdict_file import on_other_rows, read_verdicts
from tltrain.errors import DataError
from tltrain.files import check_file
from tltrain.formats.base import Companions
from tltrain.formats.read import open_source, read_source
from tltrain.inspection.rows import InspectedRow, inspect_row
from tltrain.types import Trajectory


class SkippedRow(NamedTuple):
    """A row that cannot be shown."""

    reason: str
    """With file and line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RowSource:
    """What is read, and how it is judged."""

    file: Path
    """A file or folder of any known format."""
    verdicts: Path | None = None
    """verdicts.jsonl of an audit of the file; None: it is audited on the way."""
    config: AuditConfig = field(default_factory=AuditConfig)
    """How the file is read, judged where there are no verdicts, and what is blocked."""

    def rows(self) -> Iterator[InspectedRow | SkippedRow]:
        """Stream the rows; what is kept in memory is the file of verdicts, if there is one.

        Raises:
            DataError: a file cannot be read or is empty, the verdicts are not on this file, or a row cannot be read
                and the config is strict.
        """
        judge = _VerdictFile(self.verdicts) if self.verdicts else self.config.auditor()
        companions = Companions(tools=self.config.tools, answers=self.config.answers)
        for item in read_source(open_source(self.file, format=self.config.format), companions=companions):
            try:
                if not isinstance(item, Trajectory):
                    raise DataError(item.reason)
                found = judge.judge(item)
            except DataError as error:
                if self.config.strict:
                    raise
                yield SkippedRow(str(error))
                continue
            yield inspect_row(item, found, self.config.block)
        if not isinstance(judge, Auditor):
            judge.check_use(self.file)


class _VerdictFile:
    """The verdicts of an earlier audit."""

    def __init__(self, path: Path):
        self._path = path
        self._by_id: defaultdict[str, list[CallVerdict]] = defaultdict(list)
        self._num_used = 0
        check_file(path, "file of verdicts")
        for verdict in read_verdicts(path):
            self._by_id[verdict.trajectory].append(verdict)

    def judge(self, trajectory: Trajectory) -> list[CallVerdict]:
        """The verdicts on the calls of one trajectory."""
        found = self._by_id.get(trajectory.id, [])
        self._num_used += bool(found)
        return found

    def check_use(self, file: Path) -> None:
        """Raise if there were verdicts, and none on any row."""
        if self._by_id and not self._num_used:
            raise on_other_rows(self._path, file, next(iter(self._by_id)))
