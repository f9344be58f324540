"""What is kept in memory of each row of a mixture: enough to compare it with others, and no more."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tltrain.corpus.queries import Key, make_key, read_task, row_key
from tltrain.types import Json, Trajectory


@dataclass(frozen=True, kw_only=True, slots=True)
class RowFacts:
    """One row of a mixture; about half a kilobyte."""

    id: str
    source: int
    """Which file of the mixture, from 0."""
    key: Key
    """Equal for equal rows."""
    query: str
    """See `queries.Task`."""
    query_key: Key
    toolset: int
    """Equal for rows whose tools have the same names."""
    has_tools: bool
    group: Key
    """Equal for rows of one task."""
    has_group_fields: bool
    """The task is told by the fields that were asked for, not by query and tools."""


class RowReader:
    """Makes facts of rows.

    Args:
        group_fields: see `ValidationSplit.by`.
    """

    def __init__(self, group_fields: Sequence[str] = ()):
        self._group_fields = group_fields
        self.toolsets: dict[frozenset[str], int] = {}
        """Names of tools -> number of the toolset."""

    def read(self, trajectory: Trajectory, source: int) -> RowFacts:
        """The facts of one row."""
        task = read_task(trajectory)
        key = row_key(trajectory)
        values = [field_of(trajectory.provenance, field) for field in self._group_fields]
        has_group_fields = bool(values) and all(value is not None for value in values)
        if has_group_fields:
            group = make_key("fields", *map(repr, values))
        elif task.query:
            group = make_key("task", task.query_key.hex(), *sorted(task.tools))
        else:
            group = key  # nobody asks: only an equal row is the same task
        return RowFacts(
            id=trajectory.id,
            source=source,
            key=key,
            query=task.query,
            query_key=task.query_key,
            toolset=self.toolsets.setdefault(task.tools, len(self.toolsets)),
            has_tools=bool(task.tools),
            group=group,
            has_group_fields=has_group_fields,
        )


def field_of(provenance: object, path: str) -> Json:
    """The value at a dotted path; a whole name with dots in it comes first. None where there is none."""
    if not isinstance(provenance, Mapping):
        return None
    if path in provenance:
        found: Json = provenance[path]
        return found
    name, dot, rest = path.partition(".")
    return field_of(provenance.get(name), rest) if dot else None
